//! Histograms as `/metrics` shows them.

use serde::{Deserialize, Serialize};

/// A histogram of seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Histogram {
    /// How many were at most so long, in ascending order; the last one is without end.
    buckets: Vec<(f64, f64)>,
    sum: f64,
}

/// What is read off one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many there were.
    pub count: u64,
    /// Their mean, in milliseconds.
    pub mean_ms: f64,
    /// Half were at most this, in milliseconds; within a bucket they are taken to be spread evenly.
    pub p50_ms: f64,
    /// 99 of 100 were.
    pub p99_ms: f64,
}

impl Histogram {
    /// Adds up all series of this name in the text of `/metrics`; none where there is no such one.
    pub(crate) fn parse(metrics: &str, name: &str) -> Option<Self> {
        let mut found = Self::default();
        for line in metrics.lines() {
            let Some(rest) = line.strip_prefix(name) else {
                continue;
            };
            let Some((series, value)) = rest.rsplit_once(' ') else {
                continue;
            };
            let Ok(value) = value.parse::<f64>() else {
                continue;
            };
            if series.starts_with("_sum") {
                found.sum += value;
            } else if series.starts_with("_bucket")
                && let Some(le) = series.split("le=\"").nth(1)
                && let Some(le) = le.split('"').next()
            {
                let le = le.parse::<f64>().unwrap_or(f64::INFINITY);
                match found.buckets.iter_mut().find(|(known, _)| *known == le) {
                    Some((_, count)) => *count += value,
                    None => found.buckets.push((le, value)),
                }
            }
        }
        found.buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        (!found.buckets.is_empty()).then_some(found)
    }

    /// What came after `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let of = |le: f64| before.buckets.iter().find(|(known, _)| *known == le);
        let buckets = self.buckets.iter();
        let buckets = buckets.map(|(le, count)| (*le, count - of(*le).map_or(0.0, |its| its.1)));
        Self {
            buckets: buckets.collect(),
            sum: self.sum - before.sum,
        }
    }

    /// None where there is nothing in it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, which the format has as a float"
    )]
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        let count = self.buckets.last().map(|(_, count)| *count)?;
        if count < 1.0 {
            return None;
        }
        let rounded = |ms: f64| (ms * 1_000.0).round() / 1_000.0;
        Some(Quantiles {
            count: count as u64,
            mean_ms: rounded(self.sum * 1_000.0 / count),
            p50_ms: rounded(self.at(0.5 * count) * 1_000.0),
            p99_ms: rounded(self.at(0.99 * count) * 1_000.0),
        })
    }

    fn at(&self, wanted: f64) -> f64 {
        let (mut from, mut below) = (0.0, 0.0);
        for (le, count) in &self.buckets {
            if *count >= wanted && *count > below {
                if le.is_infinite() {
                    return from;
                }
                return from + (le - from) * (wanted - below) / (count - below);
            }
            (from, below) = (*le, *count);
        }
        from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE x_seconds histogram\n\
        x_seconds_bucket{of=\"a\",le=\"0.01\"} 10\n\
        x_seconds_bucket{of=\"a\",le=\"0.02\"} 20\n\
        x_seconds_bucket{of=\"a\",le=\"+Inf\"} 20\n\
        x_seconds_sum{of=\"a\"} 0.2\n\
        x_seconds_count{of=\"a\"} 20\n";

    #[test]
    fn quantiles_are_read_within_their_bucket() {
        let all = Histogram::parse(TEXT, "x_seconds").unwrap();
        let quantiles = all.quantiles().unwrap();
        assert_eq!(quantiles.count, 20);
        assert_eq!((quantiles.mean_ms, quantiles.p50_ms), (10.0, 10.0));
        assert_eq!(quantiles.p99_ms, 19.8);
    }

    #[test]
    fn only_what_came_in_between_counts() {
        let before = Histogram::parse(TEXT, "x_seconds").unwrap();
        let later = TEXT.replace("} 20\n", "} 30\n").replace("} 0.2", "} 0.35");
        let after = Histogram::parse(&later, "x_seconds").unwrap();
        let between = after.since(&before).quantiles().unwrap();
        assert_eq!((between.count, between.mean_ms), (10, 15.0));
        assert_eq!(between.p50_ms, 15.0);
        assert_eq!(before.since(&before).quantiles(), None);
        assert_eq!(Histogram::parse(TEXT, "y_seconds"), None);
    }
}
