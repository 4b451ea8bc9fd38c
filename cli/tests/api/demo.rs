//! `up --demo`, as somebody meets it who has just found it.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::server::{Server, recourse, run};

/// As many as a demo may, for a test to see it all soon.
const FAST: [&str; 3] = ["--demo", "--demo-rate", "100"];

fn demo(seed: &'static str) -> Server {
    Server::start_with(&[&FAST[..], &["--seed", seed]].concat())
}

/// The events of a type, from the beginning.
fn events(server: &Server, types: &str) -> Vec<Value> {
    let pages = server.pages(&format!("/v1/events?limit=200&types={types}"));
    pages.concat()
}

/// Asks again until it is so: the demo goes on by itself.
#[track_caller]
fn until(server: &Server, what: &str, holds: impl Fn(&Server) -> bool) {
    for _ in 0..600 {
        if holds(server) {
            return;
        }
        thread::park_timeout(Duration::from_millis(50));
    }
    panic!("not so within half a minute: {what}");
}

fn is_there(server: &Server, target: &str) -> bool {
    let answer = server.get(target).send();
    answer.status == 200 && !answer.json()["items"][0].is_null()
}

/// What a seed decides of the first orders: all of what was asked for, and the ids.
fn asked(server: &Server) -> Vec<(Value, Value, Value)> {
    until(server, "60 orders", |server| {
        events(server, "order.placed").len() >= 60
    });
    let placed = events(server, "order.placed").into_iter().take(60);
    placed
        .map(|event| {
            let by = event["metadata"]["requestId"].clone();
            (by, event["id"].clone(), event["data"].clone())
        })
        .collect()
}

#[test]
fn a_demo_shows_every_end_holds_every_promise_and_goes_on_after_a_kill_without_doubling() {
    let server = demo("7");
    for target in [
        "/v1/sagas?definition=fulfilment&status=completed",
        "/v1/sagas?definition=fulfilment&status=compensated",
        "/v1/sagas?definition=fulfilment&status=needs_attention",
        "/v1/sagas?definition=return&status=completed",
        "/v1/sagas?definition=return&status=compensated",
        "/v1/orders?status=completed",
        "/v1/orders?status=rejected",
        "/v1/orders?status=cancelled",
        "/v1/orders?status=returned",
        "/v1/orders?status=partially_returned",
    ] {
        until(&server, target, |server| is_there(server, target));
    }
    until(&server, "an operator's word", |server| {
        !events(server, "order.revoked").is_empty()
    });
    let server = server.restart();
    let before = events(&server, "order.placed").len();
    until(&server, "further orders", |server| {
        events(server, "order.placed").len() > before + 20
    });
    let placed = events(&server, "order.placed");
    for (number, event) in placed.iter().enumerate() {
        let by = format!("demo-v1-s7-{number}");
        assert_eq!(event["metadata"]["requestId"], by, "{event:#}");
    }
    server.signal(Signal::TERM);
    let data = server.data();
    let (status, folder) = server.ended();
    assert!(status.success(), "{status}");
    let verified = run(&["verify"], &data);
    assert!(verified.status.success(), "{verified:?}");
    drop(folder);
}

#[test]
fn the_same_seed_asks_for_the_same_under_the_same_ids_and_another_seed_does_not() {
    let (one, two, other) = thread::scope(|scope| {
        let asked = |seed| scope.spawn(move || asked(&demo(seed)));
        let (one, two, other) = (asked("3"), asked("3"), asked("4"));
        (one.join(), two.join(), other.join())
    });
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one, two.unwrap());
    let lines = |(_, _, data): &(Value, Value, Value)| data["lines"].clone();
    assert!(one.iter().map(lines).ne(other.iter().map(lines)));
}

/// Why no demo is begun on a folder, where none is.
#[track_caller]
fn refused(args: &[&str], data: &Path) -> String {
    let mut command = recourse();
    command.args(["up", "--listen", "127.0.0.1:0"]).args(FAST);
    command.args(args).arg("--data").arg(data);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut refused = command.spawn().unwrap();
    let mut line = String::new();
    let stdout = refused.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    if !line.is_empty() {
        refused.kill().unwrap();
    }
    let output = refused.wait_with_output().unwrap();
    assert_eq!(line, "", "nobody is served");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_folder_with_other_orders_is_refused_and_one_with_another_seed_too() {
    let server = Server::start();
    server.stocked("x-real", 5);
    server
        .order("x-real", 1, "tok_visa")
        .wait(10)
        .send()
        .expect(201);
    server.signal(Signal::TERM);
    let data = server.data();
    let (_, folder) = server.ended();
    let said = refused(&[], &data);
    assert!(said.contains("orders that are not the demo's"), "{said}");
    assert!(said.contains("--data"), "{said}");
    drop(folder);

    let server = demo("7");
    // Somebody tries it out, and so has the last order of the log.
    until(&server, "an order", |server| is_there(server, "/v1/orders"));
    for _ in 0..3 {
        let own = server.order("tea-sencha", 1, "tok_visa").wait(10);
        own.send().expect(201);
    }
    server.signal(Signal::TERM);
    let data = server.data();
    let (_, folder) = server.ended();
    let said = refused(&["--seed", "8"], &data);
    assert!(
        said.contains("the demo of seed 7, not that of seed 8"),
        "{said}"
    );
    // Without one it goes on.
    let args = FAST.map(str::to_owned).to_vec();
    let server = Server::start_in(Arc::clone(&folder), args);
    let before = events(&server, "order.placed").len();
    until(&server, "further orders", |server| {
        events(server, "order.placed").len() > before
    });
}

#[test]
fn somebody_who_was_faster_than_the_first_order_does_not_shut_the_demo_out() {
    let server = Server::start();
    server.stocked("x-real", 5);
    for by in ["mine", "demo-v1-s7-0"] {
        let order = server.order("x-real", 1, "tok_visa");
        order.header("correlation-id", by).send().expect(202);
    }
    server.signal(Signal::TERM);
    let data = server.data();
    let (_, folder) = server.ended();
    let said = refused(&["--seed", "8"], &data);
    assert!(said.contains("the demo of seed 7"), "{said}");
    let args = FAST.map(str::to_owned).to_vec();
    let server = Server::start_in(folder, args);
    until(&server, "the demo's orders", |server| {
        events(server, "order.placed").len() > 4
    });
}

#[test]
fn what_the_demo_says_has_ids_that_are_there_and_its_options_want_the_demo() {
    for args in [&["up", "--seed", "7"][..], &["up", "--demo-rate", "1"]] {
        let refused = recourse().args(args).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    for rate in ["0", "1e-20", "100.5", "NaN", "x"] {
        let data = folder.path().join("d");
        let refused = run(&["up", "--demo", "--demo-rate", rate], &data);
        assert_eq!(refused.status.code(), Some(2), "{rate}");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("0.001 to 100 orders a second"), "{said}");
        assert!(!data.exists(), "nothing was made");
    }
    let mut server = Server::start_with(&FAST);
    let said = server.said("The same --seed");
    for name in [
        "recourse watch --url http://127.0.0.1:",
        "/docs",
        "/v1/storage",
    ] {
        assert!(said.contains(name), "{said}");
    }
    let targets = said.split_whitespace().filter_map(|word| {
        let (_, target) = word
            .trim_matches('\'')
            .split_once("http://")?
            .1
            .split_once('/')?;
        Some(format!("/{target}"))
    });
    let targets: Vec<_> = targets.collect();
    assert!(targets.len() >= 6, "{said}");
    for target in targets {
        server.get(&target).send().expect(200);
    }
    let saga = said
        .split("sagas show ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    server.get(&format!("/v1/sagas/{saga}")).send().expect(200);
}
