//! Placing one order and writing down what was answered, before it counts.

use std::time::Duration;

use recourse_domain::OrderId;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    acknowledged::{Acknowledged, Writer},
    http::{Answer, Connection, Error},
    plan::Order,
};

/// The longest pause that a `Retry-After` is followed for.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its saga has ended (201), with this status of the order.
    Settled { order: OrderId, status: String },
    /// It was accepted and has not settled in time (202).
    Accepted { saga_id: Option<Uuid> },
    /// The server asks to come back later (429, 503).
    Busy { code: String, pause: Duration },
    /// The server says no.
    Refused { code: String },
}

/// Why an order came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error(transparent)]
    Http(#[from] Error),
    #[error("the acknowledged file cannot be written")]
    Told(#[from] std::io::Error),
}

#[derive(Deserialize)]
struct Placed {
    order_id: OrderId,
    #[serde(default)]
    saga_id: Option<Uuid>,
    #[serde(default)]
    status: Option<String>,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
}

/// Sends an order. What was acknowledged is in the file when this returns.
pub(crate) async fn place(
    server: &mut Connection,
    order: &Order,
    prefer: &str,
    told: impl FnOnce(&Acknowledged) -> std::io::Result<()>,
) -> Result<Outcome, PlaceError> {
    let headers = [("idempotency-key", order.key.as_str()), ("prefer", prefer)];
    let answer = server
        .send("POST", "/v1/orders", &headers, order.body.clone())
        .await?;
    let status = answer.status.as_u16();
    match status {
        200..=299 => {
            let Some((placed, position)) = placed(&answer) else {
                let code = format!("malformed-{status}");
                return Ok(Outcome::Refused { code });
            };
            let settled = (status == 201).then(|| placed.status.clone()).flatten();
            told(&Acknowledged::Order {
                order_id: placed.order_id,
                position,
                status: settled.clone(),
            })?;
            Ok(match settled {
                Some(status) => Outcome::Settled {
                    order: placed.order_id,
                    status,
                },
                None => Outcome::Accepted {
                    saga_id: placed.saga_id,
                },
            })
        }
        429 | 503 => Ok(Outcome::Busy {
            code: code(&answer),
            pause: answer
                .header("retry-after")
                .and_then(|seconds| seconds.parse().ok())
                .map_or(MAX_PAUSE, Duration::from_secs)
                .min(MAX_PAUSE),
        }),
        _ => Ok(Outcome::Refused {
            code: code(&answer),
        }),
    }
}

fn placed(answer: &Answer) -> Option<(Placed, recourse_event_store::Position)> {
    let placed = serde_json::from_slice(&answer.body).ok()?;
    let position = answer.position()?;
    Some((placed, position))
}

/// `503 overloaded`, from the problem document where there is one.
fn code(answer: &Answer) -> String {
    let status = answer.status.as_u16();
    serde_json::from_slice::<Problem>(&answer.body).map_or_else(
        |_| status.to_string(),
        |problem| format!("{status} {}", problem.code),
    )
}

/// Writes to the file, where there is one.
pub(crate) fn write_down(writer: &mut Option<Writer>, line: &Acknowledged) -> std::io::Result<()> {
    writer.as_mut().map_or(Ok(()), |writer| writer.write(line))
}

/// The name under which an error is counted.
pub(crate) const fn error_name(error: &Error) -> &'static str {
    match error {
        Error::Url(_) | Error::Request(_) => "bad request",
        Error::Connect(_) => "no connection",
        Error::Broken(_) => "connection broke",
        Error::Body(_) => "answer broke off",
        Error::Late(_) => "no answer in time",
    }
}
