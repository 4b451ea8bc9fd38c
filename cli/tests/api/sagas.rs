//! What operators do to sagas, over HTTP and from the command line.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    client::{Answer, Request},
    server::{Server, Shared, recourse},
};

#[expect(
    clippy::disallowed_methods,
    reason = "a real server moves on by real time"
)]
fn now() -> Instant {
    Instant::now()
}

static SHARED: Shared = Shared::new();

/// Longer than any saga takes here.
const PATIENCE: Duration = Duration::from_secs(60);

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// An order whose capture is refused for good.
#[track_caller]
fn stuck(server: &Server, sku: &str) -> (Answer, String) {
    server.stocked(sku, 5);
    let placed = server.order(sku, 2, "tok_capture_refused").wait(20).send();
    let placed = placed.expect(202);
    let saga = text(&placed.json()["saga_id"]);
    (placed, saga)
}

#[track_caller]
fn saga(server: &Server, saga: &str, after: &Answer) -> (Value, String) {
    let shown = server.get(&format!("/v1/sagas/{saga}")).after(after).send();
    let shown = shown.expect(200);
    let tag = shown.header("etag").unwrap().to_owned();
    (shown.json(), tag)
}

fn act(server: &Server, saga: &str, body: &Value) -> Request {
    server.post(&format!("/v1/sagas/{saga}/actions"), body)
}

/// Waits until a saga has this status.
#[track_caller]
fn until(server: &Server, saga: &str, status: &str) -> Value {
    // Each look waits for the log's head as of its arrival, so this ends as the saga moves.
    let began = now();
    while began.elapsed() < PATIENCE {
        let head = server.head();
        let shown = server.get(&format!("/v1/sagas/{saga}"));
        let shown = shown.header("recourse-min-position", head).send();
        if shown.status == 404 {
            // Its order is placed, and it has not begun.
            continue;
        }
        let shown = shown.expect(200).json();
        if shown["status"] == status {
            return shown;
        }
    }
    panic!("the saga never was {status}");
}

#[test]
fn a_refused_capture_is_undone_wholly_as_the_dry_run_said() {
    let server = SHARED.server();
    let (placed, id) = stuck(&server, "g-undo");
    let body = json!({"action": "compensate", "reason": "the bank says no"});
    let mut preview = body.clone();
    preview["dry_run"] = json!(true);
    let previewed = act(&server, &id, &preview).send().expect(200);
    let (before, tag) = saga(&server, &id, &placed);
    assert_eq!(previewed.header("etag"), Some(&*tag));
    assert_eq!(before["status"], "needs_attention");
    let plan = previewed.json();
    assert_eq!(plan["sends"][0]["command_type"], "order.revoke");
    assert_eq!(plan["sends"].as_array().unwrap().len(), 1);
    assert_eq!(
        plan["then"],
        json!([{"step": "authorize-payment"}, {"step": "reserve-stock", "item": "0"}])
    );

    let acting = || {
        act(&server, &id, &body)
            .header("if-match", &tag)
            .key("g-undo")
    };
    let acted = acting().send().expect(200);
    let mut written = acted.json();
    written["dry_run"] = json!(true);
    assert_eq!(written, plan, "what was written is what was previewed");
    let ended = until(&server, &id, "compensated");
    assert_eq!(ended["reason"]["code"], "reversed");
    assert_eq!(ended["reason"]["detail"], "the bank says no");
    assert_eq!(
        (&ended["remaining"], &ended["undo_plan"]),
        (&json!([]), &json!([]))
    );

    // The views of sagas and of orders come along one by one.
    let order = server.get(placed.location());
    let order = order.header("recourse-min-position", server.head());
    let order = order.send().expect(200).json();
    assert_eq!(order["status"], "cancelled");
    assert_eq!(order["reason"]["code"], "reversed");
    assert_eq!(order["payment"]["status"], "voided");
    let stock = server.stock("g-undo", &acted);
    assert_eq!(
        (&stock["on_hand"], &stock["reserved"]),
        (&json!(5), &json!(0))
    );

    // The same request is the same action, whatever came after it; another is not possible.
    let repeated = acting().send().expect(200);
    assert!(repeated.is_replayed());
    assert_eq!(
        (repeated.json(), repeated.header("etag")),
        (acted.json(), acted.header("etag"))
    );
    let other = json!({"action": "compensate", "reason": "another"});
    acting()
        .json(&other)
        .send()
        .expect_problem(422, "idempotency-key-reused");
    act(&server, &id, &body)
        .header("if-match", "*")
        .send()
        .expect_problem(409, "action-not-possible");
    let event = server.get(&format!(
        "/v1/streams/saga-{id}?types=saga.compensation-requested.v1"
    ));
    let events = event.send().expect(200).json();
    let event = &events["items"][0];
    assert_eq!(event["data"]["actor"], "anonymous");
    assert_eq!(event["data"]["reason"], "the bank says no");
    assert_eq!(event["metadata"]["actor"], "anonymous");
}

#[test]
fn an_action_needs_the_tag_of_what_it_was_decided_on() {
    let server = SHARED.server();
    let (placed, id) = stuck(&server, "g-tag");
    let body = json!({"action": "retry", "reason": "once more"});
    act(&server, &id, &body)
        .send()
        .expect_problem(428, "precondition-required");
    let stale = act(&server, &id, &body).header("if-match", "\"0\"").send();
    let stale = stale.expect_problem(412, "precondition-failed");
    let (_, tag) = saga(&server, &id, &placed);
    assert_eq!(stale.header("etag"), Some(&*tag));
    let unknown = "0d7cbbb4-8f6c-4b7e-9f6e-1d1f5a2b3c4d";
    act(&server, unknown, &body)
        .header("if-match", "*")
        .send()
        .expect_problem(404, "not-found");
    for (wrong, pointer) in [
        (json!({"action": "retry", "reason": ""}), "#/reason"),
        (json!({"action": "skip", "reason": "x"}), "#/step"),
        (
            json!({"action": "pause", "step": "x", "reason": "x"}),
            "#/step",
        ),
        (
            json!({"action": "retry", "result": "done", "reason": "x"}),
            "#/step",
        ),
        (
            json!({"action": "pause", "result": "done", "reason": "x"}),
            "#/result",
        ),
        (
            json!({"action": "retry", "step": "x", "result": "left", "reference": "r", "reason": "x"}),
            "#/reference",
        ),
        (
            json!({"action": "retry", "step": "x", "result": "done", "reference": "a b", "reason": "x"}),
            "#/reference",
        ),
    ] {
        let answer = act(&server, &id, &wrong).header("if-match", &tag).send();
        let answer = answer.expect_problem(422, "invalid-body");
        assert_eq!(answer.pointers(), [pointer], "{wrong}");
    }
}

#[test]
fn a_retry_is_answered_and_what_is_refused_for_good_stays_so() {
    let server = SHARED.server();
    let (placed, id) = stuck(&server, "g-retry");
    let (_, tag) = saga(&server, &id, &placed);
    let body = json!({"action": "retry", "step": "capture-payment", "reason": "once more"});
    let acted = act(&server, &id, &body)
        .header("if-match", tag)
        .send()
        .expect(200);
    let sends = &acted.json()["sends"];
    assert_eq!(
        (&sends[0]["command_type"], &sends[0]["attempt"]),
        (&json!("payment.capture"), &json!(2))
    );
    let again = until(&server, &id, "needs_attention");
    assert_eq!(again["steps"][3]["attempts"], 2);
}

#[test]
fn a_skipped_capture_lets_the_money_go_and_the_order_be_completed() {
    let server = Server::start();
    let (placed, id) = stuck(&server, "g-skip");
    let (_, tag) = saga(&server, &id, &placed);
    let body = json!({
        "action": "skip", "step": "capture-payment", "result": "left", "reason": "on the house",
    });
    let acted = act(&server, &id, &body)
        .header("if-match", tag)
        .send()
        .expect(200);
    assert_eq!(acted.json()["sends"][0]["command_type"], "payment.void");
    let ended = until(&server, &id, "completed");
    assert_eq!(ended["steps"][3]["status"], "skipped");
    // The views of sagas and of orders come along one by one.
    let order = server.get(placed.location());
    let order = order.header("recourse-min-position", server.head());
    let order = order.send().expect(200).json();
    assert_eq!(order["status"], "completed");
    assert_eq!(order["payment"]["status"], "voided");
    let events = server.get(&format!("/v1/streams/saga-{id}?types=saga.step-skipped.v1"));
    let events = events.send().expect(200).json();
    let data = &events["items"][0]["data"];
    assert_eq!(data["command_type"], "payment.capture");
    assert_eq!(data["result"], "left");
    let payment = text(&order["payment"]["payment_id"]);
    assert_eq!(data["target"], format!("payment-{payment}"));
    let report = recourse()
        .args(["verify", "--json", "--data"])
        .arg(server.data())
        .output()
        .unwrap();
    assert!(report.status.success(), "{report:?}");
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report["exceptions"][0]["command"], "payment.capture");
    // The goods are given away, and the ledger says what that cost.
    assert_eq!(report["money"]["EUR"]["unpaid"], 2_000);
    let entries = server.get("/v1/ledger/entries?account=write-offs");
    let entries = entries.header("recourse-min-position", server.head());
    let entries = entries.send().expect(200).json();
    assert_eq!(entries["items"].as_array().unwrap().len(), 1);
    let entry = &entries["items"][0];
    assert_eq!(entry["cause"]["type"], "saga.step-skipped.v1");
    assert_eq!(entry["order_id"], placed.json()["order_id"]);
    let posting = |account: &str, amount: i64| json!({"account": account, "amount": {"amount_minor": amount, "currency": "EUR"}});
    let postings = json!([posting("revenue", -2_000), posting("write-offs", 2_000)]);
    assert_eq!(entry["postings"], postings);
}

#[test]
fn a_paused_saga_stands_still_until_it_is_resumed() {
    let server = SHARED.server();
    server.stocked("g-pause", 5);
    let placed = server
        .order("g-pause", 1, "tok_slow_700")
        .send()
        .expect(202);
    let id = text(&placed.json()["saga_id"]);
    until(&server, &id, "running");
    let pause = json!({"action": "pause", "reason": "to look"});
    let paused = act(&server, &id, &pause)
        .header("if-match", "*")
        .send()
        .expect(200);
    assert_eq!(paused.json()["status"], "paused");
    // The answer is recorded, and nothing follows from it.
    let authorized = |shown: &Value| {
        shown["steps"][1]["status"] == "done" || shown["steps"][0]["status"] == "done"
    };
    let mut shown = until(&server, &id, "paused");
    let began = now();
    while !authorized(&shown) && began.elapsed() < PATIENCE {
        shown = until(&server, &id, "paused");
    }
    assert_eq!(shown["status"], "paused");
    act(&server, &id, &pause)
        .header("if-match", "*")
        .send()
        .expect_problem(409, "action-not-possible");
    let resume = json!({"action": "resume", "reason": "seen"});
    act(&server, &id, &resume)
        .header("if-match", "*")
        .send()
        .expect(200);
    until(&server, &id, "completed");
}

#[test]
fn the_command_line_shows_previews_and_acts() {
    let server = SHARED.server();
    let (_, id) = stuck(&server, "g-line");
    let url = format!("http://{}", server.address());
    let run = |args: &[&str]| {
        let mut command = recourse();
        command
            .arg("sagas")
            .args(["--url", &url])
            .args(args)
            .output()
            .unwrap()
    };
    let out = |args: &[&str]| {
        let output = run(args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(out(&["list", "--status", "needs_attention"]).contains(&id));
    let shown = out(&["show", &id]);
    assert!(
        shown.contains("undo plan confirm-order, authorize-payment, reserve-stock 0"),
        "{shown}"
    );
    let preview = out(&["compensate", &id, "--reason", "no", "--dry-run"]);
    assert!(
        preview.contains("nothing is done") && preview.contains("order.revoke"),
        "{preview}"
    );
    let tag = preview.trim().rsplit(' ').next().unwrap();
    let done = out(&[
        "compensate",
        &id,
        "--reason",
        "no",
        "--if-match",
        tag,
        "--json",
    ]);
    let done: Value = serde_json::from_str(&done).unwrap();
    assert_eq!(done["dry_run"], false);
    until(&server, &id, "compensated");
    let late = run(&["pause", &id, "--reason", "late"]);
    assert_eq!(late.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&late.stderr).contains("action-not-possible"));
    assert_eq!(run(&["skip", &id, "--reason", "x"]).status.code(), Some(2));
}
