//! A log of orders, written as the services write it.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use recourse_bus::{Command, Json};
use recourse_domain::{
    CardToken, CustomerId, HoldId, Money, OrderId, PaymentId, Quantity, Sku,
    order::{self, Line, PaymentMethod},
    payment::{self, Applied, AuthorizationRequested, Requested},
    product,
    stock::{self, Held},
};
use recourse_event_store::{
    Append, EventStore, ExpectedRevision, LogId, Metadata, NewEvent, Position, StreamName,
    memory::Store,
};
use recourse_saga::{
    Answer, Answered, Completed, Direction, Event as Saga, Kind, PlannedStep, SentCommand, Started,
    saga_id,
};
use serde::Serialize;
use uuid::Uuid;

pub(super) const LOG: LogId = LogId(Uuid::from_u128(0x10_6000_0001));
pub(super) const TOKEN: &str = "tok_secret_visa";

pub(super) struct Log {
    pub(super) store: Store,
    now: DateTime<Utc>,
}

/// An order and what belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    pub(super) order: Uuid,
    pub(super) customer: Uuid,
    pub(super) payment: Uuid,
    pub(super) saga: Uuid,
    skus: Vec<&'static str>,
    /// The last commands sent: step, item, id.
    sent: Vec<(&'static str, String, Uuid)>,
}

pub(super) fn eur(amount_minor: i64) -> Money {
    Money {
        amount_minor,
        currency: "EUR".parse_currency(),
    }
}

trait ParseCurrency {
    fn parse_currency(&self) -> recourse_domain::Currency;
}

impl ParseCurrency for str {
    fn parse_currency(&self) -> recourse_domain::Currency {
        recourse_domain::Currency::parse(self).unwrap()
    }
}

fn sku(text: &str) -> Sku {
    Sku::parse(text).unwrap()
}

pub(super) fn quantity(pieces: u32) -> Quantity {
    Quantity::new(pieces).unwrap()
}

impl Log {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            now: DateTime::UNIX_EPOCH + TimeDelta::days(20_000),
        }
    }

    /// Appends an event one second after the one before it.
    pub(super) async fn add<E: Serialize + Send + Sync + 'static>(
        &mut self,
        category: &str,
        id: &str,
        correlation: Uuid,
        event: E,
    ) -> (Uuid, Position) {
        self.now += TimeDelta::seconds(1);
        let stream = StreamName::new(category, id);
        let cause = Uuid::from_u128(self.now.timestamp_micros().unsigned_abs().into());
        let metadata = Metadata::new(correlation, cause, self.now, LOG);
        let event = NewEvent::encode(event, metadata, &stream, 0).unwrap();
        let event_id = event.id;
        let append = Append {
            stream,
            expected: ExpectedRevision::Any,
            events: vec![event],
        };
        let appended = self.store.append(vec![append]).await.remove(0).unwrap();
        (event_id, appended.position.unwrap())
    }

    pub(super) async fn product(
        &mut self,
        name: &str,
        event: fn(product::Details) -> product::Event,
    ) {
        let details = product::Details {
            sku: sku(name),
            name: format!("The {name}"),
            price: eur(1999),
            active: true,
        };
        self.add("product", name, Uuid::from_u128(1), event(details))
            .await;
    }

    pub(super) async fn stock(&mut self, name: &str, event: stock::Event) {
        self.add("stock", name, Uuid::from_u128(1), event).await;
    }

    pub(super) async fn received(&mut self, name: &str, pieces: u32) {
        let received = stock::Received {
            sku: sku(name),
            quantity: quantity(pieces),
            reference: format!("note {pieces}"),
        };
        self.stock(name, stock::Event::Received(received)).await;
    }

    pub(super) async fn order(&mut self, ids: &Ids, event: order::Event) -> Position {
        let id = ids.order.to_string();
        self.add("order", &id, ids.order, event).await.1
    }

    pub(super) async fn payment(&mut self, ids: &Ids, event: payment::Event) -> Position {
        let id = ids.payment.to_string();
        self.add("payment", &id, ids.order, event).await.1
    }

    pub(super) async fn saga(&mut self, ids: &Ids, event: Saga) -> Position {
        let id = ids.saga.to_string();
        self.add("saga", &id, ids.order, event).await.1
    }

    /// Places order number `number`; its id and those of what belongs to it follow from that.
    pub(super) async fn place(&mut self, number: u128, skus: &[&'static str]) -> Ids {
        let id = |kind: u128| Uuid::from_u128((kind << 64) | number);
        let mut ids = Ids {
            order: id(1),
            customer: id(2),
            payment: id(3),
            saga: Uuid::nil(),
            skus: skus.to_vec(),
            sent: vec![],
        };
        let placed = order::Placed {
            order_id: OrderId(ids.order),
            payment_id: PaymentId(ids.payment),
            customer_id: CustomerId(ids.customer),
            lines: skus
                .iter()
                .map(|name| Line {
                    sku: sku(name),
                    quantity: quantity(2),
                    unit_price: eur(1999),
                })
                .collect(),
            total: eur(3998),
            payment: PaymentMethod::Card {
                token: CardToken::new(TOKEN),
            },
        };
        let order = ids.order.to_string();
        let (event_id, _) = self
            .add("order", &order, ids.order, order::Event::Placed(placed))
            .await;
        ids.saga = saga_id("fulfilment", event_id);
        ids
    }

    /// Commands of a step, as they are sent now.
    pub(super) fn send(
        &self,
        ids: &mut Ids,
        step: &'static str,
        direction: Direction,
    ) -> Vec<SentCommand> {
        let items: Vec<String> = match step {
            "reserve-stock" | "commit-stock" => {
                (0..ids.skus.len()).map(|i| i.to_string()).collect()
            }
            _ => vec![String::new()],
        };
        items
            .into_iter()
            .map(|item| {
                let name = format!("{step} {item} {direction:?}");
                let id = Uuid::new_v5(&ids.saga, name.as_bytes());
                ids.sent.push((step, item.clone(), id));
                SentCommand {
                    step: step.into(),
                    item: item.as_str().into(),
                    direction,
                    attempt: 1,
                    due_at: self.now + TimeDelta::seconds(10),
                    command: Command {
                        id,
                        target: StreamName::new("stock", "tea-1"),
                        command_type: "stock.reserve".into(),
                        data: Json::write(&"of no matter here").unwrap(),
                        undoes: vec![],
                    },
                }
            })
            .collect()
    }

    pub(super) async fn start_saga(&mut self, ids: &mut Ids) -> Position {
        let commands = self.send(ids, "reserve-stock", Direction::Do);
        let step = |(stage, (name, kind)): (u32, (&str, Kind))| PlannedStep {
            name: name.into(),
            kind,
            stage,
            takes_over: (name == "commit-stock").then(|| Arc::from("reserve-stock")),
            way_back: recourse_saga::WayBack::Command,
        };
        let steps = [
            ("reserve-stock", Kind::Compensatable),
            ("authorize-payment", Kind::Compensatable),
            ("confirm-order", Kind::Pivot),
            ("capture-payment", Kind::Retriable),
            ("commit-stock", Kind::Retriable),
            ("complete-order", Kind::Retriable),
            ("reject-order", Kind::Closing),
        ];
        let started = Started {
            definition: "fulfilment".into(),
            definition_hash: "hash".into(),
            input: Json::write(&serde_json::json!({"token": TOKEN})).unwrap(),
            deadline_at: self.now + TimeDelta::seconds(600),
            steps: (0..).zip(steps).map(step).collect(),
            commands,
        };
        self.saga(ids, Saga::Started(started)).await
    }

    /// The oldest command that is not answered is; what follows is sent.
    pub(super) async fn answer(
        &mut self,
        ids: &mut Ids,
        answer: Answer,
        direction: Direction,
        then: Option<(&'static str, Direction)>,
    ) -> Position {
        let (step, item, command) = ids.sent.remove(0);
        let commands = match then {
            Some((step, direction)) => self.send(ids, step, direction),
            None => vec![],
        };
        let answered = Answered {
            command,
            step: step.into(),
            item: item.as_str().into(),
            direction,
            answer,
            position: self.store.appended().await.unwrap(),
            counts_as_done: false,
            is_moot: false,
            closes: vec![],
            resend_at: None,
            deadline_at: None,
            commands,
        };
        self.saga(ids, Saga::Answered(answered)).await
    }

    /// What the next event of an order that is completed is: 0 after its placing, up to
    /// [`Self::EVENTS_AFTER_PLACED`].
    pub(super) async fn advance(&mut self, ids: &mut Ids, step: usize) {
        let done = || Answer::Done;
        let forward = |step| Some((step, Direction::Do));
        let hold = |line: u32| HoldId {
            saga: ids.saga,
            line,
        };
        let held = |line: u32| Held {
            hold: hold(line),
            sku: sku(ids.skus[line as usize]),
            quantity: quantity(2),
        };
        let applied = || Applied {
            amount: eur(3998),
            reference: "ref".into(),
        };
        let requested = || Requested {
            key: Uuid::nil(),
            ordinal: 0,
        };
        let name = |line: u32| ids.skus[line as usize];
        match step {
            0 => drop(self.start_saga(ids).await),
            1 => self.stock(name(0), stock::Event::Reserved(held(0))).await,
            2 => self.stock(name(1), stock::Event::Reserved(held(1))).await,
            3 => drop(self.answer(ids, done(), Direction::Do, None).await),
            4 => {
                let next = forward("authorize-payment");
                self.answer(ids, done(), Direction::Do, next).await;
            }
            5 => {
                let requested = AuthorizationRequested {
                    payment_id: PaymentId(ids.payment),
                    order_id: OrderId(ids.order),
                    amount: eur(3998),
                    token: CardToken::new(TOKEN),
                    key: Uuid::nil(),
                    ordinal: 0,
                };
                let event = payment::Event::AuthorizationRequested(requested);
                self.payment(ids, event).await;
            }
            6 => drop(
                self.payment(ids, payment::Event::Authorized(applied()))
                    .await,
            ),
            7 => {
                let next = forward("confirm-order");
                self.answer(ids, done(), Direction::Do, next).await;
            }
            8 => {
                let event = order::Event::Confirmed(order::Confirmed {});
                self.order(ids, event).await;
            }
            9 => {
                let next = forward("capture-payment");
                self.answer(ids, done(), Direction::Do, next).await;
            }
            10 => {
                let event = payment::Event::CaptureRequested(requested());
                self.payment(ids, event).await;
            }
            11 => drop(self.payment(ids, payment::Event::Captured(applied())).await),
            12 => {
                let next = forward("commit-stock");
                self.answer(ids, done(), Direction::Do, next).await;
            }
            13 => self.stock(name(0), stock::Event::Committed(held(0))).await,
            14 => self.stock(name(1), stock::Event::Committed(held(1))).await,
            15 => drop(self.answer(ids, done(), Direction::Do, None).await),
            16 => {
                let next = forward("complete-order");
                self.answer(ids, done(), Direction::Do, next).await;
            }
            17 => {
                let event = order::Event::Completed(order::Completed::default());
                self.order(ids, event).await;
            }
            18 => drop(self.answer(ids, done(), Direction::Do, None).await),
            _ => drop(self.saga(ids, Saga::Completed(Completed {})).await),
        }
    }

    pub(super) const EVENTS_AFTER_PLACED: usize = 20;

    /// An order of two lines that is completed.
    pub(super) async fn complete(&mut self, number: u128) -> Ids {
        let mut ids = self.place(number, &["tea-1", "cup-1"]).await;
        for step in 0..Self::EVENTS_AFTER_PLACED {
            self.advance(&mut ids, step).await;
        }
        ids
    }
}
