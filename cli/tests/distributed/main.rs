//! The distributed form as it is run: the real binary, a process a service, on real engines.
//!
//! ```text
//! this test ─▶ gateway ─▶ catalog, inventory, orders, payments, orchestrator, projections
//!                              │                        ▲
//!                            store ─▶ relay ─▶ Kafka ───┘        PostgreSQL, MongoDB
//!
//! here      all of them killed, one after the other
//! owners    an orchestrator frozen until another has its sagas
//! pairs     one of two of everything dead, and another build in its place
//! wires     what is between them cut, stalled, slowed
//! repairs   what they keep lost, or older than what was made of it
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, its helpers too"
)]

mod accidents;
mod client;
mod owners;
mod pairs;
mod process;
mod repairs;
mod store;
mod wires;
mod world;

use std::time::Duration;

use crate::{client::Customers, world::World};

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
    let customers = Customers::come(&client, 3);
    let names: Vec<&'static str> = world.processes.keys().copied().collect();
    for name in names {
        customers.buy_more(5).await;
        world.process(name).kill();
        world.process(name).start_again();
        if name != "store" {
            world.until_ready(name).await;
        }
        customers.buy_more(5).await;
    }
    let engines = [&mut world.postgres, &mut world.mongodb, &mut world.kafka];
    for engine in engines {
        engine.kill().unwrap();
        // Orders are taken all the same.
        customers.buy_more(1).await;
        engine.restart().unwrap();
        customers.buy_more(5).await;
    }
    customers.all_are_served().await;
    world.verify();
    world.is_calm();
}
