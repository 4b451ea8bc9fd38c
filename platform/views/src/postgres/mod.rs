//! The PostgreSQL adapters: what services keep in a server that they share.
//!
//! ```text
//! schema recourse     views          the definition that each view's schema was made for
//!                     checkpoints    how far each consumer has come
//!                     snapshots      of long streams
//! schema stock_v1     a view: its checkpoint, and what it is made of
//! ```
//!
//! A schema a view, as `SQLite` has a file a view: a version is dropped whole, and people with
//! other programs find its tables under one name.
//!
//! Where only one process is to do something, it holds a lock of the server: [`Locks`].
//!
//! While the server is away, calls fail with `Unavailable`, within the time that [`Options`]
//! say; they do their work again as soon as it is back, without anybody's help.

mod books;
mod checkpoints;
mod documents;
mod locks;
mod options;
mod server;
mod state;
#[cfg(test)]
mod testing;
mod turns;
mod views;

pub use books::Books;
pub use documents::Documents;
pub use locks::{Held, Locks};
pub use options::{Address, AddressError, OpenError, Options};
pub use state::State;
