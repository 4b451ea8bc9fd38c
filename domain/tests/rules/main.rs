//! Every rule of the domain, as sentences: given what happened, when this is asked, then that.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test's helpers fail by panic, as the test itself does"
)]

mod given;
mod money;
mod order;
mod payment;
mod product;
mod returns;
mod stock;
