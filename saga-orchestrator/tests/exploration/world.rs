//! One order, its saga, and everybody that the saga talks to.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use recourse_aggregates::{Order, Payment, Stock};
use recourse_bus::Json;
use recourse_cqrs::{
    Aggregate, ClientCommand, Internal, Origin, Precondition, SagaCommand, Tracked,
};
use recourse_domain::{
    CardToken, Currency, CustomerId, HoldId, Money, OrderId, PaymentId, Quantity, ReturnId, Sku,
    order,
    payment::{self, Operation},
    stock,
};
use recourse_event_store::{LogId, Mark, Position, StreamName, typed};
use recourse_saga::{Definition, Event, State};
use recourse_saga_orchestrator::{fulfilment, returns};
use uuid::Uuid;

use crate::{
    participants::{LoggedAnswer, Shared, direct, shared, take},
    provider::{Provider, Verdict},
};

pub const LOG: LogId = LogId(Uuid::from_u128(1));
const ORDER: OrderId = OrderId(Uuid::from_u128(0x0a));
const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(0x0b));
pub const SAGA: Uuid = Uuid::from_u128(0x0c);
pub const RETURN: ReturnId = ReturnId(Uuid::from_u128(0x0e));
/// The saga that sold what goes back.
const SOLD: Uuid = Uuid::from_u128(0x0f);
/// How many pieces of each line go back, of the two that were sold.
pub const SENT_BACK: [u32; 2] = [1, 2];

/// All happens at one moment: what time does is a step of the walk, not a number.
pub const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// Who the saga's commands go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    Order,
    Payment,
    Stock(usize),
}

impl Target {
    pub const ALL: [Self; 4] = [Self::Order, Self::Payment, Self::Stock(0), Self::Stock(1)];

    pub fn of(stream: &StreamName) -> Self {
        match (stream.category(), stream.id()) {
            ("order", _) => Self::Order,
            ("payment", _) => Self::Payment,
            (_, "tea-0") => Self::Stock(0),
            _ => Self::Stock(1),
        }
    }

    pub fn index(self) -> usize {
        match self {
            Self::Order => 0,
            Self::Payment => 1,
            Self::Stock(line) => 2 + line,
        }
    }

    pub fn stream(self) -> StreamName {
        match self {
            Self::Order => StreamName::new("order", ORDER),
            Self::Payment => StreamName::new("payment", PAYMENT),
            Self::Stock(line) => StreamName::new("stock", sku(line)),
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Payment => "payment",
            Self::Stock(0) => "stock 0",
            Self::Stock(_) => "stock 1",
        }
    }
}

/// The commands on their way to one aggregate, in log order.
#[derive(Clone, Default)]
pub struct Queue {
    pub commands: Vec<Arc<SagaCommand>>,
    pub delivered: usize,
    /// Those that got lost on the way.
    pub lost: Vec<Uuid>,
}

/// What is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// An order, from its placing on.
    Order,
    /// A return of a completed order, from its request on.
    Return,
}

/// Whether the order's cancellation has reached the saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cancellation {
    None,
    Unread,
    Read,
}

/// How many more faults of each kind may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Commands delivered once more and answers read once more.
    pub duplicates: u8,
    /// Timers that fire while an answer may still come.
    pub timeouts: u8,
    /// Deadlines that pass while an answer may still come.
    pub deadlines: u8,
    /// Clients who cancel.
    pub cancellations: u8,
    /// Crashes between what the provider did and the record of it.
    pub crashes: u8,
    /// Calls to the provider whose outcome is unknown.
    pub unknowns: u8,
    /// Refusals for now.
    pub refusals: u8,
    /// Commands that never arrive, while later ones do.
    pub losses: u8,
    /// Clients who send goods back.
    pub returns: u8,
    /// Pauses, each of which ends.
    pub pauses: u8,
    /// Retries.
    pub retries: u8,
    /// Steps left out.
    pub skips: u8,
    /// Undoes at an operator's wish.
    pub compensations: u8,
    /// Keys that grow too old while the outcome is unknown.
    pub expiries: u8,
}

/// One state of everything.
#[derive(Clone)]
pub struct World {
    pub story: Story,
    pub saga: Arc<Shared<State>>,
    pub order: Arc<Shared<Tracked<Order>>>,
    pub payment: Arc<Shared<Tracked<Payment>>>,
    pub stock: [Arc<Shared<Tracked<Stock>>>; 2],
    pub provider: Arc<Shared<Provider>>,
    pub queues: [Arc<Queue>; 4],
    /// What the log holds and the saga has not read; sorted.
    pub unread: Vec<LoggedAnswer>,
    /// What it has read; sorted.
    pub read: Arc<Vec<LoggedAnswer>>,
    pub cancellation: Cancellation,
    pub budget: Budget,
    /// That an outside party has refused for good what cannot be given up.
    pub refused_for_good: bool,
    /// The revision of the saga's last need for attention by its deadline.
    pub flagged_at: Option<u64>,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        // What is in the queues and what was read follows from the saga's own events and from
        // the others' states.
        self.saga.hash(hasher);
        self.order.hash(hasher);
        self.payment.hash(hasher);
        self.stock.hash(hasher);
        self.provider.hash(hasher);
        for queue in &self.queues {
            (queue.delivered, &queue.lost).hash(hasher);
        }
        self.unread.hash(hasher);
        self.cancellation.hash(hasher);
        self.budget.hash(hasher);
        self.refused_for_good.hash(hasher);
        self.flagged_at.hash(hasher);
    }
}

pub fn sku(line: usize) -> Sku {
    Sku::parse(&format!("tea-{line}")).unwrap()
}

fn money(amount_minor: i64) -> Money {
    Money {
        amount_minor,
        currency: Currency::parse("EUR").unwrap(),
    }
}

fn internal(id: u128) -> Origin {
    Origin::Internal(Internal {
        correlation_id: ORDER.0,
        causation_id: Uuid::from_u128(id),
        actor: None,
        request_id: None,
        traceparent: None,
    })
}

impl World {
    /// An order of two lines, where the stock of each has enough or not. Its saga has not begun.
    pub fn new(enough: [bool; 2], budget: Budget) -> Self {
        let lines = (0..2)
            .map(|line| order::Line {
                sku: sku(line),
                quantity: Quantity::new(2).unwrap(),
                unit_price: money(500),
            })
            .collect();
        let place = order::Command::Place(order::Place {
            order_id: ORDER,
            payment_id: PAYMENT,
            customer_id: CustomerId(Uuid::nil()),
            lines,
            payment: order::PaymentMethod::Card {
                token: CardToken::new("tok_visa"),
            },
        });
        let order = direct::<Order>(&Tracked::default(), Target::Order, place, internal(1))
            .expect("an order can be placed")
            .0;
        let stock = [0, 1].map(|line| {
            let quantity = Quantity::new(if enough[line] { 3 } else { 1 }).unwrap();
            let receive = stock::Command::Receive(stock::Receive {
                sku: sku(line),
                quantity,
                reference: "first".to_owned(),
            });
            direct::<Stock>(
                &Tracked::default(),
                Target::Stock(line),
                receive,
                internal(2),
            )
            .expect("goods can be received")
            .0
        });
        Self {
            story: Story::Order,
            saga: shared_saga(State::new(SAGA)),
            order: shared(order),
            payment: shared(Tracked::default()),
            stock: stock.map(shared),
            provider: Shared::new(Provider::default(), Provider::default()),
            queues: Default::default(),
            unread: Vec::new(),
            read: Arc::default(),
            cancellation: Cancellation::None,
            budget,
            refused_for_good: false,
            flagged_at: None,
        }
    }

    /// A completed order of two lines, some of which goes back. Where the first line was never
    /// delivered an operator gave it up. The saga of the return has not begun.
    pub fn returning(is_first_out: bool, budget: Budget) -> Self {
        let mut world = Self::new([true, true], budget);
        world.story = Story::Return;
        for line in 0..2 {
            let hold = HoldId {
                saga: SOLD,
                line: u32::try_from(line).unwrap(),
            };
            let reserve = stock::Command::Reserve(stock::Reserve {
                hold,
                sku: sku(line),
                quantity: Quantity::new(2).unwrap(),
            });
            let end = if line > 0 || is_first_out {
                stock::Command::Commit(stock::Commit { hold })
            } else {
                stock::Command::Release(stock::Release { hold })
            };
            for command in [reserve, end] {
                world.stock[line] = tell(&world.stock[line], Target::Stock(line), command);
            }
        }
        let authorize = payment::Command::Authorize(payment::Authorize {
            payment_id: PAYMENT,
            order_id: ORDER,
            amount: money(2_000),
            token: CardToken::new("tok_visa"),
        });
        let capture = payment::Command::Capture(payment::Capture {});
        let mut provider = Provider::default();
        for (operation, command) in [
            (Operation::Authorize, authorize),
            (Operation::Capture, capture),
        ] {
            let key = PAYMENT.key(operation, 0);
            let record = payment::Command::RecordOutcome(payment::RecordOutcome {
                operation,
                key,
                outcome: provider.request(operation, key, Verdict::Applied),
            });
            for command in [command, record] {
                world.payment = tell(&world.payment, Target::Payment, command);
            }
        }
        world.provider = Shared::new(provider.clone(), provider);
        let undelivered = if is_first_out { vec![] } else { vec![sku(0)] };
        for command in [
            order::Command::Confirm(order::Confirm {}),
            order::Command::Complete(order::Complete { undelivered }),
            order::Command::RequestReturn(order::RequestReturn {
                return_id: RETURN,
                lines: (0..2)
                    .map(|line| order::ReturnLine {
                        sku: sku(line),
                        quantity: Quantity::new(SENT_BACK[line]).unwrap(),
                    })
                    .collect(),
                reason: "too bitter".to_owned(),
            }),
        ] {
            world.order = tell(&world.order, Target::Order, command);
        }
        world
    }

    /// What the saga works on.
    pub fn input(&self) -> Json {
        match self.story {
            Story::Order => Self::order_input(),
            Story::Return => self.return_input(),
        }
    }

    fn return_input(&self) -> Json {
        let its = self.order.state().get_return(RETURN).unwrap();
        let lines = its
            .lines
            .iter()
            .map(|line| returns::Line {
                sku: line.sku.clone(),
                quantity: line.quantity,
                undelivered: self.order.state().undelivered().contains(&line.sku),
            })
            .collect();
        Json::write(&returns::Input {
            return_id: RETURN,
            order_id: ORDER,
            payment_id: PAYMENT,
            refund: its.refund,
            lines,
        })
        .unwrap()
    }

    fn order_input() -> Json {
        let lines = (0..2)
            .map(|line| fulfilment::Line {
                sku: sku(line),
                quantity: Quantity::new(2).unwrap(),
            })
            .collect();
        Json::write(&fulfilment::Input {
            order_id: ORDER,
            payment_id: PAYMENT,
            total: money(2_000),
            token: CardToken::new("tok_visa"),
            lines,
        })
        .unwrap()
    }

    /// Appends to the saga's stream: its state goes on, its commands are on their way.
    pub fn append(&mut self, events: &[Event]) {
        let mut state = State::clone(&self.saga);
        for event in events {
            let revision = state.revision().map_or(0, |revision| revision + 1);
            // As a crash would find it: from the bytes.
            let (event_type, data) = typed::encode(event).unwrap();
            let event: Event = typed::decode(&event_type, &data).unwrap();
            for (index, sent) in (0..).zip(event.commands()) {
                let queue = &mut self.queues[Target::of(&sent.command.target).index()];
                Arc::make_mut(queue).commands.push(Arc::new(SagaCommand {
                    command: sent.command.clone(),
                    mark: mark(revision, index),
                    saga: Definition::stream(SAGA),
                    cause: Uuid::from_u128(u128::from(revision)),
                    correlation_id: ORDER.0,
                    request_id: None,
                    traceparent: None,
                }));
            }
            state.apply(&event, NOW);
        }
        self.saga = shared_saga(state);
    }

    /// Hands a saga's command to its aggregate: what it answers is in the log then. `false`
    /// where that changes nothing.
    pub fn deliver(&mut self, command: &SagaCommand) -> Result<bool, String> {
        let target = Target::of(&command.command.target);
        let answers = match target {
            Target::Order => take(&mut self.order, command)?,
            Target::Payment => take(&mut self.payment, command)?,
            Target::Stock(line) => take(&mut self.stock[line], command)?,
        };
        let Some(answers) = answers else {
            return Ok(false);
        };
        self.log(answers)?;
        Ok(true)
    }

    /// A place in the order of commands after everything that a target has taken.
    pub fn beyond(&self, target: Target) -> Mark {
        let last = match target {
            Target::Order => self.order.tracking().mark(),
            Target::Payment => self.payment.tracking().mark(),
            Target::Stock(line) => self.stock[line].tracking().mark(),
        };
        let mut mark = last.unwrap_or_default();
        mark.index += 1;
        mark
    }

    /// The next command to a target gets lost, and another saga's later one arrives.
    pub fn lose(&mut self, target: Target) -> Result<(), String> {
        let queue = Arc::make_mut(&mut self.queues[target.index()]);
        let mut other = SagaCommand::clone(&queue.commands[queue.delivered]);
        queue.delivered += 1;
        queue.lost.push(other.command.id);
        // It stands right behind the lost one, and nobody here understands it.
        other.mark.index += 1_000;
        other.saga = Definition::stream(Uuid::from_u128(5));
        other.command.id = Uuid::from_u128(6);
        other.command.command_type = "another.saga".to_owned();
        let before = self.unread.clone();
        self.deliver(&other)?;
        self.unread = before;
        Ok(())
    }

    /// The order's client cancels. `false` where the order refuses.
    pub fn cancel(&mut self) -> bool {
        let cancel = order::Command::Cancel(order::Cancel {
            reason: "changed my mind".to_owned(),
        });
        let client = Origin::Client(ClientCommand {
            id: Uuid::from_u128(3),
            body_hash: Uuid::nil(),
            correlation_id: ORDER.0,
            precondition: Precondition::None,
            actor: None,
            request_id: None,
            traceparent: None,
        });
        let Some((order, _)) = direct(&self.order, Target::Order, cancel, client) else {
            return false;
        };
        self.order = shared(order);
        self.cancellation = Cancellation::Unread;
        true
    }

    /// The order's client sends a piece back. `false` where the order refuses.
    pub fn send_back(&mut self) -> bool {
        let request = order::Command::RequestReturn(order::RequestReturn {
            return_id: ReturnId(Uuid::from_u128(0x0d)),
            lines: vec![order::ReturnLine {
                sku: sku(0),
                quantity: Quantity::new(1).unwrap(),
            }],
            reason: "too small".to_owned(),
        });
        let Some((order, _)) = direct(&self.order, Target::Order, request, internal(7)) else {
            return false;
        };
        self.order = shared(order);
        true
    }

    /// The payment service records what its provider answered.
    pub fn record(&mut self, record: payment::RecordOutcome) -> Result<bool, String> {
        let record = payment::Command::RecordOutcome(record);
        let Some((payment, answers)) = direct(&self.payment, Target::Payment, record, internal(4))
        else {
            return Ok(false);
        };
        self.payment = shared(payment);
        self.log(answers)?;
        Ok(true)
    }

    fn log(&mut self, answers: Vec<LoggedAnswer>) -> Result<(), String> {
        for answer in answers {
            let is_answered = |known: &LoggedAnswer| known.command == answer.command;
            if self.unread.iter().any(is_answered) || self.read.iter().any(is_answered) {
                return Err("a command was answered twice".to_owned());
            }
            self.unread.push(answer);
        }
        self.unread.sort();
        Ok(())
    }

    pub fn mark_read(&mut self, answer: &LoggedAnswer) {
        self.unread.retain(|unread| unread != answer);
        if !self.read.contains(answer) {
            Arc::make_mut(&mut self.read).push(answer.clone());
        }
    }

    /// The answer to a command, wherever it stands.
    pub fn is_answered(&self, command: Uuid) -> bool {
        self.unread
            .iter()
            .chain(self.read.iter())
            .any(|answer| answer.command == command)
    }

    /// Whether a command never arrived, and never will.
    pub fn is_lost(&self, command: Uuid) -> bool {
        self.queues
            .iter()
            .any(|queue| queue.lost.contains(&command))
    }

    /// Whether a target's mark is past a command, and whether it is an open intent there.
    pub fn tracking(&self, target: Target, command: &SagaCommand) -> (bool, bool) {
        let tracking = match target {
            Target::Order => self.order.tracking(),
            Target::Payment => self.payment.tracking(),
            Target::Stock(line) => self.stock[line].tracking(),
        };
        let is_open = tracking
            .open()
            .iter()
            .any(|taken| taken.answered.command == command.command.id);
        (tracking.is_past(command.mark), is_open)
    }

    /// A saga's command on its way, or arrived.
    pub fn command(&self, id: Uuid) -> Option<(Target, &Arc<SagaCommand>)> {
        Target::ALL.into_iter().find_map(|target| {
            self.queues[target.index()]
                .commands
                .iter()
                .find(|command| command.command.id == id)
                .map(|command| (target, command))
        })
    }
}

/// What was asked of an aggregate before the walk begins, and was done.
fn tell<A: Aggregate<State: Hash>>(
    tracked: &Tracked<A>,
    target: Target,
    command: A::Command,
) -> Arc<Shared<Tracked<A>>> {
    let done = direct(tracked, target, command, internal(8));
    shared(done.expect("it has an effect").0)
}

pub fn mark(revision: u64, index: u32) -> Mark {
    Mark {
        position: Position::dense(revision + 1),
        index,
    }
}

fn shared_saga(state: State) -> Arc<Shared<State>> {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    let hash = hasher.finish();
    Shared::new(state, hash)
}
