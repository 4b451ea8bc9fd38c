//! Two of everything: one of each is dead for a while, then the other, then all are replaced by another
//! build, and the shop goes on.

use std::time::Duration;

use recourse_bench::http::{Address, Connection};
use serde_json::Value;

use crate::{
    PATIENCE, TOKENS,
    client::{Client, Customers},
    world::World,
};

/// Orders that are under way for long, or whose answers get lost.
const UNDER_WAY: [&str; 5] = [
    "tok_slow_1500",
    "tok_slow_3000",
    "tok_lost_reply",
    "tok_late_arrival",
    "tok_flaky_2",
];

/// Of what one is dead at a time, and then the other.
const FIRSTS: [&str; 7] = [
    "gateway",
    "catalog",
    "projections",
    "payments",
    "inventory",
    "orders",
    "orchestrator",
];

/// The others.
const SECONDS: [&str; 7] = [
    "gateway-2",
    "catalog-2",
    "projections-2",
    "payments-2",
    "inventory-2",
    "orders-2",
    "orchestrator-2",
];

/// What drives the sagas of orders, replaced in this order.
const ROLLED: [&str; 6] = [
    "orders",
    "payments",
    "orchestrator",
    "orders-2",
    "payments-2",
    "orchestrator-2",
];

/// Orders of this test itself, and how each ends.
struct Placed {
    client: Client,
    orders: Vec<(String, &'static str)>,
}

impl Placed {
    async fn place(&mut self, token: &str, ends: &'static str) -> String {
        let key = format!("own-{}", self.orders.len());
        let order = self.client.place(token, &key).await;
        self.orders.push((order.clone(), ends));
        order
    }

    /// Money is under way.
    async fn place_under_way(&mut self) {
        for token in UNDER_WAY {
            self.place(token, "completed").await;
        }
    }

    /// An order that is placed from here on comes to its end.
    async fn shop_goes_on(&mut self) {
        let order = self.place("tok_visa", "completed").await;
        self.client.until_order_is(&order, &["completed"]).await;
    }

    /// Places an order that takes a while, whose saga goes by this definition; either build may begin one.
    async fn place_by(&mut self, definition: &str) {
        for _ in 0..64 {
            let order = self.place("tok_slow_5000", "completed").await;
            if self.definition_of(&order).await == definition {
                return;
            }
        }
        panic!("all sagas are of the other build");
    }

    /// By which definition the saga of an order goes, once it has begun.
    async fn definition_of(&self, order: &str) -> String {
        let order = format!("/v1/orders/{order}");
        let asking = async {
            loop {
                if let Some(hash) = self.read_definition(&order).await {
                    return hash;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let asked = tokio::time::timeout(PATIENCE, asking).await;
        asked.unwrap_or_else(|_| panic!("{order} has no saga"))
    }

    async fn read_definition(&self, order: &str) -> Option<String> {
        let order = self.client.send("GET", order, &[], &Value::Null).await?;
        let order: Value = serde_json::from_slice(&order.body).ok()?;
        let saga = format!("/v1/streams/saga-{}", order["saga_id"].as_str()?);
        let saga = self.client.send("GET", &saga, &[], &Value::Null).await?;
        let saga: Value = serde_json::from_slice(&saga.body).ok()?;
        let hash = &saga["items"].get(0)?["data"]["definition_hash"];
        hash.as_str().map(str::to_owned)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_of_everything_one_may_be_dead_or_of_another_build() {
    let Some(mut world) = World::of_pairs() else {
        return;
    };
    let client = world.client();
    for gateway in ["gateway", "gateway-2"] {
        world.until_ready(gateway).await;
    }
    client.stock().await;
    // Leisurely: what is tested is not how many orders two dozen processes on one machine can bear.
    let customers = Customers::who_rest(&client, 2, Duration::from_millis(300));
    let orders = Vec::new();
    let mut placed = Placed { client, orders };
    for (token, ends) in TOKENS {
        placed.place(token, ends).await;
    }
    the_first_of_each_dies(&mut world, &mut placed).await;
    a_relay_freezes_and_wakes(&mut world, &mut placed).await;
    customers.buy_more(5).await;
    come_back(&mut world, &FIRSTS).await;
    all_of_the_others_die_at_once(&mut world, &mut placed).await;
    customers.buy_more(5).await;
    come_back(&mut world, &SECONDS).await;
    another_build_takes_over(&mut world, &mut placed).await;

    customers.all_are_served().await;
    for (order, ends) in &placed.orders {
        placed.client.until_order_is(order, &[ends]).await;
    }
    world.verify();
    world.is_calm();
}

async fn the_first_of_each_dies(world: &mut World, placed: &mut Placed) {
    for name in FIRSTS {
        if name == "payments" {
            // What only the dead one was asked for.
            placed.place_under_way().await;
        }
        world.process(name).kill();
        placed.shop_goes_on().await;
    }
}

/// The active relay freezes and another one goes on; then it wakes and knows nothing of that.
async fn a_relay_freezes_and_wakes(world: &mut World, placed: &mut Placed) {
    let frozen = active_relay(world).await;
    world.process(frozen).freeze();
    placed.shop_goes_on().await;
    world.process(frozen).thaw();
    placed.shop_goes_on().await;
}

async fn all_of_the_others_die_at_once(world: &mut World, placed: &mut Placed) {
    placed.place_under_way().await;
    let relay = active_relay(world).await;
    world.process(relay).kill();
    for name in SECONDS {
        world.process(name).kill();
    }
    placed.shop_goes_on().await;
    world.process(relay).start_again();
}

/// The sagas of one build go on in the other, one process after the other being replaced.
async fn another_build_takes_over(world: &mut World, placed: &mut Placed) {
    let order = placed.place("tok_visa", "completed").await;
    let before = placed.definition_of(&order).await;
    for name in ROLLED {
        if name == "orchestrator-2" {
            // The last one of its build goes while a saga of that build is under way.
            placed.place_by(&before).await;
        }
        let process = world.process(name);
        process.stop();
        process.switch_on("--changed-fulfilment");
        process.start_again();
        placed.place("tok_slow_1000", "completed").await;
        world.until_ready(name).await;
    }
    let order = placed.place("tok_visa", "completed").await;
    let after = placed.definition_of(&order).await;
    assert_ne!(before, after, "the sagas of the builds differ");
}

/// They start again, and are ready.
async fn come_back(world: &mut World, names: &[&str]) {
    for name in names {
        world.process(name).start_again();
    }
    for name in names {
        world.until_ready(name).await;
    }
}

/// Which relay has the lease, once one has.
async fn active_relay(world: &World) -> &'static str {
    let asking = async {
        loop {
            for name in ["relay", "relay-2"] {
                if is_active(&world.processes[name].url).await {
                    return name;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let active = tokio::time::timeout(PATIENCE, asking).await;
    active.expect("a relay is active")
}

/// Whether a relay says that it has the lease.
async fn is_active(url: &str) -> bool {
    let mut connection = Connection::new(Address::parse(url).unwrap(), Duration::from_secs(2));
    let answer = connection.send("GET", "/metrics", &[], String::new().into());
    let Ok(answer) = answer.await else {
        return false;
    };
    let text = String::from_utf8_lossy(&answer.body);
    text.lines().any(|line| line == "recourse_relay_active 1")
}
