//! What arguments may be. Each is checked before anything is done: a command that was given wrong
//! ones ends with the exit code of wrong use and has changed nothing.

use recourse_bench::http::Address;
use recourse_event_store::{Position, StreamName};

/// Arguments that do not go together, which no parser of one alone can tell. The process ends with
/// the exit code of wrong use.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(String);

impl Usage {
    /// With what is wrong, in the words of whoever found it.
    pub(crate) fn new(problem: impl std::fmt::Display) -> Self {
        Self(problem.to_string())
    }
}

/// A server: `http://host:port`.
pub(crate) fn url(text: &str) -> Result<String, String> {
    match Address::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("a server is http://host:port".to_owned()),
    }
}

/// A position as a server gave it, `17-9f3a2c41`, or its number alone. Whether a log has it, only
/// that log's server can tell.
pub(crate) fn position(text: &str) -> Result<String, String> {
    match number(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("a position is what a server showed as one: 17-9f3a2c41".to_owned()),
    }
}

/// Where to begin to watch: a position, `start` or `end`.
pub(crate) fn place(text: &str) -> Result<String, String> {
    if matches!(text, "start" | "end") {
        return Ok(text.to_owned());
    }
    position(text).map_err(|_| "a place is start, end or a position".to_owned())
}

/// The place in a position, whichever log's it is.
pub(crate) fn number(text: &str) -> Option<Position> {
    let place = text.split_once('-').map_or(text, |(place, _)| place);
    place.parse().ok()
}

/// The name of a stream: `order-…`.
pub(crate) fn stream(text: &str) -> Result<String, String> {
    match StreamName::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// How many of all: 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let share = text
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share is a number from 0 to 1".to_owned())
}

/// Why somebody did something: what the server takes as a reason.
pub(crate) fn reason(text: &str) -> Result<String, String> {
    let is_plain = !text.trim().is_empty()
        && text.chars().count() <= 500
        && !text.chars().any(char::is_control);
    match is_plain {
        true => Ok(text.to_owned()),
        false => Err("a reason has 1 to 500 characters and no control characters".to_owned()),
    }
}
