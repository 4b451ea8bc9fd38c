//! A provider that does what the card's token says, so that every path can be produced.
//!
//! | token | what happens |
//! | --- | --- |
//! | `tok_visa` | everything succeeds |
//! | `tok_declined`, `tok_insufficient_funds` | refused at authorization |
//! | `tok_lost_reply` | each request takes effect, its first answer is lost |
//! | `tok_never_arrived` | each request is lost on its way the first time |
//! | `tok_late_arrival` | each request is lost at first and takes effect [`LATE_BY`] later |
//! | `tok_flaky_N` | each request fails N times without effect, then succeeds |
//! | `tok_slow_MS` | each answer takes MS milliseconds |
//! | `tok_capture_refused` | authorizes, then refuses the capture for good |
//! | `tok_refund_refused` | authorizes and captures, then refuses every refund for good |
//!
//! Any other token is refused. On top of that faults can be drawn at a rate; what is drawn
//! follows from the seed, the request's key and how often it was sent, so a seed repeats a
//! run. Requests are remembered by key as a real provider does: a repeat gets the outcome of
//! the first, and [`Simulator::effects`] tells what really happened to each payment.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use recourse_domain::{
    PaymentId,
    payment::{Operation, Outcome, ProviderCall},
};
use serde::Deserialize;
use tokio::time::Instant;
use uuid::Uuid;

use crate::provider::Provider;

/// When the lost request of a `tok_late_arrival` takes effect after all.
pub const LATE_BY: Duration = Duration::from_secs(2);

/// The longest that a `tok_slow_MS` may ask for.
const SLOWEST: Duration = Duration::from_secs(600);

/// How many finished requests are remembered by key. A real provider forgets too; ours repeats
/// a request long before this many others have followed it.
const MAX_REMEMBERED: usize = 50_000;

/// How the simulator behaves beyond what tokens say.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How many requests of all fail in some way, 0 to 1.
    pub fault_rate: f64,
    /// What the faults are drawn from.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fault_rate: 0.0,
            seed: 1,
        }
    }
}

/// The simulated provider.
#[derive(Debug)]
pub struct Simulator {
    options: Options,
    book: Mutex<Book>,
}

/// What the provider knows.
#[derive(Debug, Default)]
struct Book {
    requests: BTreeMap<Uuid, Known>,
    /// Keys in the order in which they came, to forget the oldest.
    order: VecDeque<Uuid>,
    /// How often an answer did not say what came of the request.
    faults: u64,
}

/// What the provider knows of one key.
#[derive(Debug)]
struct Known {
    payment_id: PaymentId,
    operation: Operation,
    sent: u32,
    /// When a lost request arrives.
    arrives_at: Option<Instant>,
    /// That it has arrived: its outcome stands.
    arrived: bool,
    /// That it moved money.
    applied: bool,
}

impl Known {
    fn arrive(&mut self, outcome: &Outcome) {
        self.arrived = true;
        self.applied = matches!(outcome, Outcome::Applied { .. });
    }
}

/// What becomes of one sending of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It arrives and its answer comes back.
    Answered,
    /// It arrives, its answer does not.
    ReplyLost,
    /// It is lost.
    NeverArrives,
    /// It is lost for now and arrives [`LATE_BY`] later.
    Late,
    /// The provider fails without having done anything.
    Fails,
}

impl Simulator {
    /// A provider that has seen nothing.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            book: Mutex::default(),
        }
    }

    /// What really happened to each payment whose requests are remembered: what tests hold
    /// against the log.
    #[must_use]
    pub fn effects(&self) -> BTreeMap<PaymentId, Vec<Operation>> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let mut effects: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for known in book.requests.values().filter(|known| known.applied) {
            effects
                .entry(known.payment_id)
                .or_default()
                .push(known.operation);
        }
        for operations in effects.values_mut() {
            operations.sort_unstable();
        }
        effects
    }

    /// How often an answer, or that none came, did not say what had come of the request.
    #[must_use]
    pub fn faults(&self) -> u64 {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.faults
    }

    fn fate(&self, call: &ProviderCall, sent: u32) -> Fate {
        let first = sent == 1;
        match call.token.expose() {
            "tok_lost_reply" if first => return Fate::ReplyLost,
            "tok_never_arrived" if first => return Fate::NeverArrives,
            "tok_late_arrival" if first => return Fate::Late,
            token => {
                if let Some(fails) = number_after(token, "tok_flaky_")
                    && u64::from(sent) <= fails
                {
                    return Fate::Fails;
                }
            }
        }
        self.drawn(call.key, sent)
    }

    /// Draws a fate at the fault rate, from the seed, the key and the sending alone.
    fn drawn(&self, key: Uuid, sent: u32) -> Fate {
        if self.options.fault_rate <= 0.0 {
            return Fate::Answered;
        }
        let name = [
            self.options.seed.to_be_bytes().as_slice(),
            &sent.to_be_bytes(),
        ]
        .concat();
        let drawn = Uuid::new_v5(&key, &name).as_u128();
        // 53 bits make an exact fraction of one; others choose the fault.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let fraction = ((drawn >> 64) as u64 >> 11) as f64 / (1_u64 << 53) as f64;
        if fraction >= self.options.fault_rate {
            return Fate::Answered;
        }
        match drawn & 3 {
            0 => Fate::ReplyLost,
            1 => Fate::NeverArrives,
            2 => Fate::Late,
            _ => Fate::Fails,
        }
    }

    /// One request reaches the provider, or does not.
    fn receive(&self, call: &ProviderCall) -> Outcome {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let Book {
            requests, order, ..
        } = &mut *book;
        if !requests.contains_key(&call.key) {
            order.push_back(call.key);
            if order.len() > MAX_REMEMBERED
                && let Some(oldest) = order.pop_front()
            {
                requests.remove(&oldest);
            }
        }
        let known = requests.entry(call.key).or_insert_with(|| Known {
            payment_id: call.payment_id,
            operation: call.operation,
            sent: 0,
            arrives_at: None,
            arrived: false,
            applied: false,
        });
        known.sent = known.sent.saturating_add(1);
        let outcome = outcome_of(call);
        if known.arrived {
            return outcome;
        }
        if let Some(arrives_at) = known.arrives_at {
            if Instant::now() < arrives_at {
                return unknown("the first request is still on its way");
            }
            known.arrive(&outcome);
            return outcome;
        }
        match self.fate(call, known.sent) {
            Fate::Answered => {
                known.arrive(&outcome);
                outcome
            }
            Fate::ReplyLost => {
                known.arrive(&outcome);
                unknown("the answer was lost")
            }
            Fate::NeverArrives => unknown("the request was lost"),
            Fate::Late => {
                known.arrives_at = Some(Instant::now() + LATE_BY);
                unknown("no answer in time")
            }
            Fate::Fails => unknown("the provider answered 503"),
        }
    }
}

#[async_trait]
impl Provider for Simulator {
    async fn send(&self, call: &ProviderCall) -> Outcome {
        let outcome = self.receive(call);
        if matches!(outcome, Outcome::Unknown { .. }) {
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            book.faults = book.faults.saturating_add(1);
        }
        if let Some(millis) = number_after(call.token.expose(), "tok_slow_") {
            tokio::time::sleep(Duration::from_millis(millis).min(SLOWEST)).await;
        }
        outcome
    }
}

/// What a request that arrives leads to.
fn outcome_of(call: &ProviderCall) -> Outcome {
    let refused = |code: &str, detail: &str| Outcome::Refused {
        code: code.to_owned(),
        detail: detail.to_owned(),
        is_final: true,
    };
    let token = call.token.expose();
    match (token, call.operation) {
        ("tok_declined", Operation::Authorize) => {
            refused("payment-declined", "the card was declined")
        }
        ("tok_insufficient_funds", Operation::Authorize) => {
            refused("insufficient-funds", "the card has not enough funds")
        }
        ("tok_capture_refused", Operation::Capture) => refused(
            "capture-refused",
            "the provider refuses to capture this payment",
        ),
        ("tok_refund_refused", Operation::Refund(_)) => refused(
            "refund-refused",
            "the provider refuses to refund this payment",
        ),
        _ if is_known(token) => Outcome::Applied {
            reference: format!("sim_{}", call.key.simple()),
        },
        _ => refused(
            "invalid-card",
            "the simulated provider does not know this token",
        ),
    }
}

fn is_known(token: &str) -> bool {
    matches!(
        token,
        "tok_visa"
            | "tok_declined"
            | "tok_insufficient_funds"
            | "tok_lost_reply"
            | "tok_never_arrived"
            | "tok_late_arrival"
            | "tok_capture_refused"
            | "tok_refund_refused"
    ) || number_after(token, "tok_flaky_").is_some()
        || number_after(token, "tok_slow_").is_some()
}

fn number_after(token: &str, prefix: &str) -> Option<u64> {
    token.strip_prefix(prefix)?.parse().ok()
}

fn unknown(detail: &str) -> Outcome {
    Outcome::Unknown {
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use recourse_domain::{CardToken, Currency, Money, OrderId, RefundId};

    use super::*;

    fn request(token: &str, operation: Operation, key: u128) -> ProviderCall {
        ProviderCall {
            key: Uuid::from_u128(key),
            operation,
            payment_id: PaymentId(Uuid::from_u128(1)),
            order_id: OrderId(Uuid::from_u128(2)),
            amount: Money {
                amount_minor: 1999,
                currency: Currency::parse("EUR").unwrap(),
            },
            token: CardToken::new(token),
            authorization: None,
            capture: None,
            is_unknown: false,
        }
    }

    fn refund(id: u128) -> Operation {
        Operation::Refund(RefundId(Uuid::from_u128(id)))
    }

    fn is_applied(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Applied { .. })
    }

    fn is_unknown(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Unknown { .. })
    }

    async fn send(simulator: &Simulator, token: &str, operation: Operation) -> Outcome {
        simulator.send(&request(token, operation, 7)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeat_gets_the_outcome_of_the_first_and_takes_effect_once() {
        let simulator = Simulator::new(Options::default());
        let first = send(&simulator, "tok_visa", Operation::Authorize).await;
        assert!(is_applied(&first));
        assert_eq!(
            send(&simulator, "tok_visa", Operation::Authorize).await,
            first
        );
        assert_eq!(
            simulator.effects().into_values().collect::<Vec<_>>(),
            [vec![Operation::Authorize]]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn refunds_of_one_payment_each_take_effect_once() {
        let simulator = Simulator::new(Options::default());
        for (id, key) in [(1, 11), (2, 12), (1, 11), (2, 12)] {
            let sent = simulator.send(&request("tok_visa", refund(id), key)).await;
            assert!(is_applied(&sent));
        }
        assert_eq!(
            simulator.effects().into_values().collect::<Vec<_>>(),
            [vec![refund(1), refund(2)]]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_reply_took_effect_and_a_request_that_never_arrived_did_not() {
        for (token, effects) in [("tok_lost_reply", 1), ("tok_never_arrived", 0)] {
            let simulator = Simulator::new(Options::default());
            assert!(is_unknown(
                &send(&simulator, token, Operation::Authorize).await
            ));
            assert_eq!(simulator.effects().len(), effects, "{token}");
            assert!(is_applied(
                &send(&simulator, token, Operation::Authorize).await
            ));
            assert_eq!(simulator.effects().values().flatten().count(), 1, "{token}");
            assert_eq!(simulator.faults(), 1, "{token}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_request_takes_effect_once_when_it_arrives() {
        let simulator = Simulator::new(Options::default());
        for _ in 0..2 {
            assert!(is_unknown(
                &send(&simulator, "tok_late_arrival", Operation::Capture).await
            ));
        }
        assert!(simulator.effects().is_empty());
        tokio::time::advance(LATE_BY).await;
        assert!(is_applied(
            &send(&simulator, "tok_late_arrival", Operation::Capture).await
        ));
        assert_eq!(simulator.effects().values().flatten().count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flaky_request_succeeds_after_it_failed_n_times() {
        let simulator = Simulator::new(Options::default());
        for _ in 0..3 {
            assert!(is_unknown(
                &send(&simulator, "tok_flaky_3", Operation::Void).await
            ));
        }
        assert!(is_applied(
            &send(&simulator, "tok_flaky_3", Operation::Void).await
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_takes_as_long_as_it_says() {
        let simulator = Simulator::new(Options::default());
        let start = Instant::now();
        assert!(is_applied(
            &send(&simulator, "tok_slow_1500", Operation::Authorize).await
        ));
        assert_eq!(start.elapsed(), Duration::from_millis(1500));
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_definite_and_leave_no_effect() {
        for (token, operation) in [
            ("tok_declined", Operation::Authorize),
            ("tok_insufficient_funds", Operation::Authorize),
            ("tok_capture_refused", Operation::Capture),
            ("tok_refund_refused", refund(1)),
            ("tok_of_nobody", Operation::Authorize),
            ("tok_flaky_x", Operation::Authorize),
        ] {
            let simulator = Simulator::new(Options::default());
            let outcome = send(&simulator, token, operation).await;
            assert!(
                matches!(outcome, Outcome::Refused { is_final: true, .. }),
                "{token}"
            );
            assert!(simulator.effects().is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn drawn_faults_follow_from_the_seed_and_come_at_their_rate() {
        let run = |seed| {
            let simulator = Simulator::new(Options {
                fault_rate: 0.25,
                seed,
            });
            (0..4000_u128)
                .map(|key| {
                    is_unknown(&simulator.receive(&request("tok_visa", Operation::Authorize, key)))
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let faults = run(7).into_iter().filter(|fault| *fault).count();
        assert!(
            (800..1200).contains(&faults),
            "{faults} of 4000 at a rate of 0.25"
        );
    }
}
