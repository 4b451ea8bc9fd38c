//! Appends: expected revisions, independence, repeats, races, size.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::JoinSet;

use super::{
    Subject,
    client::{event, number, numbers, stream, typed_event},
};
use crate::{
    Append, AppendError, Appended, ExpectedRevision,
    ExpectedRevision::{Any, Exact, NoStream},
    Filter, NewEvent, Position, StreamName,
};

#[track_caller]
fn assert_conflict(answer: Result<Appended, AppendError>, expected: Option<u64>) {
    match answer {
        Err(AppendError::WrongExpectedRevision { actual }) => assert_eq!(actual, expected),
        other => panic!("a conflict at {expected:?}, not {other:?}"),
    }
}

#[track_caller]
fn assert_revision(answer: Result<Appended, AppendError>, expected: u64) -> Position {
    let appended = answer.expect("an append that is taken");
    assert_eq!(appended.revision, expected);
    appended.position.expect("the client finds the position")
}

fn append(stream: &StreamName, expected: ExpectedRevision, events: Vec<NewEvent>) -> Append {
    Append {
        stream: stream.clone(),
        expected,
        events,
    }
}

pub async fn an_append_may_expect_that_there_is_no_stream(subject: Subject) {
    let (client, a) = (subject.client(), stream("a"));
    assert_revision(client.append(&a, NoStream, vec![event(1)]).await, 0);
    assert_conflict(client.append(&a, NoStream, vec![event(2)]).await, Some(0));
    assert_eq!(numbers(&client.stream(&a).await), [1]);
}

pub async fn an_append_may_expect_a_revision(subject: Subject) {
    let (client, a) = (subject.client(), stream("a"));
    assert_conflict(client.append(&a, Exact(0), vec![event(1)]).await, None);
    let two = vec![event(1), event(2)];
    assert_revision(client.append(&a, NoStream, two).await, 1);
    assert_conflict(client.append(&a, Exact(0), vec![event(3)]).await, Some(1));
    assert_conflict(client.append(&a, Exact(2), vec![event(3)]).await, Some(1));
    let beyond = client.append(&a, Exact(u64::MAX - 1), vec![event(3)]).await;
    assert_conflict(beyond, Some(1));
    assert_revision(client.append(&a, Exact(1), vec![event(3)]).await, 2);
    assert_eq!(numbers(&client.stream(&a).await), [1, 2, 3]);
}

pub async fn an_append_may_expect_anything(subject: Subject) {
    let (client, a) = (subject.client(), stream("a"));
    assert_revision(client.append(&a, Any, vec![event(1)]).await, 0);
    let two = vec![event(2), event(3)];
    assert_revision(client.append(&a, Any, two).await, 2);
    assert_revision(client.append(&a, Exact(2), vec![event(4)]).await, 3);
    assert_eq!(numbers(&client.stream(&a).await), [1, 2, 3, 4]);
}

pub async fn an_append_without_events_is_refused(subject: Subject) {
    let (client, a) = (subject.client(), stream("a"));
    for expected in [Any, NoStream] {
        let answer = client.append(&a, expected, vec![]).await;
        assert!(matches!(answer, Err(AppendError::Empty)), "{answer:?}");
    }
    assert!(client.log(Filter::All).await.is_empty());
}

/// A limit is the adapter's own; one without a limit that a test can reach is let off.
pub async fn an_append_over_the_limit_is_refused(subject: Subject) {
    let Some(max_append_bytes) = subject.max_append_bytes else {
        return;
    };
    let (client, a) = (subject.client(), stream("a"));
    let large = NewEvent::raw(
        event(1).id,
        "thing.happened.v1",
        vec![b' '; max_append_bytes + 1],
        &b"{}"[..],
    );
    match client.append(&a, NoStream, vec![large]).await {
        Err(AppendError::TooLarge { bytes, max_bytes }) => assert!(bytes > max_bytes),
        other => panic!("too large, not {other:?}"),
    }
    assert!(client.log(Filter::All).await.is_empty());
    assert_revision(client.append(&a, NoStream, vec![event(1)]).await, 0);
}

pub async fn revisions_count_from_zero_and_positions_only_grow(subject: Subject) {
    let (client, a, b) = (subject.client(), stream("a"), stream("b"));
    // A new log may hold events of the store's own.
    let start = client.appended().await;
    let first = assert_revision(
        client.append(&a, NoStream, vec![event(1), event(2)]).await,
        1,
    );
    let second = assert_revision(client.append(&b, NoStream, vec![event(3)]).await, 0);
    let third = assert_revision(
        client.append(&a, Exact(1), vec![event(4), event(5)]).await,
        3,
    );
    assert!(first < second && second < third);

    let log = client.log(Filter::All).await;
    assert_eq!(numbers(&log), [1, 2, 3, 4, 5]);
    let revisions: Vec<_> = log.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, [0, 1, 0, 2, 3]);
    assert!(log[0].position > start);
    assert!(log.is_sorted_by(|one, next| one.position < next.position));
    // The answer's position is that of the last event of the append.
    assert_eq!(
        [log[1].position, log[2].position, log[4].position],
        [first, second, third]
    );
    // The store's own events may follow ours, so the log may end later.
    assert!(client.appended().await >= third);
}

pub async fn streams_in_one_call_are_independent_and_in_order(subject: Subject) {
    let (client, a, b, c) = (subject.client(), stream("a"), stream("b"), stream("c"));
    client.put(&b, [1]).await;
    let answers = client
        .append_all(vec![
            append(&a, NoStream, vec![event(2), event(3)]),
            append(&b, NoStream, vec![event(4)]),
            append(&c, NoStream, vec![]),
            append(&c, NoStream, vec![event(5)]),
            // Sees what the first one of this call has done.
            append(&a, Exact(1), vec![event(6)]),
            append(&a, NoStream, vec![event(7)]),
        ])
        .await;
    let [first, conflict, empty, second, third, late]: [_; 6] =
        answers.try_into().expect("an answer for each");
    let first = assert_revision(first, 1);
    assert_conflict(conflict, Some(0));
    assert!(matches!(empty, Err(AppendError::Empty)));
    let second = assert_revision(second, 0);
    let third = assert_revision(third, 2);
    assert_conflict(late, Some(2));
    assert!(first < second && second < third);
    assert_eq!(
        numbers(&client.log(Filter::All).await),
        [1, 2, 3, 5, 6],
        "the order of the appends"
    );
    assert!(client.append_all(vec![]).await.is_empty());
}

pub async fn a_repeated_append_is_one_effect(subject: Subject) {
    let (client, a, b) = (subject.client(), stream("a"), stream("b"));
    let first = || vec![event(1), event(2)];
    let written = assert_revision(client.append(&a, NoStream, first()).await, 1);
    // The store may leave the position out; the client then finds the first one's.
    let repeated = assert_revision(client.append(&a, NoStream, first()).await, 1);
    assert_eq!(written, repeated);

    let third = assert_revision(client.append(&a, Exact(1), vec![event(3)]).await, 2);
    client.put(&b, [4]).await;
    let repeated = assert_revision(client.append(&a, NoStream, first()).await, 1);
    assert_eq!(written, repeated, "also when the stream has gone on");
    let repeated = assert_revision(client.append(&a, Exact(1), vec![event(3)]).await, 2);
    assert_eq!(third, repeated);
    // A part of an append is there as well.
    assert_revision(client.append(&a, Exact(0), vec![event(2)]).await, 1);
    assert_revision(
        client.append(&a, Exact(0), vec![event(2), event(3)]).await,
        2,
    );
    let twice = vec![
        append(&b, Exact(0), vec![event(5)]),
        append(&b, Exact(0), vec![event(5)]),
    ];
    for answer in client.append_all(twice).await {
        assert_revision(answer, 1);
    }
    assert_eq!(numbers(&client.log(Filter::All).await), [1, 2, 3, 4, 5]);

    // An answer lost and asked for again, over and over.
    let c = stream("c");
    let mut expected = NoStream;
    for number in 100..150 {
        let once = client.append(&c, expected, vec![event(number)]).await;
        let again = client.append(&c, expected, vec![event(number)]).await;
        assert_eq!(once.unwrap(), again.unwrap());
        expected = Exact(number - 100);
    }
    assert!(numbers(&client.stream(&c).await).into_iter().eq(100..150));
}

pub async fn other_content_under_the_same_revision_is_a_conflict(subject: Subject) {
    let (client, a) = (subject.client(), stream("a"));
    let events = (1..=3).map(event).collect();
    assert_revision(client.append(&a, NoStream, events).await, 2);
    for (expected, numbers) in [
        (NoStream, vec![9]),
        (NoStream, vec![1, 9]),
        (NoStream, vec![2]),
        (NoStream, vec![2, 1]),
        (Exact(0), vec![1]),
        (Exact(0), vec![3, 2]),
        // All of them or none: what goes past the end was never appended as one.
        (NoStream, vec![1, 2, 3, 4]),
        (Exact(1), vec![3, 4]),
    ] {
        let events = numbers.iter().copied().map(event).collect();
        assert_conflict(client.append(&a, expected, events).await, Some(2));
    }
    assert_eq!(numbers(&client.log(Filter::All).await), [1, 2, 3]);
}

/// Ids are compared where the expected revision is behind the stream, and nowhere else.
pub async fn an_id_at_a_new_revision_is_written_again(subject: Subject) {
    let (client, a, b) = (subject.client(), stream("a"), stream("b"));
    assert_revision(client.append(&a, NoStream, vec![event(1)]).await, 0);
    assert_revision(client.append(&a, Exact(0), vec![event(1)]).await, 1);
    assert_revision(client.append(&b, NoStream, vec![event(1)]).await, 0);
    assert_eq!(numbers(&client.log(Filter::All).await), [1, 1, 1]);
}

/// Without an expected revision nothing says where to look for a repeat: one store writes it
/// again, another recognises it. Nothing of ours that must take effect once appends so.
pub async fn a_repeat_that_expects_anything_may_be_written_again(subject: Subject) {
    let (client, a) = (subject.client(), stream("a"));
    for round in 1..=20 {
        let answer = client.append(&a, Any, vec![event(1)]).await;
        let there = client.stream(&a).await;
        assert!(!there.is_empty() && there.len() <= round);
        assert!(answer.unwrap().revision < there.len() as u64);
        assert!(numbers(&there).into_iter().all(|number| number == 1));
    }
}

pub async fn one_appender_wins_each_revision(subject: Subject) {
    const APPENDERS: u64 = 16;
    const EACH: u64 = 12;
    let (client, a) = (subject.client(), stream("a"));
    let mut appenders = JoinSet::new();
    for appender in 0..APPENDERS {
        let (client, a) = (client.clone(), a.clone());
        appenders.spawn(async move {
            let mut last = None;
            let mut won = Vec::new();
            for round in 0..EACH {
                let number = appender * EACH + round;
                loop {
                    let expected = ExpectedRevision::after(last);
                    match client.append(&a, expected, vec![event(number)]).await {
                        Ok(appended) => {
                            last = Some(appended.revision);
                            won.push((appended.revision, number));
                            break;
                        }
                        Err(AppendError::WrongExpectedRevision { actual }) => {
                            assert!(actual > last, "a conflict says what is new");
                            last = actual;
                        }
                        Err(error) => panic!("{error}"),
                    }
                    tokio::task::yield_now().await;
                }
            }
            won
        });
    }
    let won: Vec<_> = appenders.join_all().await.into_iter().flatten().collect();
    let winners: BTreeMap<_, _> = won.iter().copied().collect();
    assert_eq!(winners.len(), won.len(), "two won the same revision");
    assert!(winners.keys().copied().eq(0..APPENDERS * EACH));
    let there = client.stream(&a).await;
    assert!(
        there
            .iter()
            .map(|event| (event.revision, number(event)))
            .eq(winners),
        "the stream is what the winners were told"
    );
}

pub async fn appenders_to_many_streams_do_not_disturb_each_other(subject: Subject) {
    const APPENDERS: u64 = 32;
    const EACH: u64 = 10;
    let client = subject.client();
    let mut appenders = JoinSet::new();
    for appender in 0..APPENDERS {
        let client = client.clone();
        appenders.spawn(async move {
            let own = stream(appender);
            let mut expected = NoStream;
            for round in 0..EACH {
                let number = appender * EACH + round;
                let events = vec![event(number)];
                assert_revision(client.append(&own, expected, events).await, round);
                expected = Exact(round);
            }
        });
    }
    appenders.join_all().await;
    let log = client.log(Filter::All).await;
    assert_eq!(log.len() as u64, APPENDERS * EACH);
    for appender in 0..APPENDERS {
        let there = numbers(&client.stream(&stream(appender)).await);
        assert!(there.into_iter().eq(appender * EACH..(appender + 1) * EACH));
    }
    let ids: BTreeSet<_> = log.iter().map(|event| event.event.id).collect();
    assert_eq!(ids.len(), log.len(), "no event twice");
}

pub async fn a_large_append_is_one_block(subject: Subject) {
    const EVENTS: u64 = 1_000;
    let (client, a, b) = (subject.client(), stream("a"), stream("b"));
    let large = |first: u64| -> Vec<NewEvent> {
        (first..first + EVENTS)
            .map(|number| {
                let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(480));
                NewEvent::raw(event(number).id, "thing.happened.v1", data, &b"{}"[..])
            })
            .collect()
    };
    let appends = vec![
        append(&a, NoStream, large(0)),
        append(&b, NoStream, large(EVENTS)),
    ];
    for answer in client.append_all(appends).await {
        assert_revision(answer, EVENTS - 1);
    }
    let log = client.log(Filter::All).await;
    assert!(numbers(&log).into_iter().eq(0..2 * EVENTS), "in one block");
    assert!(log.iter().all(|event| event.event.data.len() == 491));
    assert_eq!(client.stream(&b).await.len() as u64, EVENTS);
}

pub async fn an_event_comes_back_as_it_was_written(subject: Subject) {
    let client = subject.client();
    let a = StreamName::parse("thing-é".replace('é', "a-b-c_%/~").as_str()).unwrap();
    let metadata = br#"{"$correlationId":"x","odd":[1,null,"\u0000"]}"#;
    let data = "{\"text\":\"日本 \\\" é\",\"number\":18446744073709551615}";
    let written = NewEvent::raw(event(7).id, "thing.happened.v2", data, &metadata[..]);
    let plain = typed_event(8, "thing.happened.v1");
    let answer = client.append(&a, NoStream, vec![written, plain]).await;
    assert_revision(answer, 1);
    for events in [client.stream(&a).await, client.log(Filter::All).await] {
        let there = &events[0];
        assert_eq!(there.stream, a);
        assert_eq!(there.revision, 0);
        assert_eq!(there.event.id, event(7).id);
        assert_eq!(&*there.event.event_type, "thing.happened.v2");
        assert_eq!(&there.event.data[..], data.as_bytes());
        assert_eq!(&there.event.metadata[..], metadata);
        assert_eq!(numbers(&events), [7, 8]);
    }
}
