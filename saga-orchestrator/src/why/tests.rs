//! What an operator reads of sagas in every state that they can be in.

use chrono::{TimeDelta, TimeZone};
use recourse_domain::{
    CardToken, Currency, CustomerId, Money, OrderId, PaymentId, Quantity, RefundId, ReturnId, Sku,
    payment,
};
use recourse_event_store::{
    Answered, Append, EventStore, ExpectedRevision, LogId, Metadata, NewEvent, Position,
    StreamName, Taken, memory,
};
use recourse_saga::{
    Action, Answer, By, Finding, Input, Parked, SkipResult, Timer, act, react, saga_id,
};
use serde::Serialize;

use super::*;
use crate::{definitions, fulfilment, returns};

const ORDER: OrderId = OrderId(Uuid::from_u128(1));
const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(2));
const RETURN: ReturnId = ReturnId(Uuid::from_u128(3));
const LOG: LogId = LogId(Uuid::nil());

/// A log with one order, and the sagas that are driven by hand.
struct World {
    store: memory::Store,
    definitions: Vec<Arc<Definition>>,
    sagas: Vec<State>,
    now: DateTime<Utc>,
}

impl World {
    /// An order of two lines, whose saga has just begun.
    async fn placed() -> Self {
        Self::placed_with(&[("tea-1", 2), ("cup-7", 1)]).await
    }

    /// An order of these, at 19.99 EUR each, whose saga has just begun.
    async fn placed_with(lines: &[(&str, u32)]) -> Self {
        let mut world = Self {
            store: memory::Store::new(LOG),
            definitions: definitions(&fulfilment::Timing::default()).unwrap(),
            sagas: Vec::new(),
            now: Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap(),
        };
        let line = |(sku, quantity): &(&str, u32)| order::Line {
            sku: Sku::parse(sku).unwrap(),
            quantity: Quantity::new(*quantity).unwrap(),
            unit_price: euros(1999),
        };
        let placed = order::Event::Placed(order::Placed {
            order_id: ORDER,
            payment_id: PAYMENT,
            customer_id: CustomerId(Uuid::nil()),
            lines: lines.iter().map(line).collect(),
            total: euros(
                1999 * lines
                    .iter()
                    .map(|(_, count)| i64::from(*count))
                    .sum::<i64>(),
            ),
            payment: order::PaymentMethod::Card {
                token: CardToken::new("tok_secret"),
            },
        });
        let mut metadata = world.metadata();
        metadata.request_id = Some("checkout-81".to_owned());
        let stream = StreamName::new("order", ORDER);
        let event = world.append(&stream, placed, metadata).await;
        world.start(&event).await;
        world
    }

    /// The saga that an event starts.
    async fn start(&mut self, event: &RecordedEvent) {
        self.wait(1);
        for definition in self.definitions.clone() {
            if let Some(start) = definition.starts(event).unwrap() {
                let saga = State::new(definition.saga_id(event.event.id));
                let input = Input::Start { input: start.input };
                let started = react(&definition, &saga, input, self.now).unwrap();
                self.sagas.push(saga);
                self.happens(started).await;
            }
        }
    }

    fn metadata(&self) -> Metadata {
        Metadata::new(ORDER.0, Uuid::nil(), self.now, LOG)
    }

    fn wait(&mut self, ms: i64) {
        self.now += TimeDelta::milliseconds(ms);
    }

    async fn append<E: Serialize + Clone + Send + Sync + 'static>(
        &self,
        stream: &StreamName,
        event: E,
        metadata: Metadata,
    ) -> Arc<RecordedEvent> {
        let read = self.all(stream).await;
        let revision = read.last().map(|last| last.revision);
        let event = NewEvent::encode(event, metadata, stream, read.len()).unwrap();
        let append = Append {
            stream: stream.clone(),
            expected: ExpectedRevision::after(revision),
            events: vec![event],
        };
        let appended = self.store.append(vec![append]).await.pop().unwrap();
        appended.unwrap();
        Arc::clone(self.all(stream).await.last().unwrap())
    }

    async fn all(&self, stream: &StreamName) -> Vec<Arc<RecordedEvent>> {
        let (forward, seen) = (
            recourse_event_store::Direction::Forward,
            recourse_event_store::Visibility::Durable,
        );
        let read = self.store.read_stream(stream, None, forward, seen, 1_000);
        read.await.unwrap()
    }

    /// The saga that began last.
    fn saga(&self) -> &State {
        self.sagas.last().unwrap()
    }

    fn definition(&self) -> &Definition {
        let mut all = self.definitions.iter();
        let name = self.saga().definition();
        all.find(|its| its.name() == name).unwrap()
    }

    async fn happens(&mut self, events: Vec<Event>) {
        for event in events {
            let stream = Definition::stream(self.saga().saga());
            let metadata = self.metadata();
            self.append(&stream, event.clone(), metadata).await;
            let now = self.now;
            self.sagas.last_mut().unwrap().apply(&event, now);
        }
    }

    async fn hear(&mut self, input: Input) {
        let events = react(self.definition(), self.saga(), input, self.now).unwrap();
        self.happens(events).await;
    }

    /// An operator acts.
    async fn act(&mut self, action: Action, reason: &str) {
        let by = By {
            actor: "ines".to_owned(),
            reason: reason.to_owned(),
        };
        let events = act(self.definition(), self.saga(), &action, &by, self.now).unwrap();
        self.happens(events).await;
    }

    /// Every open command is answered, a millisecond later each.
    async fn all_answer(&mut self, answer: &Answer) {
        let open: Vec<Uuid> = self.saga().open_commands().map(|sent| sent.id).collect();
        for command in open {
            self.wait(1);
            let answer = answer.clone();
            let position = Position::dense(9);
            self.hear(Input::Answer {
                command,
                answer,
                position,
            })
            .await;
        }
    }

    async fn steps_are_done(&mut self, steps: usize) {
        for _ in 0..steps {
            self.all_answer(&Answer::Done).await;
        }
    }

    /// What the payment says to the command that is open.
    async fn payment(&mut self, event: payment::Event) {
        self.wait(1);
        let sent = self.saga().open_commands().next().unwrap();
        let answered = Answered {
            command: sent.id,
            saga: Definition::stream(self.saga().saga()),
        };
        let mut metadata = self.metadata();
        if event.intent().is_some() {
            metadata.takes = Some(Taken {
                answered,
                operation: "any".to_owned(),
            });
        } else if event.outcome().is_some() {
            metadata.answers.push(answered);
        }
        let stream = StreamName::new("payment", PAYMENT);
        self.append(&stream, event, metadata).await;
    }

    /// The next thing that time asks for, when it does, where the target has not answered.
    async fn time_comes(&mut self) {
        let (at, timer) = self.saga().next_due().unwrap();
        self.now = at;
        let finding = Finding::Waiting;
        self.hear(match timer {
            Timer::Overdue(command) => Input::Overdue { command, finding },
            Timer::Resend(command) => Input::BackoffOver { command },
            Timer::Deadline => Input::DeadlinePassed,
        })
        .await;
    }

    async fn order(&mut self, event: order::Event, is_answer: bool) -> Arc<RecordedEvent> {
        self.wait(1);
        let mut metadata = self.metadata();
        if is_answer {
            metadata.answers.push(Answered {
                command: Uuid::nil(),
                saga: Definition::stream(self.saga().saga()),
            });
        }
        let stream = StreamName::new("order", ORDER);
        self.append(&stream, event, metadata).await
    }

    /// What is told of the saga that began last.
    async fn why(&self) -> Why {
        let (store, up_to) = (&self.store, self.store.durable());
        let saga = self.saga().saga();
        let history = History::of_saga(store, &self.definitions, saga, up_to);
        tell(&history.await.unwrap().unwrap(), &self.definitions).unwrap()
    }

    /// What is told of the order.
    async fn why_the_order(&self) -> Why {
        let (store, up_to) = (&self.store, self.store.durable());
        let history = History::of_order(store, &self.definitions, ORDER.0, up_to);
        tell(&history.await.unwrap().unwrap(), &self.definitions).unwrap()
    }

    /// The text, with names for the ids and without the day.
    fn readable(&self, why: &Why) -> String {
        let mut text = why.text.replace("2026-03-01T", "");
        for (at, saga) in self.sagas.iter().enumerate() {
            let id = saga.saga().to_string();
            let short = id.split('-').next().unwrap().to_owned();
            text = text.replace(&id, &format!("SAGA{}", at + 1));
            text = text.replace(&short, &format!("S{}", at + 1));
        }
        text.replace(&ORDER.to_string(), "ORDER")
            .replace(&PAYMENT.to_string(), "PAYMENT")
    }
}

fn euros(amount_minor: i64) -> Money {
    Money {
        amount_minor,
        currency: Currency::parse("EUR").unwrap(),
    }
}

fn refused(code: &str, detail: &str) -> Answer {
    Answer::Refused {
        code: code.to_owned(),
        detail: detail.to_owned(),
        is_final: true,
    }
}

fn declined(code: &str, detail: &str) -> payment::Declined {
    payment::Declined {
        code: code.to_owned(),
        detail: detail.to_owned(),
        is_final: true,
    }
}

fn applied() -> payment::Applied {
    payment::Applied {
        amount: euros(5997),
        reference: "sim_1".to_owned(),
    }
}

fn authorization() -> payment::Event {
    payment::Event::AuthorizationRequested(payment::AuthorizationRequested {
        payment_id: PAYMENT,
        order_id: ORDER,
        amount: euros(5997),
        token: CardToken::new("tok_secret"),
        key: Uuid::nil(),
        ordinal: 0,
    })
}

fn requested() -> payment::Requested {
    payment::Requested {
        key: Uuid::nil(),
        ordinal: 0,
    }
}

#[track_caller]
fn reads(world: &World, why: &Why, expected: &str) {
    let text = world.readable(why);
    let expected = expected.trim_start_matches('\n');
    assert_eq!(text, expected, "\n{text}");
    assert!(!why.text.contains("tok_secret"));
}

#[tokio::test]
async fn of_a_completed_order_the_chain_is_told_from_the_request_to_the_end() {
    let mut world = World::placed().await;
    world.steps_are_done(1).await;
    world.payment(authorization()).await;
    world.payment(payment::Event::Authorized(applied())).await;
    world.steps_are_done(2).await;
    world
        .order(order::Event::Confirmed(order::Confirmed {}), true)
        .await;
    world
        .payment(payment::Event::CaptureRequested(requested()))
        .await;
    world.payment(payment::Event::Captured(applied())).await;
    world.steps_are_done(3).await;
    world
        .order(order::Event::Completed(order::Completed::default()), true)
        .await;
    let why = world.why().await;
    reads(
        &world,
        &why,
        r#"
12:00:00.000Z  a client orders 2 of tea-1, 1 of cup-7 for 59.97 EUR, by request checkout-81
12:00:00.001Z  the saga fulfilment begins and has until 12:01:00.001Z to end
12:00:00.001Z  reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.002Z  reserve-stock 0 is done
12:00:00.003Z  reserve-stock 1 is done
12:00:00.003Z  authorize-payment is asked of payment-PAYMENT
12:00:00.004Z  the payment provider is asked to reserve 59.97 EUR
12:00:00.005Z  the payment provider has reserved 59.97 EUR, as sim_1
12:00:00.006Z  authorize-payment is done
12:00:00.006Z  confirm-order is asked of order-ORDER
12:00:00.007Z  confirm-order is done: the point of no return is passed
12:00:00.007Z  capture-payment is asked of payment-PAYMENT
12:00:00.009Z  the payment provider is asked to take the money
12:00:00.010Z  the payment provider has taken 59.97 EUR, as sim_1
12:00:00.011Z  capture-payment is done
12:00:00.011Z  commit-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.012Z  commit-stock 0 is done
12:00:00.013Z  commit-stock 1 is done
12:00:00.013Z  complete-order is asked of order-ORDER
12:00:00.014Z  complete-order is done
12:00:00.014Z  the saga is completed: everything is done

now   order ORDER is completed
      the saga fulfilment SAGA1 is completed
      nothing is awaited
"#,
    );
}

#[tokio::test]
async fn of_a_declined_order_it_is_told_why_and_that_all_is_undone() {
    let mut world = World::placed().await;
    world.steps_are_done(1).await;
    world.payment(authorization()).await;
    let no = declined("payment-declined", "the card was declined");
    world.payment(payment::Event::Declined(no)).await;
    world
        .all_answer(&refused("payment-declined", "the card was declined"))
        .await;
    world.steps_are_done(2).await;
    let reason = order::Reason {
        code: "payment-declined".to_owned(),
        detail: "the card was declined".to_owned(),
    };
    world
        .order(order::Event::Rejected(order::Rejected { reason }), true)
        .await;
    let why = world.why().await;
    reads(
        &world,
        &why,
        r#"
12:00:00.000Z  a client orders 2 of tea-1, 1 of cup-7 for 59.97 EUR, by request checkout-81
12:00:00.001Z  the saga fulfilment begins and has until 12:01:00.001Z to end
12:00:00.001Z  reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.002Z  reserve-stock 0 is done
12:00:00.003Z  reserve-stock 1 is done
12:00:00.003Z  authorize-payment is asked of payment-PAYMENT
12:00:00.004Z  the payment provider is asked to reserve 59.97 EUR
12:00:00.005Z  the payment provider refuses to reserve the money (payment-declined): the card was declined
12:00:00.006Z  authorize-payment is refused (payment-declined): the card was declined; the saga turns back
12:00:00.006Z  the undo of reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.007Z  the undo of reserve-stock 0 is done
12:00:00.008Z  the undo of reserve-stock 1 is done
12:00:00.008Z  reject-order is asked of order-ORDER
12:00:00.009Z  reject-order is done
12:00:00.009Z  the saga is compensated: everything that it did is undone

now   order ORDER is rejected (payment-declined): the card was declined
      the saga fulfilment SAGA1 is compensated: it went back, because of payment-declined (the card was declined)
      nothing is awaited
"#,
    );
}

#[tokio::test]
async fn before_the_point_of_no_return_a_time_that_is_over_turns_the_saga_back() {
    let mut world = World::placed().await;
    world.steps_are_done(1).await;
    world.payment(authorization()).await;
    let unknown = payment::Unknown {
        operation: payment::Operation::Authorize,
        detail: "no answer within 1000 ms".to_owned(),
        given_up: false,
    };
    world.payment(payment::Event::Unknown(unknown)).await;
    let why = world.why().await;
    reads(
        &world,
        &why,
        r#"
12:00:00.000Z  a client orders 2 of tea-1, 1 of cup-7 for 59.97 EUR, by request checkout-81
12:00:00.001Z  the saga fulfilment begins and has until 12:01:00.001Z to end
12:00:00.001Z  reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.002Z  reserve-stock 0 is done
12:00:00.003Z  reserve-stock 1 is done
12:00:00.003Z  authorize-payment is asked of payment-PAYMENT
12:00:00.004Z  the payment provider is asked to reserve 59.97 EUR
12:00:00.005Z  the payment provider gives no clear answer (no answer within 1000 ms): it may have done it or not, and is asked to reserve the money again under the same key until it says which

now   order ORDER is pending
      the saga fulfilment SAGA1 goes forward
      left to do: authorize-payment, confirm-order, capture-payment, commit-stock, complete-order
      waits for the answer of payment-PAYMENT to authorize-payment (the
                payment provider gave no clear answer and is asked again and again to reserve the
                money)
      until     12:00:10.003Z
      then      the saga looks into payment-PAYMENT: an answer there
                counts, and a command that never arrived is sent again. Otherwise the saga turns
                back: it undoes authorize-payment, then reserve-stock 0, 1 and ends with
                reject-order. At 12:01:00.001Z the saga needs attention if it has not
                ended
"#,
    );
    // And that is what happens then.
    world.time_comes().await;
    let why = world.why().await;
    let after = world.readable(&why);
    assert!(after.contains("authorize-payment was not answered in time; the saga turns back"));
}

#[tokio::test]
async fn past_the_point_of_no_return_a_time_that_is_over_only_makes_it_overdue() {
    let mut world = World::placed().await;
    world.steps_are_done(3).await;
    let why = world.why().await;
    reads(
        &world,
        &why,
        r#"
12:00:00.000Z  a client orders 2 of tea-1, 1 of cup-7 for 59.97 EUR, by request checkout-81
12:00:00.001Z  the saga fulfilment begins and has until 12:01:00.001Z to end
12:00:00.001Z  reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.002Z  reserve-stock 0 is done
12:00:00.003Z  reserve-stock 1 is done
12:00:00.003Z  authorize-payment is asked of payment-PAYMENT
12:00:00.004Z  authorize-payment is done
12:00:00.004Z  confirm-order is asked of order-ORDER
12:00:00.005Z  confirm-order is done: the point of no return is passed
12:00:00.005Z  capture-payment is asked of payment-PAYMENT

now   order ORDER is pending
      the saga fulfilment SAGA1 goes forward
      left to do: capture-payment, commit-stock, complete-order
      waits for the answer of payment-PAYMENT to capture-payment
      until     12:00:10.005Z
      then      the saga looks into payment-PAYMENT: an answer there
                counts, and a command that never arrived is sent again. Otherwise capture-payment
                stays open, as overdue, and is looked up again at 12:00:20.005Z. At
                12:01:00.001Z the saga needs attention if it has not ended
"#,
    );
    while world.saga().status() == Status::Running {
        world.time_comes().await;
    }
    let why = world.why().await;
    reads(
        &world,
        &why,
        r#"
12:00:00.000Z  a client orders 2 of tea-1, 1 of cup-7 for 59.97 EUR, by request checkout-81
12:00:00.001Z  the saga fulfilment begins and has until 12:01:00.001Z to end
12:00:00.001Z  reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.002Z  reserve-stock 0 is done
12:00:00.003Z  reserve-stock 1 is done
12:00:00.003Z  authorize-payment is asked of payment-PAYMENT
12:00:00.004Z  authorize-payment is done
12:00:00.004Z  confirm-order is asked of order-ORDER
12:00:00.005Z  confirm-order is done: the point of no return is passed
12:00:00.005Z  capture-payment is asked of payment-PAYMENT
12:00:10.005Z  capture-payment is overdue, as payment-PAYMENT has not answered: it stays open and is looked up again at 12:00:20.005Z
12:00:20.005Z  capture-payment is overdue, as payment-PAYMENT has not answered: it stays open and is looked up again at 12:00:40.005Z
12:00:40.005Z  capture-payment is overdue, as payment-PAYMENT has not answered: it stays open and is looked up again at 12:01:20.005Z
12:01:00.001Z  the saga needs attention: past its deadline, waiting for capture-payment

now   order ORDER is pending
      the saga fulfilment SAGA1 needs attention: past its deadline, waiting for capture-payment
      left to do: capture-payment, commit-stock, complete-order
      waits for the overdue answer of payment-PAYMENT to
                capture-payment
      until     12:01:20.005Z
      then      the saga looks into payment-PAYMENT: an answer there
                counts, and a command that never arrived is sent again. Otherwise capture-payment
                stays open, as overdue, and is looked up again at 12:02:40.005Z

An operator can look at each of these first; without --dry-run it is done:
  recourse sagas retry SAGA1 --reason "…" --dry-run
      looks at once for what is not answered, and asks again for what never arrived
      - what became of capture-payment is looked up; it is sent again where it can never take effect any more
  recourse sagas compensate SAGA1 --reason "…" --dry-run
      undoes all of it
      - the saga asks for its point of no return to be taken back, and goes back only if it is
      - the reversal of confirm-order is asked of order-ORDER
      - then undoes capture-payment, then authorize-payment, then reserve-stock 0, 1
  recourse sagas skip SAGA1 --step capture-payment --reason "…" --dry-run
      gives this step up and goes on without it: what it may have done is undone first
      - capture-payment is to be left out, once what it may have done is undone
      - the reversal of capture-payment is asked of payment-PAYMENT
"#,
    );
}

#[tokio::test]
async fn of_a_refusal_for_now_it_is_told_when_it_is_sent_again() {
    let mut world = World::placed().await;
    world.steps_are_done(3).await;
    let busy = Answer::Refused {
        code: "provider-busy".to_owned(),
        detail: "try again".to_owned(),
        is_final: false,
    };
    world.all_answer(&busy).await;
    let why = world.why().await;
    reads(
        &world,
        &why,
        r#"
12:00:00.000Z  a client orders 2 of tea-1, 1 of cup-7 for 59.97 EUR, by request checkout-81
12:00:00.001Z  the saga fulfilment begins and has until 12:01:00.001Z to end
12:00:00.001Z  reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.002Z  reserve-stock 0 is done
12:00:00.003Z  reserve-stock 1 is done
12:00:00.003Z  authorize-payment is asked of payment-PAYMENT
12:00:00.004Z  authorize-payment is done
12:00:00.004Z  confirm-order is asked of order-ORDER
12:00:00.005Z  confirm-order is done: the point of no return is passed
12:00:00.005Z  capture-payment is asked of payment-PAYMENT
12:00:00.006Z  capture-payment is refused (provider-busy): try again; it is asked again at 12:00:00.205Z

now   order ORDER is pending
      the saga fulfilment SAGA1 goes forward
      left to do: capture-payment, commit-stock, complete-order
      waits for the time to ask for capture-payment again
      until     12:00:00.205Z
      then      capture-payment is asked of payment-PAYMENT, for the
                2nd time. At 12:01:00.001Z the saga needs attention if it has not ended
"#,
    );
}

#[tokio::test]
async fn of_a_saga_that_needs_attention_it_is_told_which_actions_help() {
    let mut world = World::placed().await;
    world.steps_are_done(3).await;
    world
        .payment(payment::Event::CaptureRequested(requested()))
        .await;
    let no = declined("capture-refused", "the bank does not pay");
    world.payment(payment::Event::CaptureRefused(no)).await;
    world
        .all_answer(&refused("capture-refused", "the bank does not pay"))
        .await;
    let why = world.why().await;
    reads(
        &world,
        &why,
        r#"
12:00:00.000Z  a client orders 2 of tea-1, 1 of cup-7 for 59.97 EUR, by request checkout-81
12:00:00.001Z  the saga fulfilment begins and has until 12:01:00.001Z to end
12:00:00.001Z  reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.002Z  reserve-stock 0 is done
12:00:00.003Z  reserve-stock 1 is done
12:00:00.003Z  authorize-payment is asked of payment-PAYMENT
12:00:00.004Z  authorize-payment is done
12:00:00.004Z  confirm-order is asked of order-ORDER
12:00:00.005Z  confirm-order is done: the point of no return is passed
12:00:00.005Z  capture-payment is asked of payment-PAYMENT
12:00:00.006Z  the payment provider is asked to take the money
12:00:00.007Z  the payment provider refuses to take the money (capture-refused): the bank does not pay
12:00:00.008Z  capture-payment is refused (capture-refused): the bank does not pay
12:00:00.008Z  the saga needs attention: capture-payment was refused (capture-refused): the bank does not pay

now   order ORDER is pending
      the saga fulfilment SAGA1 needs attention: capture-payment was refused (capture-refused): the bank does not pay
      left to do: capture-payment, commit-stock, complete-order
      waits for an operator: by itself it asks nothing any more
      then      the saga does what the operator decides

An operator can look at each of these first; without --dry-run it is done:
  recourse sagas retry SAGA1 --reason "…" --dry-run
      helps only once what refused it is mended: it said that asking again cannot help
      - what was refused is sent again
      - capture-payment is asked of payment-PAYMENT, for the 2nd time
  recourse sagas compensate SAGA1 --reason "…" --dry-run
      undoes all of it
      - the saga asks for its point of no return to be taken back, and goes back only if it is
      - the reversal of confirm-order is asked of order-ORDER
      - then undoes authorize-payment, then reserve-stock 0, 1
  recourse sagas skip SAGA1 --step capture-payment --reason "…" --dry-run
      gives this step up and goes on without it: what it may have done is undone first
      - capture-payment is to be left out, once what it may have done is undone
      - the undo of authorize-payment is asked of payment-PAYMENT
"#,
    );
    for action in &why.actions {
        let step = action.step.clone();
        let action = match action.action {
            "retry" => Action::Retry { step, said: None },
            "compensate" => Action::Compensate,
            "skip" => Action::Skip {
                step: step.unwrap(),
                result: SkipResult::Left,
            },
            other => panic!("{other}"),
        };
        let by = By {
            actor: "ines".to_owned(),
            reason: "to see".to_owned(),
        };
        act(world.definition(), world.saga(), &action, &by, world.now).unwrap();
    }
    world.wait(60_000);
    world.act(Action::Compensate, "the card is closed").await;
    world.steps_are_done(5).await;
    let why = world.why().await;
    assert_eq!(world.saga().status(), Status::Compensated);
    reads(
        &world,
        &why,
        r#"
12:00:00.000Z  a client orders 2 of tea-1, 1 of cup-7 for 59.97 EUR, by request checkout-81
12:00:00.001Z  the saga fulfilment begins and has until 12:01:00.001Z to end
12:00:00.001Z  reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.002Z  reserve-stock 0 is done
12:00:00.003Z  reserve-stock 1 is done
12:00:00.003Z  authorize-payment is asked of payment-PAYMENT
12:00:00.004Z  authorize-payment is done
12:00:00.004Z  confirm-order is asked of order-ORDER
12:00:00.005Z  confirm-order is done: the point of no return is passed
12:00:00.005Z  capture-payment is asked of payment-PAYMENT
12:00:00.006Z  the payment provider is asked to take the money
12:00:00.007Z  the payment provider refuses to take the money (capture-refused): the bank does not pay
12:00:00.008Z  capture-payment is refused (capture-refused): the bank does not pay
12:00:00.008Z  the saga needs attention: capture-payment was refused (capture-refused): the bank does not pay
12:01:00.008Z  an operator (ines) wants the saga undone, which begins with taking its point of no return back ("the card is closed")
12:01:00.008Z  the saga needs no attention any more and has until 12:02:00.008Z
12:01:00.008Z  the reversal of confirm-order is asked of order-ORDER
12:01:00.009Z  the reversal of confirm-order is done; the saga turns back
12:01:00.009Z  the undo of authorize-payment is asked of payment-PAYMENT
12:01:00.010Z  the undo of authorize-payment is done
12:01:00.010Z  the undo of reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:01:00.011Z  the undo of reserve-stock 0 is done
12:01:00.012Z  the undo of reserve-stock 1 is done
12:01:00.012Z  the saga is compensated: everything that it did is undone

now   order ORDER is pending
      the saga fulfilment SAGA1 is compensated: it went back, because of reversed (the card is closed)
      nothing is awaited
"#,
    );
}

#[tokio::test]
async fn a_step_that_an_operator_had_left_out_is_named_after_the_end() {
    let mut world = World::placed().await;
    world.steps_are_done(3).await;
    let no = refused("capture-refused", "the bank does not pay");
    world.all_answer(&no).await;
    let skip = Action::Skip {
        step: "capture-payment".into(),
        result: SkipResult::Left,
    };
    world.act(skip, "paid in cash").await;
    world.steps_are_done(3).await;
    let why = world.why().await;
    assert_eq!(world.saga().status(), Status::Completed);
    reads(
        &world,
        &why,
        r#"
12:00:00.000Z  a client orders 2 of tea-1, 1 of cup-7 for 59.97 EUR, by request checkout-81
12:00:00.001Z  the saga fulfilment begins and has until 12:01:00.001Z to end
12:00:00.001Z  reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.002Z  reserve-stock 0 is done
12:00:00.003Z  reserve-stock 1 is done
12:00:00.003Z  authorize-payment is asked of payment-PAYMENT
12:00:00.004Z  authorize-payment is done
12:00:00.004Z  confirm-order is asked of order-ORDER
12:00:00.005Z  confirm-order is done: the point of no return is passed
12:00:00.005Z  capture-payment is asked of payment-PAYMENT
12:00:00.006Z  capture-payment is refused (capture-refused): the bank does not pay
12:00:00.006Z  the saga needs attention: capture-payment was refused (capture-refused): the bank does not pay
12:00:00.006Z  an operator (ines) wants capture-payment left out, once what it may have done is undone ("paid in cash")
12:00:00.006Z  the saga needs no attention any more and has until 12:01:00.006Z
12:00:00.006Z  the undo of authorize-payment is asked of payment-PAYMENT
12:00:00.007Z  the undo of authorize-payment is done
12:00:00.007Z  capture-payment is left out
12:00:00.007Z  commit-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.008Z  commit-stock 0 is done
12:00:00.009Z  commit-stock 1 is done
12:00:00.009Z  complete-order is asked of order-ORDER
12:00:00.010Z  complete-order is done
12:00:00.010Z  the saga is completed, but for what an operator had left out

now   order ORDER is pending
      the saga fulfilment SAGA1 is completed
      left out by an operator (ines): capture-payment ("paid in cash")
      nothing is awaited
"#,
    );
}

#[tokio::test]
async fn what_an_operator_left_is_named_after_the_end() {
    let mut world = World::placed().await;
    world.steps_are_done(1).await;
    let no = refused("payment-declined", "the card was declined");
    world.all_answer(&no).await;
    // Both releases are refused, which only an operator ends.
    let gone = refused("hold-gone", "there is no such hold");
    world.all_answer(&gone).await;
    let skip = Action::Skip {
        step: "reserve-stock".into(),
        result: SkipResult::Left,
    };
    world.act(skip, "counted by hand").await;
    world.steps_are_done(1).await;
    let why = world.why().await;
    reads(
        &world,
        &why,
        r#"
12:00:00.000Z  a client orders 2 of tea-1, 1 of cup-7 for 59.97 EUR, by request checkout-81
12:00:00.001Z  the saga fulfilment begins and has until 12:01:00.001Z to end
12:00:00.001Z  reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.002Z  reserve-stock 0 is done
12:00:00.003Z  reserve-stock 1 is done
12:00:00.003Z  authorize-payment is asked of payment-PAYMENT
12:00:00.004Z  authorize-payment is refused (payment-declined): the card was declined; the saga turns back
12:00:00.004Z  the undo of reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.005Z  the undo of reserve-stock 0 is refused (hold-gone): there is no such hold
12:00:00.005Z  the saga needs attention: the undo of reserve-stock 0 was refused (hold-gone): there is no such hold
12:00:00.006Z  the undo of reserve-stock 1 is refused (hold-gone): there is no such hold
12:00:00.006Z  the saga needs attention: the undo of reserve-stock 1 was refused (hold-gone): there is no such hold
12:00:00.006Z  an operator (ines) wants the undo of reserve-stock left out, once it is answered ("counted by hand")
12:00:00.006Z  the saga needs no attention any more and has until 12:01:00.006Z
12:00:00.006Z  reserve-stock 0 is not undone: an operator answers for it
12:00:00.006Z  reserve-stock 1 is not undone: an operator answers for it
12:00:00.006Z  reject-order is asked of order-ORDER
12:00:00.007Z  reject-order is done
12:00:00.007Z  the saga is compensated, but for what an operator left

now   order ORDER is pending
      the saga fulfilment SAGA1 is compensated: it went back, because of payment-declined (the card was declined)
      left as it is by an operator (ines): reserve-stock 0, 1 ("counted by hand")
      nothing is awaited
"#,
    );
}

#[tokio::test]
async fn of_a_paused_saga_it_is_told_who_paused_it_and_how_it_goes_on() {
    let mut world = World::placed().await;
    world.wait(5_000);
    world.act(Action::Pause, "stock is being counted").await;
    let why = world.why().await;
    reads(
        &world,
        &why,
        r#"
12:00:00.000Z  a client orders 2 of tea-1, 1 of cup-7 for 59.97 EUR, by request checkout-81
12:00:00.001Z  the saga fulfilment begins and has until 12:01:00.001Z to end
12:00:00.001Z  reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:05.001Z  an operator (ines) pauses the saga ("stock is being counted")

now   order ORDER is pending
      the saga fulfilment SAGA1 is paused
      left to do: reserve-stock 0, 1, authorize-payment, confirm-order, capture-payment, commit-stock, complete-order
      waits for an operator who lets it go on: ines paused it ("stock is being counted")
      then      it goes on with every deadline later by as long as it stood still. Until then it
                records answers and sends nothing. Open meanwhile: the answer of stock-tea-1,
                stock-cup-7 to reserve-stock 0, 1.

An operator can look at each of these first; without --dry-run it is done:
  recourse sagas resume SAGA1 --reason "…" --dry-run
      goes on from where it stands
      - the saga goes on, with every deadline later by as long as it stood still
  recourse sagas compensate SAGA1 --reason "…" --dry-run
      undoes all of it
      - the saga turns back
      - the undo of reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
      - then ends with reject-order
"#,
    );
    world.wait(12_000);
    world.act(Action::Resume, "counted").await;
    let why = world.why().await;
    assert!(why.actions.is_empty());
    let text = world.readable(&why);
    assert!(
        text.contains(
            "an operator (ines) lets the saga go on, every deadline 12000 ms later (\"counted\")"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn of_a_parked_saga_the_error_is_told() {
    let mut world = World::placed().await;
    let parked = Event::Parked(Parked {
        position: Position::dense(7),
        error: "the saga's input cannot be read".to_owned(),
    });
    world.happens(vec![parked]).await;
    let why = world.why().await;
    reads(
        &world,
        &why,
        r#"
12:00:00.000Z  a client orders 2 of tea-1, 1 of cup-7 for 59.97 EUR, by request checkout-81
12:00:00.001Z  the saga fulfilment begins and has until 12:01:00.001Z to end
12:00:00.001Z  reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.001Z  the saga is parked and stands still, as something could not be handled: the saga's input cannot be read

now   order ORDER is pending
      the saga fulfilment SAGA1 is parked: the saga's input cannot be read
      left to do: reserve-stock 0, 1, authorize-payment, confirm-order, capture-payment, commit-stock, complete-order
      waits for an operator who lets it go on, once what it could not handle is mended
      then      it looks up what was answered meanwhile and goes on, with every deadline later by as
                long as it stood still

An operator can look at each of these first; without --dry-run it is done:
  recourse sagas resume SAGA1 --reason "…" --dry-run
      goes on from where it stands
      - the saga goes on, with every deadline later by as long as it stood still
"#,
    );
}

#[tokio::test]
async fn of_a_cancelled_order_the_client_is_quoted() {
    let mut world = World::placed().await;
    world.steps_are_done(1).await;
    let cancelled = order::Event::Cancelled(order::Cancelled {
        reason: "ordered twice".to_owned(),
    });
    let event = world.order(cancelled, false).await;
    world.wait(1);
    let position = event.position;
    world.hear(Input::Cancelled { position }).await;
    let halfway = world.why().await;
    assert_eq!(
        halfway.now[2],
        "left to undo: authorize-payment, reserve-stock 0, 1"
    );
    world.steps_are_done(2).await;
    let why = world.why().await;
    reads(
        &world,
        &why,
        r#"
12:00:00.000Z  a client orders 2 of tea-1, 1 of cup-7 for 59.97 EUR, by request checkout-81
12:00:00.001Z  the saga fulfilment begins and has until 12:01:00.001Z to end
12:00:00.001Z  reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.002Z  reserve-stock 0 is done
12:00:00.003Z  reserve-stock 1 is done
12:00:00.003Z  authorize-payment is asked of payment-PAYMENT
12:00:00.004Z  a client cancels the order ("ordered twice")
12:00:00.005Z  the saga sees the cancellation, before its point of no return; the saga turns back
12:00:00.005Z  the undo of authorize-payment is asked of payment-PAYMENT
12:00:00.006Z  authorize-payment is done
12:00:00.007Z  the undo of authorize-payment is done
12:00:00.007Z  the undo of reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.008Z  the undo of reserve-stock 0 is done
12:00:00.009Z  the undo of reserve-stock 1 is done
12:00:00.009Z  the saga is compensated: everything that it did is undone

now   order ORDER is cancelled
      the saga fulfilment SAGA1 is compensated: it went back, because of cancelled (cancelled before the point of no return)
      nothing is awaited
"#,
    );
}

#[tokio::test]
async fn an_order_with_a_return_tells_of_both_sagas_and_a_saga_of_itself_alone() {
    let mut world = World::placed().await;
    world.steps_are_done(6).await;
    let completed = order::Event::Completed(order::Completed::default());
    world.order(completed, true).await;
    world.wait(3_600_000);
    let requested = order::Event::ReturnRequested(order::ReturnRequested {
        return_id: RETURN,
        order_id: ORDER,
        payment_id: PAYMENT,
        lines: vec![order::ReturnLine {
            sku: Sku::parse("tea-1").unwrap(),
            quantity: Quantity::new(1).unwrap(),
        }],
        undelivered: vec![],
        refund: euros(1999),
        reason: "too bitter".to_owned(),
    });
    let event = world.order(requested, false).await;
    world.start(&event).await;
    world.steps_are_done(1).await;
    let refund = payment::Event::RefundRequested(payment::RefundRequested {
        refund: RefundId(RETURN.0),
        amount: euros(1999),
        key: Uuid::nil(),
        ordinal: 0,
    });
    world.payment(refund).await;
    let unknown = payment::Unknown {
        operation: payment::Operation::Refund(RefundId(RETURN.0)),
        detail: "the answer was lost".to_owned(),
        given_up: false,
    };
    world.payment(payment::Event::Unknown(unknown)).await;
    let why = world.why_the_order().await;
    reads(
        &world,
        &why,
        r#"
12:00:00.000Z  a client orders 2 of tea-1, 1 of cup-7 for 59.97 EUR, by request checkout-81
12:00:00.001Z  fulfilment S1: the saga fulfilment begins and has until 12:01:00.001Z to end
12:00:00.001Z  fulfilment S1: reserve-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.002Z  fulfilment S1: reserve-stock 0 is done
12:00:00.003Z  fulfilment S1: reserve-stock 1 is done
12:00:00.003Z  fulfilment S1: authorize-payment is asked of payment-PAYMENT
12:00:00.004Z  fulfilment S1: authorize-payment is done
12:00:00.004Z  fulfilment S1: confirm-order is asked of order-ORDER
12:00:00.005Z  fulfilment S1: confirm-order is done: the point of no return is passed
12:00:00.005Z  fulfilment S1: capture-payment is asked of payment-PAYMENT
12:00:00.006Z  fulfilment S1: capture-payment is done
12:00:00.006Z  fulfilment S1: commit-stock 0, 1 is asked of stock-tea-1, stock-cup-7
12:00:00.007Z  fulfilment S1: commit-stock 0 is done
12:00:00.008Z  fulfilment S1: commit-stock 1 is done
12:00:00.008Z  fulfilment S1: complete-order is asked of order-ORDER
12:00:00.009Z  fulfilment S1: complete-order is done
12:00:00.009Z  fulfilment S1: the saga is completed: everything is done
13:00:00.011Z  a client returns 1 of tea-1 and wants 19.99 EUR back ("too bitter")
13:00:00.012Z  return S2: the saga return begins and has until 13:01:00.012Z to end
13:00:00.012Z  return S2: accept-return is asked of order-ORDER
13:00:00.013Z  return S2: accept-return is done
13:00:00.013Z  return S2: refund-payment is asked of payment-PAYMENT
13:00:00.014Z  return S2: the payment provider is asked to give 19.99 EUR back
13:00:00.015Z  return S2: the payment provider gives no clear answer (the answer was lost): it may have done it or not, and is asked to give money back again under the same key until it says which

now   order ORDER is completed
      the saga fulfilment SAGA1 is completed
      the saga return SAGA2 goes forward
      left to do: refund-payment, restock, close-return
      waits for return S2: the answer of payment-PAYMENT to
                refund-payment (the payment provider gave no clear answer and is asked again and
                again to give money back)
      until     13:00:10.013Z
      then      the saga looks into payment-PAYMENT: an answer there
                counts, and a command that never arrived is sent again. Otherwise refund-payment
                stays open, as overdue, and is looked up again at 13:00:20.013Z. At
                13:01:00.012Z the saga needs attention if it has not ended
"#,
    );
    let its = world.why().await;
    assert_eq!(its.saga_id, Some(world.saga().saga()));
    assert!(its.lines[0].text.starts_with("a client returns 1 of tea-1"));
    let first = saga_id(
        fulfilment::NAME,
        world.all(&StreamName::new("order", ORDER)).await[0]
            .event
            .id,
    );
    assert_eq!(world.sagas[0].saga(), first);
    assert_eq!(world.saga().definition(), returns::NAME);
}

#[tokio::test]
async fn an_order_whose_saga_has_not_begun_waits_for_that() {
    let mut world = World::placed().await;
    let at = world.all(&StreamName::new("order", ORDER)).await[0].position;
    let history = History::of_order(&world.store, &world.definitions, ORDER.0, at);
    let history = history.await.unwrap().unwrap();
    let why = tell(&history, &world.definitions).unwrap();
    world.sagas.truncate(1);
    reads(
        &world,
        &why,
        r#"
12:00:00.000Z  a client orders 2 of tea-1, 1 of cup-7 for 59.97 EUR, by request checkout-81

now   order ORDER is pending
      the saga fulfilment SAGA1 has not begun yet
      waits for its orchestrator, which follows the log and is about to begin it
      then      its first step is sent
"#,
    );
}

#[tokio::test]
async fn of_a_saga_whose_definition_is_gone_only_the_past_is_told() {
    let world = World::placed().await;
    let saga = world.saga().saga();
    let history = History::of_saga(&world.store, &[], saga, world.store.durable());
    let why = tell(&history.await.unwrap().unwrap(), &[]).unwrap();
    assert!(why.actions.is_empty());
    assert!(why.awaits[0].then.contains("is not here"), "{why:?}");
}

#[tokio::test]
async fn what_is_not_there_is_not_told() {
    let world = World::placed().await;
    let (store, up_to) = (&world.store, world.store.durable());
    let nothing = Uuid::from_u128(99);
    let order = History::of_order(store, &world.definitions, nothing, up_to);
    assert!(order.await.unwrap().is_none());
    let saga = History::of_saga(store, &world.definitions, nothing, up_to);
    assert!(saga.await.unwrap().is_none());
}

/// The provider was asked, has not answered, and is asked no more.
async fn given_up(world: &mut World, asked: payment::Event) {
    let operation = asked.intent().unwrap();
    world.payment(asked).await;
    let unknown = |detail: &str, given_up| {
        payment::Event::Unknown(payment::Unknown {
            operation,
            detail: detail.to_owned(),
            given_up,
        })
    };
    world.payment(unknown("the answer was lost", false)).await;
    let late = "no answer within the life of its key";
    world.payment(unknown(late, true)).await;
}

/// The commands of what an operator can do.
fn commands(world: &World, why: &Why) -> Vec<String> {
    let saga = world.saga().saga().to_string();
    let all = why.actions.iter();
    all.map(|action| action.command.replace(&saga, "SAGA"))
        .collect()
}

#[tokio::test]
async fn of_a_payment_that_is_given_up_it_is_told_that_nobody_asks_any_more() {
    let mut world = World::placed().await;
    world.steps_are_done(3).await;
    let asked = payment::Event::CaptureRequested(requested());
    given_up(&mut world, asked).await;
    let why = world.why().await;
    let said = &why.lines.last().unwrap().text;
    assert_eq!(
        said,
        "the payment provider gives no clear answer (no answer within the life of its key): it may \
         have done it or not, and is not asked to take the money any more, as it may know the key \
         no more: an operator has to find out which"
    );
    let what = &why.awaits[0].what;
    assert!(
        what.ends_with(
            "(the payment provider gave no clear answer and is not asked to take the money any \
             more: an operator has to find out)"
        ),
        "{what}"
    );
}

#[tokio::test]
async fn what_became_of_a_payment_that_is_given_up_can_be_said_and_is_told_then() {
    let mut world = World::placed().await;
    world.steps_are_done(3).await;
    let asked = payment::Event::CaptureRequested(requested());
    given_up(&mut world, asked).await;
    let outcomes = [
        "recourse sagas retry SAGA --step capture-payment --result done --reason \"…\" --dry-run",
        "recourse sagas retry SAGA --step capture-payment --result left --reason \"…\" --dry-run",
    ];
    // Nobody else can say it, so it is offered while the saga still hopes, and afterwards too.
    assert_eq!(commands(&world, &world.why().await), outcomes);
    while world.saga().status() == Status::Running {
        world.time_comes().await;
    }
    let why = world.why().await;
    let all = commands(&world, &why);
    assert_eq!(all[..2], outcomes);
    assert!(all.len() > 2, "{all:?}");
    let words = [
        "what is not answered took effect, says the operator".to_owned(),
        format!("payment-{PAYMENT} is told so"),
    ];
    assert_eq!(why.actions[0].words, words);
    assert!(why.actions[0].helps.contains("--reference"));

    let retry = Action::Retry {
        step: Some("capture-payment".into()),
        said: Some(recourse_saga::Said {
            result: SkipResult::Done,
            reference: None,
        }),
    };
    world.act(retry, "it is on the statement").await;
    let why = world.why().await;
    let told: Vec<&str> = why.lines.iter().map(|line| &*line.text).collect();
    let says =
        "an operator (ines) says that capture-payment took effect (\"it is on the statement\")";
    assert!(told.contains(&says), "{told:#?}");
    assert_eq!(told.last().unwrap(), &words[1]);
    // It is said already.
    assert!(
        !commands(&world, &why)
            .iter()
            .any(|its| its.contains("--result"))
    );
}

#[tokio::test]
async fn once_a_payment_that_was_given_up_is_settled_there_is_nothing_to_say_of_it() {
    let mut world = World::placed().await;
    world.steps_are_done(1).await;
    given_up(&mut world, authorization()).await;
    assert_eq!(commands(&world, &world.why().await).len(), 2);
    world.payment(payment::Event::Authorized(applied())).await;
    let why = world.why().await;
    assert!(why.actions.is_empty(), "{why:#?}");
    assert!(!why.awaits[0].what.contains("provider"), "{why:#?}");
}

/// How the retry of all would help.
fn how_a_retry_helps(why: &Why) -> &str {
    let mut all = why.actions.iter();
    let retry = all.find(|action| action.action == "retry" && action.step.is_none());
    &retry.unwrap().helps
}

#[tokio::test]
async fn a_refusal_that_is_over_says_nothing_of_what_is_refused_now() {
    let mut world = World::placed().await;
    world.steps_are_done(1).await;
    // This one is what the saga turns back for: nobody asks for it again.
    let no = refused("payment-declined", "the card was declined");
    world.all_answer(&no).await;
    while world.saga().status() == Status::Compensating {
        world.time_comes().await;
    }
    let why = world.why().await;
    assert_eq!(
        how_a_retry_helps(&why),
        "looks at once for what is not answered, and asks again for what never arrived"
    );
    let busy = Answer::Refused {
        code: "stock-busy".to_owned(),
        detail: "try again".to_owned(),
        is_final: false,
    };
    while world.saga().status() != Status::NeedsAttention
        || world.saga().open_commands().count() > 0
    {
        if world.saga().open_commands().count() == 0 {
            world.time_comes().await;
        }
        world.all_answer(&busy).await;
    }
    let why = world.why().await;
    assert_eq!(
        how_a_retry_helps(&why),
        "helps once what refused it is mended"
    );
}

#[tokio::test]
async fn a_refusal_for_good_that_is_in_the_way_is_named_though_others_are_done_after_it() {
    let mut world = World::placed().await;
    world.steps_are_done(4).await;
    let mut open = world.saga().open_commands().map(|sent| sent.id);
    let (first, second) = (open.next().unwrap(), open.next().unwrap());
    drop(open);
    let no = refused("hold-gone", "there is no such hold");
    for (command, answer) in [(first, no), (second, Answer::Done)] {
        world.wait(1);
        let position = Position::dense(9);
        world
            .hear(Input::Answer {
                command,
                answer,
                position,
            })
            .await;
    }
    let why = world.why().await;
    assert_eq!(
        how_a_retry_helps(&why),
        "helps only once what refused it is mended: it said that asking again cannot help"
    );
}

#[tokio::test]
async fn the_example_of_the_api_is_what_is_told() {
    let world = World::placed_with(&[("tea-1", 2)]).await;
    let mut example: serde_json::Value = serde_json::from_str(http::WHY).unwrap();
    let ids = [("saga_id", world.saga().saga()), ("order_id", ORDER.0)];
    let mut why = serde_json::to_string(&world.why().await).unwrap();
    for (name, id) in ids {
        why = why.replace(&id.to_string(), example[name].as_str().unwrap());
    }
    let mut why: serde_json::Value = serde_json::from_str(&why).unwrap();
    // Of the text the example has the beginning.
    let text = why["text"].take();
    let begins = example["text"].take();
    assert!(text.as_str().unwrap().starts_with(begins.as_str().unwrap()));
    for told in [&mut why, &mut example] {
        for line in told["lines"].as_array_mut().unwrap() {
            line["position"].take();
        }
    }
    assert_eq!(why, example);
}
