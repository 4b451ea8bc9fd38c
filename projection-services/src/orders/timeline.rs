//! What happened to an order, as its row keeps it.

use std::{borrow::Cow, fmt, sync::Arc};

use chrono::{DateTime, Utc};
use recourse_event_store::Position;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Something that happened, as it is kept: in one short text, as there are many in each row, and
/// not every database takes arrays in arrays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Happened {
    pub(super) at: DateTime<Utc>,
    pub(super) event_type: Arc<str>,
    pub(super) position: Position,
}

/// `1795251739889724 order.placed.v1 3`: microseconds since 1970, the type, the position.
impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.at.timestamp_micros();
        write!(f, "{micros} {} {}", self.event_type, self.position)
    }
}

impl Happened {
    /// Reads what it writes.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        Some(Self {
            at: DateTime::from_timestamp_micros(parts.next()?.parse().ok()?)?,
            event_type: parts.next()?.into(),
            position: parts.next()?.parse().ok()?,
        })
    }
}

impl Serialize for Happened {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Happened {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom("an entry of a timeline is a time, a type and a position")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_what_it_writes() {
        let happened = Happened {
            at: DateTime::from_timestamp_micros(1_795_251_739_889_724).unwrap(),
            event_type: "order.placed.v1".into(),
            position: Position {
                commit: 17,
                prepare: 16,
            },
        };
        let text = serde_json::to_string(&happened).unwrap();
        assert_eq!(text, r#""1795251739889724 order.placed.v1 17.16""#);
        let read: Happened = serde_json::from_str(&text).unwrap();
        assert_eq!(read, happened);
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in [
            "",
            "1",
            "1 order.placed.v1",
            "x order.placed.v1 3",
            "1 a x",
            "1 a 3 b",
        ] {
            assert!(Happened::parse(text).is_none(), "{text}");
        }
    }
}
