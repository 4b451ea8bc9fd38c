//! What it costs to fill the views, on `SQLite`:
//! `cargo test --release -p recourse-projection-services throughput -- --ignored --nocapture`

use std::sync::Arc;

use recourse_event_store::{EventStore, Position, memory::Store};
use recourse_views::{
    Projection, Projector,
    documents::Documents,
    projector::Options,
    sqlite::{self, Access},
};

use super::log::{LOG, Log};
use crate::{collections, orders::Orders, products::Products, sagas::Sagas, stock::Stocks};

/// How many orders the log holds; each is 21 events.
const ORDERS: usize = 5_120;
/// How many of them are under way at once.
const IN_FLIGHT: usize = 512;

/// Processor time of this process so far, all threads, in microseconds.
fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks * 10_000
}

async fn log() -> Store {
    let mut log = Log::new(Store::with_manual_sync(LOG));
    let skus = ["tea-1", "cup-1"];
    for first in (0..ORDERS).step_by(IN_FLIGHT) {
        let mut under_way = Vec::new();
        for number in first..first + IN_FLIGHT {
            under_way.push(log.place(number as u128, &skus).await);
        }
        for step in 0..Log::EVENTS_AFTER_PLACED {
            for ids in &mut under_way {
                log.advance(ids, step).await;
            }
        }
    }
    log.store
}

/// Takes in what is durable by now, and says what that cost.
async fn catch_up<P: Projection>(projector: &mut Projector<P>, store: &Store) -> u64 {
    let before = cpu_us();
    while projector.considered().get() < store.durable() {
        projector.step().await.unwrap();
    }
    cpu_us() - before
}

#[tokio::test]
#[ignore = "a measurement"]
async fn throughput() {
    for chunk in [512, 2_048, 8_192] {
        let store = log().await;
        let folder = tempfile::tempdir().unwrap();
        let documents: Arc<dyn Documents> = Arc::new(
            sqlite::Documents::open(
                folder.path(),
                &collections(),
                Access::ReadWrite,
                &sqlite::Options::default(),
            )
            .await
            .unwrap(),
        );
        let shared: Arc<dyn EventStore> = Arc::new(store.clone());
        let options = || Options {
            linger_ms: 0,
            ..Options::default()
        };
        let mut orders = Projector::<Orders>::new(shared.clone(), documents.clone(), options());
        let mut sagas = Projector::<Sagas>::new(shared.clone(), documents.clone(), options());
        let mut stock = Projector::<Stocks>::new(shared.clone(), documents.clone(), options());
        let mut products = Projector::<Products>::new(shared.clone(), documents, options());
        let head = store.appended().await.unwrap();
        let mut cost = [0; 4];
        let begun = tokio::time::Instant::now();
        let mut durable = 0;
        while store.durable() < head {
            durable += chunk;
            store.sync_up_to(Position::dense(durable));
            cost[0] += catch_up(&mut orders, &store).await;
            cost[1] += catch_up(&mut sagas, &store).await;
            cost[2] += catch_up(&mut stock, &store).await;
            cost[3] += catch_up(&mut products, &store).await;
        }
        let wall = begun.elapsed();
        let [orders, sagas, stock, products] = cost.map(|us| us as f64 / ORDERS as f64);
        let bytes: u64 = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        println!(
            "{chunk} events at a time: {:.1} us of wall and {:.1} us of cpu an order (orders {orders:.1}, \
             sagas {sagas:.1}, stock {stock:.1}, products {products:.1}); {} bytes of files an order",
            wall.as_micros() as f64 / ORDERS as f64,
            orders + sagas + stock + products,
            bytes / ORDERS as u64,
        );
    }
}
