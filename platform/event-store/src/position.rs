//! Where something stands in a log, and which log that is.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de};
use uuid::Uuid;

/// Where an event stands in the total order of its log.
///
/// Opaque to clients: ordered, unique, not necessarily dense. `EventStoreDB` gives a pair,
/// the commit position of the transaction and the prepare position of the event; the stores
/// that number events count from 1 and give the same number twice. [`Position::START`] stands
/// before the first event of every log, so it is where a reader that has seen nothing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String", extend("pattern" = "^[0-9]+(\\.[0-9]+)?$"))]
pub struct Position {
    /// The commit position, first in the order.
    pub commit: u64,
    /// The prepare position, which orders the events of one commit.
    pub prepare: u64,
}

impl Position {
    /// Before the first event.
    pub const START: Self = Self {
        commit: 0,
        prepare: 0,
    };

    /// The position of the `number`th event of a log that counts its events from 1.
    #[must_use]
    pub const fn dense(number: u64) -> Self {
        Self {
            commit: number,
            prepare: number,
        }
    }
}

/// `17` where commit and prepare agree, else `17.16`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.commit == self.prepare {
            write!(f, "{}", self.commit)
        } else {
            write!(f, "{}.{}", self.commit, self.prepare)
        }
    }
}

/// The text is not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position is a number, or two joined by a dot")]
pub struct ParsePositionError;

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            // `u64::from_str` would take a sign too.
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(ParsePositionError);
            }
            digits.parse::<u64>().map_err(|_| ParsePositionError)
        };
        match text.split_once('.') {
            Some((commit, prepare)) => Ok(Self {
                commit: number(commit)?,
                prepare: number(prepare)?,
            }),
            None => number(text).map(Self::dense),
        }
    }
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Where a saga command stands in the order of all commands: the event that carries it and
/// its place within that event.
///
/// An aggregate keeps the highest mark that it has taken. A command at or below it changes
/// nothing, however often it is delivered.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Mark {
    /// The position of the event in the saga's stream that carries the command.
    #[serde(rename = "p")]
    pub position: Position,
    /// Which of that event's commands it is, from 0.
    #[serde(rename = "i", default, skip_serializing_if = "is_zero")]
    pub index: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape that serde asks for"
)]
fn is_zero(index: &u32) -> bool {
    *index == 0
}

/// Which log this is, made once when the log is.
///
/// A position says nothing without it: after a restore from a backup the same number stands
/// for another event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(pub Uuid);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back_what_they_print() {
        for position in [
            Position::START,
            Position::dense(17),
            Position {
                commit: 17,
                prepare: 16,
            },
        ] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
    }

    #[test]
    fn what_is_not_a_position_is_refused() {
        for text in [
            "",
            ".",
            "1.",
            ".1",
            "+1",
            "-1",
            "1.2.3",
            "18446744073709551616",
            "x",
        ] {
            assert_eq!(text.parse::<Position>(), Err(ParsePositionError), "{text}");
        }
    }
}
