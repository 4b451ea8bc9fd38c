//! `recourse replay --as-of`: what an aggregate or a saga was at a position.
//!
//! ```text
//! events of the stream, without their secrets ─▶ evolve, as the services do ─▶ the state, as JSON
//! ```
//!
//! Only what may be shown is folded. So what comes out cannot hold a secret, and it comes out the same
//! from a server, which gives no more, and from a folder.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use recourse_aggregates::{Order, Payment, Product, Stock};
use recourse_cqrs::{Aggregate, COMMAND_REFUSED};
use recourse_event_store::{StreamName, typed};
use recourse_saga::State as Saga;
use serde::Serialize;
use serde_json::Value;

use crate::{arguments::Usage, replay::Line};

/// A stream's state at a position.
#[derive(Debug, Serialize)]
pub(crate) struct AsOf {
    stream: StreamName,
    /// Of the last event that is in it.
    revision: u64,
    /// Where that event stands.
    position: String,
    state: Value,
}

/// Whether there is somebody here who knows how to fold a stream.
pub(crate) fn is_known(stream: &str) -> Result<(), Usage> {
    let category = stream
        .split_once('-')
        .map_or(stream, |(category, _)| category);
    match category {
        Product::CATEGORY | Stock::CATEGORY | Order::CATEGORY | Payment::CATEGORY | "saga" => {
            Ok(())
        }
        other => Err(unknown(other)),
    }
}

fn unknown(category: &str) -> Usage {
    Usage::new(format!(
        "`{category}` is no kind of aggregate: there are product, stock, order, payment and saga"
    ))
}

/// Folds a stream from its first event; what of it is left out of `lines` is left out here.
///
/// # Errors
/// Where there is nothing to fold, or nobody here knows how.
pub(crate) fn fold(stream: &str, lines: &[Line]) -> anyhow::Result<AsOf> {
    let name = StreamName::parse(stream).context("that is no stream")?;
    let last = lines
        .last()
        .ok_or_else(|| anyhow!("{stream} has no event at that position or before it"))?;
    let state = match name.category() {
        Product::CATEGORY => aggregate::<Product>(lines)?,
        Stock::CATEGORY => aggregate::<Stock>(lines)?,
        Order::CATEGORY => aggregate::<Order>(lines)?,
        Payment::CATEGORY => aggregate::<Payment>(lines)?,
        "saga" => saga(&name, lines)?,
        other => return Err(unknown(other).into()),
    };
    Ok(AsOf {
        stream: name,
        revision: last.revision,
        position: last.position.clone(),
        state,
    })
}

fn aggregate<A: Aggregate>(lines: &[Line]) -> anyhow::Result<Value> {
    let mut state = A::State::default();
    // A refusal is an answer and changes nothing.
    let changes = lines
        .iter()
        .filter(|line| &*line.event_type != COMMAND_REFUSED);
    for line in changes {
        state = A::evolve(state, &read::<A::Event>(line)?);
    }
    Ok(serde_json::to_value(state)?)
}

fn saga(stream: &StreamName, lines: &[Line]) -> anyhow::Result<Value> {
    let mut state = Saga::new(stream.id().parse().context("that is no saga")?);
    for line in lines {
        let at = line
            .recorded_at
            .ok_or_else(|| anyhow!("the event at {} does not say when it was", line.position))?;
        state.apply(&read(line)?, at);
    }
    Ok(serde_json::to_value(state)?)
}

fn read<E: serde::de::DeserializeOwned>(line: &Line) -> anyhow::Result<E> {
    let event_type: &Arc<str> = &line.event_type;
    typed::decode(event_type, line.data.get().as_bytes())
        .with_context(|| format!("the event at {} cannot be folded", line.position))
}

#[cfg(test)]
mod tests {
    use serde_json::{json, value::to_raw_value};

    use super::*;

    fn line(revision: u64, event_type: &str, data: &Value) -> Line {
        Line {
            position: format!("{}-0", 10 + revision),
            stream: StreamName::new("stock", "tea-1"),
            revision,
            event_type: event_type.into(),
            id: uuid::Uuid::nil(),
            recorded_at: None,
            data: to_raw_value(data).unwrap(),
            metadata: to_raw_value(&json!({})).unwrap(),
        }
    }

    #[test]
    fn a_stock_is_what_its_events_up_to_there_make_of_it_and_refusals_make_nothing() {
        let received = json!({"sku": "tea-1", "quantity": 5, "reference": "first"});
        let adjusted = json!({"sku": "tea-1", "delta": -2, "reason": "counted"});
        let lines = [
            line(0, "stock.received.v1", &received),
            line(1, "command.refused.v1", &json!({"anything": true})),
            line(2, "stock.adjusted.v1", &adjusted),
        ];
        let shown = fold("stock-tea-1", &lines).unwrap();
        assert_eq!(shown.state["on_hand"], 3);
        assert_eq!((shown.revision, &*shown.position), (2, "12-0"));
        let before = fold("stock-tea-1", &lines[..2]).unwrap();
        assert_eq!(
            (before.state["on_hand"].clone(), before.revision),
            (json!(5), 1)
        );
    }

    #[test]
    fn what_cannot_be_folded_is_said() {
        let hidden = line(0, "stock.received.v1", &json!("[redacted]"));
        let said = |stream, lines: &[Line]| format!("{:#}", fold(stream, lines).unwrap_err());
        assert!(said("stock-tea-1", &[hidden]).starts_with("the event at 10-0 cannot be folded"));
        assert!(said("stock-tea-1", &[]).contains("no event at that position"));
        let of_a_view = line(0, "stock.received.v1", &json!({}));
        assert!(said("projection-orders", &[of_a_view]).contains("no kind of aggregate"));
    }
}
