//! The official Rust client against the server, over the embedded store in a real folder.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::{net::SocketAddr, path::Path, sync::Arc};

use bytes::Bytes;
use kurrentdb::{
    AppendToStreamOptions, BatchAppendOptions, Client, CurrentRevision, DeleteStreamOptions, Error,
    EventData, Position, ReadAllOptions, ReadStream, ReadStreamOptions, StreamPosition,
    StreamState, SubscribeToAllOptions, SubscribeToStreamOptions, Subscription, SubscriptionEvent,
    SubscriptionFilter,
};
use recourse_esdb::server::{Bound, Options, Policy, Trusted};
use recourse_event_store::{EventStore, RecordedEvent, StreamName, embedded};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A store in a folder and a server before it.
struct Running {
    store: Arc<embedded::Store>,
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), recourse_esdb::server::Error>>,
}

impl Running {
    async fn start(folder: &Path) -> Self {
        Self::start_as(folder, Arc::new(Trusted)).await
    }

    async fn start_as(folder: &Path, policy: Arc<dyn Policy>) -> Self {
        let store = embedded::Store::open(embedded::Options::new(folder.join("log"))).unwrap();
        let store = Arc::new(store);
        let stop = CancellationToken::new();
        let options = Options::new("127.0.0.1:0".parse().unwrap());
        let bound = Bound::bind(store.clone(), policy, options, stop.clone())
            .await
            .unwrap();
        let address = bound.address();
        #[expect(clippy::disallowed_methods, reason = "stop() awaits it")]
        let serving = tokio::spawn(bound.serve());
        Self {
            store,
            address,
            stop,
            serving,
        }
    }

    fn client(&self) -> Client {
        let settings = format!("esdb://{}?tls=false", self.address);
        Client::new(settings.parse().unwrap()).unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
        self.store.close().await.unwrap();
    }
}

fn event(number: u64) -> EventData {
    EventData::json("thing.done.v1", &json!({ "number": number }))
        .unwrap()
        .id(Uuid::from_u128(u128::from(number)))
}

fn at(state: StreamState) -> AppendToStreamOptions {
    AppendToStreamOptions::default().stream_state(state)
}

/// The numbers of the events that a read gives.
async fn numbers(mut read: ReadStream) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(event) = read.next().await.unwrap() {
        numbers.push(number(event.get_original_event()));
    }
    numbers
}

async fn all_of(client: &Client, stream: &'static str) -> Vec<u64> {
    let options = ReadStreamOptions::default();
    numbers(client.read_stream(stream, &options).await.unwrap()).await
}

fn number(event: &kurrentdb::RecordedEvent) -> u64 {
    let data: serde_json::Value = event.as_json().unwrap();
    data["number"].as_u64().unwrap()
}

#[tokio::test]
async fn an_append_is_taken_at_the_revision_that_it_expects() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let client = running.client();

    let error = client
        .append_to_stream("thing-1", &at(StreamState::StreamExists), event(1))
        .await
        .unwrap_err();
    let Error::WrongExpectedVersion { current, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(current, CurrentRevision::NoStream);

    let mut last = Position::start();
    for (number, state, revision) in [
        (1, StreamState::NoStream, 0),
        (2, StreamState::StreamRevision(0), 1),
        (3, StreamState::StreamExists, 2),
        (4, StreamState::Any, 3),
    ] {
        let written = client
            .append_to_stream("thing-1", &at(state), event(number))
            .await
            .unwrap();
        assert_eq!(written.next_expected_version, revision);
        assert!(written.position > last);
        last = written.position;
        let durable = running.store.durable();
        assert!(
            durable.commit >= last.commit,
            "the answer came before the disk"
        );
    }
    assert_eq!(all_of(&client, "thing-1").await, [1, 2, 3, 4]);
    running.stop().await;
}

#[tokio::test]
async fn a_conflict_tells_both_revisions() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let client = running.client();
    client
        .append_to_stream("thing-1", &at(StreamState::Any), vec![event(1), event(2)])
        .await
        .unwrap();
    for state in [StreamState::NoStream, StreamState::StreamRevision(7)] {
        let error = client
            .append_to_stream("thing-1", &at(state), event(3))
            .await
            .unwrap_err();
        let Error::WrongExpectedVersion { expected, current } = error else {
            panic!("{error:?}");
        };
        assert_eq!((expected, current), (state, CurrentRevision::Current(1)));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_repeat_is_answered_as_the_first_one_was() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let client = running.client();
    for state in [StreamState::NoStream, StreamState::Any] {
        let both = || vec![event(1), event(2)];
        let put = async || {
            client
                .append_to_stream("thing-1", &at(state), both())
                .await
                .unwrap()
        };
        let (first, again) = (put().await, put().await);
        assert_eq!(first.next_expected_version, again.next_expected_version);
        assert_eq!(first.position, again.position);
    }
    client
        .append_to_stream("thing-1", &at(StreamState::Any), event(3))
        .await
        .unwrap();
    // No longer at the end, and still known.
    let late = client
        .append_to_stream("thing-1", &at(StreamState::Any), event(2))
        .await
        .unwrap();
    assert_eq!(late.next_expected_version, 1);
    assert_eq!(all_of(&client, "thing-1").await, [1, 2, 3]);
    running.stop().await;
}

#[tokio::test]
async fn a_stream_is_read_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let client = running.client();
    // More than a page.
    let all: Vec<u64> = (0..150).collect();
    client
        .append_to_stream(
            "thing-1",
            &at(StreamState::NoStream),
            all.iter().copied().map(event).collect::<Vec<_>>(),
        )
        .await
        .unwrap();
    let options = || ReadStreamOptions::default().max_count(1000);
    let read =
        async |options| numbers(client.read_stream("thing-1", &options).await.unwrap()).await;

    assert_eq!(read(options()).await, all);
    let backwards: Vec<_> = all.iter().rev().copied().collect();
    assert_eq!(
        read(options().backwards().position(StreamPosition::End)).await,
        backwards
    );
    let at_100 = || options().position(StreamPosition::Position(100));
    assert_eq!(read(at_100()).await, all[100..]);
    assert_eq!(read(at_100().backwards()).await, backwards[49..]);
    assert_eq!(read(at_100().max_count(3)).await, [100, 101, 102]);
    assert_eq!(
        read(options().position(StreamPosition::Position(150))).await,
        [0; 0],
        "past the end there is nothing, but there is a stream"
    );

    for missing in ["thing-2", "no dash"] {
        let mut read = client
            .read_stream(missing, &ReadStreamOptions::default())
            .await
            .unwrap();
        let error = read.next().await.unwrap_err();
        assert!(matches!(error, Error::ResourceNotFound), "{error:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn all_is_read_both_ways_from_where_eventstoredb_begins() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let client = running.client();
    let mut positions = Vec::new();
    for number in 0..6_u64 {
        let stream = format!("thing-{}", number % 2);
        let written = client
            .append_to_stream(stream, &at(StreamState::Any), event(number))
            .await
            .unwrap();
        positions.push(written.position);
    }
    let read = async |options| numbers(client.read_all(&options).await.unwrap()).await;
    let options = ReadAllOptions::default;
    let at_3 = StreamPosition::Position(positions[3]);
    assert_eq!(read(options().max_count(100)).await, [0, 1, 2, 3, 4, 5]);
    assert_eq!(read(options().max_count(2)).await, [0, 1]);
    assert_eq!(
        read(options().position(at_3).max_count(100)).await,
        [3, 4, 5],
        "forward it is inclusive"
    );
    assert_eq!(
        read(options().backwards().position(at_3).max_count(100)).await,
        [2, 1, 0],
        "backward it is not"
    );
    assert_eq!(
        read(
            options()
                .backwards()
                .position(StreamPosition::End)
                .max_count(2)
        )
        .await,
        [5, 4]
    );
    let odd = SubscriptionFilter::on_stream_name().regex("^thing-[13579]$");
    assert_eq!(read(options().filter(odd).max_count(100)).await, [1, 3, 5]);
    let not_even = SubscriptionFilter::on_stream_name().regex(r"^(?!(\$.+|thing-0)$).*");
    assert_eq!(
        read(options().filter(not_even).max_count(2)).await,
        [1, 3],
        "look-ahead, which other clients exclude by"
    );
    running.stop().await;
}

/// The next event's number, and the checkpoints and states on the way to it.
async fn next(subscription: &mut Subscription, seen: &mut Seen) -> u64 {
    loop {
        match subscription.next_subscription_event().await.unwrap() {
            SubscriptionEvent::EventAppeared(event) => {
                let event = event.get_original_event();
                seen.position = Some(event.position);
                return number(event);
            }
            other => seen.note(&other),
        }
    }
}

#[derive(Default)]
struct Seen {
    confirmed: bool,
    caught_up: usize,
    checkpoint: Option<Position>,
    position: Option<Position>,
}

impl Seen {
    fn note(&mut self, event: &SubscriptionEvent) {
        match event {
            SubscriptionEvent::Confirmed(_) => self.confirmed = true,
            SubscriptionEvent::CaughtUp(_) => self.caught_up += 1,
            SubscriptionEvent::Checkpoint(position) => self.checkpoint = Some(*position),
            _ => {}
        }
    }

    async fn until(&mut self, subscription: &mut Subscription, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            let event = subscription.next_subscription_event().await.unwrap();
            self.note(&event);
        }
    }
}

#[tokio::test]
async fn a_filtered_subscription_goes_on_from_its_checkpoint_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let client = running.client();
    let put = async |client: &Client, stream: &'static str, numbers: std::ops::Range<u64>| {
        let events: Vec<_> = numbers.map(event).collect();
        client
            .append_to_stream(stream, &at(StreamState::Any), events)
            .await
            .unwrap()
    };
    let filter = || {
        SubscriptionFilter::on_stream_name()
            .add_prefix("wanted-")
            .max(10)
    };
    put(&client, "wanted-1", 0..3).await;
    let passed = put(&client, "other-1", 100..140).await;

    let options = SubscribeToAllOptions::default().filter(filter());
    let mut subscription = client.subscribe_to_all(&options).await;
    let mut seen = Seen::default();
    for number in 0..3 {
        assert_eq!(next(&mut subscription, &mut seen).await, number);
    }
    assert!(seen.confirmed);
    seen.until(&mut subscription, |seen| seen.caught_up == 1)
        .await;
    assert_eq!(
        seen.checkpoint,
        Some(passed.position),
        "it knows how far the filter has passed over the log"
    );
    // Live.
    put(&client, "wanted-1", 3..5).await;
    for number in 3..5 {
        assert_eq!(next(&mut subscription, &mut seen).await, number);
    }
    let passed = put(&client, "other-1", 140..160).await;
    seen.until(&mut subscription, |seen| {
        seen.checkpoint >= Some(passed.position)
    })
    .await;
    running.stop().await;
    let error = subscription.next_subscription_event().await.unwrap_err();
    assert!(matches!(error, Error::ServerError(_)), "{error:?}");

    let running = Running::start(folder.path()).await;
    let client = running.client();
    put(&client, "wanted-2", 5..7).await;
    let options = SubscribeToAllOptions::default()
        .filter(filter())
        .position(StreamPosition::Position(seen.checkpoint.unwrap()));
    let mut subscription = client.subscribe_to_all(&options).await;
    for number in 5..7 {
        assert_eq!(next(&mut subscription, &mut seen).await, number);
    }
    put(&client, "wanted-2", 7..8).await;
    assert_eq!(next(&mut subscription, &mut seen).await, 7);

    // From an event, which the client has: not again.
    let options =
        SubscribeToAllOptions::default().position(StreamPosition::Position(seen.position.unwrap()));
    let mut subscription = client.subscribe_to_all(&options).await;
    put(&client, "wanted-2", 8..9).await;
    assert_eq!(next(&mut subscription, &mut seen).await, 8);
    running.stop().await;
}

#[tokio::test]
async fn a_stream_is_followed_from_a_revision_and_alone() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let client = running.client();
    let put = async |stream: &'static str, numbers: std::ops::Range<u64>| {
        let events: Vec<_> = numbers.map(event).collect();
        client
            .append_to_stream(stream, &at(StreamState::Any), events)
            .await
            .unwrap();
    };
    put("thing-1", 0..100).await;
    let from = |position| SubscribeToStreamOptions::default().start_from(position);
    let after = from(StreamPosition::Position(1));
    let mut subscription = client.subscribe_to_stream("thing-1", &after).await;
    let mut seen = Seen::default();
    for number in 2..100 {
        assert_eq!(next(&mut subscription, &mut seen).await, number);
    }
    seen.until(&mut subscription, |seen| seen.caught_up == 1)
        .await;
    let end = from(StreamPosition::End);
    let mut at_end = client.subscribe_to_stream("thing-1", &end).await;
    let mut seen_at_end = Seen::default();
    seen_at_end
        .until(&mut at_end, |seen| seen.caught_up == 1)
        .await;
    // Its name begins as the other's, and it is longer.
    put("thing-10", 200..310).await;
    put("thing-1", 100..102).await;
    for number in 100..102 {
        assert_eq!(next(&mut subscription, &mut seen).await, number);
        assert_eq!(next(&mut at_end, &mut seen_at_end).await, number);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_batch_session_answers_each_append() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let client = running.client();
    let session = client
        .batch_append(&BatchAppendOptions::default())
        .await
        .unwrap();
    for number in 0..5 {
        let written = session
            .append_to_stream("thing-1", StreamState::Any, vec![event(number)])
            .await
            .unwrap();
        assert_eq!(written.current_revision(), Some(number));
        assert_eq!(written.stream_name(), "thing-1");
        assert!(written.current_position().is_some());
    }
    let error = session
        .append_to_stream("thing-1", StreamState::NoStream, vec![event(9)])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Grpc { .. }), "{error:?}");
    running.stop().await;
}

/// Clients may append to `open-…`, but not `thing.undone.v1`, and are shown nothing of `hidden-…`.
struct Strangers;

impl Policy for Strangers {
    fn may_append(&self, stream: &StreamName, event_type: &str) -> bool {
        stream.category() == "open" && event_type != "thing.undone.v1"
    }

    fn show(&self, event: &RecordedEvent) -> Bytes {
        match event.stream.category() {
            "hidden" => Bytes::from_static(br#"{"number":0}"#),
            _ => event.event.data.clone(),
        }
    }
}

#[tokio::test]
async fn the_policy_says_who_appends_where_and_sees_what() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let client = running.client();
    client
        .append_to_stream("hidden-1", &at(StreamState::Any), event(7))
        .await
        .unwrap();
    running.stop().await;

    let running = Running::start_as(folder.path(), Arc::new(Strangers)).await;
    let client = running.client();
    let undone = EventData::json("thing.undone.v1", &json!({})).unwrap();
    for (stream, event) in [("hidden-1", event(8)), ("open-1", undone)] {
        let error = client
            .append_to_stream(stream, &at(StreamState::Any), event)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::AccessDenied), "{error:?}");
    }
    client
        .append_to_stream("open-1", &at(StreamState::Any), event(8))
        .await
        .unwrap();
    let options = ReadAllOptions::default().max_count(10);
    let all = client.read_all(&options).await.unwrap();
    assert_eq!(numbers(all).await, [0, 8]);
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_and_what_is_not_there_unimplemented() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let client = running.client();
    let big = json!({ "text": "x".repeat(1024 * 1024) });
    let refused = [
        ("thing-1", EventData::json("thing.done.v1", &big).unwrap()),
        (
            "thing-1",
            EventData::binary("thing.done.v1", Bytes::from_static(b"{}")),
        ),
        ("thing-1", EventData::json("$thing", &json!({})).unwrap()),
        ("thing-1", EventData::json("", &json!({})).unwrap()),
        ("no dash", event(1)),
        ("$thing-1", event(1)),
    ];
    for (stream, data) in refused {
        let error = client
            .append_to_stream(stream, &at(StreamState::Any), data)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Grpc { .. }), "{error:?}");
    }
    let error = client
        .delete_stream("thing-1", &DeleteStreamOptions::default())
        .await
        .unwrap_err();
    assert!(error.is_unsupported_feature(), "{error:?}");
    let nothing = client.read_all(&ReadAllOptions::default()).await.unwrap();
    assert_eq!(numbers(nothing).await, [0; 0]);
    running.stop().await;
}
