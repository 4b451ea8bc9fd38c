//! Deliberate damage: each kind of breach is found and named, and a healthy log has none.

mod log;
mod operator;
mod returns;
mod view;

use std::io::Write;

use chrono::TimeDelta;
use recourse_domain::{OrderId, Sku, order, payment, stock};
use recourse_event_store::{Mark, Position, StreamName};
use recourse_saga::{Answer, Event as Saga};
use uuid::Uuid;

use super::*;
use crate::acknowledged::{Acknowledged, Writer};
use log::{Log, eur, noon};

async fn check(log: &Log) -> Report {
    run(log.store(), &[], &Options::new(noon())).await.unwrap()
}

/// The kinds found, each once.
async fn kinds(log: &Log) -> Vec<Kind> {
    check(log).await.breaches_by_kind.into_keys().collect()
}

/// That a breach of this kind is found, names this subject and shows an event at one of these
/// positions.
async fn assert_found(log: &Log, kind: Kind, subject: &str, position: Position) {
    let report = check(log).await;
    assert!(
        report.breaches.iter().any(|breach| breach.kind == kind
            && breach.subject.contains(subject)
            && breach.promise == kind.promise()
            && breach.events.iter().any(|event| event.position == position)),
        "no {kind} of {subject} at {position} in:\n{}",
        report.text()
    );
    assert!(!report.holds());
}

/// One order of each end, one under way.
fn healthy() -> Log {
    let mut log = Log::new();
    let a = log.place("a", &[("tea", 2), ("mug", 1)]);
    let b = log.place("b", &[("mug", 3)]);
    let c = log.place("c", &[("tea", 1)]);
    let d = log.place("d", &[("tea", 4)]);
    log.decline(&b);
    log.fulfil(&a);
    log.cancel(&c);
    log.pay(&c, "undo:authorize", &["undo:reserve/0"]);
    log.close_cancelled(&c);
    log.start(&d);
    log.reserve_all(&d);
    log.intend(&d, "authorize");
    log
}

#[tokio::test]
async fn a_healthy_log_holds_and_is_counted() {
    let report = check(&healthy()).await;
    assert!(report.holds(), "{}", report.text());
    let counts = |pairs: &[(&str, u64)]| -> BTreeMap<String, u64> {
        pairs
            .iter()
            .map(|(name, n)| ((*name).to_owned(), *n))
            .collect()
    };
    assert_eq!(
        report.orders,
        counts(&[
            ("cancelled", 1),
            ("completed", 1),
            ("pending", 1),
            ("rejected", 1)
        ])
    );
    assert_eq!(report.settled, 3);
    assert_eq!(
        report.sagas,
        counts(&[("compensated", 2), ("completed", 1), ("running", 1)])
    );
    assert_eq!(
        report.streams,
        counts(&[
            ("order", 4),
            ("payment", 4),
            ("product", 2),
            ("saga", 4),
            ("stock", 2)
        ])
    );
    let money = report.money["EUR"];
    assert_eq!(
        money,
        MoneyTotals {
            ordered: 1_100,
            authorized: 400,
            captured: 300,
            voided: 100,
            goods_kept: 300,
            ..MoneyTotals::default()
        }
    );
    assert_eq!(
        report.stock,
        StockTotals {
            skus: 2,
            received: 200,
            adjusted: 0,
            committed: 3,
            restocked: 0,
            on_hand: 197,
            reserved: 4,
            open_holds: 1,
        }
    );
    assert_eq!(report.commands.sent, 19);
    assert_eq!(report.commands.answered, 18);
    assert_eq!(report.commands.refused, 2);
    assert!(report.text().contains("every promise holds"));
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[tokio::test]
async fn an_order_unsettled_past_its_deadline_is_found_and_one_that_asks_for_help_is_not() {
    let mut log = healthy();
    let mut options = Options::new(noon() + TimeDelta::seconds(62));
    let report = run(log.store(), &[], &options).await.unwrap();
    assert_eq!(
        report.breaches_by_kind,
        BTreeMap::from([(Kind::OrderUnsettled, 1)])
    );
    assert!(
        report.breaches[0].detail.contains("authorize"),
        "{}",
        report.text()
    );
    assert_eq!(report.breaches[0].events.len(), 3);

    let order = log.place("d2", &[("tea", 1)]);
    options.as_of = noon() + TimeDelta::seconds(30);
    assert!(run(log.store(), &[], &options).await.unwrap().holds());
    log.start(&order);
    log.saga(
        &order,
        Saga::AttentionNeeded(recourse_saga::AttentionNeeded { why: "x".into() }),
    );
    options.as_of = noon() + TimeDelta::seconds(90);
    let report = run(log.store(), &[], &options).await.unwrap();
    assert_eq!(report.sagas["needs_attention"], 1);
    assert_eq!(
        report.breaches_by_kind,
        BTreeMap::from([(Kind::OrderUnsettled, 1)])
    );
}

#[tokio::test]
async fn an_order_that_no_saga_works_on_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    let report = run(
        log.store(),
        &[],
        &Options::new(noon() + TimeDelta::seconds(61)),
    )
    .await
    .unwrap();
    assert_eq!(report.breaches[0].kind, Kind::OrderWithoutSaga);
    assert!(report.breaches[0].subject.contains(&order.id.to_string()));
}

#[tokio::test]
async fn a_saga_that_completes_while_its_order_does_not_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.up_to_commit(&order);
    let committed = stock::Event::Committed(order.held(0));
    log.done(&order, "commit/0", committed, &[]);
    let end = log.saga(&order, Saga::Completed(recourse_saga::Completed {}));
    assert_found(&log, Kind::OrderSagaDisagree, &order.id.to_string(), end).await;
}

#[tokio::test]
async fn a_missing_void_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.cancel(&order);
    // Answered as done, and the money is still reserved.
    let repeat = payment::Event::RepeatAnswered(payment::RepeatAnswered {
        operation: payment::Operation::Void,
    });
    let at = log.answer(&order, "undo:authorize", repeat);
    log.note(
        &order,
        "undo:authorize",
        at,
        Answer::Done,
        &["undo:reserve/0"],
    );
    log.close_cancelled(&order);
    assert_eq!(kinds(&log).await, [Kind::MoneyNotConserved]);
    assert_found(&log, Kind::MoneyNotConserved, &order.id.to_string(), at).await;
}

#[tokio::test]
async fn a_completed_order_that_was_never_captured_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.start(&order);
    log.reserve_all(&order);
    log.pay(&order, "authorize", &["confirm"]);
    let confirmed = order::Event::Confirmed(order::Confirmed {});
    log.done(&order, "confirm", confirmed, &["capture"]);
    let void = payment::Event::VoidRequested(payment::Requested {
        key: order.key(payment::Operation::Void),
        ordinal: 0,
    });
    let metadata = log.metadata();
    log.write(&order.payment_stream(), void, metadata);
    let voided = payment::Event::Voided(order.applied());
    let at = log.outcome(&order, "capture", voided);
    log.note(&order, "capture", at, Answer::Done, &["commit/0"]);
    log.commit_all(&order);
    log.complete(&order);
    assert_found(&log, Kind::CapturedNotGoodsKept, &order.id.to_string(), at).await;
}

#[tokio::test]
async fn money_captured_twice_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.up_to_commit(&order);
    let metadata = log.metadata();
    let captured = payment::Event::Captured(order.applied());
    let at = log.write(&order.payment_stream(), captured, metadata);
    let payment = order.payment.to_string();
    assert_found(&log, Kind::MoneyNotConserved, &payment, at).await;
    assert_found(&log, Kind::OutcomeWithoutIntent, &payment, at).await;
}

#[tokio::test]
async fn goods_that_never_went_out_are_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.up_to_commit(&order);
    let released = stock::Event::Released(order.held(0));
    log.done(&order, "commit/0", released, &["complete"]);
    log.complete(&order);
    assert_eq!(kinds(&log).await, [Kind::GoodsNotOrder]);
}

#[tokio::test]
async fn a_double_reservation_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 2)]);
    log.start(&order);
    log.reserve_all(&order);
    let metadata = log.metadata();
    let again = stock::Event::Reserved(order.held(0));
    let at = log.write(&order.stock_stream(0), again, metadata);
    assert_found(&log, Kind::HoldDoubled, "stock-tea", at).await;
    assert_found(&log, Kind::StockNotConserved, "tea", at).await;
}

#[tokio::test]
async fn a_hold_made_again_after_its_release_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 2)]);
    log.start(&order);
    log.reserve_all(&order);
    let mut at = Position::START;
    for event in [
        stock::Event::Released(order.held(0)),
        stock::Event::Reserved(order.held(0)),
    ] {
        let metadata = log.metadata();
        at = log.write(&order.stock_stream(0), event, metadata);
    }
    assert_eq!(kinds(&log).await, [Kind::HoldDoubled]);
    assert_found(&log, Kind::HoldDoubled, "stock-tea", at).await;
}

#[tokio::test]
async fn more_reserved_than_on_hand_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 101)]);
    log.start(&order);
    log.reserve_all(&order);
    assert_eq!(kinds(&log).await, [Kind::StockOutOfBounds]);
}

#[tokio::test]
async fn a_hold_without_a_saga_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    let metadata = log.metadata();
    let reserved = stock::Event::Reserved(order.held(0));
    let at = log.write(&order.stock_stream(0), reserved, metadata);
    assert_eq!(kinds(&log).await, [Kind::HoldWithoutSaga]);
    assert_found(&log, Kind::HoldWithoutSaga, "stock-tea", at).await;
}

#[tokio::test]
async fn a_saga_that_ends_and_still_holds_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.up_to_commit(&order);
    let repeat = stock::Event::RepeatAnswered(stock::RepeatAnswered {
        hold: order.held(0).hold,
        status: stock::HoldStatus::Committed,
    });
    log.done(&order, "commit/0", repeat, &["complete"]);
    log.complete(&order);
    assert_eq!(
        kinds(&log).await,
        [Kind::GoodsNotOrder, Kind::HoldWithoutSaga]
    );
}

#[tokio::test]
async fn a_release_of_what_is_not_held_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.start(&order);
    let released = stock::Event::Released(order.held(0));
    let at = log.answer(&order, "reserve/0", released);
    assert_found(&log, Kind::HoldUnknown, "stock-tea", at).await;
}

#[tokio::test]
async fn a_hold_that_is_not_its_orders_line_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.start(&order);
    let mut held = order.held(0);
    held.quantity = recourse_domain::Quantity::new(2).unwrap();
    let at = log.answer(&order, "reserve/0", stock::Event::Reserved(held));
    assert_eq!(kinds(&log).await, [Kind::GoodsNotOrder]);
    assert_found(&log, Kind::GoodsNotOrder, "stock-tea", at).await;
}

#[tokio::test]
async fn positions_and_revisions_that_are_not_the_next_are_found() {
    let mut log = healthy();
    let last = log.events.last().unwrap().position;
    let moved = Position::dense(last.commit + 5);
    log.change(last, |event| event.position = moved);
    assert_eq!(kinds(&log).await, [Kind::PositionOrder]);

    let mut log = healthy();
    log.change(last, |event| event.revision += 1);
    assert_eq!(kinds(&log).await, [Kind::RevisionOrder]);
    assert_found(&log, Kind::RevisionOrder, "payment-", last).await;
}

#[tokio::test]
async fn a_lost_event_is_found() {
    let mut log = healthy();
    let lost = log.events.remove(20);
    assert!(kinds(&log).await.contains(&Kind::PositionOrder), "{lost:?}");
}

#[tokio::test]
async fn two_events_with_one_id_are_found_and_both_are_shown() {
    let mut log = healthy();
    let (first, second) = (log.events[3].clone(), log.events[9].position);
    let id = first.event.id;
    log.change(second, |event| event.event.id = id);
    assert_eq!(kinds(&log).await, [Kind::DuplicateId]);
    assert_found(&log, Kind::DuplicateId, &id.to_string(), first.position).await;
    assert_found(&log, Kind::DuplicateId, &id.to_string(), second).await;

    // Half an id in common is chance, not a repeat.
    let (high, _) = id.as_u64_pair();
    log.change(second, |event| {
        event.event.id = Uuid::from_u64_pair(high, 1)
    });
    assert!(check(&log).await.holds());
}

#[tokio::test]
async fn an_event_of_another_log_and_one_that_cannot_be_read_are_found() {
    let mut log = healthy();
    let (third, last) = (log.events[3].position, log.events.last().unwrap().position);
    log.id = recourse_event_store::LogId(Uuid::from_u128(8));
    assert_found(&log, Kind::WrongLog, "stock-mug", third).await;

    let mut log = healthy();
    log.change(last, |event| {
        event.event = recourse_event_store::NewEvent::raw(
            event.event.id,
            "payment.lost.v1",
            "{}",
            event.event.metadata.clone(),
        );
    });
    assert_found(&log, Kind::Unreadable, "payment-", last).await;
    log.change(last, |event| {
        event.event = recourse_event_store::NewEvent::raw(event.event.id, "x.y.v1", "{}", "{}");
    });
    assert_eq!(kinds(&log).await, [Kind::Unreadable]);
}

#[tokio::test]
async fn what_others_appended_is_theirs_to_judge_but_not_its_place() {
    let mut log = healthy();
    let last = log.events.last().unwrap().clone();
    let position = Position::dense(last.position.commit + 1);
    let copied = recourse_event_store::NewEvent::raw(last.event.id, "copied", "[]", "");
    let stream = recourse_event_store::StreamName::new("copies", 1);
    log.events
        .push(std::sync::Arc::new(copied.record(position, stream, 0)));
    assert_eq!(kinds(&log).await, []);
    log.change(position, |event| event.revision = 1);
    assert_eq!(kinds(&log).await, [Kind::RevisionOrder]);
}

#[tokio::test]
async fn an_event_that_the_rules_do_not_allow_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.decline(&order);
    let metadata = log.metadata();
    let confirmed = order::Event::Confirmed(order::Confirmed {});
    let at = log.write(&order.stream(), confirmed, metadata);
    assert_eq!(kinds(&log).await, [Kind::IllegalEvent]);
    assert_found(&log, Kind::IllegalEvent, &order.id.to_string(), at).await;
}

#[tokio::test]
async fn a_mark_that_goes_back_is_found() {
    let mut log = healthy();
    let mut metadata = log.metadata();
    metadata.mark = Some(Mark {
        position: Position::dense(5),
        index: 0,
    });
    let stream = StreamName::new("stock", "tea");
    let adjusted = stock::Event::Adjusted(stock::Adjusted {
        sku: Sku::parse("tea").unwrap(),
        delta: 1,
        reason: "count".into(),
    });
    let at = log.write(&stream, adjusted, metadata);
    assert_eq!(kinds(&log).await, [Kind::MarkWrong]);
    assert_found(&log, Kind::MarkWrong, "stock-tea", at).await;
}

#[tokio::test]
async fn a_mark_of_another_command_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1), ("mug", 1)]);
    let start = log.start(&order);
    let at = log.answer(&order, "reserve/1", stock::Event::Reserved(order.held(1)));
    assert!(check(&log).await.holds());
    log.change(at, |event| {
        let mut metadata = event.metadata().unwrap().clone();
        metadata.mark = Some(Mark {
            position: start,
            index: 0,
        });
        let json = serde_json::to_vec(&metadata).unwrap();
        let new = &event.event;
        event.event = recourse_event_store::NewEvent::raw(
            new.id,
            new.event_type.clone(),
            new.data.clone(),
            json,
        );
    });
    assert_eq!(kinds(&log).await, [Kind::MarkWrong]);
}

#[tokio::test]
async fn a_clients_command_or_receipt_that_counts_twice_is_found() {
    let mut log = Log::new();
    let first = log.receive("tea", "note-2", 1);
    let second = log.receive("tea", "note-2", 1);
    assert_eq!(kinds(&log).await, [Kind::ClientCommandTwice]);
    assert_found(&log, Kind::ClientCommandTwice, "stock-tea", first).await;
    assert_found(&log, Kind::ClientCommandTwice, "stock-tea", second).await;

    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    let metadata = log.events.last().unwrap().metadata().unwrap().clone();
    let cancelled = order::Event::Cancelled(order::Cancelled { reason: "x".into() });
    let receipt = log.receive("tea", "note-2", 1);
    let at = log.write(&order.stream(), cancelled, metadata);
    assert!(receipt < at);
    // Side by side in one stream they are one decision; across the stream they would be too.
    assert!(check(&log).await.holds());
    let other = log.place("b", &[("tea", 1)]);
    let metadata = log.events.first().unwrap().metadata().unwrap().clone();
    let cancelled = order::Event::Cancelled(order::Cancelled { reason: "x".into() });
    log.write(&other.stream(), cancelled, metadata);
    assert_eq!(kinds(&log).await, [Kind::ClientCommandTwice]);
}

#[tokio::test]
async fn a_command_answered_twice_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.start(&order);
    log.reserve_all(&order);
    let first = Position::dense(log.events.len() as u64 - 1);
    let at = log.refuse(&order, "reserve/0", "out-of-stock");
    assert!(kinds(&log).await.contains(&Kind::CommandAnsweredTwice));
    assert_found(&log, Kind::CommandAnsweredTwice, "stock-tea", first).await;
    assert_found(&log, Kind::CommandAnsweredTwice, "stock-tea", at).await;

    // And once its saga has ended.
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.fulfil(&order);
    let at = log.refuse(&order, "complete", "order-cancelled");
    assert_found(&log, Kind::CommandAnsweredTwice, &order.id.to_string(), at).await;
}

#[tokio::test]
async fn an_answer_to_what_was_never_sent_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.start(&order);
    let at = log.refuse(&order, "capture", "payment-not-authorized");
    assert_eq!(kinds(&log).await, [Kind::AnswerWithoutCommand]);
    assert_found(&log, Kind::AnswerWithoutCommand, "payment-", at).await;
}

#[tokio::test]
async fn an_answer_in_another_stream_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1), ("mug", 1)]);
    log.start(&order);
    let at = log.refuse(&order, "reserve/0", "out-of-stock");
    let mug = StreamName::new("stock", "mug");
    log.change(at, |event| {
        event.stream = mug;
        event.revision = 1;
    });
    assert_eq!(kinds(&log).await, [Kind::AnswerElsewhere]);
}

#[tokio::test]
async fn a_saga_that_notes_another_answer_than_the_log_has_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.start(&order);
    let at = log.refuse(&order, "reserve/0", "out-of-stock");
    log.note(&order, "reserve/0", at, Answer::Done, &["authorize"]);
    assert_eq!(kinds(&log).await, [Kind::AnswerNotAsNoted]);
    assert_found(&log, Kind::AnswerNotAsNoted, "saga-", at).await;
}

#[tokio::test]
async fn a_saga_that_ends_with_an_open_command_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.start(&order);
    log.reserve_all(&order);
    let end = log.saga(&order, Saga::Compensated(recourse_saga::Compensated {}));
    let found = kinds(&log).await;
    assert!(found.contains(&Kind::SagaEndedOpen), "{found:?}");
    assert_found(&log, Kind::SagaEndedOpen, "saga-", end).await;
    assert_found(&log, Kind::HoldWithoutSaga, "tea", end).await;
}

#[tokio::test]
async fn a_command_sent_twice_and_a_second_saga_of_an_order_are_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.start(&order);
    log.done(
        &order,
        "reserve/0",
        stock::Event::Reserved(order.held(0)),
        &["reserve/0"],
    );
    assert_eq!(kinds(&log).await, [Kind::SagaDoubled]);

    let mut log = Log::new();
    let mut order = log.place("a", &[("tea", 1)]);
    log.start(&order);
    order.saga = Uuid::from_u128(1);
    let at = log.start(&order);
    assert_eq!(kinds(&log).await, [Kind::SagaDoubled]);
    assert_found(&log, Kind::SagaDoubled, "saga-", at).await;
}

#[tokio::test]
async fn an_idempotency_key_used_twice_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.up_to_commit(&order);
    let mut metadata = log.metadata();
    metadata.takes = None;
    let again = payment::Event::CaptureRequested(payment::Requested {
        key: order.key(payment::Operation::Capture),
        ordinal: 0,
    });
    let at = log.write(&order.payment_stream(), again, metadata);
    assert_found(&log, Kind::IntentKeyReused, "payment-", at).await;
    assert_found(&log, Kind::IntentWithoutSaga, "payment-", at).await;
}

#[tokio::test]
async fn another_amount_than_the_payments_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.start(&order);
    log.reserve_all(&order);
    log.intend(&order, "authorize");
    let mut applied = order.applied();
    applied.amount = eur(99);
    let at = log.outcome(&order, "authorize", payment::Event::Authorized(applied));
    assert_eq!(kinds(&log).await, [Kind::MoneyNotConserved]);
    assert_found(&log, Kind::MoneyNotConserved, "payment-", at).await;
}

#[tokio::test]
async fn what_was_acknowledged_and_is_lost_or_otherwise_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("told");
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.fulfil(&order);
    let end = log.events.last().unwrap().position;
    let told = |id: Uuid, position: Position, status: Option<&str>| Acknowledged::Order {
        order_id: OrderId(id),
        position,
        status: status.map(ToOwned::to_owned),
    };
    let tea = Sku::parse("tea").unwrap();
    let receipt = |reference: &str| Acknowledged::Receipt {
        sku: tea.clone(),
        reference: reference.into(),
        position: end,
    };
    let product = |sku: &str| Acknowledged::Product {
        product: Sku::parse(sku).unwrap(),
        position: end,
    };
    let mut writer = Writer::open(&path).unwrap();
    for line in [
        told(order.id, end, Some("completed")),
        told(order.id, end, None),
        receipt("note-1"),
        product("tea"),
    ] {
        writer.write(&line).unwrap();
    }
    let mut options = Options::new(noon());
    options.acknowledged = Some(path.clone());
    let report = run(log.store(), &[], &options).await.unwrap();
    assert!(report.holds(), "{}", report.text());
    assert_eq!(
        report.acknowledged,
        Some(AcknowledgedTotals {
            orders: 2,
            settled: 1,
            returns: 0,
            others: 2
        })
    );
    for (line, kind) in [
        (told(Uuid::from_u128(1), end, None), Kind::AcknowledgedLost),
        (receipt("note-9"), Kind::AcknowledgedLost),
        (product("cup"), Kind::AcknowledgedLost),
        (
            told(order.id, end, Some("rejected")),
            Kind::AcknowledgedDiffers,
        ),
        (
            told(order.id, Position::dense(end.commit + 1), None),
            Kind::AcknowledgedDiffers,
        ),
    ] {
        writer.write(&line).unwrap();
        let report = run(log.store(), &[], &options).await.unwrap();
        let last = report.breaches.last().unwrap();
        assert_eq!((last.kind, last.promise), (kind, 5), "{line:?}");
    }
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    file.write_all(b"{\"order_id\":7}\n").unwrap();
    let report = run(log.store(), &[], &options).await.unwrap();
    assert_eq!(report.breaches.len(), 6);
    assert_eq!(report.breaches[5].kind, Kind::AcknowledgedUnreadable);
    assert!(
        report
            .text()
            .contains("BREACH    promise 5, acknowledged-lost: order-0000")
    );
}

#[tokio::test]
async fn all_breaches_are_counted_also_those_not_listed() {
    let mut log = Log::new();
    for name in ["a", "b", "c"] {
        log.place(name, &[("tea", 1)]);
    }
    let mut options = Options::new(noon() + TimeDelta::days(1));
    options.max_breaches = 2;
    let report = run(log.store(), &[], &options).await.unwrap();
    assert_eq!(report.breaches.len(), 2);
    assert_eq!(report.breaches_by_kind[&Kind::OrderWithoutSaga], 3);
}
