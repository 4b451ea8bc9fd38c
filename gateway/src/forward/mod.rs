//! Services that are processes of their own: their requests go on to them over HTTP.
//!
//! ```text
//! router ─▶ forwarder ─┬▶ address: circuit ─▶ pool ─▶ process of the service
//!               ▲      └▶ address: circuit ─▶ pool ─▶ another one
//!               │  │ no answer, or "not here": the other one, then once more, where that does no harm
//!               │  └─▶ 503 dependency-unavailable
//!    /readyz ◀──┴── a probe an address, every so often: opens and closes its circuit
//! ```
//!
//! The addresses, what they promise and their limits are those of the code (`Routes`); only who
//! answers is another process. Where there are several they are asked in turn, those first that
//! say that they are ready. A request is sent again where nothing of it was taken, or where a
//! repeat finds the first one, whichever process that one reached: it reads, or has an
//! `Idempotency-Key`, and the gateway gives every command one.

mod address;
mod circuit;
mod headers;
mod instance;
mod metrics;
mod options;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderValue, request::Parts, uri::PathAndQuery},
    response::{IntoResponse, Response},
};
use futures::future::join_all;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use recourse_service::{
    Problem,
    contract::Routes,
    errors,
    http::{CORRELATION_ID, PREFER, RequestContext, TRACEPARENT, too_large},
    keys::Keys,
    readiness::{Dependency, Health},
};
use tokio_util::sync::CancellationToken;

pub use self::{
    address::{Address, NotAnAddress},
    options::Options,
};
use self::{
    headers::passed_on,
    instance::{Answer, Failure, Head, Instance, Sender},
};

/// Hands requests on to one service. Cheap to clone; clones share its connections.
#[derive(Clone)]
pub struct Forwarder(Arc<Inner>);

struct Inner {
    name: &'static str,
    instances: Vec<Instance>,
    /// Who is first for the next request.
    turn: AtomicUsize,
    sender: Sender,
    dependency: Dependency,
}

/// Who was asked to answer a request, and is not to be asked again.
#[derive(Default)]
struct Asked {
    /// Until all others were asked too.
    this_round: Vec<usize>,
    /// At all.
    ever: Vec<usize>,
}

impl Asked {
    fn has(&self, at: usize) -> bool {
        self.this_round.contains(&at) || self.ever.contains(&at)
    }
}

impl Forwarder {
    /// Hands requests on to the service of this name at these addresses, a process each, with the
    /// first of these keys. What is found out of them goes to `dependency`: the service is up while
    /// one of them is.
    #[must_use]
    pub fn new(
        name: &'static str,
        addresses: &[Address],
        keys: Option<&Keys>,
        dependency: Dependency,
        options: Options,
    ) -> Self {
        let instances = addresses
            .iter()
            .map(|address| Instance::new(name, address.clone(), &options))
            .collect();
        Self(Arc::new(Inner {
            name,
            instances,
            turn: AtomicUsize::new(0),
            sender: Sender::new(keys, options),
            dependency,
        }))
    }

    /// The addresses of `contract`, answered by the service.
    pub fn routes(&self, contract: Routes) -> Routes {
        let forwarder = self.clone();
        contract.handed_to(move |request: Request| {
            let forwarder = forwarder.clone();
            async move {
                let answered = forwarder.0.forward(request).await;
                answered.unwrap_or_else(Problem::into_response)
            }
        })
    }

    /// Asks each process of the service how it is, every so often, for as long as this is polled.
    pub async fn watch(&self) {
        let instances = self.0.instances.iter();
        join_all(instances.map(|instance| self.0.watch(instance))).await;
    }
}

impl Inner {
    async fn watch(&self, instance: &Instance) {
        let interval = Duration::from_millis(self.sender.options.probe_interval_ms.max(1));
        loop {
            instance.probe(&self.sender).await;
            self.tell();
            tokio::time::sleep(interval).await;
        }
    }

    async fn forward(&self, request: Request) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let context = parts.extensions.get::<RequestContext>().cloned();
        let max_body_bytes = context.as_ref().map(|context| context.limits());
        let body = read(body, max_body_bytes.unwrap_or_default().max_body_bytes).await?;
        let head = head(parts, context.as_ref());
        let draining = context.map(|context| context.draining().clone());
        self.ask(head, body, &draining.unwrap_or_default()).await
    }

    /// Asks one after the other until one answers.
    async fn ask(
        &self,
        mut head: Head,
        body: Bytes,
        draining: &CancellationToken,
    ) -> Result<Response, Problem> {
        let mut asked = Asked::default();
        let mut turned_down: Option<Answer> = None;
        let mut hurried = false;
        let (mut rounds, mut is_repeat) = (0, false);
        loop {
            let Some((at, instance, opened)) = self.next(&asked) else {
                if let Some(answer) = turned_down {
                    return Ok(answer.into_response());
                }
                rounds += 1;
                let is_over = rounds >= self.sender.options.forward_max_tries;
                if is_over || asked.this_round.is_empty() {
                    return Err(self.unavailable());
                }
                tokio::time::sleep(self.sender.options.backoff(rounds)).await;
                asked.this_round.clear();
                continue;
            };
            if is_repeat {
                metrics::repeated(self.name);
            }
            let may_hurry = !hurried && head.is_repeatable() && head.headers.contains_key(PREFER);
            let sent = tokio::select! {
                biased;
                sent = instance.send(&self.sender, &head, body.clone(), &opened) => sent,
                () = draining.cancelled(), if may_hurry => {
                    // Who waits is told what there is: the same request, asked without a wait.
                    head.headers.insert(PREFER, HeaderValue::from_static("wait=0"));
                    hurried = true;
                    continue;
                }
            };
            is_repeat = true;
            match sent {
                Ok(answer) => {
                    instance.answered();
                    if !head.is_repeatable() || !answer.turns_down() {
                        return Ok(answer.into_response());
                    }
                    turned_down = Some(answer);
                    asked.this_round.push(at);
                }
                Err(failure) => {
                    instance.failed(&failure);
                    self.tell();
                    if !failure.is_untouched() && !head.is_repeatable() {
                        return Err(self.unavailable());
                    }
                    if matches!(failure, Failure::Key) {
                        asked.ever.push(at);
                    } else {
                        asked.this_round.push(at);
                    }
                }
            }
        }
    }

    /// Who is to be asked next: in turn, of those whose circuit is closed, first those that say
    /// that they are ready.
    fn next(&self, asked: &Asked) -> Option<(usize, &Instance, CancellationToken)> {
        let count = self.instances.len();
        let first = self
            .turn
            .fetch_add(1, Ordering::Relaxed)
            .checked_rem(count)?;
        let mut unready = None;
        let in_turn = self.instances.iter().enumerate().cycle().skip(first);
        for (at, instance) in in_turn.take(count) {
            if asked.has(at) {
                continue;
            }
            let Some(opened) = instance.closed() else {
                continue;
            };
            if instance.is_up() {
                return Some((at, instance, opened));
            }
            unready = unready.or(Some((at, instance, opened)));
        }
        unready
    }

    /// Says how the service is.
    fn tell(&self) {
        let healths: Vec<_> = self
            .instances
            .iter()
            .map(|instance| (instance.address(), instance.health()))
            .collect();
        self.dependency.set(of_all(&healths));
    }

    fn unavailable(&self) -> Problem {
        let detail = format!("the service {} does not answer", self.name);
        Problem::new(errors::DEPENDENCY_UNAVAILABLE).detail(detail)
    }
}

/// The request as it goes on.
fn head(parts: Parts, context: Option<&RequestContext>) -> Head {
    let mut headers = passed_on(parts.headers);
    if let Some(context) = context {
        for (name, value) in [
            (CORRELATION_ID, context.request_id()),
            (TRACEPARENT, context.traceparent()),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
    }
    let target = parts.uri.into_parts().path_and_query;
    Head {
        method: parts.method,
        target: target.unwrap_or_else(|| PathAndQuery::from_static("/")),
        headers,
    }
}

/// How a service is whose processes are so: up while one of them is.
fn of_all(healths: &[(&Address, Health)]) -> Health {
    if let [(_, health)] = healths {
        return health.clone();
    }
    let lacking = || -> String {
        let told = healths.iter().filter_map(|(address, health)| match health {
            Health::Up | Health::Noted(_) => None,
            Health::Degraded(why) | Health::Starting(why) | Health::Down(why) => {
                Some(format!("{address}: {why}"))
            }
        });
        told.collect::<Vec<_>>().join("; ")
    };
    let any = |is: fn(&Health) -> bool| healths.iter().any(|(_, health)| is(health));
    let works = |health: &Health| matches!(health, Health::Up | Health::Noted(_));
    if healths.iter().all(|(_, health)| works(health)) {
        Health::Up
    } else if any(|health| matches!(health, Health::Up | Health::Noted(_) | Health::Degraded(_))) {
        Health::Degraded(lacking())
    } else if any(|health| matches!(health, Health::Starting(_))) {
        Health::Starting(lacking())
    } else {
        Health::Down(lacking())
    }
}

/// The whole body, within its limit.
async fn read(body: Body, max_bytes: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, max_bytes).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(max_bytes)),
        Err(error) => {
            tracing::debug!(%error, "a request broke off");
            Err(Problem::new(errors::MALFORMED_JSON).detail("the body broke off"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_up_while_one_of_its_processes_is() {
        let [one, other] = ["http://a:1", "http://b:2"].map(|text| text.parse().unwrap());
        let of = |first: &Health, second: &Health| {
            of_all(&[(&one, first.clone()), (&other, second.clone())])
        };
        let down = Health::Down("gone".to_owned());
        let starting = Health::Starting("kafka is starting".to_owned());
        assert_eq!(of(&Health::Up, &Health::Up), Health::Up);
        let degraded = Health::Degraded("http://b:2: gone".to_owned());
        assert_eq!(of(&Health::Up, &down), degraded);
        let none = "http://a:1: kafka is starting; http://b:2: gone".to_owned();
        assert_eq!(of(&starting, &down), Health::Starting(none));
        let none = "http://a:1: gone; http://b:2: gone".to_owned();
        assert_eq!(of(&down, &down), Health::Down(none));
        assert_eq!(of_all(&[(&one, down.clone())]), down);
    }
}
