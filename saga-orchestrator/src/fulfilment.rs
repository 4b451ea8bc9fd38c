//! The saga `fulfilment`: from an order that is placed to one that is completed or rejected.
//!
//! ```text
//! order.placed ─▶ reserve-stock ─▶ authorize-payment ─▶ CONFIRM-ORDER ─▶ capture-payment
//!                 (each line)  ◀── undo, in reverse ─┘  (pivot)          ─▶ commit-stock (each line)
//!                      └▶ reject-order                                   ─▶ complete-order
//! ```
//!
//! The pivot is a decision of the order itself: a cancellation races with it in one stream, and
//! exactly one of them wins.

use std::time::Duration;

use recourse_domain::{
    CardToken, HoldId, Money, OrderId, PaymentId, Quantity, Sku, order, payment, stock,
};
use recourse_event_store::{RecordedEvent, StreamName, typed};
use recourse_saga::{
    Backoff, BuildError, Cancel, Definition, Ids, Outgoing, Reason, closing, compensatable, pivot,
    retriable,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The definition's name.
pub const NAME: &str = "fulfilment";

/// What the saga works on. Holds the card's token, as the authorization needs it: secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    /// The order.
    pub order_id: OrderId,
    /// Its payment.
    pub payment_id: PaymentId,
    /// What it costs.
    pub total: Money,
    /// The card that pays.
    pub token: CardToken,
    /// What is ordered; a line's number is its place here.
    pub lines: Vec<Line>,
}

/// A line of the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Which product.
    pub sku: Sku,
    /// How many of it.
    pub quantity: Quantity,
}

impl From<&order::Placed> for Input {
    fn from(placed: &order::Placed) -> Self {
        let order::PaymentMethod::Card { token } = &placed.payment;
        Self {
            order_id: placed.order_id,
            payment_id: placed.payment_id,
            total: placed.total,
            token: token.clone(),
            lines: placed
                .lines
                .iter()
                .map(|line| Line {
                    sku: line.sku.clone(),
                    quantity: line.quantity,
                })
                .collect(),
        }
    }
}

/// How long a saga waits for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// How long a command may stay unanswered before it is overdue.
    pub step_timeout_ms: u64,
    /// How long the saga may take before it needs attention.
    pub deadline_ms: u64,
    /// How often a command is sent at most that can never take effect or was refused for now.
    pub max_attempts: u32,
    /// The wait before the second attempt; it doubles with each.
    pub first_backoff_ms: u64,
    /// The longest wait between attempts.
    pub max_backoff_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            step_timeout_ms: 10_000,
            deadline_ms: 60_000,
            max_attempts: 8,
            first_backoff_ms: 200,
            max_backoff_ms: 10_000,
        }
    }
}

impl Timing {
    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    /// A step with these times.
    pub(crate) fn of<I>(&self, step: recourse_saga::Step<I>) -> recourse_saga::Step<I> {
        step.timeout(Duration::from_millis(self.step_timeout_ms))
            .max_attempts(self.max_attempts)
            .backoff(Backoff {
                first: Duration::from_millis(self.first_backoff_ms),
                max: Duration::from_millis(self.max_backoff_ms),
            })
    }
}

/// The definition.
///
/// # Errors
/// [`BuildError::Bounds`] where the timing leaves a step no time or no attempt.
pub fn definition(timing: &Timing) -> Result<Definition, BuildError> {
    let timed = |step| timing.of(step);
    Definition::builder::<Input>(NAME, 1)
        .deadline(timing.deadline())
        .starts(starts)
        .cancels(cancels)
        .step(timed(
            compensatable("reserve-stock", reserve_stock, release_stock).fans_out(),
        ))
        .step(timed(compensatable(
            "authorize-payment",
            authorize_payment,
            void_payment,
        )))
        .step(timed(pivot("confirm-order", confirm_order)))
        .step(timed(
            retriable("capture-payment", capture_payment).takes_over("authorize-payment"),
        ))
        .step(timed(
            retriable("commit-stock", commit_stock)
                .fans_out()
                .takes_over("reserve-stock"),
        ))
        .step(timed(retriable("complete-order", complete_order)))
        .when_undone(timed(closing("reject-order", reject_order)))
        .build()
}

fn starts(event: &RecordedEvent) -> Result<Option<(Input, Uuid)>, typed::Error> {
    if &*event.event.event_type != "order.placed.v1" {
        return Ok(None);
    }
    let event = event.decode::<order::Event>()?;
    Ok(match &*event {
        order::Event::Placed(placed) => Some((Input::from(placed), placed.order_id.0)),
        _ => None,
    })
}

fn cancels(event: &RecordedEvent) -> Result<Option<Cancel>, typed::Error> {
    if &*event.event.event_type != "order.cancelled.v1" {
        return Ok(None);
    }
    Ok(Some(Cancel {
        correlation: event.metadata()?.correlation_id,
    }))
}

type Commands = Result<Vec<Outgoing>, typed::Error>;

/// One command to the stock of each line, about the hold of that line.
fn each_line(
    input: &Input,
    ids: &Ids,
    command: impl Fn(&Line, HoldId) -> stock::Command,
) -> Commands {
    (0_u32..)
        .zip(&input.lines)
        .map(|(number, line)| {
            let hold = HoldId {
                saga: ids.saga,
                line: number,
            };
            let target = StreamName::new("stock", &line.sku);
            Ok(Outgoing::new(target, &command(line, hold))?.item(number))
        })
        .collect()
}

fn to_payment(input: &Input, command: &payment::Command) -> Commands {
    let target = StreamName::new("payment", input.payment_id);
    Ok(vec![Outgoing::new(target, command)?])
}

fn to_order(input: &Input, command: &order::Command) -> Commands {
    let target = StreamName::new("order", input.order_id);
    Ok(vec![Outgoing::new(target, command)?])
}

// reserve-stock: goods first, for a refusal here costs nobody anything.

fn reserve_stock(input: &Input, ids: &Ids) -> Commands {
    each_line(input, ids, |line, hold| {
        stock::Command::Reserve(stock::Reserve {
            hold,
            sku: line.sku.clone(),
            quantity: line.quantity,
        })
    })
}

fn release_stock(input: &Input, ids: &Ids) -> Commands {
    each_line(input, ids, |_, hold| {
        stock::Command::Release(stock::Release { hold })
    })
}

// authorize-payment: money is reserved only for goods that are held.

fn authorize_payment(input: &Input, _: &Ids) -> Commands {
    to_payment(
        input,
        &payment::Command::Authorize(payment::Authorize {
            payment_id: input.payment_id,
            order_id: input.order_id,
            amount: input.total,
            token: input.token.clone(),
        }),
    )
}

fn void_payment(input: &Input, _: &Ids) -> Commands {
    to_payment(input, &payment::Command::Void(payment::Void {}))
}

// confirm-order: the point of no return. From here on everything can succeed, for the goods
// are held and the money is reserved.

fn confirm_order(input: &Input, _: &Ids) -> Commands {
    to_order(input, &order::Command::Confirm(order::Confirm {}))
}

fn capture_payment(input: &Input, _: &Ids) -> Commands {
    to_payment(input, &payment::Command::Capture(payment::Capture {}))
}

// commit-stock: the goods go out once they are paid.

fn commit_stock(input: &Input, ids: &Ids) -> Commands {
    each_line(input, ids, |_, hold| {
        stock::Command::Commit(stock::Commit { hold })
    })
}

fn complete_order(input: &Input, _: &Ids) -> Commands {
    to_order(input, &order::Command::Complete(order::Complete {}))
}

// reject-order: the client hears why. A cancelled order has its end already; where the saga
// does not know that yet, the order's answer is that there is nothing to undo.

fn reject_order(input: &Input, _: &Ids, reason: &Reason) -> Commands {
    if reason.code == Reason::CANCELLED {
        return Ok(Vec::new());
    }
    to_order(
        input,
        &order::Command::Reject(order::Reject {
            reason: order::Reason {
                code: reason.code.clone(),
                detail: reason.detail.clone(),
            },
        }),
    )
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use recourse_domain::{Currency, CustomerId};
    use recourse_event_store::{LogId, Metadata, NewEvent, Position};
    use recourse_saga::{Answer, Event, SentCommand, State, Status, react};

    use super::*;

    const ORDER: OrderId = OrderId(Uuid::from_u128(1));
    const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(2));
    const LOG: LogId = LogId(Uuid::nil());

    fn euros(amount_minor: i64) -> Money {
        Money {
            amount_minor,
            currency: Currency::parse("EUR").unwrap(),
        }
    }

    fn placed() -> order::Placed {
        let line = |sku, quantity| order::Line {
            sku: Sku::parse(sku).unwrap(),
            quantity: Quantity::new(quantity).unwrap(),
            unit_price: euros(100),
        };
        order::Placed {
            order_id: ORDER,
            payment_id: PAYMENT,
            customer_id: CustomerId(Uuid::from_u128(3)),
            lines: vec![line("tea-1", 2), line("cup-7", 1)],
            total: euros(300),
            payment: order::PaymentMethod::Card {
                token: CardToken::new("tok_visa"),
            },
        }
    }

    fn recorded(event: order::Event) -> RecordedEvent {
        let stream = StreamName::new("order", ORDER);
        let metadata = Metadata::new(ORDER.0, Uuid::nil(), DateTime::UNIX_EPOCH, LOG);
        NewEvent::encode(event, metadata, &stream, 0)
            .unwrap()
            .record(Position::dense(1), stream, 0)
    }

    /// The saga of the order, and what it says to what it hears.
    struct Talk {
        definition: Definition,
        state: State,
        sent: Vec<SentCommand>,
    }

    impl Talk {
        fn started() -> Self {
            let definition = definition(&Timing::default()).unwrap();
            let event = recorded(order::Event::Placed(placed()));
            let start = definition.starts(&event).unwrap().unwrap();
            let saga = definition.saga_id(event.event.id);
            let mut talk = Self {
                definition,
                state: State::new(saga),
                sent: Vec::new(),
            };
            talk.hear(recourse_saga::Input::Start { input: start.input });
            talk
        }

        fn hear(&mut self, input: recourse_saga::Input) {
            let now = DateTime::UNIX_EPOCH;
            let events = react(&self.definition, &self.state, input, now).unwrap();
            for event in &events {
                self.state.apply(event, now);
            }
            self.sent = events.iter().flat_map(Event::commands).cloned().collect();
        }

        /// Every open command gets this answer, in the order in which they were sent.
        fn all(&mut self, answer: &Answer) -> Vec<(String, String)> {
            let open: Vec<Uuid> = self.state.open_commands().map(|sent| sent.id).collect();
            for command in open {
                self.hear(recourse_saga::Input::Answer {
                    command,
                    answer: answer.clone(),
                    position: Position::dense(9),
                });
            }
            self.commands()
        }

        fn commands(&self) -> Vec<(String, String)> {
            self.sent
                .iter()
                .map(|sent| {
                    let target = sent.command.target.to_string();
                    (sent.command.command_type.clone(), target)
                })
                .collect()
        }
    }

    fn sent(command: &str, targets: &[&str]) -> Vec<(String, String)> {
        targets
            .iter()
            .map(|target| (command.to_owned(), (*target).to_owned()))
            .collect()
    }

    fn refused(code: &str) -> Answer {
        Answer::Refused {
            code: code.to_owned(),
            detail: "no".to_owned(),
            is_final: true,
        }
    }

    fn stocks() -> [&'static str; 2] {
        ["stock-tea-1", "stock-cup-7"]
    }

    #[test]
    fn an_order_is_reserved_authorized_confirmed_captured_committed_and_completed() {
        let (order, payment) = (format!("order-{ORDER}"), format!("payment-{PAYMENT}"));
        let mut talk = Talk::started();
        assert_eq!(talk.commands(), sent("stock.reserve", &stocks()));
        let done = Answer::Done;
        assert_eq!(talk.all(&done), sent("payment.authorize", &[&payment]));
        assert_eq!(talk.all(&done), sent("order.confirm", &[&order]));
        assert_eq!(talk.all(&done), sent("payment.capture", &[&payment]));
        assert_eq!(talk.all(&done), sent("stock.commit", &stocks()));
        assert_eq!(talk.all(&done), sent("order.complete", &[&order]));
        assert_eq!(talk.all(&done), []);
        assert_eq!(talk.state.status(), Status::Completed);
    }

    #[test]
    fn an_order_that_is_not_paid_for_is_released_and_rejected_with_the_reason() {
        let mut talk = Talk::started();
        talk.all(&Answer::Done);
        let declined = refused("payment-declined");
        assert_eq!(talk.all(&declined), sent("stock.release", &stocks()));
        let order = format!("order-{ORDER}");
        assert_eq!(talk.all(&Answer::Done), sent("order.reject", &[&order]));
        let reject: order::Reject = talk.sent[0].command.data.read().unwrap();
        assert_eq!(reject.reason.code, "payment-declined");
        talk.all(&Answer::Done);
        assert_eq!(talk.state.status(), Status::Compensated);
    }

    #[test]
    fn a_cancelled_order_is_undone_and_not_rejected_besides() {
        let mut talk = Talk::started();
        talk.all(&Answer::Done);
        talk.hear(recourse_saga::Input::Cancelled {
            position: Position::dense(5),
        });
        let payment = format!("payment-{PAYMENT}");
        assert_eq!(talk.commands(), sent("payment.void", &[&payment]));
        assert_eq!(talk.all(&Answer::Done), sent("stock.release", &stocks()));
        assert_eq!(talk.all(&Answer::Done), []);
        assert_eq!(talk.state.status(), Status::Compensated);
    }

    #[test]
    fn what_the_order_knows_already_counts_as_rejected() {
        let mut talk = Talk::started();
        talk.all(&refused("out-of-stock"));
        assert_eq!(talk.commands().len(), 1);
        talk.all(&refused("nothing-to-undo"));
        assert_eq!(talk.state.status(), Status::Compensated);
    }

    #[test]
    fn a_capture_that_is_refused_for_good_leaves_all_but_the_capture_to_undo() {
        let mut talk = Talk::started();
        for _ in 0..3 {
            talk.all(&Answer::Done);
        }
        talk.all(&refused("capture-refused"));
        assert_eq!(talk.state.status(), Status::NeedsAttention);
        let plan: Vec<_> = talk
            .state
            .undo_plan()
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = [
            "confirm-order",
            "authorize-payment",
            "reserve-stock 0",
            "reserve-stock 1",
        ];
        assert_eq!(plan, expected);
    }

    #[test]
    fn a_hold_is_named_by_saga_and_line_and_the_money_by_the_order() {
        let mut talk = Talk::started();
        let saga = talk.state.saga();
        let reserve: stock::Reserve = talk.sent[1].command.data.read().unwrap();
        assert_eq!(reserve.hold, HoldId { saga, line: 1 });
        assert_eq!((reserve.sku.as_str(), reserve.quantity.get()), ("cup-7", 1));
        talk.all(&Answer::Done);
        let authorize: payment::Authorize = talk.sent[0].command.data.read().unwrap();
        assert_eq!((authorize.order_id, authorize.amount), (ORDER, euros(300)));
    }

    #[test]
    fn a_placed_order_starts_it_a_cancelled_one_ends_it_and_nothing_else_does_either() {
        let definition = definition(&Timing::default()).unwrap();
        let placed = recorded(order::Event::Placed(placed()));
        let cancelled = recorded(order::Event::Cancelled(order::Cancelled {
            reason: "no".to_owned(),
        }));
        let start = definition.starts(&placed).unwrap().unwrap();
        assert_eq!(start.correlation, ORDER.0);
        assert_eq!(definition.cancels(&placed).unwrap(), None);
        assert_eq!(definition.starts(&cancelled).unwrap(), None);
        let correlation = ORDER.0;
        assert_eq!(
            definition.cancels(&cancelled).unwrap(),
            Some(Cancel { correlation })
        );
    }

    #[test]
    fn a_timing_that_leaves_no_time_is_refused() {
        let timing = Timing {
            step_timeout_ms: 0,
            ..Timing::default()
        };
        assert!(matches!(definition(&timing), Err(BuildError::Bounds(_))));
    }
}
