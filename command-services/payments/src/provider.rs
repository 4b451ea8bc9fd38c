//! The port to whoever moves the money.

use async_trait::async_trait;
use recourse_domain::payment::{Outcome, ProviderCall};

/// A payment service provider.
///
/// Every failure to learn the outcome (no connection, no answer in time, a server error) is
/// [`Outcome::Unknown`]: the request may have taken effect or may still.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Sends a call, under its idempotency key: however often it is sent, it takes effect at
    /// most once. May be dropped while it waits; what it did stays done.
    async fn send(&self, call: &ProviderCall) -> Outcome;
}
