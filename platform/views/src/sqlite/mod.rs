//! The `SQLite` adapters: what one process keeps beside its log.

mod documents;
mod state;
mod statements;

pub use documents::{Access, Documents, OpenError, Options};
pub use state::State;
