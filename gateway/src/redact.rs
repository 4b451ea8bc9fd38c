//! What of an event is shown to whoever may read the log.

use recourse_event_store::RecordedEvent;
use serde_json::Value;

/// The data of an event with every payment token left out: each key `token`, at any depth,
/// says `[redacted]`. Data that is not JSON is not shown at all.
#[must_use]
pub fn hide_tokens(event: &RecordedEvent) -> Value {
    let mut data = serde_json::from_slice(&event.event.data).unwrap_or(Value::Null);
    hide(&mut data);
    data
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "token" {
                    *value = Value::String("[redacted]".into());
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_left_out_at_any_depth() {
        let mut data = serde_json::json!({
            "payment": {"method": "card", "token": "tok_visa"},
            "commands": [{"data": {"token": {"is": ["tok_visa"]}}}],
            "tokens": 2
        });
        hide(&mut data);
        assert_eq!(
            data,
            serde_json::json!({
                "payment": {"method": "card", "token": "[redacted]"},
                "commands": [{"data": {"token": "[redacted]"}}],
                "tokens": 2
            })
        );
    }
}
