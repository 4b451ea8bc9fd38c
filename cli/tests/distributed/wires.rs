//! What is between the processes fails: cut, stalled, slow, broken in the middle of a message.

use std::time::Duration;

use recourse_engines::{Proxy, Wire};

use crate::{PATIENCE, client::Customers, world::World};

/// How long nothing goes over a wire: past the time that a server is given to say that it lives.
const STALL: Duration = Duration::from_secs(3);

/// Where messages are cut: in their first bytes, in what comes before all, in the middle.
const CUT_AFTER: [u64; 3] = [1, 150, 1_000];

/// What is stalled at once: each engine, then all that the gateway hands on to.
const STALLED: [&[&str]; 5] = [
    &["store"],
    &["kafka"],
    &["postgres"],
    &["mongodb"],
    &[
        "catalog",
        "inventory",
        "orders",
        "orchestrator",
        "projections",
    ],
];

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_settles_every_order_however_its_wires_are_cut_stalled_and_slowed() {
    let Some(mut world) = World::behind_wires() else {
        return;
    };
    let client = world.client();
    world.until_ready("gateway").await;
    client.stock().await;
    let customers = Customers::come(&client, 3);
    customers.buy_more(5).await;
    for (name, wire) in &world.wires {
        wire.set(Wire::Cut);
        until_cut(name, wire, 1).await;
        wire.set(Wire::Whole);
        customers.buy_more(2).await;
        for bytes in CUT_AFTER {
            wire.set(Wire::CutAfter(bytes));
            until_cut(name, wire, 1).await;
        }
        wire.set(Wire::Whole);
        customers.buy_more(2).await;
    }
    for names in STALLED {
        for name in names {
            world.wires[name].set(Wire::Stalled);
        }
        // Whatever is said meanwhile arrives afterwards, given up by then or not.
        tokio::time::sleep(STALL).await;
        for name in names {
            world.wires[name].set(Wire::Whole);
        }
        customers.buy_more(2).await;
    }
    for wire in world.wires.values() {
        wire.set(Wire::Slow(Duration::from_millis(5)));
    }
    customers.buy_more(10).await;
    for wire in world.wires.values() {
        wire.set(Wire::Whole);
    }
    customers.all_are_served().await;
    world.verify();
    world.is_calm();
}

/// Waits until so many more connections of this wire are cut.
async fn until_cut(name: &str, wire: &Proxy, more: u64) {
    let wanted = wire.cuts() + more;
    let cutting = async {
        while wire.cuts() < wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let cut = tokio::time::timeout(PATIENCE, cutting).await;
    cut.unwrap_or_else(|_| panic!("nobody uses {name}"));
}
