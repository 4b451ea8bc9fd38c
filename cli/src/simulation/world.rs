//! What survives a crash, the processes that do not, and the chaos itself.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use recourse_bench::acknowledged::Writer;
use recourse_bus::{MemoryCheckpoints, embedded, faulty, members::Group};
use recourse_cqrs::MemorySnapshots;
use recourse_event_store::{EventStore, LogId, memory};
use recourse_gateway::Gateway;
use recourse_payments::simulator::{self, Simulator};
use recourse_service::{Clock, Ids, clock::TokioClock};
use recourse_views::memory as views_memory;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Options, Outcome, asking::Asking, breach::Breach, client::Client, operator::Operator,
    tally::Tally,
};
use crate::{
    running,
    system::{self, Engines, Places, System},
};

/// When a run begins.
const BEGIN: DateTime<Utc> = DateTime::from_timestamp_nanos(1_700_000_000_000_000_000);

const CLIENTS: u64 = 12;

/// Into how many partitions the sagas are divided.
const PARTITIONS: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// How often something happens, and how much there is of it, for as many orders as a test run
/// has. More orders have more of it.
const FOR_ORDERS: u64 = 72;
const CRASHES: u64 = 6;
const STOCK: u64 = 25;
const OPERATOR_ROUNDS: u64 = 60;

/// What survives a crash, and the chaos itself.
pub(super) struct World {
    draw: ChaCha8Rng,
    pub(super) options: Options,
    pub(super) store: memory::Store,
    pub(super) faults: Option<faulty::Bus>,
    pub(super) documents: Arc<views_memory::Documents>,
    pub(super) books: Arc<views_memory::Books>,
    /// How the orchestrators share the sagas.
    group: Group,
    checkpoints: MemoryCheckpoints,
    snapshots: MemorySnapshots,
    pub(super) provider: Arc<Simulator>,
    pub(super) clock: Arc<TokioClock>,
    ids: Ids,
    front: Front,
    pub(super) tally: Tally,
}

/// Where clients find the gateway: nowhere while the process is down.
#[derive(Clone)]
pub(super) struct Front {
    gateway: Arc<Mutex<Option<Gateway>>>,
}

impl Front {
    pub(super) fn gateway(&self) -> Option<Gateway> {
        let gateway = self.gateway.lock();
        gateway.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, gateway: Option<Gateway>) {
        let mut place = self.gateway.lock().unwrap_or_else(PoisonError::into_inner);
        *place = gateway;
    }
}

/// The processes that run now.
pub(super) struct Running {
    process: JoinSet<Result<(), system::Error>>,
    second_orchestrator: JoinSet<Result<(), recourse_saga_orchestrator::Error>>,
    engines: Engines,
}

impl Running {
    /// A process ends by a crash of ours and by nothing else.
    fn is_alive(&mut self) -> Result<(), Breach> {
        if let Some(ended) = self.process.try_join_next() {
            return Err(Breach::Ended {
                process: "the process",
                why: format!("{ended:?}"),
            });
        }
        if let Some(ended) = self.second_orchestrator.try_join_next() {
            return Err(Breach::Ended {
                process: "the second orchestrator",
                why: format!("{ended:?}"),
            });
        }
        Ok(())
    }
}

impl World {
    pub(super) async fn new(options: Options) -> Self {
        let seed = options.seed;
        let clock = Arc::new(TokioClock::aligned(BEGIN).await);
        let as_clock: Arc<dyn Clock> = clock.clone();
        Self {
            draw: ChaCha8Rng::seed_from_u64(seed),
            options,
            store: memory::Store::with_manual_sync(LogId(Uuid::from_u128(seed.into()))),
            faults: None,
            documents: Arc::default(),
            books: Arc::default(),
            group: Group::new(PARTITIONS),
            checkpoints: MemoryCheckpoints::default(),
            snapshots: MemorySnapshots::default(),
            provider: Arc::new(Simulator::new(simulator::Options {
                fault_rate: 0.1,
                seed,
            })),
            clock,
            ids: Ids::seeded(as_clock, seed),
            front: Front {
                gateway: Arc::default(),
            },
            tally: Tally::default(),
        }
    }

    pub(super) async fn live(mut self) -> Result<Outcome, Breach> {
        let acknowledged = tempfile::NamedTempFile::new().map_err(Breach::engine)?;
        let writer = Writer::open(acknowledged.path()).map_err(Breach::engine)?;
        let writer = Arc::new(Mutex::new(writer));
        let mut running = self.start().await?;
        let mut clients = JoinSet::new();
        let orders = u64::from(self.options.orders);
        let for_orders = |count: u64| (count * orders / FOR_ORDERS).max(1);
        for number in 0..CLIENTS {
            let one_more = u64::from(number < orders % CLIENTS);
            let client = Client {
                asking: self.asking(number),
                number,
                orders: orders / CLIENTS + one_more,
                stock: for_orders(STOCK),
                writer: Arc::clone(&writer),
            };
            clients.spawn(client.live());
        }
        let operator = Operator {
            asking: self.asking(CLIENTS),
            rounds: for_orders(OPERATOR_ROUNDS),
        };
        clients.spawn(operator.live());
        for crash in 0..for_orders(CRASHES) {
            self.pass(100, 2_000).await;
            self.stand_still().await;
            self.pass(100, 2_000).await;
            running.is_alive()?;
            if crash % 3 == 2 {
                running.second_orchestrator.shutdown().await;
                self.tally.orchestrator_crashes += 1;
                self.pass(1, 500).await;
                self.start_second_orchestrator(&mut running).await?;
            } else {
                running = self.crash(running).await?;
            }
        }
        while !clients.is_empty() {
            self.pass(10, 200).await;
            while let Some(ended) = clients.try_join_next() {
                self.tally.answers_lost += ended??;
            }
            running.is_alive()?;
        }
        self.settle().await?;
        running.is_alive()?;
        self.check(&acknowledged).await?;
        drop(running);
        let took = self.clock.now().signed_duration_since(BEGIN);
        Ok(Outcome {
            tally: self.tally,
            virtual_time: took.to_std().unwrap_or_default(),
            log: self.store.dump(),
        })
    }

    /// One of the orchestrators acts on for a while after the other got its sagas.
    async fn stand_still(&mut self) {
        let members = self.group.members();
        // Cheap and fair enough: there are two of them.
        let is_last = self.draw.next_u64().is_multiple_of(2);
        let drawn = if is_last {
            members.last()
        } else {
            members.first()
        };
        let Some(member) = drawn.copied() else {
            return;
        };
        self.group.set_still(member, true);
        self.pass(100, 1_500).await;
        self.group.set_still(member, false);
        self.tally.stale_owners += 1;
    }

    /// How one of those outside asks, each by draws of its own.
    fn asking(&self, number: u64) -> Asking {
        Asking {
            draw: ChaCha8Rng::seed_from_u64(
                self.options.seed.wrapping_mul(1_000).wrapping_add(number),
            ),
            front: self.front.clone(),
            answers_lost: 0,
        }
    }

    /// Virtual time goes by; what is appended becomes durable now and then.
    pub(super) async fn pass(&mut self, at_least_ms: u64, at_most_ms: u64) {
        let mut left = at_least_ms + self.draw.next_u64() % (at_most_ms - at_least_ms);
        while left > 0 {
            let step = (1 + self.draw.next_u64() % 12).min(left);
            tokio::time::sleep(Duration::from_millis(step)).await;
            self.store.sync();
            left -= step;
        }
    }

    async fn crash(&mut self, running: Running) -> Result<Running, Breach> {
        // Between two syncs, so that what is appended and not durable is lost.
        let unsynced = self.draw.next_u64() % 12;
        tokio::time::sleep(Duration::from_millis(unsynced)).await;
        self.front.set(None);
        let appended = self.store.appended().await.map_err(Breach::engine)?;
        self.tally.crashes += 1;
        let lost = appended.commit.saturating_sub(self.store.durable().commit);
        self.tally.events_lost_in_crashes += lost;
        self.store = self.store.crash();
        let Running {
            mut process,
            mut second_orchestrator,
            ..
        } = running;
        process.shutdown().await;
        second_orchestrator.shutdown().await;
        self.pass(1, 3_000).await;
        self.start().await
    }

    async fn start(&mut self) -> Result<Running, Breach> {
        let store: Arc<dyn EventStore> = Arc::new(self.store.clone());
        let tail = Arc::new(embedded::Bus::new(
            Arc::clone(&store),
            recourse_saga::commands_of,
            Arc::new(self.checkpoints.clone()),
        ));
        let shared = Arc::new(self.group.over(tail));
        let bus = match &self.faults {
            Some(faults) => faults.over(shared),
            None => faulty::Bus::new(shared, faulty::Rates::default(), self.options.seed),
        };
        self.faults = Some(bus.clone());
        let engines = Engines {
            store,
            bus: Some(Arc::new(bus)),
            documents: Some(self.documents.clone()),
            books: Some(self.books.clone()),
            turns: None,
            checkpoints: Some(Arc::new(self.checkpoints.clone())),
            snapshots: Some(Arc::new(self.snapshots.clone())),
            provider: Some(self.provider.clone()),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
        };
        let system = System::assemble(engines.clone(), system::Options::default())
            .await
            .map_err(Breach::engine)?;
        let gateway = system
            .gateway(
                recourse_gateway::Options::default(),
                Vec::new(),
                CancellationToken::new(),
            )
            .map_err(Breach::engine)?;
        self.front.set(Some(gateway));
        let mut process = JoinSet::new();
        process.spawn(system.run(
            CancellationToken::new(),
            Places::here(),
            running::Running::default(),
        ));
        let mut running = Running {
            process,
            second_orchestrator: JoinSet::new(),
            engines,
        };
        self.start_second_orchestrator(&mut running).await?;
        Ok(running)
    }

    /// A process of its own, which shares the sagas with the first.
    async fn start_second_orchestrator(&self, running: &mut Running) -> Result<(), Breach> {
        let orchestrator = system::orchestrator(&running.engines, &system::Options::default())
            .await
            .map_err(Breach::engine)?;
        running
            .second_orchestrator
            .spawn(orchestrator.run(CancellationToken::new()));
        Ok(())
    }
}
