//! How a client talks to a store that may be cut off at any moment.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use crate::{
    Append, AppendError, Appended, Batch, Direction, EventStore, ExpectedRevision, Filter,
    NewEvent, Position, Read, RecordedEvent, StoreError, StreamName, Subscription, Visibility,
};

/// No wait in the suite is this long unless the store hangs.
const HANGS: Duration = Duration::from_secs(60);

/// An event that is told apart by a number: its id and data follow from it.
#[must_use]
pub fn event(number: u64) -> NewEvent {
    typed_event(number, "thing.happened.v1")
}

pub(super) fn typed_event(number: u64, event_type: &str) -> NewEvent {
    NewEvent::raw(
        Uuid::from_u64_pair(0xc0ff_ee00, number),
        event_type,
        format!(r#"{{"number":{number}}}"#),
        &b"{}"[..],
    )
}

/// The stream `thing-<id>`.
#[must_use]
pub fn stream(id: impl std::fmt::Display) -> StreamName {
    StreamName::new("thing", id)
}

/// The numbers of [`event`]s, as they were recorded.
pub(super) fn numbers(events: &[Arc<RecordedEvent>]) -> Vec<u64> {
    events.iter().map(|event| number(event)).collect()
}

pub(super) fn number(event: &RecordedEvent) -> u64 {
    event.event.id.as_u64_pair().1
}

/// A client of a store: hands on every answer but "not available", which it settles.
#[derive(Clone)]
pub struct Client {
    /// The store, for what needs no settling.
    pub store: Arc<dyn EventStore>,
}

impl Client {
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store }
    }

    /// Appends to one stream.
    pub async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        events: Vec<NewEvent>,
    ) -> Result<Appended, AppendError> {
        let append = Append {
            stream: stream.clone(),
            expected,
            events,
        };
        let mut answers = self.append_all(vec![append]).await;
        assert_eq!(answers.len(), 1, "one answer for each append");
        answers.remove(0)
    }

    /// Appends in one call. An append whose answer was lost is looked for, and repeated where
    /// it is not there; a success without a position gets it from the stream.
    pub async fn append_all(&self, appends: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
        let answers = bounded(self.store.append(appends.clone())).await;
        assert_eq!(answers.len(), appends.len(), "one answer for each append");
        let mut settled = Vec::with_capacity(answers.len());
        for (mut answer, append) in answers.into_iter().zip(appends) {
            while let Err(AppendError::Store(StoreError::Unavailable(_))) = answer {
                answer = match self.find(&append).await {
                    Some(there) => Ok(there),
                    None => bounded(self.store.append(vec![append.clone()]))
                        .await
                        .remove(0),
                };
            }
            if let Ok(Appended { position: None, .. }) = answer {
                let found = self.find(&append).await;
                answer = Ok(found.expect("a success whose events are not in the stream"));
            }
            settled.push(answer);
        }
        settled
    }

    /// Where the events of an append are, if they are where it put them.
    async fn find(&self, append: &Append) -> Option<Appended> {
        let first = match append.expected {
            ExpectedRevision::Any | ExpectedRevision::NoStream => 0,
            ExpectedRevision::Exact(revision) => revision + 1,
        };
        let there = self.stream_from(&append.stream, Some(first)).await;
        let ids: Vec<_> = append.events.iter().map(|event| event.id).collect();
        if ids.is_empty() {
            return None;
        }
        let last = there
            .windows(ids.len())
            .take(match append.expected {
                ExpectedRevision::Any => usize::MAX,
                _ => 1,
            })
            .find(|window| window.iter().map(|event| event.event.id).eq(ids.clone()))?
            .last()?;
        Some(Appended {
            revision: last.revision,
            position: Some(last.position),
        })
    }

    /// Appends the events of these numbers, each by itself, whatever the stream looks like.
    pub async fn put(&self, stream: &StreamName, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.append(stream, ExpectedRevision::Any, vec![event(number)])
                .await
                .expect("an append that expects anything");
        }
    }

    /// One read of a stream.
    pub async fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<u64>,
        direction: Direction,
        visibility: Visibility,
        max_events: usize,
    ) -> Vec<Arc<RecordedEvent>> {
        loop {
            let read = self
                .store
                .read_stream(stream, from, direction, visibility, max_events);
            match bounded(read).await {
                Ok(events) => return events,
                Err(StoreError::Unavailable(_)) => {}
                Err(error) => panic!("reading {stream}: {error}"),
            }
        }
    }

    async fn stream_from(&self, stream: &StreamName, from: Option<u64>) -> Vec<Arc<RecordedEvent>> {
        self.read_stream(
            stream,
            from,
            Direction::Forward,
            Visibility::Appended,
            usize::MAX,
        )
        .await
    }

    /// A whole stream, as appended.
    pub async fn stream(&self, stream: &StreamName) -> Vec<Arc<RecordedEvent>> {
        self.stream_from(stream, None).await
    }

    /// One read of the log.
    pub async fn read_all(&self, read: Read) -> Batch {
        loop {
            match bounded(self.store.read_all(read.clone())).await {
                Ok(batch) => return batch,
                Err(StoreError::Unavailable(_)) => {}
                Err(error) => panic!("reading the log: {error}"),
            }
        }
    }

    /// Reads the log to its end in pages, and holds each page against the port's rules for
    /// order, limit and `considered`.
    pub async fn pages(&self, mut read: Read) -> Vec<Arc<RecordedEvent>> {
        assert!(read.max_events > 0, "pages have room");
        let mut all: Vec<Arc<RecordedEvent>> = Vec::new();
        loop {
            let batch = self.read_all(read.clone()).await;
            assert!(batch.events.len() <= read.max_events, "more than asked for");
            for event in &batch.events {
                let stream = event.stream.as_str();
                assert!(
                    read.filter.wants(stream, &event.event.event_type) && !stream.starts_with('$'),
                    "{stream} is not what the filter wants"
                );
                if let Some(last) = all.last() {
                    match read.direction {
                        Direction::Forward => assert!(event.position > last.position),
                        Direction::Backward => assert!(event.position < last.position),
                    }
                }
                all.push(Arc::clone(event));
            }
            match read.direction {
                Direction::Forward => {
                    let from = read.from.unwrap_or(Position::START);
                    assert!(batch.considered >= from, "considered went back");
                    for event in &batch.events {
                        assert!(batch.considered >= event.position, "considered too little");
                        assert!(event.position > from, "`from` is exclusive");
                    }
                    assert!(
                        batch.at_end || batch.considered > from,
                        "a page before the end moves on"
                    );
                }
                Direction::Backward => {
                    for event in &batch.events {
                        assert!(batch.considered <= event.position, "considered too little");
                        assert!(read.from.is_none_or(|from| event.position < from));
                    }
                    assert!(
                        batch.at_end || read.from.is_none_or(|from| batch.considered < from),
                        "a page before the end moves on"
                    );
                }
            }
            if batch.at_end {
                return all;
            }
            read.from = Some(batch.considered);
        }
    }

    /// The whole log as far as the filter wants it, as appended.
    pub async fn log(&self, filter: Filter) -> Vec<Arc<RecordedEvent>> {
        self.pages(Read {
            from: None,
            direction: Direction::Forward,
            visibility: Visibility::Appended,
            filter,
            max_events: 1_000,
        })
        .await
    }

    pub async fn appended(&self) -> Position {
        loop {
            match bounded(self.store.appended()).await {
                Ok(position) => return position,
                Err(StoreError::Unavailable(_)) => {}
                Err(error) => panic!("the end of the log: {error}"),
            }
        }
    }

    pub async fn wait_durable(&self, position: Position) {
        loop {
            match bounded(self.store.wait_durable(position)).await {
                Ok(()) => return,
                Err(StoreError::Unavailable(_)) => {}
                Err(error) => panic!("waiting for {position}: {error}"),
            }
        }
    }

    /// A subscription that is resumed where it was cut.
    #[must_use]
    pub fn follow(&self, after: Position, filter: Filter, visibility: Visibility) -> Follower {
        Follower {
            client: self.clone(),
            filter,
            visibility,
            considered: after,
            at_end: false,
            events: Vec::new(),
            subscription: None,
        }
    }
}

/// Follows the log, and holds each batch against the port's rules.
pub struct Follower {
    client: Client,
    filter: Filter,
    visibility: Visibility,
    subscription: Option<Box<dyn Subscription>>,
    /// How far it has come.
    pub considered: Position,
    /// What the last batch said.
    pub at_end: bool,
    /// Everything so far.
    pub events: Vec<Arc<RecordedEvent>>,
}

impl Follower {
    /// Waits for a batch, through as many cuts as there are.
    pub async fn next(&mut self) {
        let batch = bounded(self.uncut()).await;
        assert!(
            batch.considered > self.considered,
            "a batch without news: {} after {}",
            batch.considered,
            self.considered
        );
        let mut last = self.considered;
        for event in &batch.events {
            assert!(
                event.position > last,
                "{} came after {last}: a repeat, or out of order",
                event.position
            );
            last = event.position;
            let stream = event.stream.as_str();
            assert!(
                self.filter.wants(stream, &event.event.event_type) && !stream.starts_with('$'),
                "{stream} is not what the filter wants"
            );
        }
        assert!(batch.considered >= last, "considered too little");
        if self.visibility == Visibility::Durable {
            let durable = self.client.store.durable();
            assert!(
                batch.considered <= durable,
                "{} is ahead of what is durable, {durable}",
                batch.considered
            );
        }
        self.considered = batch.considered;
        self.at_end = batch.at_end;
        self.events.extend(batch.events);
    }

    async fn uncut(&mut self) -> Batch {
        loop {
            let answer = match &mut self.subscription {
                Some(subscription) => subscription.next().await,
                none => {
                    let (after, filter) = (self.considered, self.filter.clone());
                    let store = &self.client.store;
                    match store.subscribe(after, filter, self.visibility).await {
                        Ok(subscription) => none.insert(subscription).next().await,
                        Err(error) => Err(error),
                    }
                }
            };
            match answer {
                Ok(batch) => return batch,
                Err(StoreError::Unavailable(_)) => self.subscription = None,
                Err(error) => panic!("following the log: {error}"),
            }
        }
    }

    /// Forgets the subscription, as a process that dies does; goes on after `considered`.
    pub fn cut(&mut self) {
        self.subscription = None;
    }

    /// Waits until it has this many events.
    pub async fn until_events(&mut self, count: usize) {
        while self.events.len() < count {
            self.next().await;
        }
    }

    /// Waits until it has considered this position.
    pub async fn until(&mut self, position: Position) {
        while self.considered < position {
            self.next().await;
        }
    }
}

pub(super) async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGS, future)
        .await
        .expect("the store hangs")
}
