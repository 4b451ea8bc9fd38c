//! A server that is several processes: what each costs, and what they count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    histogram::{Histogram, Quantiles},
    http::{Address, Connection},
    server,
};

/// How long a process may take to show what it counts.
const PATIENCE: Duration = Duration::from_secs(5);

/// From the time an event was recorded until Kafka acknowledged it.
const RELAY_LAG: &str = "recourse_relay_lag_seconds";
/// From an append until it is durable.
const APPEND: &str = "recourse_append_seconds";

/// A process of the server, or of an engine that it uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// What it is called in the report.
    pub name: String,
    /// Its process. What it has started counts with it.
    pub pid: u32,
    /// Where it shows what it counts.
    pub url: Option<Address>,
}

impl FromStr for Process {
    type Err = String;

    /// `NAME=PID` or `NAME=PID@URL`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a process is NAME=PID or NAME=PID@http://HOST:PORT".to_owned();
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (pid, url) = match rest.split_once('@') {
            Some((pid, url)) => (pid, Some(Address::parse(url).map_err(|_| wrong())?)),
            None => (rest, None),
        };
        let pid = pid.parse().map_err(|_| wrong())?;
        let name = name.to_owned();
        Ok(Self { name, pid, url })
    }
}

/// What processes have used and counted so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    cpu_us: Vec<Option<u64>>,
    lag: Option<Histogram>,
    appends: Vec<Option<Histogram>>,
}

impl Seen {
    /// Looks at them now.
    pub(crate) async fn of(processes: &[Process], authorization: Option<&str>) -> Self {
        let mut seen = Self {
            cpu_us: server::cpu_of_trees(processes.iter().map(|process| process.pid)),
            ..Self::default()
        };
        for process in processes {
            let text = shown(process, authorization).await;
            let histogram = |name| Histogram::parse(text.as_deref()?, name);
            seen.lag = seen.lag.take().or(histogram(RELAY_LAG));
            seen.appends.push(histogram(APPEND));
        }
        seen
    }
}

async fn shown(process: &Process, authorization: Option<&str>) -> Option<String> {
    let mut connection = Connection::new(process.url.clone()?, PATIENCE);
    let headers: Vec<_> = authorization
        .map(|value| ("authorization", value))
        .into_iter()
        .collect();
    let asked = connection.send("GET", "/metrics", &headers, Default::default());
    let answer = asked.await.ok().filter(|its| its.status.is_success())?;
    Some(String::from_utf8_lossy(&answer.body).into_owned())
}

/// What an order cost a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Which process.
    pub name: String,
    /// Its processor time, in microseconds a settled order, with what it has started; none where it was
    /// not there from the beginning to the end.
    pub cpu_us_per_order: Option<f64>,
    /// How much of all processes' that is, in percent.
    pub share_percent: Option<f64>,
    /// How long its appends took, where it counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appends: Option<Quantiles>,
}

/// What a run cost the processes of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Each process.
    pub processes: Vec<Cost>,
    /// From the time events were recorded until Kafka had acknowledged them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_lag: Option<Quantiles>,
}

impl Costs {
    /// Between two looks, in which so many orders settled.
    #[expect(clippy::cast_precision_loss, reason = "figures for a person")]
    pub(crate) fn between(
        processes: &[Process],
        before: &Seen,
        after: &Seen,
        settled: u64,
    ) -> Self {
        let used: Vec<Option<u64>> = before
            .cpu_us
            .iter()
            .zip(&after.cpu_us)
            .map(|(before, after)| Some((*after)?.saturating_sub((*before)?)))
            .collect();
        let all = used.iter().flatten().sum::<u64>().max(1) as f64;
        let rounded = |value: f64| (value * 10.0).round() / 10.0;
        let between = |before: &Option<Histogram>, after: &Option<Histogram>| {
            let after = after.as_ref()?;
            let before = before.clone().unwrap_or_default();
            after.since(&before).quantiles()
        };
        let appends = before.appends.iter().zip(&after.appends);
        let costs = processes.iter().zip(used).zip(appends);
        Self {
            processes: costs
                .map(|((process, used), (before, after))| Cost {
                    name: process.name.clone(),
                    cpu_us_per_order: used.map(|used| rounded(used as f64 / settled.max(1) as f64)),
                    share_percent: used.map(|used| rounded(used as f64 * 100.0 / all)),
                    appends: between(before, after),
                })
                .collect(),
            relay_lag: between(&before.lag, &after.lag),
        }
    }

    /// For a person to read.
    pub(crate) fn write(&self, out: &mut String) {
        let quantiles = |its: &Quantiles| {
            format!(
                "mean {:.2} ms, p50 {:.2} ms, p99 {:.2} ms",
                its.mean_ms, its.p50_ms, its.p99_ms
            )
        };
        let all = self.processes.iter().filter_map(|its| its.cpu_us_per_order);
        let all: f64 = all.sum();
        // Writing into a string does not fail.
        let _ = writeln!(out, "  processes  {all:.0} us CPU an order");
        for cost in &self.processes {
            let appends = cost.appends.as_ref().map(|its| {
                let told = quantiles(its);
                format!("; {} appends, {told}", its.count)
            });
            let cpu = match (cost.cpu_us_per_order, cost.share_percent) {
                (Some(us), Some(share)) => format!("{us:7.0} us, {share:4.1} %"),
                _ => "was not there all the time".to_owned(),
            };
            let appends = appends.unwrap_or_default();
            let _ = writeln!(out, "    {:13} {cpu}{appends}", cost.name);
        }
        if let Some(lag) = &self.relay_lag {
            let _ = writeln!(out, "  relay      behind by {}", quantiles(lag));
        }
    }
}

/// Adds up what each of these processes has used, with all that it has started.
pub(crate) fn add_up(
    used: &BTreeMap<u32, (u32, u64)>,
    roots: impl Iterator<Item = u32>,
) -> Vec<Option<u64>> {
    let mut children: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (pid, (parent, _)) in used {
        children.entry(*parent).or_default().insert(*pid);
    }
    let tree = |root: u32| {
        used.get(&root)?;
        let (mut total, mut open) = (0_u64, vec![root]);
        while let Some(pid) = open.pop() {
            total = total.saturating_add(used.get(&pid).map_or(0, |its| its.1));
            open.extend(children.get(&pid).into_iter().flatten());
        }
        Some(total)
    };
    roots.map(tree).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_with_its_number_and_perhaps_an_address() {
        let relay: Process = "relay=42@http://127.0.0.1:7187".parse().unwrap();
        assert_eq!((relay.name.as_str(), relay.pid), ("relay", 42));
        assert!(relay.url.is_some());
        let kafka: Process = "Kafka=7".parse().unwrap();
        assert_eq!(kafka.url, None);
        for wrong in ["relay", "relay=x", "relay=1@there"] {
            assert!(wrong.parse::<Process>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_process_costs_what_it_has_started_too() {
        let used = [
            (1, (0, 5)),
            (10, (1, 100)),
            (11, (10, 20)),
            (12, (11, 3)),
            (20, (1, 7)),
        ];
        let used = used.into_iter().collect();
        let all = add_up(&used, [10, 20, 30].into_iter());
        assert_eq!(all, [Some(123), Some(7), None]);
    }

    #[test]
    fn a_run_is_what_lies_between_two_looks() {
        let text =
            |count: u32| format!("{APPEND}_bucket{{le=\"+Inf\"}} {count}\n{APPEND}_sum {count}\n");
        let seen = |cpu_us, count| Seen {
            cpu_us: vec![Some(cpu_us), None],
            lag: None,
            appends: vec![Histogram::parse(&text(count), APPEND), None],
        };
        let processes: Vec<Process> = ["orders=1", "Kafka=2"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let costs = Costs::between(&processes, &seen(1_000, 3), &seen(9_000, 5), 4);
        let orders = &costs.processes[0];
        assert_eq!(
            (orders.cpu_us_per_order, orders.share_percent),
            (Some(2_000.0), Some(100.0))
        );
        assert_eq!(orders.appends.unwrap().count, 2);
        let mut out = String::new();
        costs.write(&mut out);
        assert!(
            out.contains("Kafka         was not there all the time"),
            "{out}"
        );
    }
}
