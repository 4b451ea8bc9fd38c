//! The in-memory adapters: for tests and the simulation of the whole system.
//!
//! A function of the calls and of their order: no task, no thread, no clock. Clones share what
//! they hold, so one kept aside survives the crash of whoever uses it.

mod books;
mod documents;
#[cfg(test)]
pub(crate) mod piecemeal;

pub use books::Books;
pub use documents::Documents;
