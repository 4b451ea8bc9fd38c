//! How the services behave, in one process or apart: options that mean the same in both.

use clap::{Args, value_parser};
use recourse_payments::simulator::{self, Simulator};

use crate::{arguments, system};

/// How the services behave.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub(crate) struct Behaviour {
    /// How many of the payment provider's answers fail in some way, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = arguments::share)]
    psp_fault_rate: f64,
    /// What those faults are drawn from.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    psp_seed: u64,
    /// How long a saga's command may stay unanswered before it is overdue, in milliseconds.
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 10_000,
        value_parser = value_parser!(u64).range(1..)
    )]
    step_timeout_ms: u64,
    /// How long a saga may take before it needs attention, in milliseconds.
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 60_000,
        value_parser = value_parser!(u64).range(1..)
    )]
    saga_deadline_ms: u64,
    /// Plays a later build, in which the saga of an order has changed: for tests of a rolling restart.
    #[arg(long, hide = true)]
    changed_fulfilment: bool,
}

impl Behaviour {
    /// The payment provider.
    pub(crate) fn provider(&self) -> Simulator {
        Simulator::new(simulator::Options {
            fault_rate: self.psp_fault_rate,
            seed: self.psp_seed,
        })
    }

    /// The options of the services.
    pub(crate) fn options(&self) -> system::Options {
        let mut options = system::Options::default();
        options.timing.step_timeout_ms = self.step_timeout_ms;
        options.timing.deadline_ms = self.saga_deadline_ms;
        options.is_fulfilment_changed = self.changed_fulfilment;
        options
    }
}
