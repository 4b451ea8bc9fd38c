//! `recourse replay`, and what shells and manuals are told, as a person uses them.

#![cfg(test)]

#[path = "api/client.rs"]
#[expect(dead_code, reason = "the tests of the API use more of it")]
mod client;
#[path = "api/contract.rs"]
#[expect(dead_code, reason = "the tests of the API use more of it")]
mod contract;
#[path = "api/server.rs"]
#[expect(dead_code, reason = "the tests of the API use more of it")]
mod server;

use std::{
    fs,
    io::Read,
    process::{Output, Stdio},
};

use serde_json::Value;

use server::{Server, recourse};

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn history_is_the_same_from_a_server_and_from_its_folder_and_holds_no_secret() {
    let server = Server::start();
    server.stocked("tea", 500);
    for _ in 0..15 {
        server
            .order("tea", 1, "tok_visa")
            .wait(20)
            .send()
            .expect(201);
    }
    let url = format!("http://{}", server.address());
    let data = server.data();
    let replay = |args: &[&str]| {
        let of = |name: &str, value: &std::ffi::OsStr| {
            let mut command = recourse();
            command
                .arg("replay")
                .args([name.as_ref(), value])
                .args(args);
            lines(&command.output().unwrap())
        };
        let (served, stored) = (of("--url", url.as_ref()), of("--data", data.as_ref()));
        assert_eq!(served, stored, "{args:?}");
        served
    };
    let all = replay(&[]);
    assert!(all.len() > 200, "more than a page: {}", all.len());
    assert!(!serde_json::to_string(&all).unwrap().contains("tok_visa"));
    let place = |event: &Value| event["position"].as_str().unwrap().to_owned();
    let (tenth, twentieth) = (place(&all[9]), place(&all[19]));
    assert_eq!(replay(&["--from", &tenth, "--to", &twentieth]), all[10..20]);
    let stream = all[100]["stream"].as_str().unwrap();
    let of_stream: Vec<_> = all
        .iter()
        .filter(|event| event["stream"] == stream)
        .cloned()
        .collect();
    assert_eq!(replay(&["--stream", stream]), of_stream);
    assert_eq!(replay(&["--types", "order.placed,product"]).len(), 16);
}

#[test]
fn what_an_aggregate_was_at_a_position_is_the_same_from_both_and_holds_no_secret() {
    let server = Server::start();
    server.stocked("tea", 5);
    let placed = server.order("tea", 2, "tok_visa").wait(20).send();
    let placed = placed.expect(201);
    let head = server.head();
    let url = format!("http://{}", server.address());
    let data = server.data();
    let as_of = |position: &str, stream: &str| {
        let of = |name: &str, value: &std::ffi::OsStr| {
            let mut command = recourse();
            let asked = ["replay", "--as-of", position, "--stream", stream];
            command.args(asked).args([name.as_ref(), value]);
            let shown = lines(&command.output().unwrap());
            assert_eq!(shown.len(), 1);
            shown[0].clone()
        };
        let shown = of("--url", url.as_ref());
        assert_eq!(of("--data", data.as_ref()), shown, "{stream}");
        shown
    };
    let stock = server
        .get("/v1/streams/stock-tea")
        .send()
        .expect(200)
        .json();
    let place = |revision: usize| stock["items"][revision]["position"].as_str().unwrap();
    let shown = |position: &str| {
        let shown = as_of(position, "stock-tea");
        let state = &shown["state"];
        (
            shown["revision"].as_u64().unwrap(),
            state["on_hand"].as_u64().unwrap(),
            state["reserved"].as_u64().unwrap(),
        )
    };
    // The position counts, and what the log holds between two events of a stream changes nothing.
    assert_eq!(shown(place(0)), (0, 5, 0));
    assert_eq!(shown(place(1)), (1, 5, 2));
    assert_eq!(shown(&head), (2, 3, 0));
    let order = placed.json()["order_id"].as_str().unwrap().to_owned();
    let saga = placed.json()["saga_id"].as_str().unwrap().to_owned();
    let whole = server.get(placed.location()).after(&placed).send().json();
    let payment = whole["payment"]["payment_id"].as_str().unwrap();
    for (stream, pointer, is) in [
        (format!("order-{order}"), "/status", "completed"),
        (format!("payment-{payment}"), "/terms/token", "[redacted]"),
        ("product-tea".to_owned(), "/details/name", "Tea"),
        (format!("saga-{saga}"), "/input/token", "[redacted]"),
    ] {
        let shown = as_of(&head, &stream);
        assert_eq!(shown["state"].pointer(pointer).unwrap(), is, "{shown}");
        assert!(!shown.to_string().contains("tok_visa"), "{shown}");
        assert_eq!(shown["stream"], *stream);
    }
    // What stands before the stream's first event, or in no log of this server.
    for (position, code, said) in [
        ("1", 1, "no event at that position"),
        ("1-00000000", 1, "position"),
    ] {
        for (name, value) in [("--url", url.as_ref()), ("--data", data.as_os_str())] {
            let mut command = recourse();
            let stream = format!("order-{order}");
            command.args(["replay", "--as-of", position, "--stream", &stream, name]);
            let output = command.arg(value).output().unwrap();
            assert_eq!(output.status.code(), Some(code));
            assert!(String::from_utf8(output.stderr).unwrap().contains(said));
        }
    }
    let usage = recourse()
        .args(["replay", "--as-of", &head])
        .output()
        .unwrap();
    assert_eq!(usage.status.code(), Some(2), "whose state is not said");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let server = Server::start();
    server.stocked("tea", 5);
    let mut replay = recourse()
        .arg("replay")
        .arg("--data")
        .arg(server.data())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(replay.stdout.take());
    let status = replay.wait().unwrap();
    let mut said = String::new();
    replay
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(status.success() && said.is_empty(), "{status} {said}");
}

#[test]
fn what_is_wrong_is_told_with_its_code() {
    let server = Server::start();
    let url = format!("http://{}", server.address());
    let failed = |args: &[&str]| {
        let output = recourse().arg("replay").args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = failed(&["--url", &url, "--stream", "order-1"]);
    assert!(
        said.starts_with("error: ") && said.contains("(not-found)"),
        "{said}"
    );
    let said = failed(&["--url", "http://127.0.0.1:1"]);
    assert!(
        said.contains("http://127.0.0.1:1 does not answer"),
        "{said}"
    );
    let usage = recourse()
        .args(["replay", "--url", &url, "--data", "x"])
        .output()
        .unwrap();
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn shells_and_manuals_are_told_of_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = recourse().args(["completions", shell]).output().unwrap();
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            script.contains("why") && script.contains("schemas"),
            "{shell}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let man = folder.path().join("man");
    let written = recourse().arg("man").arg(&man).output().unwrap();
    assert!(written.status.success(), "{written:?}");
    for page in [
        "recourse.1",
        "recourse-replay.1",
        "recourse-why.1",
        "recourse-schemas-check.1",
    ] {
        let text = fs::read_to_string(man.join(page)).unwrap();
        assert!(text.contains("recourse"), "{page}");
    }
}
