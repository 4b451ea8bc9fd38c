//! One order that is completed, then returned and revoked: several returns at once, each driven
//! by the commands of its saga in their order, interleaved at random with one another, with an
//! operator's reversal and with every outcome of the provider.

use proptest::prelude::*;
use recourse_domain::{
    CardToken, Currency, CustomerId, HoldId, Money, OrderId, PaymentId, Quantity, RefundId,
    ReturnId, Sku, order, payment, stock,
};
use uuid::Uuid;

use crate::{
    books,
    money::settle,
    provider::{Fate, Mood, Provider, fates, moods},
};

const SKUS: [&str; 2] = ["tea-1", "cup-1"];
const BOUGHT: [u32; 2] = [3, 2];
const PRICES: [i64; 2] = [1_999, 500];
const TOTAL: i64 = 6_997;
/// The saga that fulfilled the order, whose id its reversal's refund has too.
const FULFILMENT: Uuid = Uuid::from_u128(1);

#[derive(Clone, Debug)]
enum Act {
    /// A client sends goods back.
    Request { number: u128, lines: [u32; 2] },
    /// A return goes on, its command sent once or twice.
    Step { number: usize, twice: bool },
    /// An operator undoes the order, or goes on undoing it.
    Reverse { twice: bool },
    /// The provider hears of the first or last of what is due.
    Call { fate: Fate, mood: Mood, last: bool },
    /// A request that was long under way arrives.
    Late(Mood),
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (0..4_u128, prop::array::uniform2(0..3_u32))
            .prop_map(|(number, lines)| Act::Request { number, lines }),
        8 => (0..4_usize, any::<bool>()).prop_map(|(number, twice)| Act::Step { number, twice }),
        1 => any::<bool>().prop_map(|twice| Act::Reverse { twice }),
        6 => (fates(), moods(), any::<bool>())
            .prop_map(|(fate, mood, last)| Act::Call { fate, mood, last }),
        1 => moods().prop_map(Act::Late),
    ]
}

/// What a saga sends next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Accept,
    Refund,
    Restock(usize),
    Close,
    Withdraw,
    Reject,
    Revoke,
    Ended,
}

/// A return's saga, or the reversal of the order's own.
struct Saga {
    id: Uuid,
    lines: Vec<order::ReturnLine>,
    refund: Option<Money>,
    next: Next,
}

struct World {
    order: books::Order,
    payment: books::Payment,
    provider: Provider,
    stocks: [books::Stock; 2],
    reversal: Saga,
}

fn eur(amount_minor: i64) -> Money {
    Money {
        amount_minor,
        currency: Currency::parse("EUR").unwrap(),
    }
}

fn sku(line: usize) -> Sku {
    Sku::parse(SKUS[line]).unwrap()
}

fn lines(of: [u32; 2]) -> Vec<order::ReturnLine> {
    (0..2)
        .filter_map(|line| {
            Some(order::ReturnLine {
                sku: sku(line),
                quantity: Quantity::new(of[line]).ok()?,
            })
        })
        .collect()
}

impl World {
    /// An order that is paid and delivered.
    fn completed() -> Self {
        let mut world = Self {
            order: books::Order::default(),
            payment: books::Payment::default(),
            // A reversal whose refund is refused for good is for people to settle.
            provider: Provider::that_refunds_in_the_end(RefundId(FULFILMENT)),
            stocks: [books::Stock::default(), books::Stock::default()],
            reversal: Saga {
                id: FULFILMENT,
                lines: lines(BOUGHT),
                refund: None,
                next: Next::Revoke,
            },
        };
        let place = order::Place {
            order_id: OrderId(FULFILMENT),
            payment_id: PaymentId(FULFILMENT),
            customer_id: CustomerId(FULFILMENT),
            lines: (0..2)
                .map(|line| order::Line {
                    sku: sku(line),
                    quantity: Quantity::new(BOUGHT[line]).unwrap(),
                    unit_price: eur(PRICES[line]),
                })
                .collect(),
            payment: order::PaymentMethod::Card {
                token: CardToken::new("tok_visa"),
            },
        };
        for command in [
            order::Command::Place(place),
            order::Command::Confirm(order::Confirm {}),
            order::Command::Complete(order::Complete::default()),
        ] {
            world.order.ask(&command).unwrap();
        }
        for command in [
            payment::Command::Authorize(payment::Authorize {
                payment_id: PaymentId(FULFILMENT),
                order_id: OrderId(FULFILMENT),
                amount: eur(TOTAL),
                token: CardToken::new("tok_visa"),
            }),
            payment::Command::Capture(payment::Capture {}),
        ] {
            world.payment.ask(&command).unwrap();
            settle(&mut world.payment, &mut world.provider);
        }
        for (line, stock) in world.stocks.iter_mut().enumerate() {
            let (hold, quantity) = (hold(FULFILMENT, line), Quantity::new(BOUGHT[line]).unwrap());
            for command in [
                stock::Command::Receive(stock::Receive {
                    sku: sku(line),
                    quantity: Quantity::new(5).unwrap(),
                    reference: "delivery".into(),
                }),
                stock::Command::Reserve(stock::Reserve {
                    hold,
                    sku: sku(line),
                    quantity,
                }),
                stock::Command::Commit(stock::Commit { hold }),
            ] {
                stock.ask(&command).unwrap();
            }
        }
        world
    }

    fn request(&mut self, number: u128, of: [u32; 2]) -> Option<Saga> {
        let id = Uuid::from_u128(100 + number);
        let request = order::Command::RequestReturn(order::RequestReturn {
            return_id: ReturnId(id),
            lines: lines(of),
            reason: "too bitter".into(),
        });
        let events = self.order.ask(&request).ok()?;
        let Some(order::Event::ReturnRequested(requested)) = events.into_iter().next() else {
            return None;
        };
        Some(Saga {
            id,
            lines: requested.lines,
            refund: Some(requested.refund),
            next: Next::Accept,
        })
    }

    /// Sends a saga's next command once or twice, and goes on where it is answered.
    fn step(&mut self, saga: &mut Saga, twice: bool) {
        let here = saga.next;
        saga.next = self.send(saga);
        if twice && saga.next != here {
            let there = std::mem::replace(&mut saga.next, here);
            assert_eq!(self.send(saga), there, "a repeat is answered as the first");
            saga.next = there;
        }
    }

    fn send(&mut self, saga: &Saga) -> Next {
        let return_id = ReturnId(saga.id);
        let mut tell = |command: order::Command, done: Next, refused: Option<Next>| {
            let asked = self.order.ask(&command);
            asked.map_or_else(|refusal| refused.ok_or(refusal).unwrap(), |_| done)
        };
        match saga.next {
            Next::Accept => tell(
                order::Command::AcceptReturn(order::AcceptReturn { return_id }),
                Next::Refund,
                None,
            ),
            Next::Revoke => tell(
                order::Command::Revoke(order::Revoke {
                    reason: "fraud".into(),
                }),
                Next::Refund,
                Some(Next::Revoke),
            ),
            Next::Close => tell(
                order::Command::CloseReturn(order::CloseReturn { return_id }),
                Next::Ended,
                None,
            ),
            Next::Withdraw => tell(
                order::Command::WithdrawReturn(order::WithdrawReturn { return_id }),
                Next::Reject,
                None,
            ),
            Next::Reject => tell(
                order::Command::RejectReturn(order::RejectReturn {
                    return_id,
                    reason: order::Reason {
                        code: "refund-refused".into(),
                        detail: "no".into(),
                    },
                }),
                Next::Ended,
                None,
            ),
            Next::Refund => {
                let refund = payment::Command::Refund(payment::Refund {
                    refund: RefundId(saga.id),
                    amount: saga.refund,
                });
                match self.payment.ask(&refund) {
                    Ok(events) if events.iter().any(|event| event.intent().is_some()) => {
                        Next::Refund
                    }
                    Ok(_) => Next::Restock(0),
                    Err(refusal) if refusal.is_final() => Next::Withdraw,
                    Err(_) => Next::Refund,
                }
            }
            Next::Restock(number) => {
                let line = &saga.lines[number];
                let at = SKUS
                    .iter()
                    .position(|name| *name == line.sku.as_str())
                    .unwrap();
                // A reversal's is keyed by the hold, a return's by its own line.
                let restock = stock::Command::Restock(stock::Restock {
                    hold: hold(saga.id, number),
                    sku: line.sku.clone(),
                    quantity: line.quantity,
                });
                self.stocks[at].ask(&restock).unwrap();
                match (number + 1 < saga.lines.len(), saga.refund) {
                    (true, _) => Next::Restock(number + 1),
                    (false, Some(_)) => Next::Close,
                    (false, None) => Next::Ended,
                }
            }
            Next::Ended => Next::Ended,
        }
    }

    fn call(&mut self, fate: Fate, mood: Mood, last: bool) {
        let mut calls: Vec<_> = self.payment.state.calls().collect();
        if calls.is_empty() {
            return;
        }
        let call = calls.remove(if last { calls.len() - 1 } else { 0 });
        let record = self.provider.call(&call, fate, mood);
        self.payment.ask(&record).unwrap();
    }
}

fn hold(saga: Uuid, line: usize) -> HoldId {
    HoldId {
        saga,
        line: u32::try_from(line).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn what_is_captured_and_not_refunded_pays_for_the_goods_that_are_kept(
        acts in prop::collection::vec(acts(), 1..100),
    ) {
        let mut world = World::completed();
        let mut sagas: Vec<Saga> = Vec::new();
        for act in acts {
            match act {
                Act::Request { number, lines } => sagas.extend(world.request(number, lines)),
                Act::Step { number, twice } => {
                    if let Some(saga) = sagas.get_mut(number) {
                        world.step(saga, twice);
                    }
                }
                Act::Reverse { twice } => {
                    let mut saga = std::mem::replace(&mut world.reversal, Saga {
                        id: FULFILMENT,
                        lines: Vec::new(),
                        refund: None,
                        next: Next::Ended,
                    });
                    world.step(&mut saga, twice);
                    world.reversal = saga;
                }
                Act::Call { fate, mood, last } => world.call(fate, mood, last),
                Act::Late(mood) => world.provider.late(mood),
            }
        }
        if world.reversal.next != Next::Revoke {
            prop_assert!(sagas.iter().all(|saga| saga.next == Next::Ended));
            let reversal = std::mem::replace(&mut world.reversal, Saga {
                id: FULFILMENT,
                lines: Vec::new(),
                refund: None,
                next: Next::Ended,
            });
            sagas.push(reversal);
        }
        for saga in &mut sagas {
            for steps in 0.. {
                if saga.next == Next::Ended {
                    break;
                }
                prop_assert!(steps < 20, "the saga does not settle: {:?}", saga.next);
                world.step(saga, false);
                settle(&mut world.payment, &mut world.provider);
            }
        }
        world.provider.everything_arrives();

        let status = world.order.state.status().unwrap();
        let kept = [0, 1].map(|line| {
            let back = world.order.back.get(&sku(line)).copied().unwrap_or_default();
            if status == order::Status::Cancelled { 0 } else { i64::from(BOUGHT[line]) - back }
        });
        let worth = kept[0] * PRICES[0] + kept[1] * PRICES[1];
        let (ours, theirs) = (&world.payment, &world.provider);
        prop_assert_eq!(ours.captured - ours.refunded, worth);
        prop_assert_eq!((ours.captured, ours.refunded), (theirs.captured, theirs.refunded));
        for (stock, kept) in world.stocks.iter().zip(kept) {
            prop_assert_eq!(stock.committed - stock.restocked, kept);
        }
        let expected = match (status, kept) {
            (order::Status::Cancelled, _) => order::Status::Cancelled,
            (_, [0, 0]) => order::Status::Returned,
            (_, kept) if kept == BOUGHT.map(i64::from) => order::Status::Completed,
            _ => order::Status::PartiallyReturned,
        };
        prop_assert_eq!(status, expected);
    }
}
