//! What operators did: healthy logs of it hold, what it comes to is counted, and damage to it is
//! found.

use recourse_saga::{
    Answered, AttentionNeeded, By, CompensationRequested, Direction, Kind as StepKind, PlannedStep,
    SkipResult, Started, StepSkipped,
};
use recourse_views::{
    Checkpoint,
    books::{Balance, Entry, Posting},
};

use super::{
    super::ledger::{BookView, Scanned},
    log::{Order, refused},
    *,
};

fn by() -> By {
    By {
        actor: "ann".into(),
        reason: "x".into(),
    }
}

fn skipped(order: &Order, (direction, command): (Direction, &str), result: SkipResult) -> Saga {
    Saga::StepSkipped(StepSkipped {
        by: by(),
        step: "capture".into(),
        item: "".into(),
        direction,
        result,
        remains: true,
        target: order.payment_stream(),
        command_type: command.into(),
        commands: vec![],
    })
}

const CAPTURE: &str = "payment.capture";

/// An order whose capture is refused, with what else is sent then.
fn capture_refused(log: &mut Log, name: &str, then: &[&str]) -> Order {
    let order = log.place(name, &[("tea", 2)]);
    log.start(&order);
    log.reserve_all(&order);
    log.pay(&order, "authorize", &["confirm"]);
    let confirmed = order::Event::Confirmed(order::Confirmed {});
    log.done(&order, "confirm", confirmed, &["capture"]);
    log.intend(&order, "capture");
    let declined = payment::Event::CaptureRefused(payment::Declined {
        code: "capture-refused".into(),
        detail: "no".into(),
        is_final: true,
    });
    let at = log.outcome(&order, "capture", declined);
    let answer = Answer::from(Some(&refused("capture-refused")));
    log.note(&order, "capture", at, answer, then);
    order
}

/// Its capture is skipped once the authorization is voided; then it is completed.
fn given_away(result: SkipResult, command: &str) -> (Log, Position) {
    let mut log = Log::new();
    let order = capture_refused(&mut log, "a", &["undo:authorize"]);
    log.pay(&order, "undo:authorize", &["commit/0"]);
    let at = log.saga(&order, skipped(&order, (Direction::Do, command), result));
    log.commit_all(&order);
    log.complete(&order);
    (log, at)
}

#[tokio::test]
async fn a_capture_that_is_left_out_is_counted_and_all_adds_up() {
    for result in [SkipResult::Left, SkipResult::Done] {
        let report = check(&given_away(result, CAPTURE).0).await;
        assert!(report.holds(), "{}", report.text());
        let money = report.money["EUR"];
        assert_eq!(
            (money.goods_kept, money.unpaid, money.captured),
            (200, 200, 0)
        );
        assert!(
            report.text().contains("written off 200 unpaid"),
            "{}",
            report.text()
        );
        assert_eq!(report.exceptions.len(), 1);
    }
}

#[tokio::test]
async fn money_that_is_missing_though_nothing_of_it_was_left_out_is_found() {
    // As if another step had been left out.
    let (log, _) = given_away(SkipResult::Left, "payment.nothing");
    assert_eq!(kinds(&log).await, [Kind::CapturedNotGoodsKept]);
}

#[tokio::test]
async fn a_void_that_is_left_out_is_a_hold_that_is_abandoned() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    log.cancel(&order);
    log.intend(&order, "undo:authorize");
    let declined = payment::Event::VoidRefused(payment::Declined {
        code: "void-refused".into(),
        detail: "no".into(),
        is_final: true,
    });
    let at = log.outcome(&order, "undo:authorize", declined);
    let answer = Answer::from(Some(&refused("void-refused")));
    log.note(&order, "undo:authorize", at, answer, &["undo:reserve/0"]);
    let mut without = log.clone();
    let void = (Direction::Undo, "payment.void");
    log.saga(&order, skipped(&order, void, SkipResult::Left));
    for log in [&mut log, &mut without] {
        log.close_cancelled(&order);
    }
    let report = check(&log).await;
    assert!(report.holds(), "{}", report.text());
    let money = report.money["EUR"];
    assert_eq!(
        (money.authorized, money.voided, money.abandoned),
        (100, 0, 100)
    );
    assert_eq!(kinds(&without).await, [Kind::MoneyNotConserved]);
}

fn posting(account: &str, amount_minor: i64) -> Posting {
    Posting {
        account: account.into(),
        currency: "EUR".into(),
        amount_minor,
    }
}

/// The book of [`given_away`], with this for the write-off.
fn book(log: &Log, at: Position, write_off: &[(&str, i64)]) -> Scanned {
    let mut entries = Vec::new();
    let mut balances: BTreeMap<String, i64> = BTreeMap::new();
    let mut add = |position: Position, moved: &[(&str, i64)]| {
        let event = &log.events[usize::try_from(position.commit - 1).unwrap()];
        for (account, amount) in moved {
            *balances.entry((*account).to_owned()).or_default() += amount;
        }
        entries.push(Entry {
            position,
            event_id: event.event.id,
            event_type: event.event.event_type.to_string(),
            stream: event.stream.clone(),
            correlation_id: event.metadata().unwrap().correlation_id,
            at: noon(),
            postings: moved
                .iter()
                .map(|(account, sum)| posting(account, *sum))
                .collect(),
        });
    };
    for event in &log.events {
        match &*event.event.event_type {
            "payment.authorized.v1" => {
                add(
                    event.position,
                    &[("authorizations", -200), ("holds-open", 200)],
                );
            }
            "payment.voided.v1" => {
                add(
                    event.position,
                    &[("holds-open", -200), ("holds-voided", 200)],
                );
            }
            _ if event.position == at && !write_off.is_empty() => add(at, write_off),
            _ => {}
        }
    }
    let balances = balances.into_iter().map(|(account, amount_minor)| Balance {
        account,
        currency: "EUR".into(),
        amount_minor,
    });
    let end = log.end();
    let checkpoint = Checkpoint {
        log: log.id,
        position: end,
        event_id: Some(log.id_at(end)),
    };
    Scanned::made_of(Some(checkpoint), entries, balances.collect())
}

#[tokio::test]
async fn a_write_off_that_is_missing_or_another_than_it_must_be_is_found() {
    let (log, at) = given_away(SkipResult::Left, CAPTURE);
    for (write_off, kind) in [
        (&[("revenue", -200), ("write-offs", 200)][..], None),
        (&[], Some(Kind::EntryMissing)),
        (
            &[("revenue", -100), ("write-offs", 100)],
            Some(Kind::EntryWrong),
        ),
        (
            &[("revenue", -200), ("settled-elsewhere", 200)],
            Some(Kind::EntryWrong),
        ),
    ] {
        let view: Box<dyn View> = Box::new(BookView::of(book(&log, at, write_off)));
        let report = run(log.store(), &[view], &Options::new(noon()))
            .await
            .unwrap();
        let found: Vec<_> = report.breaches_by_kind.keys().copied().collect();
        assert_eq!(found, Vec::from_iter(kind), "{}", report.text());
        if kind.is_some() {
            assert_eq!(report.breaches[0].events[0].position, at);
        }
    }
}

/// A fulfilment that knows its steps.
fn start(log: &mut Log, order: &Order) {
    let step = |(stage, (name, kind)): (u32, (&str, StepKind))| PlannedStep {
        name: name.into(),
        kind,
        stage,
        takes_over: None,
        way_back: recourse_saga::WayBack::Command,
    };
    let steps = [
        ("reserve", StepKind::Compensatable),
        ("confirm", StepKind::Pivot),
        ("capture", StepKind::Retriable),
    ];
    log.saga(
        order,
        Saga::Started(Started {
            definition: "fulfilment".into(),
            definition_hash: "h".into(),
            input: recourse_bus::Json::write(&()).unwrap(),
            deadline_at: noon() + TimeDelta::seconds(60),
            steps: (0..).zip(steps).map(step).collect(),
            commands: vec![order.sends("reserve/0"), order.sends("confirm")],
        }),
    );
}

/// A refusal, as the saga notes it.
fn note(log: &mut Log, order: &Order, label: &str, direction: Direction, is_moot: bool) {
    let at = log.refuse(order, label, "no");
    let sent = order.sends(label);
    let noted = Answered {
        command: sent.command.id,
        step: sent.step,
        item: sent.item,
        direction,
        answer: Answer::from(Some(&refused("no"))),
        position: at,
        counts_as_done: false,
        is_moot,
        closes: vec![],
        resend_at: None,
        deadline_at: None,
        commands: vec![],
    };
    log.saga(order, Saga::Answered(noted));
}

async fn status(log: &Log) -> String {
    let report = check(log).await;
    report.sagas.into_keys().next().unwrap()
}

#[tokio::test]
async fn a_refusal_that_decides_nothing_does_not_turn_a_saga_back() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    start(&mut log, &order);
    note(&mut log, &order, "reserve/0", Direction::Do, true);
    assert_eq!(status(&log).await, "running");
    log.saga(
        &order,
        Saga::AttentionNeeded(AttentionNeeded { why: "x".into() }),
    );
    let mut turned = log.clone();
    note(&mut turned, &order, "confirm", Direction::Do, false);
    // Whoever waits for an operator goes on waiting, and is not late.
    assert_eq!(status(&turned).await, "needs_attention");
    let options = Options::new(noon() + TimeDelta::seconds(90));
    assert!(run(turned.store(), &[], &options).await.unwrap().holds());
}

#[tokio::test]
async fn a_revocation_that_is_refused_leaves_the_saga_where_it_was() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 1)]);
    start(&mut log, &order);
    let mut reversal = order.sends("undo:confirm");
    reversal.direction = Direction::Reverse;
    log.saga(
        &order,
        Saga::CompensationRequested(CompensationRequested {
            by: by(),
            past_pivot: true,
            stood_still_ms: 0,
            deadline_at: noon() + TimeDelta::seconds(60),
            commands: vec![reversal],
        }),
    );
    assert_eq!(status(&log).await, "compensating");
    note(&mut log, &order, "undo:confirm", Direction::Reverse, false);
    assert_eq!(status(&log).await, "running");
}
