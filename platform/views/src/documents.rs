//! The port: what a view asks of the database that holds its rows.
//!
//! A view is a *collection* of JSON documents with a checkpoint, and the fold of the log up to
//! that checkpoint, whatever crashed.
//!
//! Where a database has transactions, both change in one or not at all. Where it has none,
//! documents are written first and the checkpoint after them, and a commit that comes to no end
//! leaves some documents further than the checkpoint. So there each document says up to where it
//! is the fold of the log ([`Folded`]), also one that was deleted, and is only ever replaced by
//! one that is at least as far. Then it does not matter who wrote it, or how often, or what became
//! of the rest of that commit: whoever goes on from the checkpoint folds into each document only
//! what comes after it. A reader may see documents of different positions, none of them from
//! before the checkpoint.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use recourse_event_store::Position;

use crate::Checkpoint;

/// A collection, as data: what it is called and by what its documents are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Lower-case letters and `_`: it names tables.
    pub name: &'static str,
    /// Another version is another collection beside this one, filled from the first event.
    pub version: u32,
    /// Another generation is another collection beside this one too, of the same version: a
    /// view that is rebuilt fills it while this one is asked. The first is 0.
    pub generation: u32,
    /// By what documents are found, the id aside.
    pub indexes: &'static [Index],
    /// The index of [`Kind::Time`] that [`Order::NewestFirst`] goes by; none where documents
    /// are only ever listed by their id.
    pub newest_first_by: Option<&'static str>,
}

/// A field by which documents are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// Where it is in the document: `status`, `payment.status`. Lower-case letters, `_` and
    /// dots between the names; no path leads through another one.
    pub path: &'static str,
    /// How it is compared.
    pub kind: Kind,
}

/// How the values of a field are compared. A document whose value is of another kind, or
/// absent, is found by no filter on the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As bytes.
    Text,
    /// As whole numbers.
    Integer,
    /// RFC 3339 in the document, compared as points in time to the microsecond.
    Time,
}

/// A value to compare a field with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Of a field of [`Kind::Integer`]; of [`Kind::Time`], microseconds since 1970.
    Integer(i64),
    /// Of a field of [`Kind::Text`].
    Text(String),
}

impl From<DateTime<Utc>> for Value {
    fn from(time: DateTime<Utc>) -> Self {
        Self::Integer(time.timestamp_micros())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A document, or row: an id and JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Unique in its collection.
    pub id: String,
    /// A JSON object.
    pub json: String,
}

/// Up to where documents are the fold of the log, by id, where their database does not keep them
/// in step with the checkpoint. What is not named is as of the checkpoint.
pub type Folded = BTreeMap<String, Position>;

/// What was found of some ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// In no particular order; those that are not there are left out.
    pub documents: Vec<Document>,
    /// How far they are folded, with those that are not there any more.
    pub folded: Folded,
}

/// To which moment a whole collection belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// How far the collection had come; none where it was never committed.
    pub checkpoint: Option<Checkpoint>,
    /// Those of the visited that are further.
    pub folded: Folded,
    /// Those that are not there any more further on. One of these that was visited all the same
    /// is as of the checkpoint.
    pub gone: Folded,
}

/// What becomes of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Which document. At most one write of a commit names it.
    pub id: String,
    /// What it becomes.
    pub change: Change,
}

/// What a document becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This JSON object, whether or not it was there.
    Put(String),
    /// Nothing. No harm where it was not there.
    Delete,
}

/// Which documents, in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Those that pass all of these.
    pub filters: Vec<Filter>,
    /// In this order.
    pub order: Order,
    /// Only what comes after this in that order.
    pub after: Option<After>,
    /// How many at most.
    pub limit: u32,
}

/// A condition on an indexed field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The path of an [`Index`] of the collection.
    pub path: &'static str,
    /// How the field must compare.
    pub comparison: Comparison,
    /// With what.
    pub value: Value,
}

/// How a field compares with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The field is the value.
    Equal,
    /// The field is below the value.
    Below,
}

/// The order of a query's answer. Ids are unique, so each is total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By id.
    ById,
    /// By [`Collection::newest_first_by`] and then the id, highest first. A document without
    /// that time is not found.
    NewestFirst,
}

/// A place in an order: that of the last document of the page before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// Its time, where the order goes by time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<i64>,
    /// Its id.
    pub id: String,
}

/// One page of documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order asked for.
    pub documents: Vec<Document>,
    /// Where the next page goes on; none where nothing follows.
    pub next: Option<After>,
}

/// Why a database did not do as it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else moved the checkpoint. Load it and start from there. Nothing was written; in a
    /// database without transactions, documents may have been that say how far they are.
    #[error("somebody else has moved the checkpoint of `{collection}`")]
    Moved {
        /// Which collection.
        collection: String,
    },
    /// It cannot be reached, or did not do it. Where the call was a commit, it may still have
    /// taken effect: load the checkpoint.
    #[error("the database of the views did not answer: {0}")]
    Unavailable(String),
    /// A field that no index has or one compared with a value of another kind, or an order that
    /// the collection does not know.
    #[error("`{collection}` cannot be searched by `{path}`")]
    NotIndexed {
        /// Which collection.
        collection: &'static str,
        /// The field.
        path: String,
    },
    /// A document is not a JSON object, or cannot be read as the row it should be.
    #[error("the document `{id}` of `{collection}` is damaged: {what}")]
    Damaged {
        /// Which collection.
        collection: String,
        /// Which document.
        id: String,
        /// What is wrong with it.
        what: String,
    },
    /// The collection in the database is not the one that the program knows.
    #[error("`{collection}` is not as this program knows it: {what}")]
    Incompatible {
        /// Which collection, and its version.
        collection: String,
        /// What is wrong, and what to do.
        what: String,
    },
}

/// A database of documents.
///
/// A collection that was never written is empty and has no checkpoint. Every call may be
/// dropped while it waits; a dropped commit may still take effect, whole, or as far as a database
/// without transactions does it.
#[async_trait]
pub trait Documents: Send + Sync + 'static {
    /// How far the collection has come; none where it was never committed.
    ///
    /// # Errors
    /// Where it cannot be read.
    async fn checkpoint(&self, collection: &Collection) -> Result<Option<Checkpoint>, Error>;

    /// The furthest that a document is folded, where that may be further than the checkpoint.
    /// None in a database with transactions. Who goes on from the checkpoint holds this against
    /// the log too: a log that was restored may bear out the one and not the other.
    ///
    /// # Errors
    /// Where it cannot be read.
    async fn furthest(&self, _collection: &Collection) -> Result<Option<Checkpoint>, Error> {
        Ok(None)
    }

    /// The documents of these ids.
    ///
    /// # Errors
    /// Where they cannot be read.
    async fn load(&self, collection: &Collection, ids: &[String]) -> Result<Loaded, Error>;

    /// Writes documents and moves the checkpoint from `expected` to `next`: together or not at
    /// all, or in a database without transactions the documents, as folded up to `next`, before
    /// the checkpoint. There, one that is further already stays as it is.
    ///
    /// # Errors
    /// [`Error::Moved`] where the checkpoint is not `expected`.
    async fn commit(
        &self,
        collection: &Collection,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        writes: Vec<Write>,
    ) -> Result<(), Error>;

    /// One page of documents.
    ///
    /// # Errors
    /// [`Error::NotIndexed`] where the collection is not made for such a query.
    async fn query(&self, collection: &Collection, query: &Query) -> Result<Page, Error>;

    /// Visits every document, and says as of which moment: all of one and in the order of ids;
    /// in a database without transactions each at least as of the checkpoint, and where it is
    /// further, how far. There, what is written meanwhile may be visited last, and then again.
    ///
    /// # Errors
    /// Where they cannot be read.
    async fn scan(
        &self,
        collection: &Collection,
        visit: &mut (dyn FnMut(Document) + Send),
    ) -> Result<Scanned, Error>;

    /// Removes the collection, its documents and its checkpoint: it is then one that was never
    /// written. No harm where it is that already. Whoever still fills it finds that the checkpoint
    /// has moved.
    ///
    /// # Errors
    /// Where it cannot be removed; part of it may be, and another call removes the rest.
    async fn discard(&self, collection: &Collection) -> Result<(), Error>;
}

/// What a generation of a view is called in a database.
pub(crate) fn table(name: &str, version: u32, generation: u32) -> String {
    match generation {
        0 => format!("{name}_v{version}"),
        _ => format!("{name}_v{version}_g{generation}"),
    }
}

impl Collection {
    /// The same in another generation.
    #[must_use]
    pub fn in_generation(self, generation: u32) -> Self {
        Self { generation, ..self }
    }

    /// The name that it has in a database: `orders_v1`, and `orders_v1_g2` in another generation
    /// than the first.
    #[must_use]
    pub fn table(&self) -> String {
        table(self.name, self.version, self.generation)
    }

    /// The place among the indexes of the one that a filter goes by.
    pub(crate) fn filtered_by(&self, filter: &Filter) -> Result<usize, Error> {
        self.index_of(filter.path, |kind| match filter.value {
            Value::Integer(_) => kind != Kind::Text,
            Value::Text(_) => kind == Kind::Text,
        })
    }

    /// The place of the index that [`Order::NewestFirst`] goes by.
    pub(crate) fn time_index(&self) -> Result<usize, Error> {
        self.index_of(self.newest_first_by.unwrap_or_default(), |kind| {
            kind == Kind::Time
        })
    }

    fn index_of(&self, path: &str, fits: impl Fn(Kind) -> bool) -> Result<usize, Error> {
        self.indexes
            .iter()
            .position(|index| index.path == path && fits(index.kind))
            .ok_or_else(|| Error::NotIndexed {
                collection: self.name,
                path: path.to_owned(),
            })
    }
}
