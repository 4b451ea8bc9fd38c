//! Watchers that come and go while the log grows, drawn from seeds.

use std::time::Duration;

use recourse_event_store::Position;
use serde_json::json;
use tokio::task::JoinSet;

use super::world::{Reader, World, token};

/// A small generator: the same seed makes the same run.
struct Draw(u64);

impl Draw {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn index(&mut self, bound: u64) -> usize {
        usize::try_from(self.below(bound)).unwrap()
    }

    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64, <https://www.jstatsoft.org/article/view/v008i14>.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// An address, and what of the log it is to show.
type Wanted = (&'static str, fn(&str) -> bool);

struct Client {
    path: &'static str,
    wants: fn(&str) -> bool,
    reader: Option<Reader>,
    /// As a client keeps it.
    last: Option<String>,
    seen: Vec<u64>,
}

impl Client {
    /// For as long as it is drawn.
    async fn come_and_go(mut self, world: World, mut draw: Draw) -> Self {
        for _ in 0..60 {
            match draw.below(8) {
                0 => self.reader = None,
                1..=3 => self.connect(&world).await,
                4..=6 => self.take(draw.below(8)).await,
                _ => tokio::task::yield_now().await,
            }
        }
        self
    }

    /// Up to the last event of the log, and the keep-alive after it.
    async fn finish(&mut self, world: &World, head: u64) {
        // Some are cut off for being slow once more.
        for _ in 0..2 * head {
            self.connect(world).await;
            self.take(u64::MAX).await;
            if self.reader.is_some() {
                break;
            }
        }
        // From there on nobody has to look at anything twice.
        let quiet = self.reader.as_mut().unwrap().next().await.unwrap();
        assert_eq!((quiet.id, quiet.data), (Some(token(head)), None));
    }

    async fn connect(&mut self, world: &World) {
        if self.reader.is_none() {
            let last = self.last.clone();
            let header = last.as_deref().map(|last| ("last-event-id", last));
            self.reader = Some(world.get(self.path, header.as_slice()).await);
        }
    }

    /// Takes so many blocks, or all that are ready.
    async fn take(&mut self, blocks: u64) {
        for _ in 0..blocks {
            let Some(reader) = &mut self.reader else {
                return;
            };
            let moment = Duration::from_millis(1);
            match tokio::time::timeout(moment, reader.next()).await {
                Err(_) => return,
                Ok(None) => self.reader = None,
                Ok(Some(block)) => {
                    if block.data.is_some() {
                        self.seen.push(block.position());
                    }
                    if block.id.is_some() {
                        self.last = block.id;
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_missed_or_repeated_however_watchers_come_and_go() {
    for seed in 1..=SEEDS {
        run(seed).await;
    }
}

const SEEDS: u64 = 60;
const STREAMS: [&str; 5] = ["order-1", "order-2", "saga-1", "saga-2", "stock-a"];

const WANTED: [Wanted; 6] = [
    ("/v1/events/watch?from=start", |_| true),
    ("/v1/events/watch?from=start&types=thing.changed", |event| {
        event.ends_with("thing.changed.v1")
    }),
    ("/v1/streams/order-1/watch?from=start", |event| {
        event.starts_with("order-1 ")
    }),
    (
        "/v1/streams/stock-a/watch?from=start&types=thing.begun.v1",
        |event| event == "stock-a thing.begun.v1",
    ),
    ("/v1/sagas/watch?from=start", |event| {
        event.starts_with("saga-")
    }),
    ("/v1/events/watch?from=start&types=nothing", |_| false),
];

async fn run(seed: u64) {
    let mut draw = Draw::new(seed);
    // A buffer so small that some are cut off for being slow, and come back.
    let buffer = [3, 10, 4_096][draw.index(3)];
    let world = World::halting(|options| options.watch_buffer_events = buffer);
    let mut log = Vec::new();
    for stream in STREAMS {
        world.append(stream, "thing.begun.v1", json!({})).await;
        log.push(format!("{stream} thing.begun.v1"));
    }
    world.store.sync();
    let mut clients = JoinSet::new();
    for (number, (path, wants)) in (1..=12).zip(WANTED.into_iter().cycle()) {
        let client = Client {
            path,
            wants,
            reader: None,
            last: None,
            seen: Vec::new(),
        };
        let draw = Draw::new(seed * 100 + number);
        clients.spawn(client.come_and_go(world.clone(), draw));
    }
    for _ in 0..60 {
        for _ in 0..draw.below(5) {
            let stream = STREAMS[draw.index(5)];
            let event_type = ["thing.changed.v1", "thing.begun.v1"][draw.index(2)];
            world.append(stream, event_type, json!({})).await;
            log.push(format!("{stream} {event_type}"));
        }
        let durable = Position::dense(draw.below(log.len() as u64 + 1));
        world.store.sync_up_to(durable);
        for _ in 0..draw.below(12) {
            tokio::task::yield_now().await;
        }
        if draw.below(4) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    world.store.sync();
    let head = log.len() as u64;
    while let Some(client) = clients.join_next().await {
        let mut client = client.unwrap();
        client.finish(&world, head).await;
        let expected: Vec<_> = (1..)
            .zip(&log)
            .filter(|(_, event)| (client.wants)(event))
            .map(|(position, _)| position)
            .collect();
        assert_eq!(client.seen, expected, "seed {seed}: {}", client.path);
    }
}
