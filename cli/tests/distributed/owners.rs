//! Two orchestrators share the sagas, and one of them acts on after it has lost its part.

use std::time::Duration;

use recourse_bench::http::{Address, Connection};
use serde_json::Value;

use crate::{PATIENCE, client::Customers, world::World};

const BOTH: [&str; 2] = ["orchestrator", "orchestrator-2"];

/// How many partitions of the sagas a process says that it drives; none where it does not answer.
async fn owned(world: &World, name: &str) -> Option<usize> {
    let address = Address::parse(&world.processes[name].url).unwrap();
    let mut connection = Connection::new(address, Duration::from_secs(2));
    let sent = connection.send("GET", "/readyz", &[], String::new().into());
    let answer: Value = serde_json::from_slice(&sent.await.ok()?.body).unwrap();
    let dependencies = answer["dependencies"].as_array()?;
    let sagas = dependencies.iter().find(|one| one["name"] == "sagas")?;
    let said = sagas["detail"].as_str()?;
    Some(said.split(' ').next()?.parse().unwrap_or(0))
}

/// Waits until one of them drives so many partitions.
async fn until_owned(world: &World, name: &str, is_enough: impl Fn(usize) -> bool) {
    let waiting = async {
        while !owned(world, name).await.is_some_and(&is_enough) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("{name} has not the share that it should"));
}

async fn until_both_own_some(world: &World) {
    for name in BOTH {
        until_owned(world, name, |owned| (1..4).contains(&owned)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_that_was_frozen_acts_on_what_others_have_by_then_and_harms_nobody() {
    let Some(mut world) = World::of_two_orchestrators() else {
        return;
    };
    let client = world.client();
    world.until_ready("gateway").await;
    client.stock().await;
    until_both_own_some(&world).await;

    let customers = Customers::come(&client, 3);
    customers.buy_more(10).await;
    // It stops in the middle of what it does, and goes on with it when the other has its sagas.
    let [frozen, other] = BOTH;
    world.processes[frozen].freeze();
    until_owned(&world, other, |owned| owned == 4).await;
    customers.buy_more(5).await;
    world.processes[frozen].thaw();
    until_both_own_some(&world).await;
    customers.buy_more(10).await;

    // The other one is gone without a word.
    world.process(other).kill();
    until_owned(&world, frozen, |owned| owned == 4).await;
    customers.buy_more(5).await;
    world.process(other).start_again();
    until_both_own_some(&world).await;
    customers.buy_more(5).await;

    customers.all_are_served().await;
    world.verify();
    world.is_calm();
}
