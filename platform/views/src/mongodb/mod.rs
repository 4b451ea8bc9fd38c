//! The MongoDB adapter: documents in a server that processes share, without transactions over
//! several documents.
//!
//! ```text
//! collection orders_v1    0             the checkpoint, and the definition it was made for
//!                         "<an id>"     the row, the fields of its indexes, and the checkpoint
//!                                       that it is folded up to
//!                         "<an id>"     of a deleted one, the checkpoint alone
//! ```
//!
//! A commit replaces each document **under the condition that it is not further already**, many in
//! one command and in no order: all of a document but its id is one field, the position first in
//! it, and the update `$max` keeps the greater of two. The checkpoint moves after all of them are on a majority of the servers. So a
//! commit that stops anywhere leaves documents that are whole and say how far they are, and
//! whoever goes on from the checkpoint takes into each only what comes after that.
//!
//! What is deleted stays as an id and a checkpoint: a late writer would bring it back otherwise.
//! The checkpoint lies in the collection and sorts before all of it, so a copy of the collection,
//! made in the order of ids while it is written, has each document at least as far as its
//! checkpoint, and a restored one catches up.

mod documents;
mod layout;
mod queries;
mod server;
#[cfg(test)]
mod testing;
mod writes;

pub use documents::Documents;
pub use server::{Address, AddressError, OpenError, Options};
