//! Several orders for the same two products at once, each driven by the commands of its saga in
//! their order: each attempt up to twice, interleaved at random with the other orders',
//! cancellations, and every outcome of the provider.

use proptest::prelude::*;
use recourse_domain::{
    CardToken, Currency, CustomerId, HoldId, Money, OrderId, PaymentId, Quantity, Sku, order,
    payment, stock,
};
use uuid::Uuid;

use crate::{
    books,
    money::settle,
    provider::{Fate, Mood, Provider, fates, moods},
};

const SKUS: [&str; 2] = ["tea-1", "cup-1"];

/// The quantity of each of the two lines.
type Lines = [u32; 2];

#[derive(Clone, Copy, Debug)]
enum Act {
    /// The saga of an order takes its next step, sent once or twice.
    Step { order: usize, twice: bool },
    /// The provider hears of what is due.
    Call {
        order: usize,
        fate: Fate,
        mood: Mood,
    },
    /// A request that was long under way arrives.
    Late { order: usize, mood: Mood },
    /// The client changes their mind.
    Cancel { order: usize },
}

fn acts() -> impl Strategy<Value = Act> {
    let order = || 0..3_usize;
    prop_oneof![
        8 => (order(), any::<bool>()).prop_map(|(order, twice)| Act::Step { order, twice }),
        6 => (order(), fates(), moods())
            .prop_map(|(order, fate, mood)| Act::Call { order, fate, mood }),
        1 => (order(), moods()).prop_map(|(order, mood)| Act::Late { order, mood }),
        1 => order().prop_map(|order| Act::Cancel { order }),
    ]
}

/// Where the saga of an order stands: what it sends next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Reserve(usize),
    Authorize,
    Confirm,
    Capture,
    Commit(usize),
    Complete,
    Void,
    Release(usize),
    Reject,
    Ended,
}

struct Saga {
    number: usize,
    lines: Lines,
    next: Next,
    order: books::Order,
    payment: books::Payment,
    provider: Provider,
}

impl Saga {
    fn new(number: usize, lines: Lines) -> Self {
        let mut order = books::Order::default();
        order
            .ask(&order::Command::Place(order::Place {
                order_id: OrderId(id(number)),
                payment_id: PaymentId(id(number)),
                customer_id: CustomerId(id(number)),
                lines: (0..2)
                    .map(|line| order::Line {
                        sku: Sku::parse(SKUS[line]).unwrap(),
                        quantity: Quantity::new(lines[line]).unwrap(),
                        unit_price: eur(100),
                    })
                    .collect(),
                payment: order::PaymentMethod::Card {
                    token: CardToken::new("tok_visa"),
                },
            }))
            .unwrap();
        Self {
            number,
            lines,
            next: Next::Reserve(0),
            order,
            payment: books::Payment::default(),
            // A capture refused for good is an operator's case.
            provider: Provider::that_captures_in_the_end(),
        }
    }

    fn total(&self) -> i64 {
        100 * i64::from(self.lines[0] + self.lines[1])
    }

    /// Sends the next command, and goes on where it is answered.
    fn step(&mut self, stocks: &mut [books::Stock; 2]) {
        self.next = match self.next {
            Next::Reserve(line) => {
                let reserve = stock::Command::Reserve(stock::Reserve {
                    hold: self.hold(line),
                    sku: Sku::parse(SKUS[line]).unwrap(),
                    quantity: Quantity::new(self.lines[line]).unwrap(),
                });
                match stocks[line].ask(&reserve) {
                    Ok(_) if line == 0 => Next::Reserve(1),
                    Ok(_) => Next::Authorize,
                    Err(_) => Next::Void,
                }
            }
            Next::Authorize => {
                let authorize = payment::Command::Authorize(payment::Authorize {
                    payment_id: PaymentId(id(self.number)),
                    order_id: OrderId(id(self.number)),
                    amount: eur(self.total()),
                    token: CardToken::new("tok_visa"),
                });
                self.pay(&authorize, Next::Confirm, Next::Void)
            }
            Next::Confirm => match self.order.ask(&order::Command::Confirm(order::Confirm {})) {
                Ok(_) => Next::Capture,
                Err(_) => Next::Void,
            },
            // Past the pivot nothing is given up: a refused capture is asked again, and one
            // that is refused for good needs attention.
            Next::Capture => {
                let capture = payment::Command::Capture(payment::Capture {});
                self.pay(&capture, Next::Commit(0), Next::Capture)
            }
            Next::Commit(line) => {
                let commit = stock::Command::Commit(stock::Commit {
                    hold: self.hold(line),
                });
                stocks[line].ask(&commit).unwrap();
                if line == 0 {
                    Next::Commit(1)
                } else {
                    Next::Complete
                }
            }
            Next::Complete => {
                let complete = order::Command::Complete(order::Complete::default());
                self.order.ask(&complete).unwrap();
                Next::Ended
            }
            Next::Void => {
                let void = payment::Command::Void(payment::Void {});
                self.pay(&void, Next::Release(0), Next::Void)
            }
            Next::Release(line) => {
                let release = stock::Command::Release(stock::Release {
                    hold: self.hold(line),
                });
                if let Err(refusal) = stocks[line].ask(&release) {
                    assert_eq!(refusal, stock::Refusal::NothingToUndo);
                }
                if line == 0 {
                    Next::Release(1)
                } else {
                    Next::Reject
                }
            }
            Next::Reject => {
                let reject = order::Command::Reject(order::Reject {
                    reason: order::Reason {
                        code: "out-of-stock".into(),
                        detail: "none left".into(),
                    },
                });
                if let Err(refusal) = self.order.ask(&reject) {
                    assert_eq!(refusal, order::Refusal::NothingToUndo);
                }
                Next::Ended
            }
            Next::Ended => Next::Ended,
        };
    }

    /// Asks the payment; goes on once the operation has its outcome.
    fn pay(&mut self, command: &payment::Command, done: Next, refused: Next) -> Next {
        match self.payment.ask(command) {
            Ok(events) if events.iter().any(|event| event.intent().is_some()) => self.next,
            Ok(_) => done,
            Err(payment::Refusal::NothingToUndo) => done,
            Err(_) => refused,
        }
    }

    fn call(&mut self, fate: Fate, mood: Mood) {
        let Some(call) = self.payment.call() else {
            return;
        };
        let record = self.provider.call(&call, fate, mood);
        let events = self.payment.ask(&record).unwrap();
        let declined = |event: &payment::Event| matches!(event, payment::Event::Declined(_));
        if self.next == Next::Authorize && events.iter().any(declined) {
            self.next = Next::Void;
        }
    }

    fn hold(&self, line: usize) -> HoldId {
        HoldId {
            saga: id(self.number),
            line: u32::try_from(line).unwrap(),
        }
    }
}

fn id(number: usize) -> Uuid {
    Uuid::from_u128(number as u128)
}

fn eur(amount_minor: i64) -> Money {
    Money {
        amount_minor,
        currency: Currency::parse("EUR").unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn every_order_ends_fully_done_or_fully_undone(
        lines in prop::array::uniform3(prop::array::uniform2(1..4_u32)),
        acts in prop::collection::vec(acts(), 1..120),
    ) {
        let mut stocks = [books::Stock::default(), books::Stock::default()];
        for (stock, name) in stocks.iter_mut().zip(SKUS) {
            stock.ask(&stock::Command::Receive(stock::Receive {
                sku: Sku::parse(name).unwrap(),
                quantity: Quantity::new(5).unwrap(),
                reference: "delivery".into(),
            })).unwrap();
        }
        let mut sagas: Vec<Saga> = lines
            .into_iter()
            .enumerate()
            .map(|(number, lines)| Saga::new(number, lines))
            .collect();
        for act in acts {
            match act {
                Act::Step { order, twice } => {
                    let saga = &mut sagas[order];
                    let here = saga.next;
                    saga.step(&mut stocks);
                    if twice && saga.next != here {
                        let there = std::mem::replace(&mut saga.next, here);
                        saga.step(&mut stocks);
                        prop_assert_eq!(saga.next, there, "a repeat is answered as the first");
                    }
                }
                Act::Call { order, fate, mood } => sagas[order].call(fate, mood),
                Act::Late { order, mood } => sagas[order].provider.late(mood),
                Act::Cancel { order } => {
                    let cancel = order::Command::Cancel(order::Cancel { reason: "why".into() });
                    let saga = &mut sagas[order];
                    if saga.order.ask(&cancel).is_ok() && !matches!(
                        saga.next,
                        Next::Void | Next::Release(_) | Next::Reject | Next::Ended
                    ) {
                        saga.next = Next::Void;
                    }
                }
            }
        }
        for saga in &mut sagas {
            for steps in 0.. {
                if saga.next == Next::Ended {
                    break;
                }
                prop_assert!(steps < 100, "the saga does not settle: {:?}", saga.next);
                saga.step(&mut stocks);
                let before = saga.payment.authorized;
                settle(&mut saga.payment, &mut saga.provider);
                prop_assert!(saga.payment.authorized >= before);
            }
            saga.provider.everything_arrives();
        }

        let mut committed = [0, 0];
        for saga in &sagas {
            let total = saga.total();
            let money = (saga.payment.authorized, saga.payment.captured, saga.payment.voided);
            let status = saga.order.state.status();
            if status == Some(order::Status::Completed) {
                prop_assert_eq!(money, (total, total, 0));
                committed[0] += i64::from(saga.lines[0]);
                committed[1] += i64::from(saga.lines[1]);
            } else {
                prop_assert!(matches!(
                    status,
                    Some(order::Status::Rejected | order::Status::Cancelled)
                ));
                prop_assert_eq!(money.1, 0);
                prop_assert_eq!(money.0, money.2);
            }
            let theirs = &saga.provider;
            prop_assert_eq!(money, (theirs.authorized, theirs.captured, theirs.voided));
        }
        for (stock, committed) in stocks.iter().zip(committed) {
            prop_assert!(stock.open.is_empty(), "no hold without an open saga");
            prop_assert_eq!(stock.committed, committed);
        }
    }
}
