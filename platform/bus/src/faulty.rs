//! A bus that loses, doubles, delays and cuts, by seed.
//!
//! ```text
//! inner bus ──▶ batch ──▶ lost      ──▶ Gap, as its successor shows or the heartbeat
//!                     ├─▶ delayed   ──▶ others overtake, never within one consumer
//!                     ├─▶ ahead     ──▶ its messages, and only later how far that is
//!                     ├─▶ doubled   ──▶ the same batch once more
//!                     └─▶ cut       ──▶ not available, ask for a new consumer
//! ```
//!
//! For the simulation of the whole system: what Kafka, a relay and a network may do to a
//! consumer, on the embedded bus. Each batch links to where the one before it had come, so a
//! consumer always notices that one is missing, and a new consumer begins at the last commit.
//! Each consumer draws from a generator of its own, seeded in the order in which they were
//! made: how fast one of them reads changes nothing for the others.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use recourse_event_store::{Filter, Position, RecordedEvent, StoreError};
use tokio::time::Instant;

use crate::{BusError, Consumer, Deliveries, Delivery, Membership, Share};

/// How often what goes wrong: each once in this many batches on average, 0 for never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// A batch is lost.
    pub loss_once_in: u32,
    /// A batch comes twice.
    pub double_once_in: u32,
    /// A batch, and all that follows it to the same consumer, comes late.
    pub delay_once_in: u32,
    /// A batch's messages come before it is said how far they are.
    pub ahead_once_in: u32,
    /// A consumer is cut off.
    pub cut_once_in: u32,
    /// The longest delay, in milliseconds.
    pub max_delay_ms: u32,
    /// How long a lost batch goes unnoticed where nothing follows it, in milliseconds.
    pub heartbeat_ms: u64,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            loss_once_in: 50,
            double_once_in: 20,
            delay_once_in: 20,
            ahead_once_in: 10,
            cut_once_in: 100,
            max_delay_ms: 2_000,
            heartbeat_ms: 1_000,
        }
    }
}

/// What has gone wrong so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches with messages that were lost.
    pub losses: u64,
    /// Batches with messages that came twice.
    pub doubles: u64,
    /// Batches that came late.
    pub delays: u64,
    /// Batches whose messages came before it was said how far they are.
    pub aheads: u64,
    /// Consumers that were cut off.
    pub cuts: u64,
}

#[derive(Default)]
struct Counters {
    losses: AtomicU64,
    doubles: AtomicU64,
    delays: AtomicU64,
    aheads: AtomicU64,
    cuts: AtomicU64,
}

/// The wrapper. Clones are handles of the same bus and share its faults.
#[derive(Clone)]
pub struct Bus {
    inner: Arc<dyn crate::Bus>,
    rates: Rates,
    shared: Arc<Shared>,
}

struct Shared {
    seeds: Mutex<ChaCha8Rng>,
    healed: AtomicBool,
    counters: Counters,
}

impl Bus {
    /// Wraps a bus.
    #[must_use]
    pub fn new(inner: Arc<dyn crate::Bus>, rates: Rates, seed: u64) -> Self {
        Self {
            inner,
            rates,
            shared: Arc::new(Shared {
                seeds: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
                healed: AtomicBool::new(false),
                counters: Counters::default(),
            }),
        }
    }

    /// The same faults over another bus: the system after a crash, on what survived.
    #[must_use]
    pub fn over(&self, inner: Arc<dyn crate::Bus>) -> Self {
        Self {
            inner,
            ..self.clone()
        }
    }

    /// What has gone wrong so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counters = &self.shared.counters;
        Counts {
            losses: counters.losses.load(Relaxed),
            doubles: counters.doubles.load(Relaxed),
            delays: counters.delays.load(Relaxed),
            aheads: counters.aheads.load(Relaxed),
            cuts: counters.cuts.load(Relaxed),
        }
    }

    /// Nothing more goes wrong from here on; what was lost before still shows as a gap.
    pub fn heal(&self) {
        self.shared.healed.store(true, Relaxed);
    }

    fn consumer<T>(&self, inner: Box<dyn Consumer<T>>) -> Faulty<T> {
        let mut seeds = self
            .shared
            .seeds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Faulty {
            inner,
            rates: self.rates,
            random: ChaCha8Rng::seed_from_u64(seeds.next_u64()),
            shared: Arc::clone(&self.shared),
            waiting: VecDeque::new(),
            received: None,
            seen: Position::START,
            lost: None,
            cut: false,
        }
    }
}

#[async_trait]
impl crate::Bus for Bus {
    async fn commands(
        &self,
        group: &str,
        categories: &[&str],
    ) -> Result<Box<dyn Consumer<Delivery>>, BusError> {
        let inner = self.inner.commands(group, categories).await?;
        Ok(Box::new(self.consumer(inner)))
    }

    async fn events(
        &self,
        after: Position,
        filter: Filter,
        share: &Share,
    ) -> Result<Box<dyn Consumer<Arc<RecordedEvent>>>, BusError> {
        let inner = self.inner.events(after, filter, share).await?;
        let mut consumer = self.consumer(inner);
        consumer.seen = after;
        consumer.received = Some(after);
        Ok(Box::new(consumer))
    }

    async fn join(&self, group: &str) -> Result<Box<dyn Membership>, BusError> {
        self.inner.join(group).await
    }
}

struct Faulty<T> {
    inner: Box<dyn Consumer<T>>,
    rates: Rates,
    random: ChaCha8Rng,
    shared: Arc<Shared>,
    /// Read and not handed over yet, in order.
    waiting: VecDeque<Waiting<T>>,
    /// How far what came from the inner bus was; none where it is not known.
    received: Option<Position>,
    /// How far the consumer has been told that it is.
    seen: Position,
    lost: Option<Lost>,
    cut: bool,
}

struct Waiting<T> {
    batch: Deliveries<T>,
    /// None for at once.
    not_before: Option<Instant>,
    /// That the log may have gone on since it was read.
    stale: bool,
}

/// A batch that never came, and when that shows at the latest.
#[derive(Clone, Copy)]
struct Lost {
    considered: Position,
    noticed_at: Option<Instant>,
}

impl<T: Clone + Send + Sync> Faulty<T> {
    fn strikes(&mut self, once_in: u32) -> bool {
        // Drawn in any case, so that one rate does not shift what the others do.
        let drawn = self.random.next_u32();
        let healed = self.shared.healed.load(Relaxed);
        !healed && drawn.checked_rem(once_in) == Some(0)
    }

    /// Decides what becomes of a batch that came from the inner bus.
    fn receive(&mut self, batch: Deliveries<T>) {
        let [cut, lost, doubled, delayed, ahead] = [
            self.rates.cut_once_in,
            self.rates.loss_once_in,
            self.rates.double_once_in,
            self.rates.delay_once_in,
            self.rates.ahead_once_in,
        ]
        .map(|once_in| self.strikes(once_in));
        let delay = self.random.next_u32() % self.rates.max_delay_ms.max(1);
        let shared = Arc::clone(&self.shared);
        let counters = &shared.counters;
        // Faults are for messages: news of `considered` alone passes.
        let empty = batch.messages.is_empty();
        if cut && !empty {
            counters.cuts.fetch_add(1, Relaxed);
            self.cut = true;
            return;
        }
        if lost && !empty {
            counters.losses.fetch_add(1, Relaxed);
            let heartbeat = Duration::from_millis(self.rates.heartbeat_ms);
            self.lost = Some(Lost {
                considered: batch.considered,
                noticed_at: Instant::now().checked_add(heartbeat),
            });
            return;
        }
        let before = self.received.replace(batch.considered);
        let mut not_before = None;
        if delayed && !empty {
            counters.delays.fetch_add(1, Relaxed);
            let delay = Duration::from_millis(1 + u64::from(delay));
            not_before = Instant::now().checked_add(delay);
        }
        if let Some(before) = before.filter(|_| ahead && !empty) {
            counters.aheads.fetch_add(1, Relaxed);
            self.waiting.push_back(Waiting {
                batch: Deliveries {
                    messages: batch.messages,
                    considered: before,
                    at_end: false,
                },
                not_before,
                stale: false,
            });
            let delay = Duration::from_millis(1 + u64::from(delay));
            self.waiting.push_back(Waiting {
                batch: Deliveries {
                    messages: Vec::new(),
                    ..batch
                },
                not_before: not_before.unwrap_or_else(Instant::now).checked_add(delay),
                stale: true,
            });
            return;
        }
        if doubled && !empty {
            counters.doubles.fetch_add(1, Relaxed);
            self.waiting.push_back(Waiting {
                batch: batch.clone(),
                not_before,
                stale: not_before.is_some(),
            });
        }
        self.waiting.push_back(Waiting {
            batch,
            not_before,
            stale: not_before.is_some() || doubled,
        });
    }

    /// Reads on where the inner bus has more at once, so that a batch which waited does not
    /// claim to be the end of the log.
    async fn read_ahead(&mut self) -> Result<(), BusError> {
        let more = tokio::select! {
            biased;
            more = self.inner.next() => Some(more?),
            () = std::future::ready(()) => None,
        };
        if let Some(batch) = more {
            self.receive(batch);
        }
        Ok(())
    }

    /// Whether anything is known to come after the next `count` batches.
    fn goes_on_after(&self, count: usize) -> bool {
        self.waiting.len() > count || self.cut || self.lost.is_some()
    }

    /// What a consumer hears that has lost its place: it is done, however often it asks.
    fn broken(&self) -> Option<BusError> {
        if self.cut {
            let cut = StoreError::Unavailable("the consumer was cut off".to_owned());
            return Some(BusError::Store(cut));
        }
        self.lost.map(|lost| BusError::Gap {
            after: self.seen,
            next: lost.considered,
            help: "ask again".to_owned(),
        })
    }
}

#[async_trait]
impl<T: Clone + Send + Sync> Consumer<T> for Faulty<T> {
    async fn next(&mut self) -> Result<Deliveries<T>, BusError> {
        loop {
            if let Some(first) = self.waiting.front() {
                let stale = first.stale;
                if let Some(moment) = first.not_before {
                    tokio::time::sleep_until(moment).await;
                }
                if stale && !self.goes_on_after(1) {
                    self.read_ahead().await?;
                }
            }
            if let Some(Waiting { mut batch, .. }) = self.waiting.pop_front() {
                // Who is told that this is the end acts on it: not while anything waits.
                batch.at_end = batch.at_end && !self.goes_on_after(0);
                self.seen = self.seen.max(batch.considered);
                return Ok(batch);
            }
            if self.cut {
                break;
            }
            if let Some(lost) = self.lost {
                let Some(moment) = lost.noticed_at else {
                    break;
                };
                tokio::select! {
                    biased;
                    next = self.inner.next() => {
                        next?;
                    }
                    () = tokio::time::sleep_until(moment) => {}
                }
                // From here on it answers at once.
                self.lost = Some(Lost {
                    noticed_at: None,
                    ..lost
                });
                break;
            }
            let batch = self.inner.next().await?;
            self.receive(batch);
        }
        Err(self.broken().unwrap_or(BusError::Store(StoreError::Closed)))
    }

    async fn commit(&mut self, considered: Position) -> Result<(), BusError> {
        self.inner.commit(considered).await
    }
}
