//! What survives a crash, the processes that do not, and the chaos itself.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, Utc};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use recourse::{
    running,
    system::{self, Engines, Places, System},
};
use recourse_bench::acknowledged::Writer;
use recourse_bus::{MemoryCheckpoints, embedded, faulty};
use recourse_cqrs::MemorySnapshots;
use recourse_event_store::{EventStore, LogId, memory};
use recourse_gateway::Gateway;
use recourse_payments::simulator::{self, Simulator};
use recourse_service::{Clock, Ids, clock::TokioClock};
use recourse_views::memory as views_memory;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{asking::Asking, client::Client, operator::Operator, tally::Tally};

const CLIENTS: u64 = 12;
const CRASHES: u64 = 6;

/// What survives a crash, and the chaos itself.
pub(crate) struct World {
    draw: ChaCha8Rng,
    pub(crate) seed: u64,
    pub(crate) store: memory::Store,
    pub(crate) faults: Option<faulty::Bus>,
    pub(crate) documents: [Arc<views_memory::Documents>; 2],
    pub(crate) books: Arc<views_memory::Books>,
    checkpoints: MemoryCheckpoints,
    snapshots: MemorySnapshots,
    pub(crate) provider: Arc<Simulator>,
    pub(crate) clock: Arc<TokioClock>,
    ids: Ids,
    front: Front,
    pub(crate) tally: Tally,
}

/// Where clients find the gateway: nowhere while the process is down.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) gateway: Arc<Mutex<Option<Gateway>>>,
}

/// The processes that run now.
pub(crate) struct Running {
    process: JoinSet<Result<(), system::Error>>,
    second_orchestrator: JoinSet<Result<(), recourse_saga_orchestrator::Error>>,
    engines: Engines,
}

impl Running {
    /// A process ends by a crash of ours and by nothing else.
    fn is_alive(&mut self, seed: u64) {
        if let Some(ended) = self.process.try_join_next() {
            panic!("seed {seed}: the process ended by itself: {ended:?}");
        }
        if let Some(ended) = self.second_orchestrator.try_join_next() {
            panic!("seed {seed}: the second orchestrator ended by itself: {ended:?}");
        }
    }
}

impl World {
    pub(crate) async fn new(seed: u64) -> Self {
        let origin = DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap();
        let clock = Arc::new(TokioClock::aligned(origin).await);
        let as_clock: Arc<dyn Clock> = clock.clone();
        Self {
            draw: ChaCha8Rng::seed_from_u64(seed),
            seed,
            store: memory::Store::with_manual_sync(LogId(Uuid::from_u128(seed.into()))),
            faults: None,
            documents: [Arc::default(), Arc::default()],
            books: Arc::default(),
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

    pub(crate) async fn live(mut self) -> (Tally, Vec<u8>) {
        let acknowledged = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(Mutex::new(Writer::open(acknowledged.path()).unwrap()));
        let mut running = self.start().await;
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = Client {
                asking: self.asking(number),
                number,
                writer: Arc::clone(&writer),
            };
            clients.spawn(client.live());
        }
        let operator = Operator {
            asking: self.asking(CLIENTS),
        };
        clients.spawn(operator.live());
        for crash in 0..CRASHES {
            self.pass(200, 4_000).await;
            running.is_alive(self.seed);
            if crash % 3 == 2 {
                running.second_orchestrator.shutdown().await;
                self.tally.orchestrator_crashes += 1;
                self.pass(1, 500).await;
                self.start_second_orchestrator(&mut running).await;
            } else {
                running = self.crash(running).await;
            }
        }
        while !clients.is_empty() {
            self.pass(10, 200).await;
            while let Some(ended) = clients.try_join_next() {
                self.tally.answers_lost += ended.unwrap();
            }
        }
        self.settle().await;
        running.is_alive(self.seed);
        self.check(&acknowledged).await;
        drop(running);
        (self.tally, self.store.dump())
    }

    /// How one of those outside asks, each by draws of its own.
    fn asking(&self, number: u64) -> Asking {
        Asking {
            draw: ChaCha8Rng::seed_from_u64(self.seed.wrapping_mul(1_000) + number),
            front: self.front.clone(),
            answers_lost: 0,
        }
    }

    /// Virtual time goes by; what is appended becomes durable now and then.
    pub(crate) async fn pass(&mut self, at_least_ms: u64, at_most_ms: u64) {
        let mut left = at_least_ms + self.draw.next_u64() % (at_most_ms - at_least_ms);
        while left > 0 {
            let step = (1 + self.draw.next_u64() % 12).min(left);
            tokio::time::sleep(Duration::from_millis(step)).await;
            self.store.sync();
            left -= step;
        }
    }

    async fn crash(&mut self, running: Running) -> Running {
        // Between two syncs, so that what is appended and not durable is lost.
        let unsynced = self.draw.next_u64() % 12;
        tokio::time::sleep(Duration::from_millis(unsynced)).await;
        *self.front.gateway.lock().unwrap() = None;
        let appended = self.store.appended().await.unwrap();
        self.tally.crashes += 1;
        self.tally.events_lost_in_crashes += appended.commit - self.store.durable().commit;
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

    async fn start(&mut self) -> Running {
        let store: Arc<dyn EventStore> = Arc::new(self.store.clone());
        let tail = Arc::new(embedded::Bus::new(
            Arc::clone(&store),
            recourse_saga::commands_of,
            Arc::new(self.checkpoints.clone()),
        ));
        let bus = match &self.faults {
            Some(faults) => faults.over(tail),
            None => faulty::Bus::new(tail, faulty::Rates::default(), self.seed),
        };
        self.faults = Some(bus.clone());
        let engines = Engines {
            store,
            bus: Arc::new(bus),
            documents: self.documents[0].clone(),
            books: self.books.clone(),
            checkpoints: Arc::new(self.checkpoints.clone()),
            snapshots: Arc::new(self.snapshots.clone()),
            provider: self.provider.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
        };
        let system = System::assemble(engines.clone(), system::Options::default())
            .await
            .unwrap();
        let gateway = system
            .gateway(
                recourse_gateway::Options::default(),
                Vec::new(),
                CancellationToken::new(),
            )
            .unwrap();
        *self.front.gateway.lock().unwrap() = Some(gateway);
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
        self.start_second_orchestrator(&mut running).await;
        running
    }

    /// A process of its own, so with rows of its own.
    async fn start_second_orchestrator(&self, running: &mut Running) {
        let engines = Engines {
            documents: self.documents[1].clone(),
            ..running.engines.clone()
        };
        let orchestrator = system::orchestrator(&engines, &system::Options::default())
            .await
            .unwrap();
        running
            .second_orchestrator
            .spawn(orchestrator.run(CancellationToken::new()));
    }
}
