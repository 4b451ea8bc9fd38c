//! Reads of a stream and of the whole log.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{
    Client, Subject,
    client::{event, numbers, stream, typed_event},
};
use crate::{
    Direction::{self, Backward, Forward},
    ExpectedRevision::Any,
    Filter, Position, Read, RecordedEvent, StreamName,
    Visibility::{self, Appended, Durable},
};

fn all(direction: Direction, filter: Filter, max_events: usize) -> Read {
    Read {
        from: None,
        direction,
        visibility: Appended,
        filter,
        max_events,
    }
}

/// Ten events over two categories and two types; what is durable is all of it.
async fn ten_events(client: &Client) -> Vec<Arc<RecordedEvent>> {
    let other = StreamName::new("other", "a");
    for number in 0..10 {
        let stream = match number % 3 {
            0 => stream("a"),
            1 => other.clone(),
            _ => stream("b"),
        };
        let event_type = match number % 2 {
            0 => "thing.happened.v1",
            _ => "thing.ended.v1",
        };
        let event = typed_event(number, event_type);
        let answer = client.append(&stream, Any, vec![event]).await;
        answer.expect("an append");
    }
    let log = client.log(Filter::All).await;
    client.wait_durable(client.appended().await).await;
    log
}

pub async fn an_unknown_stream_has_no_events(subject: Subject) {
    let client = subject.client();
    for (direction, visibility, from) in [
        (Forward, Appended, None),
        (Backward, Appended, None),
        (Forward, Durable, Some(0)),
        (Backward, Durable, Some(7)),
    ] {
        let events = client
            .read_stream(&stream("a"), from, direction, visibility, 10)
            .await;
        assert!(events.is_empty());
    }
    client.put(&stream("ab"), [1]).await;
    assert!(client.stream(&stream("a")).await.is_empty(), "no prefix");
}

pub async fn a_stream_reads_both_ways_between_any_edges(subject: Subject) {
    let (client, a) = (subject.client(), stream("a"));
    for number in 0..5 {
        client.put(&a, [number]).await;
        client.put(&stream("b"), [100 + number]).await;
    }
    client.wait_durable(client.appended().await).await;
    let cases: [(Option<u64>, Direction, usize, &[u64]); 16] = [
        (None, Forward, 10, &[0, 1, 2, 3, 4]),
        (None, Forward, 2, &[0, 1]),
        (None, Forward, 0, &[]),
        (Some(0), Forward, 5, &[0, 1, 2, 3, 4]),
        (Some(3), Forward, 10, &[3, 4]),
        (Some(4), Forward, 1, &[4]),
        (Some(5), Forward, 10, &[]),
        (Some(u64::MAX), Forward, usize::MAX, &[]),
        (None, Backward, 10, &[4, 3, 2, 1, 0]),
        (None, Backward, 2, &[4, 3]),
        (None, Backward, 0, &[]),
        (Some(0), Backward, 10, &[0]),
        (Some(2), Backward, 2, &[2, 1]),
        (Some(4), Backward, usize::MAX, &[4, 3, 2, 1, 0]),
        (Some(9), Backward, 2, &[4, 3]),
        (Some(u64::MAX), Backward, 1, &[4]),
    ];
    for visibility in [Appended, Durable] {
        for (from, direction, max_events, expected) in cases {
            let read = client.read_stream(&a, from, direction, visibility, max_events);
            assert_eq!(
                numbers(&read.await),
                expected,
                "{from:?} {direction:?} {max_events}"
            );
        }
    }
}

pub async fn the_log_reads_forward_in_pages_of_any_size(subject: Subject) {
    let client = subject.client();
    assert!(client.pages(all(Forward, Filter::All, 3)).await.is_empty());
    let log = ten_events(&client).await;
    assert!(numbers(&log).into_iter().eq(0..10));
    for max_events in [1, 3, 10, 11, usize::MAX] {
        for visibility in [Appended, Durable] {
            for (index, from) in log.iter().enumerate() {
                let read = Read {
                    from: Some(from.position),
                    visibility,
                    ..all(Forward, Filter::All, max_events)
                };
                let rest = numbers(&client.pages(read).await);
                assert!(rest.into_iter().eq(index as u64 + 1..10), "exclusive");
            }
            for from in [None, Some(Position::START)] {
                let read = Read {
                    from,
                    visibility,
                    ..all(Forward, Filter::All, max_events)
                };
                assert!(numbers(&client.pages(read).await).into_iter().eq(0..10));
            }
        }
    }
}

pub async fn the_log_reads_backward_in_pages_of_any_size(subject: Subject) {
    let client = subject.client();
    assert!(client.pages(all(Backward, Filter::All, 3)).await.is_empty());
    let log = ten_events(&client).await;
    for max_events in [1, 3, 10, 11, usize::MAX] {
        for visibility in [Appended, Durable] {
            for (index, from) in log.iter().enumerate() {
                let read = Read {
                    from: Some(from.position),
                    visibility,
                    ..all(Backward, Filter::All, max_events)
                };
                let rest = numbers(&client.pages(read).await);
                assert!(rest.into_iter().eq((0..index as u64).rev()), "exclusive");
            }
            let read = Read {
                visibility,
                ..all(Backward, Filter::All, max_events)
            };
            let whole = numbers(&client.pages(read).await);
            assert!(whole.into_iter().eq((0..10).rev()));
        }
    }
    // The end of the log may be an event of the store's own: then the last of ours is before it.
    let end = client.appended().await;
    let read = Read {
        from: Some(end),
        ..all(Backward, Filter::All, 3)
    };
    let before = log.iter().filter(|event| event.position < end).count() as u64;
    assert!(
        numbers(&client.pages(read).await)
            .into_iter()
            .eq((0..before).rev())
    );
    let read = Read {
        from: Some(Position::START),
        ..all(Backward, Filter::All, 10)
    };
    assert!(client.pages(read).await.is_empty());
}

pub async fn a_filter_chooses_by_stream_or_type(subject: Subject) {
    let client = subject.client();
    ten_events(&client).await;
    let streams = |prefixes: &[&str]| {
        Filter::StreamPrefixes(prefixes.iter().map(|&text| text.to_owned()).collect())
    };
    let types = |prefixes: &[&str]| {
        Filter::TypePrefixes(prefixes.iter().map(|&text| text.to_owned()).collect())
    };
    let cases: [(Filter, &[u64]); 9] = [
        (Filter::All, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Filter::categories(&["thing"]), &[0, 2, 3, 5, 6, 8, 9]),
        (Filter::categories(&["other"]), &[1, 4, 7]),
        (
            Filter::categories(&["thing", "other"]),
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        ),
        (Filter::categories(&["absent"]), &[]),
        (streams(&["thing-b"]), &[2, 5, 8]),
        (streams(&[]), &[]),
        (types(&["thing.ended."]), &[1, 3, 5, 7, 9]),
        (
            types(&["thing.e", "thing.h"]),
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        ),
    ];
    for (filter, expected) in cases {
        for max_events in [1, 2, 100] {
            let found = client.pages(all(Forward, filter.clone(), max_events)).await;
            assert_eq!(numbers(&found), expected, "{filter:?}");
            let mut found = client
                .pages(all(Backward, filter.clone(), max_events))
                .await;
            found.reverse();
            assert_eq!(numbers(&found), expected, "{filter:?}");
        }
    }
}

/// A checkpoint of a log that has lost its end: `considered` never goes below where the
/// reader says it is.
pub async fn a_reader_beyond_the_end_is_not_sent_back(subject: Subject) {
    let client = subject.client();
    let log = ten_events(&client).await;
    let end = client.appended().await;
    let beyond = Position::dense(end.commit + 1_000);
    let read = |direction| Read {
        from: Some(beyond),
        ..all(direction, Filter::All, 100)
    };
    let batch = client.read_all(read(Forward)).await;
    assert!(batch.events.is_empty() && batch.at_end && batch.considered >= beyond);
    assert_eq!(client.pages(read(Backward)).await.len(), log.len());
}

/// A page of no events cannot move past an event that the filter wants.
pub async fn a_read_of_nothing_moves_nothing(subject: Subject) {
    let client = subject.client();
    let log = ten_events(&client).await;
    for direction in [Forward, Backward] {
        for from in [None, Some(log[4].position)] {
            let read = Read {
                from,
                ..all(direction, Filter::All, 0)
            };
            let batch = client.read_all(read).await;
            assert!(batch.events.is_empty() && !batch.at_end);
            let read = Read {
                from: Some(batch.considered),
                ..all(direction, Filter::All, 1)
            };
            let next = numbers(&client.read_all(read).await.events);
            let expected = match (direction, from) {
                (Forward, None) => 0,
                (Forward, Some(_)) => 5,
                (Backward, None) => 9,
                (Backward, Some(_)) => 3,
            };
            assert_eq!(next, [expected], "{direction:?} {from:?}");
        }
    }
}

pub async fn a_stream_and_the_log_tell_the_same(subject: Subject) {
    let client = subject.client();
    let log = ten_events(&client).await;
    for name in [stream("a"), stream("b"), StreamName::new("other", "a")] {
        let in_log: Vec<_> = log.iter().filter(|event| event.stream == name).collect();
        let in_stream = client.stream(&name).await;
        assert_eq!(in_log.len(), in_stream.len());
        for (revision, (one, other)) in in_log.into_iter().zip(in_stream).enumerate() {
            assert_eq!(one.position, other.position);
            assert_eq!(one.revision, revision as u64);
            assert_eq!(other.revision, revision as u64);
            assert_eq!(one.event.id, other.event.id);
            assert_eq!(one.event.data, other.event.data);
        }
    }
}

pub async fn what_a_reader_of_the_durable_sees_is_durable(subject: Subject) {
    const EVENTS: u64 = 200;
    let client = subject.client();
    let mut writer = JoinSet::new();
    writer.spawn({
        let client = client.clone();
        async move {
            for number in 0..EVENTS {
                let answer = client.append(&stream("a"), Any, vec![event(number)]).await;
                answer.expect("an append");
                tokio::task::yield_now().await;
            }
        }
    });
    let mut seen = 0;
    while seen < EVENTS {
        let read = |direction| Read {
            visibility: Visibility::Durable,
            ..all(direction, Filter::All, usize::MAX)
        };
        let in_log = client.pages(read(Forward)).await;
        let in_stream = client
            .read_stream(&stream("a"), None, Forward, Durable, usize::MAX)
            .await;
        let backward = client.pages(read(Backward)).await;
        let durable = client.store.durable();
        for events in [&in_log, &in_stream, &backward] {
            for event in events {
                assert!(event.position <= durable, "ahead of what is durable");
            }
            let count = events.len() as u64;
            assert!(count >= seen, "what was durable stays so");
        }
        assert!(numbers(&in_log).into_iter().eq(0..in_log.len() as u64));
        seen = in_log.len() as u64;
        // Waits for the next event instead of reading the same again.
        if let Some(last) = client.stream(&stream("a")).await.last() {
            client.wait_durable(last.position).await;
        }
        tokio::task::yield_now().await;
    }
    writer.join_all().await;
}
