//! What a load run measured.

use std::{collections::BTreeMap, fmt::Write as _};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{Load, View};
use crate::{apart::Costs, hops::Hops, verify};

/// Every run, and the check after them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// In the order in which they were made.
    pub runs: Vec<Run>,
    /// What the check found, where it could be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<verify::Report>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// How orders were sent.
    pub load: Load,
    /// How many of a hundred were meant to fail.
    pub failing_percent: u8,
    /// The window, in milliseconds.
    pub window_ms: u64,
    /// Orders answered with an ended saga.
    pub settled: u64,
    /// The same by second.
    pub settled_per_s: f64,
    /// From the (intended) start to the answer, of the settled.
    pub latency: Latency,
    /// Open loop: how late orders were sent, for want of a connection or by the timer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_late: Option<Latency>,
    /// The settled by the order's status.
    pub by_status: BTreeMap<String, u64>,
    /// Accepted and not settled within the wait.
    pub unsettled: u64,
    /// Whatever else came back, or did not.
    pub errors: BTreeMap<String, u64>,
    /// Orders that were in flight, or not sent yet, when the drain was over.
    pub given_up: u64,
    /// What a settled order cost the server, where it could be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Cost>,
    /// Processor time of this process, in microseconds an order.
    pub client_cpu_us_per_order: f64,
    /// How each view kept up, where the server says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<View>,
    /// What each process of the server cost, where they are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<Costs>,
    /// Where the orders' time went, where that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<Hops>,
}

/// What a settled order cost the server.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Processor time, in microseconds an order.
    pub cpu_us_per_order: f64,
    /// The most memory at once during the run, in KiB.
    pub peak_rss_kib: u64,
    /// Where `/metrics` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fsyncs_per_order: Option<f64>,
    /// Where `/metrics` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_bytes_per_order: Option<f64>,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Half are at most this.
    pub p50_us: u64,
    /// 99 of 100 are.
    pub p99_us: u64,
    /// 999 of 1000 are.
    pub p999_us: u64,
    /// All are.
    pub max_us: u64,
}

impl From<&Histogram<u64>> for Latency {
    fn from(histogram: &Histogram<u64>) -> Self {
        Self {
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        }
    }
}

impl Latency {
    pub(crate) fn text(self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "for a person")]
        let ms = |us: u64| us as f64 / 1_000.0;
        format!(
            "p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
            ms(self.p50_us),
            ms(self.p99_us),
            ms(self.p999_us),
            ms(self.max_us)
        )
    }
}

impl Report {
    /// For a person to read.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for run in &self.runs {
            run.write(&mut out);
        }
        if let Some(verified) = &self.verified {
            out.push_str("verify\n");
            for line in verified.text().lines() {
                let _ = writeln!(out, "  {line}");
            }
        }
        out
    }
}

impl Run {
    // Writing into a string does not fail.
    fn write(&self, out: &mut String) {
        let load = match self.load {
            Load::Closed { in_flight } => format!("{in_flight} in flight"),
            Load::Open { orders_per_s, .. } => format!("{orders_per_s} orders/s"),
        };
        let _ = writeln!(
            out,
            "{load}, {} % failing: {:.0} settled orders/s, {}",
            self.failing_percent,
            self.settled_per_s,
            self.latency.text()
        );
        if let Some(late) = self.sent_late {
            let _ = writeln!(out, "  sent late  {}", late.text());
        }
        let counts = |counts: &BTreeMap<String, u64>| {
            counts
                .iter()
                .map(|(name, count)| format!("{count} {name}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let _ = writeln!(
            out,
            "  orders     {} settled in {} ms: {}; {} unsettled, {} given up",
            self.settled,
            self.window_ms,
            counts(&self.by_status),
            self.unsettled,
            self.given_up
        );
        if !self.errors.is_empty() {
            let _ = writeln!(out, "  errors     {}", counts(&self.errors));
        }
        match self.server {
            None if self.processes.is_some() => {}
            None => {
                let _ = writeln!(out, "  server     not seen: its process is not known");
            }
            Some(cost) => {
                let optional = |value: Option<f64>, unit: &str| {
                    value.map_or_else(
                        || format!("{unit} not told"),
                        |value| format!("{value:.2} {unit}"),
                    )
                };
                let _ = writeln!(
                    out,
                    "  server     an order: {:.0} us CPU, {}, {}; peak memory {:.1} MiB",
                    cost.cpu_us_per_order,
                    optional(cost.log_bytes_per_order, "bytes of log"),
                    optional(cost.fsyncs_per_order, "fsyncs"),
                    f64::from(u32::try_from(cost.peak_rss_kib).unwrap_or(u32::MAX)) / 1_024.0
                );
            }
        }
        let _ = writeln!(
            out,
            "  client     {:.0} us CPU an order",
            self.client_cpu_us_per_order
        );
        for view in &self.views {
            let _ = writeln!(
                out,
                "  view       {}: {} ms behind as the window ended, {} as far as the log {} ms later",
                view.name,
                view.lag_ms,
                if view.has_caught_up { "and" } else { "and not" },
                view.caught_up_ms
            );
        }
        if let Some(processes) = &self.processes {
            processes.write(out);
        }
        if let Some(hops) = &self.hops {
            hops.write(out);
        }
    }
}
