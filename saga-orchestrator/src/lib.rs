//! Drives the sagas: one file a definition, and the runtime that feeds them.
//!
//! ```text
//! order.placed, order.return-requested
//!       └────────▶ saga starts ──▶ commands ──▶ answers ──▶ … ──▶ completed or compensated
//!                     ▲ cancellations, deadlines, look-ups
//! ```
//!
//! [`fulfilment`] is the saga of an order, [`returns`] that of a return. [`definitions`] are all
//! there are. [`why`] tells in plain words why one stands as it does. [`Orchestrator`] is the
//! runtime: it knows no saga by name, only definitions, and drives the share of the sagas that belongs
//! to its process. What a saga is lives in the log; what is
//! kept beside it, the rows of the sagas in flight, only makes a restart cheap.

pub mod errors;
pub mod fulfilment;
mod in_flight;
mod live;
mod lookup;
mod metrics;
mod operator;
mod orchestrator;
mod owner;
pub mod returns;
#[cfg(test)]
mod talk;
pub mod why;

use std::sync::Arc;

use recourse_saga::{BuildError, Definition};

pub use in_flight::{Error as InFlightError, IN_FLIGHT};
pub use operator::Actions;
pub use orchestrator::{Counts, Error, Options};
pub use owner::Orchestrator;

/// Every saga there is, each by its current definition.
///
/// # Errors
/// [`BuildError::Bounds`] where the timing leaves a step no time or no attempt.
pub fn definitions(timing: &fulfilment::Timing) -> Result<Vec<Arc<Definition>>, BuildError> {
    Ok(vec![
        Arc::new(fulfilment::definition(timing)?),
        Arc::new(returns::definition(timing)?),
    ])
}

/// As [`definitions`], in a build in which `fulfilment` has changed: one version more starts sagas, with the
/// same steps under another hash, and that of now drives those that began with it. For tests of a
/// rolling restart from one build to the other.
///
/// # Errors
/// As [`definitions`].
pub fn definitions_after_a_change(
    timing: &fulfilment::Timing,
) -> Result<Vec<Arc<Definition>>, BuildError> {
    let next = fulfilment::of_version(fulfilment::VERSION + 1, timing)?;
    let mut all = definitions(timing)?;
    all.insert(0, Arc::new(next));
    Ok(all)
}
