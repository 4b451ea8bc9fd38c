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
            script.contains("replay") && script.contains("schemas"),
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
        "recourse-schemas-check.1",
    ] {
        let text = fs::read_to_string(man.join(page)).unwrap();
        assert!(text.contains("recourse"), "{page}");
    }
}
