//! A log made by hand, event by event, so that each one can also be made wrong.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use recourse_bus::{Command, Json};
use recourse_domain::{
    CardToken, Currency, CustomerId, HoldId, Money, OrderId, PaymentId, Quantity, Sku, order,
    payment, product, stock,
};
use recourse_event_store::{
    Append, AppendError, Appended, Batch, Direction, EventStore, Filter, LogId, Mark, Metadata,
    NewEvent, Position, Read, RecordedEvent, Refused, StoreError, StreamName, Subscription, Taken,
    Visibility,
};
use recourse_saga::{Answer, Answered, Direction as Way, Event as Saga, SentCommand, Started};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
enum Platform {
    #[serde(rename = "command.refused.v1")]
    Refused(Refused),
}

/// When everything in these logs happens.
pub(crate) fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// A log whose events need not be as a store would have taken them.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) id: LogId,
    pub(crate) events: Vec<Arc<RecordedEvent>>,
    marks: BTreeMap<Uuid, Mark>,
    written: usize,
}

/// An order under way.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) id: Uuid,
    pub(crate) saga: Uuid,
    pub(crate) payment: Uuid,
    lines: Vec<(&'static str, u32)>,
}

impl Order {
    pub(crate) fn stream(&self) -> StreamName {
        StreamName::new("order", self.id)
    }

    pub(crate) fn saga_stream(&self) -> StreamName {
        StreamName::new("saga", self.saga)
    }

    pub(crate) fn payment_stream(&self) -> StreamName {
        StreamName::new("payment", self.payment)
    }

    pub(crate) fn stock_stream(&self, line: usize) -> StreamName {
        StreamName::new("stock", self.lines[line].0)
    }

    /// The id of a command, from step, item and direction: `undo:reserve/0`.
    pub(crate) fn command(&self, label: &str) -> Uuid {
        Uuid::new_v5(&self.saga, label.as_bytes())
    }

    /// What a return's saga has to do with the same order.
    pub(crate) fn returning(&self, saga: Uuid, lines: &[(&'static str, u32)]) -> Self {
        Self {
            saga,
            lines: lines.to_vec(),
            ..self.clone()
        }
    }

    pub(crate) fn total(&self) -> Money {
        let pieces: u32 = self.lines.iter().map(|(_, quantity)| quantity).sum();
        eur(100 * i64::from(pieces))
    }

    pub(crate) fn held(&self, line: usize) -> stock::Held {
        let (sku, quantity) = self.lines[line];
        stock::Held {
            hold: HoldId {
                saga: self.saga,
                line: u32::try_from(line).unwrap(),
            },
            sku: Sku::parse(sku).unwrap(),
            quantity: Quantity::new(quantity).unwrap(),
        }
    }

    pub(crate) fn applied(&self) -> payment::Applied {
        payment::Applied {
            amount: self.total(),
            reference: "ref".into(),
        }
    }

    pub(crate) fn key(&self, operation: payment::Operation) -> Uuid {
        PaymentId(self.payment).key(operation, 0)
    }

    fn target(&self, label: &str) -> StreamName {
        let (step, item) = step_of(label);
        match step {
            "reserve" | "commit" | "restock" => self.stock_stream(item.parse().unwrap()),
            "authorize" | "capture" | "refund" => self.payment_stream(),
            _ => self.stream(),
        }
    }

    /// What the saga sends under a label.
    pub(crate) fn sends(&self, label: &str) -> SentCommand {
        let (step, item) = step_of(label);
        let direction = if label.starts_with("undo:") {
            Way::Undo
        } else {
            Way::Do
        };
        SentCommand {
            step: step.into(),
            item: item.into(),
            direction,
            attempt: 1,
            due_at: noon() + TimeDelta::seconds(10),
            command: Command {
                id: self.command(label),
                target: self.target(label),
                command_type: format!("test.{step}"),
                data: Json::write(&()).unwrap(),
                undoes: label
                    .strip_prefix("undo:")
                    .map(|original| vec![self.command(original)])
                    .unwrap_or_default(),
            },
        }
    }
}

fn step_of(label: &str) -> (&str, &str) {
    let label = label.strip_prefix("undo:").unwrap_or(label);
    label.split_once('/').unwrap_or((label, ""))
}

pub(crate) fn eur(amount_minor: i64) -> Money {
    Money {
        amount_minor,
        currency: Currency::parse("EUR").unwrap(),
    }
}

pub(crate) fn refused(code: &str) -> Refused {
    Refused {
        code: code.into(),
        detail: code.into(),
        is_final: true,
    }
}

impl Log {
    /// A log with two products and a hundred of each on hand.
    pub(crate) fn new() -> Self {
        let mut log = Self {
            id: LogId(Uuid::from_u128(7)),
            events: Vec::new(),
            marks: BTreeMap::new(),
            written: 0,
        };
        for sku in ["tea", "mug"] {
            log.client(
                &StreamName::new("product", sku),
                product::Event::Created(product::Details {
                    sku: Sku::parse(sku).unwrap(),
                    name: sku.into(),
                    price: eur(100),
                    active: true,
                }),
            );
            log.receive(sku, "note-1", 100);
        }
        log
    }

    pub(crate) fn receive(&mut self, sku: &str, reference: &str, pieces: u32) -> Position {
        self.client(
            &StreamName::new("stock", sku),
            stock::Event::Received(stock::Received {
                sku: Sku::parse(sku).unwrap(),
                quantity: Quantity::new(pieces).unwrap(),
                reference: reference.into(),
            }),
        )
    }

    /// The last position.
    pub(crate) fn end(&self) -> Position {
        Position::dense(self.events.len() as u64)
    }

    pub(crate) fn id_at(&self, position: Position) -> Uuid {
        let index = usize::try_from(position.commit - 1).unwrap();
        self.events[index].event.id
    }

    pub(crate) fn metadata(&self) -> Metadata {
        let cause = Uuid::new_v5(&self.id.0, &self.written.to_be_bytes());
        Metadata::new(cause, cause, noon(), self.id)
    }

    /// What a client's command wrote.
    pub(crate) fn client<E>(&mut self, stream: &StreamName, event: E) -> Position
    where
        E: Serialize + Send + Sync + 'static,
    {
        let mut metadata = self.metadata();
        metadata.command_id = Some(metadata.causation_id);
        self.write(stream, event, metadata)
    }

    /// Appends at the next position and revision.
    pub(crate) fn write<E>(&mut self, stream: &StreamName, event: E, metadata: Metadata) -> Position
    where
        E: Serialize + Send + Sync + 'static,
    {
        self.written += 1;
        let event = NewEvent::encode(event, metadata, stream, self.written).unwrap();
        self.push(stream, event)
    }

    pub(crate) fn push(&mut self, stream: &StreamName, event: NewEvent) -> Position {
        let revision = self.events.iter().filter(|e| e.stream == *stream).count();
        let position = Position::dense(self.events.len() as u64 + 1);
        self.events.push(Arc::new(event.record(
            position,
            stream.clone(),
            revision as u64,
        )));
        position
    }

    /// Changes one event in its place.
    pub(crate) fn change(&mut self, position: Position, change: impl FnOnce(&mut RecordedEvent)) {
        let index = usize::try_from(position.commit - 1).unwrap();
        let mut event = RecordedEvent::clone(&self.events[index]);
        change(&mut event);
        self.events[index] = Arc::new(event);
    }

    pub(crate) fn place(&mut self, name: &str, lines: &[(&'static str, u32)]) -> Order {
        let id = Uuid::new_v5(&self.id.0, name.as_bytes());
        let order = Order {
            id,
            saga: Uuid::new_v5(&id, b"saga"),
            payment: Uuid::new_v5(&id, b"payment"),
            lines: lines.to_vec(),
        };
        let line = |(sku, quantity): &(&str, u32)| order::Line {
            sku: Sku::parse(sku).unwrap(),
            quantity: Quantity::new(*quantity).unwrap(),
            unit_price: eur(100),
        };
        let placed = order::Placed {
            order_id: OrderId(id),
            payment_id: PaymentId(order.payment),
            customer_id: CustomerId(Uuid::nil()),
            lines: lines.iter().map(line).collect(),
            total: order.total(),
            payment: order::PaymentMethod::Card {
                token: CardToken::new("tok_visa"),
            },
        };
        self.client(&order.stream(), order::Event::Placed(placed));
        order
    }

    /// An event of the saga's stream, and where its commands stand.
    pub(crate) fn saga(&mut self, order: &Order, event: Saga) -> Position {
        let sent: Vec<Uuid> = event
            .commands()
            .iter()
            .map(|sent| sent.command.id)
            .collect();
        let mut metadata = self.metadata();
        metadata.correlation_id = order.id;
        let position = self.write(&order.saga_stream(), event, metadata);
        for (index, id) in (0..).zip(sent) {
            self.marks.insert(id, Mark { position, index });
        }
        position
    }

    pub(crate) fn start(&mut self, order: &Order) -> Position {
        let labels: Vec<String> = (0..order.lines.len())
            .map(|line| format!("reserve/{line}"))
            .collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        self.saga(
            order,
            Saga::Started(Started {
                definition: "fulfilment".into(),
                definition_hash: "h".into(),
                input: Json::write(&()).unwrap(),
                deadline_at: noon() + TimeDelta::seconds(60),
                steps: Vec::new(),
                commands: labels.iter().map(|label| order.sends(label)).collect(),
            }),
        )
    }

    /// The saga notes an answer and sends what follows.
    pub(crate) fn note(
        &mut self,
        order: &Order,
        label: &str,
        position: Position,
        answer: Answer,
        next: &[&str],
    ) -> Position {
        let sent = order.sends(label);
        let counts_as_done =
            matches!(&answer, Answer::Refused { code, .. } if code == "nothing-to-undo");
        self.saga(
            order,
            Saga::Answered(Answered {
                command: sent.command.id,
                step: sent.step,
                item: sent.item,
                direction: sent.direction,
                answer,
                position,
                counts_as_done,
                is_moot: false,
                closes: vec![],
                resend_at: None,
                deadline_at: None,
                commands: next.iter().map(|label| order.sends(label)).collect(),
            }),
        )
    }

    pub(crate) fn answers(&self, order: &Order, label: &str) -> Metadata {
        let mut metadata = self.metadata();
        metadata.correlation_id = order.id;
        metadata.mark = self.marks.get(&order.command(label)).copied();
        metadata.answers = vec![answered(order, label)];
        metadata
    }

    /// An aggregate answers a command with an event.
    pub(crate) fn answer<E>(&mut self, order: &Order, label: &str, event: E) -> Position
    where
        E: Serialize + Send + Sync + 'static,
    {
        let metadata = self.answers(order, label);
        self.write(&order.target(label), event, metadata)
    }

    /// An aggregate refuses a command.
    pub(crate) fn refuse(&mut self, order: &Order, label: &str, code: &str) -> Position {
        let mut metadata = self.answers(order, label);
        metadata.refused = Some(refused(code));
        self.write(
            &order.target(label),
            Platform::Refused(refused(code)),
            metadata,
        )
    }

    /// A payment takes a command as an intent.
    pub(crate) fn intend(&mut self, order: &Order, label: &str) -> Position {
        use payment::{AuthorizationRequested, Event, Operation, Requested};
        let requested = |operation| Requested {
            key: order.key(operation),
            ordinal: 0,
        };
        let (event, operation) = match label {
            "authorize" => (
                Event::AuthorizationRequested(AuthorizationRequested {
                    payment_id: PaymentId(order.payment),
                    order_id: OrderId(order.id),
                    amount: order.total(),
                    token: CardToken::new("tok_visa"),
                    key: order.key(Operation::Authorize),
                    ordinal: 0,
                }),
                "authorize",
            ),
            "capture" => (
                Event::CaptureRequested(requested(Operation::Capture)),
                "capture",
            ),
            _ => (Event::VoidRequested(requested(Operation::Void)), "void"),
        };
        let mut metadata = self.answers(order, label);
        metadata.takes = metadata.answers.pop().map(|answered| Taken {
            answered,
            operation: operation.into(),
        });
        self.write(&order.payment_stream(), event, metadata)
    }

    /// The outcome of an intent, by the service itself.
    pub(crate) fn outcome(
        &mut self,
        order: &Order,
        label: &str,
        event: payment::Event,
    ) -> Position {
        let mut metadata = self.answers(order, label);
        metadata.mark = None;
        if let Some((_, Some(declined))) = event.outcome() {
            metadata.refused = Some(refused(&declined.code));
        }
        self.write(&order.payment_stream(), event, metadata)
    }

    /// Intent, outcome, noted.
    pub(crate) fn pay(&mut self, order: &Order, label: &str, next: &[&str]) {
        use payment::Event;
        self.intend(order, label);
        let outcome = match label {
            "authorize" => Event::Authorized(order.applied()),
            "capture" => Event::Captured(order.applied()),
            _ => Event::Voided(order.applied()),
        };
        let at = self.outcome(order, label, outcome);
        self.note(order, label, at, Answer::Done, next);
    }

    /// One event that answers a command, noted.
    pub(crate) fn done<E>(&mut self, order: &Order, label: &str, event: E, next: &[&str])
    where
        E: Serialize + Send + Sync + 'static,
    {
        let at = self.answer(order, label, event);
        self.note(order, label, at, Answer::Done, next);
    }

    pub(crate) fn reserve_all(&mut self, order: &Order) {
        for line in 0..order.lines.len() {
            let is_last = line + 1 == order.lines.len();
            let next: &[&str] = if is_last { &["authorize"] } else { &[] };
            let reserved = stock::Event::Reserved(order.held(line));
            self.done(order, &format!("reserve/{line}"), reserved, next);
        }
    }

    /// All of a fulfilment that goes well, up to its last line's commit.
    pub(crate) fn up_to_commit(&mut self, order: &Order) {
        self.start(order);
        self.reserve_all(order);
        self.pay(order, "authorize", &["confirm"]);
        let confirmed = order::Event::Confirmed(order::Confirmed {});
        self.done(order, "confirm", confirmed, &["capture"]);
        let commits: Vec<String> = (0..order.lines.len())
            .map(|line| format!("commit/{line}"))
            .collect();
        let commits: Vec<&str> = commits.iter().map(String::as_str).collect();
        self.pay(order, "capture", &commits);
    }

    pub(crate) fn commit_all(&mut self, order: &Order) {
        for line in 0..order.lines.len() {
            let is_last = line + 1 == order.lines.len();
            let next: &[&str] = if is_last { &["complete"] } else { &[] };
            let committed = stock::Event::Committed(order.held(line));
            self.done(order, &format!("commit/{line}"), committed, next);
        }
    }

    pub(crate) fn complete(&mut self, order: &Order) {
        let completed = order::Event::Completed(order::Completed::default());
        self.done(order, "complete", completed, &[]);
        self.saga(order, Saga::Completed(recourse_saga::Completed {}));
    }

    /// A fulfilment that goes well.
    pub(crate) fn fulfil(&mut self, order: &Order) {
        self.up_to_commit(order);
        self.commit_all(order);
        self.complete(order);
    }

    /// Undone from the release of its first line on: released, rejected, ended.
    pub(crate) fn give_up(&mut self, order: &Order) {
        let released = stock::Event::Released(order.held(0));
        self.done(order, "undo:reserve/0", released, &["reject"]);
        self.reject(order);
    }

    pub(crate) fn reject(&mut self, order: &Order) {
        let rejected = order::Event::Rejected(order::Rejected {
            reason: order::Reason {
                code: "payment-declined".into(),
                detail: "no".into(),
            },
        });
        self.done(order, "reject", rejected, &[]);
        self.saga(order, Saga::Compensated(recourse_saga::Compensated {}));
    }

    /// A fulfilment of one line whose card is declined.
    pub(crate) fn decline(&mut self, order: &Order) {
        self.start(order);
        self.reserve_all(order);
        self.intend(order, "authorize");
        let at = self.outcome(
            order,
            "authorize",
            payment::Event::Declined(payment::Declined {
                code: "payment-declined".into(),
                detail: "payment-declined".into(),
                is_final: true,
            }),
        );
        let answer = Answer::from(Some(&refused("payment-declined")));
        self.note(order, "authorize", at, answer, &["undo:reserve/0"]);
        self.give_up(order);
    }

    /// A fulfilment of one line that is cancelled once it is authorized, up to where the void
    /// of the authorization was sent.
    pub(crate) fn cancel(&mut self, order: &Order) {
        self.start(order);
        self.reserve_all(order);
        self.intend(order, "authorize");
        let at = self.client(
            &order.stream(),
            order::Event::Cancelled(order::Cancelled {
                reason: "no more".into(),
            }),
        );
        self.saga(
            order,
            Saga::CancellationNoted(recourse_saga::CancellationNoted {
                position: at,
                commands: vec![order.sends("undo:authorize")],
            }),
        );
        let at = self.outcome(
            order,
            "authorize",
            payment::Event::Authorized(order.applied()),
        );
        self.note(order, "authorize", at, Answer::Done, &[]);
    }

    /// What a cancelled order leaves to its saga: the release, and a reject that finds
    /// nothing to do.
    pub(crate) fn close_cancelled(&mut self, order: &Order) {
        let released = stock::Event::Released(order.held(0));
        self.done(order, "undo:reserve/0", released, &["reject"]);
        let at = self.refuse(order, "reject", "nothing-to-undo");
        let answer = Answer::from(Some(&refused("nothing-to-undo")));
        self.note(order, "reject", at, answer, &[]);
        self.saga(order, Saga::Compensated(recourse_saga::Compensated {}));
    }

    pub(crate) fn store(&self) -> Arc<dyn EventStore> {
        Arc::new(self.clone())
    }
}

fn answered(order: &Order, label: &str) -> recourse_event_store::Answered {
    recourse_event_store::Answered {
        command: order.command(label),
        saga: order.saga_stream(),
    }
}

#[async_trait]
impl EventStore for Log {
    fn log_id(&self) -> LogId {
        self.id
    }

    async fn append(&self, _: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
        unreachable!("who checks writes nothing")
    }

    async fn read_stream(
        &self,
        _: &StreamName,
        _: Option<u64>,
        _: Direction,
        _: Visibility,
        _: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        unreachable!("the log is read in its order")
    }

    async fn read_all(&self, read: Read) -> Result<Batch, StoreError> {
        if read.direction == Direction::Backward {
            let before = read.from.map(|from| usize::try_from(from.commit - 1));
            let before = before.transpose().unwrap().unwrap_or(self.events.len());
            let last = self.events[..before].last().cloned();
            return Ok(Batch {
                considered: Position::dense(before.saturating_sub(1) as u64),
                at_end: before <= 1,
                events: last.into_iter().collect(),
            });
        }
        let skip = usize::try_from(read.from.unwrap_or_default().commit).unwrap();
        // Short batches, so that reading on is a part of every test.
        let events: Vec<_> = self.events.iter().skip(skip).take(7).cloned().collect();
        let next = skip + events.len();
        Ok(Batch {
            events,
            considered: Position::dense(next as u64),
            at_end: next == self.events.len(),
        })
    }

    async fn subscribe(
        &self,
        _: Position,
        _: Filter,
        _: Visibility,
    ) -> Result<Box<dyn Subscription>, StoreError> {
        unreachable!("the log is read once")
    }

    async fn appended(&self) -> Result<Position, StoreError> {
        Ok(self.durable())
    }

    fn durable(&self) -> Position {
        Position::dense(u64::MAX)
    }

    async fn wait_durable(&self, _: Position) -> Result<(), StoreError> {
        Ok(())
    }
}
