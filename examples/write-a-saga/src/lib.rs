//! Members who give each other points: an aggregate and a saga, as `docs/write-a-saga.md` builds them.

pub mod gift;
pub mod member;
