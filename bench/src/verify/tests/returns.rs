//! Returns and reversals: healthy ones hold, and each kind of damage to them is found.

use recourse_bus::Json;
use recourse_domain::{OrderId, PaymentId, Quantity, RefundId, ReturnId, order, payment, stock};
use recourse_event_store::Taken;
use recourse_saga::{Started, saga_id};

use super::{
    log::{Order, refused},
    *,
};

const ID: ReturnId = ReturnId(Uuid::from_u128(70));

/// What may go wrong with a return.
#[derive(Clone, Copy, PartialEq)]
enum Damage {
    None,
    /// The refund was asked for and another sum was paid.
    RefundDiffers,
    /// Nothing was refunded.
    NotRefunded,
    /// Other goods came back than were sent.
    OtherGoods,
    /// The goods came back twice.
    TwiceBack,
    /// None came back.
    NotBack,
    /// None came back, as an operator wanted.
    LeftOut,
    /// The order was not told of its end, as an operator wanted.
    NotTold,
}

/// What an operator has the saga of a return leave out.
fn leave_out(log: &mut Log, back: &Order, item: &str, target: StreamName) {
    let skipped = recourse_saga::StepSkipped {
        by: recourse_saga::By {
            actor: "ann".into(),
            reason: "x".into(),
        },
        step: "x".into(),
        item: item.into(),
        direction: recourse_saga::Direction::Do,
        result: recourse_saga::SkipResult::Left,
        remains: false,
        target,
        command_type: "x".into(),
        commands: vec![],
    };
    log.saga(back, Saga::StepSkipped(skipped));
}

fn pieces(number: u32) -> Quantity {
    Quantity::new(number).unwrap()
}

fn requested(order: &Order, quantity: u32) -> order::Event {
    order::Event::ReturnRequested(order::ReturnRequested {
        return_id: ID,
        order_id: OrderId(order.id),
        payment_id: PaymentId(order.payment),
        lines: vec![order::ReturnLine {
            sku: Sku::parse("tea").unwrap(),
            quantity: pieces(quantity),
        }],
        undelivered: vec![],
        refund: eur(100 * i64::from(quantity)),
        reason: "x".into(),
    })
}

fn start(log: &mut Log, order: &Order, quantity: u32) -> Order {
    let at = log.client(&order.stream(), requested(order, quantity));
    let saga = saga_id("return", log.id_at(at));
    let back = order.returning(saga, &[("tea", quantity)]);
    log.saga(
        &back,
        Saga::Started(Started {
            definition: "return".into(),
            definition_hash: "r".into(),
            input: Json::write(&()).unwrap(),
            deadline_at: noon() + TimeDelta::seconds(60),
            steps: Vec::new(),
            commands: vec![back.sends("accept")],
        }),
    );
    let accepted = order::Event::ReturnAccepted(order::ReturnMoved { return_id: ID });
    log.done(&back, "accept", accepted, &["refund"]);
    back
}

fn intend_refund(log: &mut Log, back: &Order) {
    let refund = RefundId(ID.0);
    let operation = payment::Operation::Refund(refund);
    let event = payment::Event::RefundRequested(payment::RefundRequested {
        refund,
        amount: back.total(),
        key: back.key(operation),
        ordinal: 0,
    });
    let mut metadata = log.answers(back, "refund");
    metadata.takes = metadata.answers.pop().map(|answered| Taken {
        answered,
        operation: operation.name().into_owned(),
    });
    log.write(&back.payment_stream(), event, metadata);
}

fn close(log: &mut Log, back: &Order, status: order::Status) {
    let closed = order::Event::ReturnClosed(order::ReturnClosed {
        return_id: ID,
        status,
    });
    log.done(back, "close", closed, &[]);
    log.saga(back, Saga::Completed(recourse_saga::Completed {}));
}

/// Two of three teas go back.
fn returned(damage: Damage) -> (Log, Order) {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 3)]);
    log.fulfil(&order);
    let back = start(&mut log, &order, 2);
    if damage == Damage::NotRefunded {
        let repeat = payment::Event::RepeatAnswered(payment::RepeatAnswered {
            operation: payment::Operation::Refund(RefundId(ID.0)),
        });
        log.done(&back, "refund", repeat, &["restock/0"]);
    } else {
        intend_refund(&mut log, &back);
        let amount = if damage == Damage::RefundDiffers {
            eur(150)
        } else {
            eur(200)
        };
        let refunded = payment::Event::Refunded(payment::Refunded {
            refund: RefundId(ID.0),
            amount,
            reference: "ref".into(),
        });
        let at = log.outcome(&back, "refund", refunded);
        log.note(&back, "refund", at, Answer::Done, &["restock/0"]);
    }
    let mut held = back.held(0);
    if damage == Damage::OtherGoods {
        held.quantity = pieces(1);
    }
    let restocked = stock::Event::Restocked(held.clone());
    if damage == Damage::TwiceBack {
        let metadata = log.metadata();
        log.write(&back.stock_stream(0), restocked.clone(), metadata);
    }
    if matches!(damage, Damage::NotBack | Damage::LeftOut) {
        let repeat = stock::Event::RepeatAnswered(stock::RepeatAnswered {
            hold: held.hold,
            status: stock::HoldStatus::Restocked,
        });
        log.done(&back, "restock/0", repeat, &["close"]);
    } else {
        log.done(&back, "restock/0", restocked, &["close"]);
    }
    match damage {
        Damage::LeftOut => leave_out(&mut log, &back, "0", back.stock_stream(0)),
        Damage::NotTold => {
            leave_out(&mut log, &back, "", back.stream());
            let at = log.refuse(&back, "close", "no");
            let answer = Answer::from(Some(&refused("no")));
            log.note(&back, "close", at, answer, &[]);
            log.saga(&back, Saga::Completed(recourse_saga::Completed {}));
            return (log, order);
        }
        _ => {}
    }
    close(&mut log, &back, order::Status::PartiallyReturned);
    (log, order)
}

#[tokio::test]
async fn what_an_operator_leaves_out_of_a_return_is_no_breach() {
    for damage in [Damage::LeftOut, Damage::NotTold] {
        let report = check(&returned(damage).0).await;
        assert!(report.holds(), "{}", report.text());
        assert_eq!(report.exceptions.len(), 1);
    }
}

#[tokio::test]
async fn a_return_holds_and_is_counted() {
    let (log, _) = returned(Damage::None);
    let report = check(&log).await;
    assert!(report.holds(), "{}", report.text());
    assert_eq!(report.settled, 1);
    assert_eq!(
        report.orders,
        BTreeMap::from([("partially_returned".to_owned(), 1)])
    );
    let money = report.money["EUR"];
    assert_eq!(
        (money.captured, money.refunded, money.goods_kept),
        (300, 200, 100)
    );
    let stock = report.stock;
    assert_eq!(
        (stock.committed, stock.restocked, stock.on_hand),
        (3, 2, 199)
    );
}

#[tokio::test]
async fn each_damage_to_a_return_is_found() {
    for (damage, kind) in [
        (Damage::RefundDiffers, Kind::MoneyNotConserved),
        (Damage::NotRefunded, Kind::CapturedNotGoodsKept),
        (Damage::OtherGoods, Kind::GoodsNotOrder),
        (Damage::TwiceBack, Kind::RestockDoubled),
        (Damage::NotBack, Kind::GoodsNotOrder),
    ] {
        let (log, _) = returned(damage);
        let found = kinds(&log).await;
        assert!(found.contains(&kind), "{kind} is not in {found:?}");
    }
}

#[tokio::test]
async fn more_than_was_bought_or_for_another_price_is_found() {
    for (quantity, refund) in [(4, 400), (2, 201)] {
        let mut log = Log::new();
        let order = log.place("a", &[("tea", 3)]);
        log.fulfil(&order);
        let mut event = requested(&order, quantity);
        if let order::Event::ReturnRequested(requested) = &mut event {
            requested.refund = eur(refund);
        }
        log.client(&order.stream(), event);
        assert!(kinds(&log).await.contains(&Kind::IllegalEvent));
    }
}

#[tokio::test]
async fn a_return_that_no_saga_carries_out_or_that_stays_open_is_found() {
    let mut log = Log::new();
    let order = log.place("a", &[("tea", 3)]);
    log.fulfil(&order);
    log.client(&order.stream(), requested(&order, 1));
    let late = Options::new(noon() + TimeDelta::seconds(120));
    let found = run(log.store(), &[], &late).await.unwrap();
    assert_eq!(found.breaches[0].kind, Kind::OrderWithoutSaga);
    assert_eq!(found.settled, 0);

    let mut log = Log::new();
    let order = log.place("a", &[("tea", 3)]);
    log.fulfil(&order);
    start(&mut log, &order, 1);
    let found = run(log.store(), &[], &late).await.unwrap();
    assert_eq!(found.breaches[0].kind, Kind::OrderUnsettled);
}

#[tokio::test]
async fn a_return_that_is_rejected_holds_and_one_whose_end_its_saga_denies_is_found() {
    for is_rejected in [true, false] {
        let mut log = Log::new();
        let order = log.place("a", &[("tea", 3)]);
        log.fulfil(&order);
        let back = start(&mut log, &order, 1);
        let at = log.refuse(&back, "refund", "refund-refused");
        let answer = Answer::from(Some(&refused("refund-refused")));
        log.note(&back, "refund", at, answer, &["undo:accept"]);
        let withdrawn = order::Event::ReturnWithdrawn(order::ReturnMoved { return_id: ID });
        log.done(&back, "undo:accept", withdrawn, &["reject"]);
        if is_rejected {
            let rejected = order::Event::ReturnRejected(order::ReturnRejected {
                return_id: ID,
                reason: order::Reason {
                    code: "refund-refused".into(),
                    detail: "no".into(),
                },
            });
            log.done(&back, "reject", rejected, &[]);
        } else {
            let at = log.refuse(&back, "reject", "no");
            log.note(&back, "reject", at, Answer::from(Some(&refused("no"))), &[]);
        }
        log.saga(&back, Saga::Compensated(recourse_saga::Compensated {}));
        let found = kinds(&log).await;
        let expected: &[Kind] = if is_rejected {
            &[]
        } else {
            &[Kind::OrderSagaDisagree]
        };
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn what_a_client_was_told_of_a_return_is_held_against_the_log() {
    let (log, order) = returned(Damage::None);
    let told = |id: ReturnId, status: &str| Acknowledged::Return {
        return_id: id,
        order_id: OrderId(order.id),
        position: log.end(),
        status: Some(status.to_owned()),
    };
    for (line, kind) in [
        (told(ID, "closed"), None),
        (told(ID, "rejected"), Some(Kind::AcknowledgedDiffers)),
        (
            told(ReturnId(Uuid::from_u128(71)), "closed"),
            Some(Kind::AcknowledgedLost),
        ),
        (
            Acknowledged::Order {
                order_id: OrderId(order.id),
                position: log.end(),
                // As it was before anything was returned.
                status: Some("completed".to_owned()),
            },
            None,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acknowledged");
        Writer::open(&path).unwrap().write(&line).unwrap();
        let mut options = Options::new(noon());
        options.acknowledged = Some(path);
        let report = run(log.store(), &[], &options).await.unwrap();
        let found: Vec<Kind> = report.breaches_by_kind.into_keys().collect();
        assert_eq!(found, kind.into_iter().collect::<Vec<_>>());
    }
}

/// An operator undoes an order before its goods go out, and after.
#[tokio::test]
async fn a_reversal_holds_and_goods_that_were_never_out_do_not_come_back() {
    for is_out in [true, false] {
        let mut log = Log::new();
        let order = log.place("a", &[("tea", 3)]);
        log.up_to_commit(&order);
        if is_out {
            let committed = stock::Event::Committed(order.held(0));
            log.done(&order, "commit/0", committed, &["revoke"]);
        } else {
            let repeat = stock::Event::RepeatAnswered(stock::RepeatAnswered {
                hold: order.held(0).hold,
                status: stock::HoldStatus::Committed,
            });
            log.done(&order, "commit/0", repeat, &["revoke"]);
        }
        let revoked = order::Event::Revoked(order::Revoked {
            reason: order::Reason {
                code: "reversed".into(),
                detail: "fraud".into(),
            },
        });
        log.done(&order, "revoke", revoked, &["refund"]);
        intend_refund(&mut log, &order);
        let refunded = payment::Event::Refunded(payment::Refunded {
            refund: RefundId(ID.0),
            amount: eur(300),
            reference: "ref".into(),
        });
        let at = log.outcome(&order, "refund", refunded);
        log.note(&order, "refund", at, Answer::Done, &["restock/0"]);
        let restocked = stock::Event::Restocked(order.held(0));
        log.done(&order, "restock/0", restocked, &[]);
        log.saga(&order, Saga::Compensated(recourse_saga::Compensated {}));
        let found = kinds(&log).await;
        if is_out {
            assert_eq!(found, []);
        } else {
            assert!(found.contains(&Kind::HoldUnknown), "{found:?}");
        }
    }
}
