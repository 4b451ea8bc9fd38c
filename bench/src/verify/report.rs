//! What `verify` counted, and what it found broken.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use chrono::{DateTime, Utc};
use recourse_event_store::{LogId, Position, RecordedEvent, StreamName};
use serde::{Deserialize, Serialize};

/// What was counted and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which log.
    pub log: LogId,
    /// Everything up to here was read.
    pub position: Position,
    /// The moment that deadlines were held against.
    pub as_of: DateTime<Utc>,
    /// Events read.
    pub events: u64,
    /// Bytes of their types, data, metadata and stream names: what they hold without framing.
    pub event_bytes: u64,
    /// Streams by category.
    pub streams: BTreeMap<String, u64>,
    /// Orders by status.
    pub orders: BTreeMap<String, u64>,
    /// Orders that have ended and whose saga has too.
    pub settled: u64,
    /// Sagas by status.
    pub sagas: BTreeMap<String, u64>,
    /// What sagas sent.
    pub commands: Commands,
    /// Money by currency, in minor units.
    pub money: BTreeMap<String, MoneyTotals>,
    /// Stock over all SKUs, in pieces.
    pub stock: StockTotals,
    /// What operators had sagas leave out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Exception>,
    /// What clients were told, where a file was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<AcknowledgedTotals>,
    /// Each view that was compared with the log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<ViewTotals>,
    /// Breaches by kind: all of them, also those too many to be listed.
    pub breaches_by_kind: BTreeMap<Kind, u64>,
    /// The breaches, at most as many as was asked for.
    pub breaches: Vec<Breach>,
}

/// What sagas sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commands {
    /// Commands that stand in a saga's stream.
    pub sent: u64,
    /// Of these, those whose answer is in the log.
    pub answered: u64,
    /// Of the answers, those that say no.
    pub refused: u64,
}

/// Money of one currency, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoneyTotals {
    /// The totals of all orders.
    pub ordered: i128,
    /// Reserved with the provider, ever.
    pub authorized: i128,
    /// Taken.
    pub captured: i128,
    /// Let go.
    pub voided: i128,
    /// Given back.
    #[serde(default)]
    pub refunded: i128,
    /// What the goods cost that clients keep: what `captured` less `refunded` must be once all
    /// is settled, with `unpaid` added and `unreturned` taken off.
    pub goods_kept: i128,
    /// Of that, what operators gave away, or say was paid elsewhere.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub unpaid: i128,
    /// What operators did not have refunded, or say was refunded elsewhere.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub unreturned: i128,
    /// What operators left reserved with the provider, or say was let go elsewhere.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub abandoned: i128,
}

fn is_nothing(amount: &i128) -> bool {
    *amount == 0
}

/// Stock over all SKUs, in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockTotals {
    /// How many SKUs have a stock.
    pub skus: u64,
    /// Came in.
    pub received: i128,
    /// Corrections, in sum.
    pub adjusted: i128,
    /// Went out.
    pub committed: i128,
    /// Came back: by returns, and by what operators undid.
    #[serde(default)]
    pub restocked: i128,
    /// There now.
    pub on_hand: i128,
    /// Of these, held for orders.
    pub reserved: i128,
    /// By how many holds.
    pub open_holds: u64,
}

/// What clients were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgedTotals {
    /// Orders placed.
    pub orders: u64,
    /// Of these, those told as settled.
    pub settled: u64,
    /// Returns requested.
    #[serde(default)]
    pub returns: u64,
    /// Receipts and products.
    pub others: u64,
}

/// One view that was compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewTotals {
    /// Its name.
    pub view: String,
    /// Which generation of it was compared: the one that queries read.
    #[serde(default)]
    pub generation: u32,
    /// Its checkpoint: it was compared with the fold of the log up to here.
    pub position: Position,
    /// How many rows it has.
    pub rows: u64,
}

/// A promise that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// Its number in `DESIGN`'s list.
    pub promise: u8,
    /// What kind of breach.
    pub kind: Kind,
    /// What it is about: a stream, an order, a view's row.
    pub subject: String,
    /// What is wrong, with the figures.
    pub detail: String,
    /// The events that show it, oldest first where there are several.
    pub events: Vec<Evidence>,
}

/// A command that an operator had a saga leave out: no breach, and not what was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// The stream of the aggregate that it would have gone to.
    pub target: StreamName,
    /// Its type: `payment.capture`.
    pub command: String,
    /// What was left out, in words.
    pub what: String,
    /// That an effect stays which nothing takes back.
    pub remains: bool,
    /// Who had it left out.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The event that says so.
    pub event: Evidence,
}

/// An event that shows a breach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Its stream.
    pub stream: StreamName,
    /// Its place in that stream.
    pub revision: u64,
    /// Its place in the log.
    pub position: Position,
}

impl From<&RecordedEvent> for Evidence {
    fn from(event: &RecordedEvent) -> Self {
        Self {
            stream: event.stream.clone(),
            revision: event.revision,
            position: event.position,
        }
    }
}

/// What kind of breach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An order is not settled past its deadline and its saga does not say why.
    OrderUnsettled,
    /// An order has been there for a while and no saga works on it.
    OrderWithoutSaga,
    /// A saga has ended and its order has not, or the ends do not agree.
    OrderSagaDisagree,
    /// Authorized is not captured and voided, or more was moved than was there.
    MoneyNotConserved,
    /// What was captured and not refunded is not what the kept goods cost.
    CapturedNotGoodsKept,
    /// What went out is not what the order's end says.
    GoodsNotOrder,
    /// An entry of the ledger does not sum to zero, or has fewer than two postings.
    EntryUnbalanced,
    /// Money moved and the ledger has no entry of it.
    EntryMissing,
    /// Money moved once and the ledger has two entries of it.
    EntryTwice,
    /// An entry of the ledger is not what its event moved.
    EntryWrong,
    /// An entry of the ledger is of an event that moved nothing, or is not there.
    EntryUnfounded,
    /// An account does not amount to what its postings come to.
    BalanceWrong,
    /// The balances of a currency do not come to zero.
    LedgerNotZero,
    /// Reserved is below zero or above what is on hand.
    StockOutOfBounds,
    /// On hand is not what came in, was corrected, came back and went out; or reserved is not
    /// the holds.
    StockNotConserved,
    /// A hold whose saga is not open.
    HoldWithoutSaga,
    /// A hold has taken effect twice.
    HoldDoubled,
    /// The same goods came back twice.
    RestockDoubled,
    /// A hold that is not there, or not as it was made, was released, committed or undone.
    HoldUnknown,
    /// A position that is not the next one.
    PositionOrder,
    /// A revision that is not the next one of its stream.
    RevisionOrder,
    /// Two events with one id.
    DuplicateId,
    /// An event that was written for another log.
    WrongLog,
    /// An event that cannot be read as what its type says.
    Unreadable,
    /// An event that its aggregate's rules do not allow there.
    IllegalEvent,
    /// A stream's mark went back, or names a command that it is not.
    MarkWrong,
    /// A client's command took effect twice.
    ClientCommandTwice,
    /// A saga's command was answered twice.
    CommandAnsweredTwice,
    /// An answer to a command that its saga had not sent.
    AnswerWithoutCommand,
    /// An answer in another stream than the command's target.
    AnswerElsewhere,
    /// A saga noted an answer that the log does not have, or has otherwise.
    AnswerNotAsNoted,
    /// A saga has ended with a command that is not answered.
    SagaEndedOpen,
    /// One order, two sagas of one definition; or one command sent twice.
    SagaDoubled,
    /// One idempotency key of the provider, two operations or two outcomes.
    IntentKeyReused,
    /// An outcome of an operation that is not under way.
    OutcomeWithoutIntent,
    /// An operation is under way and nobody waits for it.
    IntentWithoutSaga,
    /// What a client was told is not in the log.
    AcknowledgedLost,
    /// What a client was told is in the log otherwise.
    AcknowledgedDiffers,
    /// A line of the acknowledged file that is not one.
    AcknowledgedUnreadable,
    /// A view's row is not what the log makes.
    ViewDiffers,
    /// A view cannot be compared, or does not belong to the log.
    ViewUnusable,
}

impl Kind {
    /// The number of the promise that it breaks.
    #[must_use]
    pub const fn promise(self) -> u8 {
        match self {
            Self::OrderUnsettled | Self::OrderWithoutSaga | Self::OrderSagaDisagree => 1,
            Self::MoneyNotConserved
            | Self::CapturedNotGoodsKept
            | Self::GoodsNotOrder
            | Self::EntryUnbalanced
            | Self::EntryMissing
            | Self::EntryTwice
            | Self::EntryWrong
            | Self::EntryUnfounded
            | Self::BalanceWrong
            | Self::LedgerNotZero => 2,
            Self::StockOutOfBounds
            | Self::StockNotConserved
            | Self::HoldWithoutSaga
            | Self::HoldDoubled
            | Self::RestockDoubled
            | Self::HoldUnknown => 3,
            Self::PositionOrder
            | Self::RevisionOrder
            | Self::DuplicateId
            | Self::WrongLog
            | Self::Unreadable
            | Self::IllegalEvent
            | Self::MarkWrong
            | Self::ClientCommandTwice
            | Self::CommandAnsweredTwice
            | Self::AnswerWithoutCommand
            | Self::AnswerElsewhere
            | Self::AnswerNotAsNoted
            | Self::SagaEndedOpen
            | Self::SagaDoubled
            | Self::IntentKeyReused
            | Self::OutcomeWithoutIntent
            | Self::IntentWithoutSaga => 4,
            Self::AcknowledgedLost | Self::AcknowledgedDiffers | Self::AcknowledgedUnreadable => 5,
            Self::ViewDiffers | Self::ViewUnusable => 6,
        }
    }
}

/// As in JSON: `order-unsettled`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Collects breaches: all are counted, the first of them kept.
#[derive(Debug)]
pub(super) struct Breaches {
    max: usize,
    by_kind: BTreeMap<Kind, u64>,
    kept: Vec<Breach>,
}

impl Breaches {
    pub(super) const fn new(max: usize) -> Self {
        Self {
            max,
            by_kind: BTreeMap::new(),
            kept: Vec::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        kind: Kind,
        subject: impl fmt::Display,
        detail: impl Into<String>,
        events: impl IntoIterator<Item = Evidence>,
    ) {
        let count = self.by_kind.entry(kind).or_default();
        *count = count.saturating_add(1);
        if self.kept.len() < self.max {
            self.kept.push(Breach {
                promise: kind.promise(),
                kind,
                subject: subject.to_string(),
                detail: detail.into(),
                events: events.into_iter().collect(),
            });
        }
    }

    pub(super) fn into_parts(self) -> (BTreeMap<Kind, u64>, Vec<Breach>) {
        (self.by_kind, self.kept)
    }
}

impl Report {
    /// Whether every promise holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.breaches_by_kind.is_empty()
    }

    /// For a person to read.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = self.write_text(&mut text);
        text
    }

    fn write_text(&self, out: &mut String) -> fmt::Result {
        let list = |counts: &BTreeMap<String, u64>| {
            counts
                .iter()
                .map(|(name, count)| format!("{count} {name}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let as_of = self
            .as_of
            .to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        writeln!(
            out,
            "log       {} up to {}, as of {as_of}",
            self.log, self.position
        )?;
        writeln!(
            out,
            "events    {} of {} bytes",
            self.events, self.event_bytes
        )?;
        writeln!(out, "streams   {}", list(&self.streams))?;
        writeln!(
            out,
            "orders    {}; {} settled",
            list(&self.orders),
            self.settled
        )?;
        writeln!(out, "sagas     {}", list(&self.sagas))?;
        let Commands {
            sent,
            answered,
            refused,
        } = self.commands;
        writeln!(
            out,
            "commands  {sent} sent, {answered} answered, {refused} of them refused"
        )?;
        for (currency, money) in &self.money {
            let MoneyTotals {
                ordered,
                authorized,
                captured,
                voided,
                refunded,
                goods_kept,
                unpaid,
                unreturned,
                abandoned,
            } = money;
            writeln!(
                out,
                "money     {currency}: ordered {ordered}, authorized {authorized} = captured \
                 {captured} + voided {voided} + open {}, refunded {refunded}, goods kept \
                 {goods_kept}",
                authorized - captured - voided - abandoned,
            )?;
            if [unpaid, unreturned, abandoned].iter().any(|sum| **sum != 0) {
                writeln!(
                    out,
                    "          written off {unpaid} unpaid of the goods kept, {unreturned} not \
                     refunded, {abandoned} not let go",
                )?;
            }
        }
        let stock = self.stock;
        writeln!(
            out,
            "stock     {} SKUs: on hand {} = received {} + adjusted {} + restocked {} - committed \
             {}; reserved {} by {} holds",
            stock.skus,
            stock.on_hand,
            stock.received,
            stock.adjusted,
            stock.restocked,
            stock.committed,
            stock.reserved,
            stock.open_holds,
        )?;
        if let Some(told) = self.acknowledged {
            writeln!(
                out,
                "told      {} orders, {} of them as settled; {} returns; {} others",
                told.orders, told.settled, told.returns, told.others
            )?;
        }
        for view in &self.views {
            writeln!(
                out,
                "view      {}: {} rows at {}, generation {}",
                view.view, view.rows, view.position, view.generation
            )?;
        }
        for exception in &self.exceptions {
            writeln!(
                out,
                "EXCEPTION {}: {} ({} to {}), said {}: {}{}",
                exception.event.stream,
                exception.what,
                exception.command,
                exception.target,
                exception.actor,
                exception.reason,
                if exception.remains {
                    "; it remains"
                } else {
                    ""
                },
            )?;
        }
        for breach in &self.breaches {
            writeln!(
                out,
                "BREACH    promise {}, {}: {}: {}",
                breach.promise, breach.kind, breach.subject, breach.detail
            )?;
            for event in &breach.events {
                writeln!(
                    out,
                    "            {} at revision {}, position {}",
                    event.stream, event.revision, event.position
                )?;
            }
        }
        let found: u64 = self.breaches_by_kind.values().sum();
        if found == 0 {
            writeln!(out, "every promise holds")
        } else {
            let kinds = self
                .breaches_by_kind
                .iter()
                .map(|(kind, count)| format!("{count} {kind}"))
                .collect::<Vec<_>>()
                .join(", ");
            writeln!(out, "{found} breaches: {kinds}")
        }
    }
}
