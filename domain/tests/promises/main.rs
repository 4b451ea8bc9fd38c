//! Promises 2 (money) and 3 (stock), held against random sequences of commands with repeats,
//! late answers and every outcome of the provider. What a test expects it adds up from the
//! events alone, never from the state it checks.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test's helpers fail by panic, as the test itself does"
)]

mod books;
mod money;
mod orders;
mod provider;
mod returns;
mod stock;
