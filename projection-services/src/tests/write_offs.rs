//! What an operator had left out, as the ledger shows it.

use std::collections::BTreeMap;

use chrono::DateTime;
use recourse_domain::{order, payment::Event};
use recourse_event_store::{Answered as AnsweredCommand, Metadata, NewEvent, StreamName};
use recourse_saga::{By, Direction, Event as Saga, SkipResult, StepSkipped};

use super::{
    ledger::{applied, refund, requested},
    *,
};

async fn skip(
    log: &mut Log,
    ids: &log::Ids,
    what: (Direction, &str, &str),
    result: SkipResult,
    remains: bool,
) {
    let (direction, step, command) = what;
    let skipped = StepSkipped {
        by: By {
            actor: "ann".into(),
            reason: "on the house".into(),
        },
        step: step.into(),
        item: "".into(),
        direction,
        result,
        remains,
        target: StreamName::new("payment", ids.payment),
        command_type: command.into(),
        commands: vec![],
    };
    log.saga(ids, Saga::StepSkipped(skipped)).await;
}

const CAPTURE: (Direction, &str, &str) = (Direction::Do, "capture-payment", "payment.capture");
const VOID: (Direction, &str, &str) = (Direction::Undo, "authorize-payment", "payment.void");
const REFUND: (Direction, &str, &str) = (Direction::Reverse, "capture-payment", "payment.refund");

/// An order whose capture is about to be asked for, of 3998.
async fn confirmed(log: &mut Log, number: u128) -> log::Ids {
    let mut ids = log.place(number, &["tea-1", "cup-1"]).await;
    for step in 0..=10 {
        log.advance(&mut ids, step).await;
    }
    ids
}

async fn void(log: &mut Log, ids: &log::Ids) {
    log.payment(ids, Event::VoidRequested(requested())).await;
    log.payment(ids, Event::Voided(applied(3998))).await;
}

async fn revoke(log: &mut Log, ids: &log::Ids) {
    let stream = StreamName::new("order", ids.order);
    let cause = Uuid::from_u128(99);
    let at = DateTime::UNIX_EPOCH + chrono::TimeDelta::days(30_000);
    let mut metadata = Metadata::new(ids.order, cause, at, LOG);
    metadata.answers = vec![AnsweredCommand {
        command: cause,
        saga: StreamName::new("saga", ids.saga),
    }];
    let revoked = order::Event::Revoked(order::Revoked {
        reason: order::Reason {
            code: "reversed".into(),
            detail: "after all not".into(),
        },
    });
    let event = NewEvent::encode(revoked, metadata, &stream, 0).unwrap();
    let append = recourse_event_store::Append {
        stream,
        expected: recourse_event_store::ExpectedRevision::Any,
        events: vec![event],
    };
    log.store.append(vec![append]).await.remove(0).unwrap();
}

/// What the entries made of this type of event moved, oldest first.
async fn moved(log: &Log, cause: &str) -> Vec<BTreeMap<String, i64>> {
    let body = shown(log, "/v1/ledger/entries").await;
    let entries = body["items"].as_array().unwrap().iter().rev();
    entries
        .filter(|entry| entry["cause"]["type"] == cause)
        .map(|entry| {
            let postings = entry["postings"].as_array().unwrap().iter();
            let posting = |posting: &Value| {
                let account = posting["account"].as_str().unwrap().to_owned();
                (account, posting["amount"]["amount_minor"].as_i64().unwrap())
            };
            postings.map(posting).collect()
        })
        .collect()
}

fn postings(postings: &[(&str, i64)]) -> BTreeMap<String, i64> {
    let posting = |(account, amount): &(&str, i64)| ((*account).to_owned(), *amount);
    postings.iter().map(posting).collect()
}

const SKIPPED: &str = "saga.step-skipped.v1";

#[tokio::test(start_paused = true)]
async fn goods_that_nobody_pays_for_are_written_off_or_settled_elsewhere() {
    let mut log = Log::new(Store::new(LOG));
    for (number, result) in [(7, SkipResult::Left), (8, SkipResult::Done)] {
        let ids = confirmed(&mut log, number).await;
        void(&mut log, &ids).await;
        skip(&mut log, &ids, CAPTURE, result, false).await;
    }
    let expected = [
        postings(&[("revenue", -3998), ("write-offs", 3998)]),
        postings(&[("revenue", -3998), ("settled-elsewhere", 3998)]),
    ];
    assert_eq!(moved(&log, SKIPPED).await, expected);
    let entries = shown(&log, "/v1/ledger/entries?account=write-offs").await;
    assert_eq!(entries["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_cannot_be_let_go_is_abandoned() {
    let mut log = Log::new(Store::new(LOG));
    // Before the point of no return, and with a capture that was to take the hold over.
    for (number, what) in [(7, VOID), (8, CAPTURE)] {
        let ids = confirmed(&mut log, number).await;
        skip(&mut log, &ids, what, SkipResult::Left, true).await;
    }
    let ids = confirmed(&mut log, 9).await;
    skip(&mut log, &ids, VOID, SkipResult::Done, true).await;
    let hold = [("holds-abandoned", 3998), ("holds-open", -3998)];
    let goods = [("revenue", -3998), ("write-offs", 3998)];
    let expected = [
        postings(&hold),
        postings(&[hold, goods].concat()),
        postings(&[("holds-voided", 3998), ("holds-open", -3998)]),
    ];
    assert_eq!(moved(&log, SKIPPED).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_refund_that_is_left_out_keeps_what_was_not_given_back_before() {
    let mut log = Log::new(Store::new(LOG));
    let mut ids = confirmed(&mut log, 7).await;
    log.advance(&mut ids, 11).await;
    refund(&mut log, &ids, 1, 1000).await;
    skip(&mut log, &ids, REFUND, SkipResult::Left, true).await;
    // What comes after it is of no matter to it.
    refund(&mut log, &ids, 2, 500).await;
    let expected = [postings(&[("refunds", 2998), ("write-offs", -2998)])];
    assert_eq!(moved(&log, SKIPPED).await, expected);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_revoked_after_all_takes_its_write_off_back() {
    let mut log = Log::new(Store::new(LOG));
    let ids = confirmed(&mut log, 7).await;
    skip(&mut log, &ids, CAPTURE, SkipResult::Left, true).await;
    // Voided after it was written off: what goes back is what was written off then.
    void(&mut log, &ids).await;
    revoke(&mut log, &ids).await;
    let taken_back = postings(&[
        ("holds-abandoned", -3998),
        ("holds-open", 3998),
        ("revenue", 3998),
        ("write-offs", -3998),
    ]);
    assert_eq!(moved(&log, "order.revoked.v1").await, [taken_back]);
    // One that had no money left out moves nothing.
    let other = confirmed(&mut log, 8).await;
    let stock = ("stock", StreamName::new("stock", "tea-1"));
    let skipped = StepSkipped {
        by: By {
            actor: "ann".into(),
            reason: "x".into(),
        },
        step: stock.0.into(),
        item: "".into(),
        direction: Direction::Do,
        result: SkipResult::Left,
        remains: true,
        target: stock.1,
        command_type: "stock.commit".into(),
        commands: vec![],
    };
    log.saga(&other, Saga::StepSkipped(skipped)).await;
    revoke(&mut log, &other).await;
    assert_eq!(moved(&log, "order.revoked.v1").await.len(), 1);
    assert_eq!(moved(&log, SKIPPED).await.len(), 1);
}
