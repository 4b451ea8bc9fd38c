//! What engines keep is lost, or older than what was made of it: those who need it say what somebody
//! has to do, and once that is done, to the letter, every order settles.

use std::path::Path;

use sqlx::{Connection as _, PgConnection};

use crate::{
    PATIENCE,
    accidents::{Copied, Topics},
    client::Client,
    process::recourse,
    world::{SERVICES, World, database},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_or_old_is_told_and_every_order_settles_once_it_is_repaired() {
    let Some(mut world) = World::start() else {
        return;
    };
    let client = world.client();
    world.until_ready("gateway").await;
    client.stock().await;
    settle(&client, &buy(&client, "first", 3).await).await;
    a_database_that_was_restored_catches_up(&mut world).await;
    what_was_never_relayed_stops_who_reads_on(&mut world).await;
    what_was_deleted_unread_stops_its_reader(&mut world).await;
    a_topic_that_is_gone_stops_the_relay(&mut world).await;
    world.verify();
    a_log_that_was_restored_is_refused_by_all_that_is_newer(&mut world).await;
    world.is_calm();
}

/// Places orders under keys that begin so.
async fn buy(client: &Client, key: &str, count: usize) -> Vec<String> {
    let mut orders = Vec::new();
    for number in 0..count {
        let key = format!("{key}-{number}");
        orders.push(client.place("tok_visa", &key).await);
    }
    orders
}

async fn settle(client: &Client, orders: &[String]) {
    for order in orders {
        client.until_order_is(order, &["completed"]).await;
    }
}

/// Waits until so many of these have come to their end; those.
async fn until_some_completed(client: &Client, orders: &[String], some: usize) -> Vec<String> {
    let mut completed = Vec::new();
    let asking = async {
        for order in orders.iter().cycle() {
            if completed.len() >= some {
                break;
            }
            let is_known = completed.contains(order);
            if !is_known && client.status(order).await.as_deref() == Some("completed") {
                completed.push(order.clone());
            }
        }
    };
    let asked = tokio::time::timeout(PATIENCE, asking).await;
    asked.expect("what is not missing goes on");
    completed
}

/// The checkpoint of a collection lies in it, so an older copy is only behind.
async fn a_database_that_was_restored_catches_up(world: &mut World) {
    let writers = ["projections", "orchestrator"];
    for name in writers {
        world.process(name).stop();
    }
    let copied = Copied::of(&database(&world.mongodb)).await;
    assert!(copied.len() > 3, "there is something in it");
    for name in writers {
        world.process(name).start_again();
    }
    let client = world.client();
    let orders = buy(&client, "after-the-copy", 5).await;
    settle(&client, &orders).await;
    for name in writers {
        world.process(name).stop();
    }
    copied.restore().await;
    for name in writers {
        world.process(name).start_again();
    }
    settle(&client, &orders).await;
    world.verify();
}

/// The way that every reader of topics that miss something names: the relay again, with a number.
fn repair(world: &mut World, generation: u32) {
    let relay = world.process("relay");
    relay.stop();
    relay.switch_off("--first-start");
    relay.set("--generation", &generation.to_string());
    relay.start_again();
}

/// A record is missing in the middle of one partition. What lies in the others goes on, and it is told
/// all the same.
async fn what_was_never_relayed_stops_who_reads_on(world: &mut World) {
    let client = world.client();
    world.process("relay").stop();
    let mut orders = buy(&client, "never-relayed", 1).await;
    let event_store = world.processes["store"].url.clone();
    let topics = Topics::of(&world.kafka);
    topics.skip_to_the_end(1, &event_store).await;
    world.process("relay").start_again();
    // Some in each partition.
    orders.extend(buy(&client, "after-the-gap", 24).await);
    let said = world.until_it_says("orchestrator", "is missing").await;
    assert!(
        said.contains("start the relay with `--generation 2`"),
        "{said}"
    );
    let beside = until_some_completed(&client, &orders, 8).await;
    assert!(!beside.contains(&orders[0]), "its saga cannot have begun");
    let ready = world.is_ready("orchestrator");
    assert!(!ready, "it is told as long as it is missing");
    repair(world, 2);
    settle(&client, &orders).await;
    world.until_ready("orchestrator").await;
}

/// As retention does to who is away for longer.
async fn what_was_deleted_unread_stops_its_reader(world: &mut World) {
    let client = world.client();
    let topics = Topics::of(&world.kafka);
    let topic = topics.commands(2, "stock");
    world.process("inventory").stop();
    let before = topics.written(&topic).await;
    let orders = buy(&client, "unread", 2).await;
    topics.until_written(&topic, before + 2).await;
    topics.empty(&topic).await;
    world.process("inventory").start_again();
    let said = world.until_it_says("inventory", "are gone").await;
    assert!(
        said.contains("start the relay with `--generation 3`"),
        "{said}"
    );
    repair(world, 3);
    settle(&client, &orders).await;
    world.until_ready("inventory").await;
}

async fn a_topic_that_is_gone_stops_the_relay(world: &mut World) {
    let client = world.client();
    let topics = Topics::of(&world.kafka);
    topics.delete(&topics.commands(3, "payment")).await;
    let orders = buy(&client, "without-a-topic", 2).await;
    let said = world.until_it_says("relay", "cannot be used").await;
    assert!(
        said.contains("start the relay with `--generation 4`"),
        "{said}"
    );
    repair(world, 4);
    settle(&client, &orders).await;
    world.until_ready("relay").await;
}

/// Views, topics and checkpoints are newer than the log: nobody goes on with it until they are made
/// anew, as docs/backup.md says.
async fn a_log_that_was_restored_is_refused_by_all_that_is_newer(world: &mut World) {
    let client = world.client();
    let (data, backup, restored) = (
        world.path("data"),
        world.path("backup"),
        world.path("restored"),
    );
    let kept = buy(&client, "in-the-backup", 3).await;
    run(&["backup", "--quick", "--data"], &[&data, &backup]);
    let lost = buy(&client, "after-the-backup", 3).await;
    settle(&client, &[kept.clone(), lost.clone()].concat()).await;

    // The log alone goes back.
    world.process("store").stop();
    run(&["restore", "--data"], &[&restored, &backup]);
    let store = world.process("store");
    store.set("--data", restored.to_str().unwrap());
    store.start_again();
    world
        .until_it_says("orders", "tart this process again")
        .await;
    for name in SERVICES.into_iter().chain(["relay", "gateway"]) {
        let process = world.process(name);
        process.kill();
        process.start_again();
    }
    let said = world
        .until_it_says("relay", "do not belong to this log")
        .await;
    let told = "Start the relay with `--generation 5`";
    assert!(said.contains(told), "{said}");
    world
        .until_it_says("projections", "does not belong to this log")
        .await;
    for name in ["inventory", "orders"] {
        let said = world.until_it_says(name, "were made from the log").await;
        assert!(
            said.contains("start the relay with `--generation 5`"),
            "{said}"
        );
    }

    // Empty databases, a new generation.
    for name in SERVICES.into_iter().chain(["relay", "gateway", "store"]) {
        world.process(name).kill();
    }
    let postgres = beside(world.postgres.address()).await;
    let mongodb = format!("{}recourse_restored", world.mongodb.address());
    world.process("relay").set("--generation", "5");
    for name in SERVICES {
        let process = world.process(name);
        process.set("--postgres", &postgres);
        process.set("--mongodb", &mongodb);
    }
    // In whichever order: they wait, and say for what.
    for name in SERVICES.into_iter().rev().chain(["gateway", "relay"]) {
        world.process(name).start_again();
    }
    for name in ["orders", "relay"] {
        world
            .until_it_says(name, "waiting for the event store")
            .await;
    }
    world.process("store").start_again();
    world.until_ready("gateway").await;
    settle(&client, &kept).await;
    // A client that repeats its request under its key has the same order again.
    assert_eq!(buy(&client, "after-the-backup", 3).await, lost);
    settle(&client, &lost).await;
    world.holds(&postgres, &mongodb);
}

fn run(args: &[&str], paths: &[&Path]) {
    let output = recourse().args(args).args(paths).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}

/// Makes an empty database beside the one of this URL; its URL.
async fn beside(url: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let made = sqlx::raw_sql("CREATE DATABASE recourse_restored");
    made.execute(&mut connection).await.unwrap();
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/recourse_restored")
}
