//! The `SQLite` adapters: what one process keeps beside its log.

mod books;
mod checkpoints;
mod documents;
mod files;
mod folder;
mod state;
mod statements;

pub use books::Books;
pub use documents::Documents;
pub use files::{Access, OpenError, Options};
pub use state::State;
