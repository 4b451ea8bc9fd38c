//! The distributed form as it is run: the real binary, a process a service, on real engines.
//!
//! ```text
//! this test ─▶ gateway ─▶ catalog, inventory, orders, payments, orchestrator, projections
//!                              │                        ▲
//!                            store ─▶ relay ─▶ Kafka ───┘        PostgreSQL, MongoDB
//!
//! all of them but Kafka killed, one after the other
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod client;
mod owners;
mod process;
mod world;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use crate::{
    client::{buy, until_more},
    world::World,
};

/// Longer than anything here may take, on a machine that builds beside it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What each token of the simulated provider makes of an order.
const TOKENS: [(&str, &str); 9] = [
    ("tok_visa", "completed"),
    ("tok_declined", "rejected"),
    ("tok_insufficient_funds", "rejected"),
    ("tok_lost_reply", "completed"),
    ("tok_never_arrived", "completed"),
    ("tok_late_arrival", "completed"),
    ("tok_flaky_2", "completed"),
    ("tok_slow_300", "completed"),
    ("tok_capture_refused", "confirmed"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_of_processes_settles_every_order_whichever_of_them_is_killed() {
    let Some(mut world) = World::start() else {
        return;
    };
    let client = world.client();
    world.until_ready("gateway").await;
    client.stock().await;

    // Every token comes to its end, and the views show it.
    let mut placed = Vec::new();
    for (token, ends) in TOKENS {
        placed.push((client.place(token, token).await, ends));
    }
    for (order, ends) in &placed {
        client.until_order_is(order, &[ends]).await;
    }

    // Every process is killed under load, and comes back.
    let count = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut customers = JoinSet::new();
    for number in 0..3 {
        customers.spawn(buy(client.clone(), number, count.clone(), stop.clone()));
    }
    let names: Vec<&'static str> = world.processes.keys().copied().collect();
    for name in names {
        until_more(&count, 5).await;
        world.processes.get_mut(name).unwrap().kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.processes.get_mut(name).unwrap().start_again();
        if name != "store" {
            world.until_ready(name).await;
        }
        until_more(&count, 5).await;
    }
    world.postgres.kill().unwrap();
    until_more(&count, 1).await;
    world.postgres.restart().unwrap();
    world.mongodb.kill().unwrap();
    until_more(&count, 1).await;
    world.mongodb.restart().unwrap();
    until_more(&count, 5).await;
    stop.store(true, Ordering::Relaxed);
    for orders in customers.join_all().await {
        for order in orders {
            client.until_order_is(&order, &["completed"]).await;
        }
    }
    let report = world.verify();
    assert_eq!(
        report["breaches"].as_array().map_or(0, Vec::len),
        0,
        "{report:#}"
    );
}
