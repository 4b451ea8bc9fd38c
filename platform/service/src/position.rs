//! Positions as clients see them: opaque, and marked with the log they belong to.

use std::str::FromStr;

use axum::http::{HeaderName, HeaderValue};
use recourse_event_store::{LogId, Position};

use crate::{Problem, errors};

/// The header that carries the position of an answer.
pub const HEADER: HeaderName = HeaderName::from_static("recourse-position");

/// The header in which a query asks for a view at least as new as this.
pub const MIN_HEADER: HeaderName = HeaderName::from_static("recourse-min-position");

/// Writes a position for a client: `17-9f3a2c41`, the tag being the last 8 digits of the
/// log's id.
///
/// ```
/// use recourse_event_store::{LogId, Position};
/// use recourse_service::position;
///
/// let log = LogId(uuid::Uuid::from_u128(0x9f3a_2c41));
/// let token = position::write(Position::dense(17), log);
/// assert_eq!(token, "17-9f3a2c41");
/// assert_eq!(position::read(&token, log).unwrap(), Position::dense(17));
/// assert_eq!(position::read("17", log).unwrap_err().code().code, "invalid-position");
/// ```
#[must_use]
pub fn write(position: Position, log: LogId) -> String {
    format!("{position}-{:08x}", tag(log))
}

/// The same as the value of a header.
#[must_use]
pub fn header_value(position: Position, log: LogId) -> HeaderValue {
    // Digits, a dot and a dash are visible ASCII.
    HeaderValue::from_str(&write(position, log)).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// Reads a position of this log.
///
/// # Errors
/// `invalid-position` where it is malformed or of another log. Whether it is ahead of the log
/// is for [`read_within`] to say.
pub fn read(token: &str, log: LogId) -> Result<Position, Problem> {
    let refused = |detail| Problem::new(errors::INVALID_POSITION).detail(detail);
    find(token, log)
        .ok_or_else(|| refused("the position is malformed"))?
        .ok_or_else(|| refused("the position is one of another log"))
}

/// Reads a position for whoever tells the two ways apart in which it may not be one of this
/// log: none where the token is malformed, `Some(None)` where it is one of another log.
#[must_use]
pub fn find(token: &str, log: LogId) -> Option<Option<Position>> {
    let (position, of_log) = token.split_once('-')?;
    let position = Position::from_str(position).ok()?;
    let well_formed = of_log.len() == 8
        && of_log
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !well_formed {
        return None;
    }
    let is_ours = u32::from_str_radix(of_log, 16) == Ok(tag(log));
    Some(is_ours.then_some(position))
}

/// Reads a position of this log that is no further than `head`, its last appended position.
///
/// # Errors
/// `invalid-position`.
pub fn read_within(token: &str, log: LogId, head: Position) -> Result<Position, Problem> {
    let position = read(token, log)?;
    if position > head {
        return Err(
            Problem::new(errors::INVALID_POSITION).detail("the position is ahead of the log")
        );
    }
    Ok(position)
}

/// The low bits: the high ones of a `UUIDv7` are its time, and two logs may be made within it.
fn tag(log: LogId) -> u32 {
    let bytes = log.0.as_u128().to_be_bytes();
    let [.., a, b, c, d] = bytes;
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const LOG: LogId = LogId(Uuid::from_u128(0x1234_9f3a_2c41));

    #[test]
    fn a_position_reads_back_what_was_written() {
        for position in [
            Position::START,
            Position::dense(u64::MAX),
            Position {
                commit: 9,
                prepare: 7,
            },
        ] {
            assert_eq!(read(&write(position, LOG), LOG).unwrap(), position);
        }
    }

    #[test]
    fn what_is_malformed_of_another_log_or_ahead_is_refused() {
        let other = write(Position::dense(1), LogId(Uuid::from_u128(7)));
        for token in [
            "",
            "1",
            "-",
            "1-",
            "-9f3a2c41",
            "x-9f3a2c41",
            "+1-9f3a2c41",
            "1-9F3A2C41",
            "1-9f3a2c4",
            "1-9f3a2c411",
            "1-+f3a2c41",
            &other,
            "5-9f3a2c41",
        ] {
            let problem = read_within(token, LOG, Position::dense(4)).unwrap_err();
            assert_eq!(problem.code().code, "invalid-position", "{token}");
        }
        assert!(read_within("4-9f3a2c41", LOG, Position::dense(4)).is_ok());
    }
}
