//! How the process starts and ends.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    thread,
};

use rustix::process::Signal;

use crate::server::{Server, recourse, run};

#[test]
fn asked_to_stop_it_answers_who_waits_and_ends_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start();
        server.stocked("x-stop", 5);
        let place = |server: &Server| server.order("x-stop", 1, "tok_slow_2500").key("k");
        let answer = thread::scope(|scope| {
            let waiting = place(&server).wait(30);
            let waiting = scope.spawn(|| waiting.send());
            // Once it is placed, its client waits.
            while server.get("/v1/orders").send().json()["items"][0].is_null() {}
            server.signal(signal);
            waiting.join().unwrap()
        });
        let answer = answer.expect(202);
        assert_eq!(answer.json()["status"], "pending");
        let data = server.data();
        let (status, folder) = server.ended();
        assert!(status.success(), "{status}");
        let verified = run(&["verify"], &data);
        assert!(verified.status.success(), "{verified:?}");
        drop(folder);
    }
}

#[test]
fn an_address_that_others_can_reach_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refused = run(&["up", "--listen", address], &folder.path().join("data"));
        assert_eq!(refused.status.code(), Some(2));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(
            said.contains("can be reached from other machines"),
            "{said}"
        );
        assert!(said.contains("--insecure-listen"), "{said}");
    }
}

#[test]
fn a_second_process_on_the_folder_is_refused() {
    let server = Server::start();
    let refused = run(&["up", "--listen", "127.0.0.1:0"], &server.data());
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("another process"), "{said}");
    server.get("/healthz").send().expect(200);
}

#[test]
fn more_than_it_can_take_is_refused_early_and_may_be_repeated() {
    let server = Server::start_with(&["--max-requests-in-flight", "1"]);
    server.stocked("x-full", 5);
    thread::scope(|scope| {
        let place = server.order("x-full", 1, "tok_slow_500").key("k").wait(20);
        // It may itself come while there is no room.
        let waiting = scope.spawn(move || {
            loop {
                let answer = place.clone().send();
                if answer.status != 503 {
                    break answer;
                }
            }
        });
        let refused = loop {
            let answer = server.get("/v1/orders").send();
            if answer.status != 200 {
                break answer.expect_problem(503, "overloaded");
            }
        };
        assert_eq!(refused.json()["retryable"], true);
        assert!(refused.header("retry-after").is_some());
        server.get("/healthz").send().expect(200);
        waiting.join().unwrap().expect(201);
    });
    server.get("/v1/orders").send().expect(200);
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    for args in [&["up", "--no-such-option"][..], &["no-such-command"], &[]] {
        let output = recourse().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let output = recourse().arg("--help").output().unwrap();
    assert!(output.status.success() && !output.stdout.is_empty());
}

#[test]
fn values_that_no_command_can_use_are_wrong_usage_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (line, said) in [
        (
            "up --max-connections 0",
            "--max-connections must be at least 1",
        ),
        (
            "up --max-body-bytes 0",
            "--max-body-bytes must be at least 1",
        ),
        (
            "up --watch-keep-alive-ms 0",
            "--watch-keep-alive-ms must be",
        ),
        (
            "up --request-timeout-ms 1000",
            "must be longer than --max-wait-s",
        ),
        ("up --listen 0.0.0.0:0", "--insecure-listen"),
        (
            "up --disk-low-warn-mib 1 --disk-low-refuse-mib 2",
            "the warning comes first",
        ),
        ("up --psp-fault-rate 1.5", "a number from 0 to 1"),
        ("up --psp-fault-rate NaN", "a number from 0 to 1"),
        ("up --step-timeout-ms 0", "--step-timeout-ms"),
        ("up --saga-deadline-ms 0", "--saga-deadline-ms"),
        ("up --demo --demo-rate 0", "orders a second"),
        ("--log =x= up", "--log"),
        ("bench --skus 0", "--skus"),
        ("bench --max-lines 0", "--max-lines"),
        (
            "bench --skus 2 --max-lines 3",
            "--max-lines is at most --skus",
        ),
        ("sagas list --url https://x", "http://host:port"),
        ("sagas list --status stuck", "needs_attention"),
        ("sagas list --limit 0", "--limit"),
        ("sagas show saga-1", "<SAGA>"),
        (
            "sagas pause 33ac2783-7d92-55f3-a7c1-e0824ced933a --reason  ",
            "--reason",
        ),
        ("projections list --url x", "http://host:port"),
        ("watch --from here", "start, end or a position"),
        ("watch --url x", "http://host:port"),
        ("why order-1", "<ORDER|SAGA>"),
        (
            "why --url x 33ac2783-7d92-55f3-a7c1-e0824ced933a",
            "http://host:port",
        ),
        ("replay --from here", "a position is"),
        ("replay --to here", "a position is"),
        ("replay --stream order", "a stream name is"),
        (
            "replay --stream invoice-1 --as-of 1",
            "no kind of aggregate",
        ),
        ("replay --as-of 1", "--stream"),
    ] {
        let mut command = recourse();
        let output = command.args(line.split(' ')).current_dir(&folder).output();
        let output = output.unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {error}");
        assert!(error.contains(said), "{line}: {error}");
        let is_told = error.lines().any(|line| line.starts_with("error: "));
        assert!(is_told, "{line}: {error}");
        assert!(output.stdout.is_empty(), "{line}");
    }
    let left: Vec<_> = fs::read_dir(&folder).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn it_takes_all_the_open_files_that_it_may_have() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Command::new("sh")
        .args(["-c", "ulimit -Sn 256 && exec \"$@\"", "sh"])
        .arg(recourse().get_program())
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path().join("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = server.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let files: Vec<_> = files.unwrap().split_whitespace().collect();
    assert_ne!(files[3], "256");
    assert_eq!(files[3], files[4], "the soft limit is the hard one");
}

#[test]
fn options_come_from_flags_the_environment_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recourse.toml");
    fs::write(&file, "max-wait-s = 7\n").unwrap();
    let server = Server::start_with(&["--config", file.to_str().unwrap()]);
    server.stocked("x-config", 5);
    let placed = server.order("x-config", 1, "tok_visa").wait(30).send();
    assert_eq!(placed.header("preference-applied"), Some("wait=7"));

    let refused = recourse()
        .env("RECOURSE_LISTEN", "0.0.0.0:0")
        .args(["up", "--data"])
        .arg(folder.path().join("data"))
        .output()
        .unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("0.0.0.0:0 can be reached"), "{said}");
}
