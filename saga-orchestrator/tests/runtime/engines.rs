//! Engines that can be watched and told to fail.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use recourse_bus::{Bus, BusError, Consumer, Deliveries, Delivery, Membership, Share};
use recourse_event_store::{
    Append, AppendError, Appended, Direction, EventStore, ExpectedRevision, Filter, NewEvent,
    Position, RecordedEvent, StoreError, StreamName, Visibility, memory, testing,
};
use recourse_views::{
    Checkpoint,
    documents::{Collection, Document, Documents, Error, Loaded, Page, Query, Scanned, Write},
    memory as views_memory,
};
use tokio::sync::watch;

/// A store that counts its reads of streams, lets others be first, and fails when told to.
pub struct Watched {
    pub inner: memory::Store,
    reads: Mutex<BTreeMap<StreamName, usize>>,
    /// How many of the next reads of a stream fail.
    pub failing_reads: AtomicUsize,
    /// The next read of this stream fails.
    pub failing_read_of: Mutex<Option<StreamName>>,
    /// Types of the events that somebody tried to append and could not.
    pub refused: Mutex<Vec<Arc<str>>>,
    /// Appended by others just before an append, or the backward read, of the same stream.
    others: Mutex<VecDeque<(When, Append)>>,
    /// Positions with a later event of the same append behind them: all of it is durable, or
    /// nothing.
    inside: Mutex<BTreeSet<u64>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    Append,
    LookUp,
}

impl Watched {
    pub fn new(inner: memory::Store) -> Arc<Self> {
        Arc::new(Self {
            inner,
            reads: Mutex::default(),
            failing_reads: AtomicUsize::new(0),
            failing_read_of: Mutex::default(),
            refused: Mutex::default(),
            others: Mutex::default(),
            inside: Mutex::default(),
        })
    }

    pub fn reads_of(&self, stream: &StreamName) -> usize {
        self.reads
            .lock()
            .unwrap()
            .get(stream)
            .copied()
            .unwrap_or_default()
    }

    /// Somebody else appends this just before.
    pub fn be_first(&self, when: When, mut append: Append) {
        append.expected = ExpectedRevision::Any;
        self.others.lock().unwrap().push_back((when, append));
    }

    /// Makes the log durable up to the end of the append that this position is in.
    pub fn sync_up_to(&self, mut position: u64) {
        while self.inside.lock().unwrap().contains(&position) {
            position += 1;
        }
        self.inner.sync_up_to(Position::dense(position));
    }

    async fn let_others(&self, when: When, stream: &StreamName) {
        let due: Vec<Append> = {
            let mut others = self.others.lock().unwrap();
            let is_due = |(its, append): &(When, Append)| *its == when && append.stream == *stream;
            let due = others.iter().filter(|other| is_due(other));
            let due = due.map(|(_, append)| append.clone()).collect();
            others.retain(|other| !is_due(other));
            due
        };
        for appended in self.inner.append(due).await {
            appended.unwrap();
        }
    }
}

#[async_trait]
impl testing::Layer for Watched {
    fn beneath(&self) -> &dyn EventStore {
        &self.inner
    }

    async fn append(&self, appends: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
        for append in &appends {
            self.let_others(When::Append, &append.stream).await;
        }
        let lens: Vec<u64> = appends.iter().map(|its| its.events.len() as u64).collect();
        let event_type = |event: &NewEvent| Arc::clone(&event.event_type);
        let types: Vec<Vec<_>> = appends
            .iter()
            .map(|its| its.events.iter().map(event_type).collect())
            .collect();
        let results = self.inner.append(appends).await;
        for (result, types) in results.iter().zip(types) {
            if result.is_err() {
                self.refused.lock().unwrap().extend(types);
            }
        }
        for (result, len) in results.iter().zip(lens) {
            if let Ok(Appended {
                position: Some(last),
                ..
            }) = result
            {
                let first = last.commit + 1 - len;
                self.inside.lock().unwrap().extend(first..last.commit);
            }
        }
        results
    }

    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<u64>,
        direction: Direction,
        visibility: Visibility,
        max_events: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let fails = self
            .failing_reads
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        let is_named = |named: &mut StreamName| *named == *stream;
        let named = self.failing_read_of.lock().unwrap().take_if(is_named);
        if fails.is_ok() || named.is_some() {
            return Err(StoreError::Unavailable("told to".into()));
        }
        *self
            .reads
            .lock()
            .unwrap()
            .entry(stream.clone())
            .or_default() += 1;
        if direction == Direction::Backward {
            self.let_others(When::LookUp, stream).await;
        }
        self.inner
            .read_stream(stream, from, direction, visibility, max_events)
            .await
    }
}

/// A bus whose events can be held back once they are read, and come twice where wanted.
pub struct Held {
    inner: Arc<dyn Bus>,
    gate: Arc<Gate>,
    twice: bool,
}

/// How many batches have come through, and may.
struct Gate {
    passed: AtomicU64,
    allowed: watch::Sender<u64>,
}

impl Held {
    pub fn new(inner: Arc<dyn Bus>, twice: bool) -> Arc<Self> {
        let (allowed, _) = watch::channel(u64::MAX);
        let passed = AtomicU64::new(0);
        Arc::new(Self {
            inner,
            gate: Arc::new(Gate { passed, allowed }),
            twice,
        })
    }

    pub fn hold(&self) {
        self.let_through(0);
    }

    /// So many more batches come, and then no more.
    pub fn let_through(&self, batches: u64) {
        let passed = self.gate.passed.load(Relaxed);
        self.gate.allowed.send_replace(passed + batches);
    }

    pub fn release(&self) {
        self.gate.allowed.send_replace(u64::MAX);
    }
}

#[async_trait]
impl Bus for Held {
    async fn commands(
        &self,
        group: &str,
        categories: &[&str],
    ) -> Result<Box<dyn Consumer<Delivery>>, BusError> {
        self.inner.commands(group, categories).await
    }

    async fn events(
        &self,
        after: Position,
        filter: Filter,
        share: &Share,
    ) -> Result<Box<dyn Consumer<Arc<RecordedEvent>>>, BusError> {
        Ok(Box::new(HeldEvents {
            inner: self.inner.events(after, filter, share).await?,
            gate: Arc::clone(&self.gate),
            read: VecDeque::new(),
            twice: self.twice,
        }))
    }

    async fn join(&self, group: &str) -> Result<Box<dyn Membership>, BusError> {
        self.inner.join(group).await
    }
}

struct HeldEvents {
    inner: Box<dyn Consumer<Arc<RecordedEvent>>>,
    gate: Arc<Gate>,
    read: VecDeque<Deliveries<Arc<RecordedEvent>>>,
    twice: bool,
}

#[async_trait]
impl Consumer<Arc<RecordedEvent>> for HeldEvents {
    async fn next(&mut self) -> Result<Deliveries<Arc<RecordedEvent>>, BusError> {
        if self.read.is_empty() {
            let next = self.inner.next().await?;
            if self.twice {
                self.read.push_back(next.clone());
            }
            self.read.push_back(next);
        }
        let mut allowed = self.gate.allowed.subscribe();
        let may_pass = |allowed: &u64| self.gate.passed.load(Relaxed) < *allowed;
        allowed.wait_for(may_pass).await.unwrap();
        self.gate.passed.fetch_add(1, Relaxed);
        Ok(self.read.pop_front().unwrap())
    }

    async fn commit(&mut self, considered: Position) -> Result<(), BusError> {
        self.inner.commit(considered).await
    }
}

/// What becomes of the next commit of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not taken.
    NotTaken,
    /// It is taken and not answered.
    AnswerLost,
    /// Somebody else was there.
    Moved,
}

/// Documents that fail when told to. Clones share what they hold.
#[derive(Clone, Default)]
pub struct Rows {
    pub inner: views_memory::Documents,
    pub faults: Arc<Mutex<VecDeque<Fault>>>,
}

#[async_trait]
impl Documents for Rows {
    async fn checkpoint(&self, collection: &Collection) -> Result<Option<Checkpoint>, Error> {
        self.inner.checkpoint(collection).await
    }

    async fn load(&self, collection: &Collection, ids: &[String]) -> Result<Loaded, Error> {
        self.inner.load(collection, ids).await
    }

    async fn commit(
        &self,
        collection: &Collection,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        writes: Vec<Write>,
    ) -> Result<(), Error> {
        let fault = self.faults.lock().unwrap().pop_front();
        let collection_name = collection.table();
        match fault {
            Some(Fault::NotTaken) => return Err(Error::Unavailable("told to".into())),
            Some(Fault::Moved) => {
                return Err(Error::Moved {
                    collection: collection_name,
                });
            }
            Some(Fault::AnswerLost) | None => {}
        }
        self.inner
            .commit(collection, expected, next, writes)
            .await?;
        match fault {
            Some(_) => Err(Error::Unavailable("told to".into())),
            None => Ok(()),
        }
    }

    async fn query(&self, collection: &Collection, query: &Query) -> Result<Page, Error> {
        self.inner.query(collection, query).await
    }

    async fn scan(
        &self,
        collection: &Collection,
        visit: &mut (dyn FnMut(Document) + Send),
    ) -> Result<Scanned, Error> {
        self.inner.scan(collection, visit).await
    }

    async fn discard(&self, collection: &Collection) -> Result<(), Error> {
        self.inner.discard(collection).await
    }
}
