//! Which events of `$all` a client wants.
//!
//! Prefixes are the store's own filter. An expression is matched here, on every event: clients
//! exclude what is the system's with look-ahead, hence an engine that has it, and a bound on
//! what one match may cost.

use std::sync::Arc;

use fancy_regex::{Regex, RegexBuilder};
use recourse_event_store::{Filter, RecordedEvent};
use tonic::Status;

use crate::server::wire::streams::read_req::options::{
    FilterOption, FilterOptions,
    filter_options::{Expression, Filter as Field, Window},
};

/// How long an expression may be, in bytes.
const MAX_EXPRESSION_BYTES: usize = 4096;
/// How many prefixes there may be.
const MAX_PREFIXES: usize = 256;
/// How often a match may be tried another way.
const MAX_BACKTRACKS: usize = 10_000;
/// What a compiled expression may hold.
const MAX_COMPILED_BYTES: usize = 1024 * 1024;
/// How many events are looked at for one checkpoint where the client does not say.
const DEFAULT_WINDOW: u32 = 32;

/// A client's filter.
pub(crate) struct Wanted {
    /// What the store is asked for.
    pub(crate) store: Filter,
    expression: Option<Matcher>,
    /// How far a follower goes without a checkpoint, in positions; none without a filter.
    pub(crate) checkpoint_interval: Option<u64>,
}

struct Matcher {
    regex: Regex,
    of: Part,
}

#[derive(Clone, Copy)]
enum Part {
    Stream,
    Type,
}

impl Wanted {
    pub(crate) fn read(option: Option<FilterOption>) -> Result<Self, Status> {
        match option {
            Some(FilterOption::Filter(filter)) => Self::filtered(filter),
            Some(FilterOption::NoFilter(())) | None => Ok(Self {
                store: Filter::All,
                expression: None,
                checkpoint_interval: None,
            }),
        }
    }

    fn filtered(options: FilterOptions) -> Result<Self, Status> {
        let window = match options.window {
            Some(Window::Max(max)) => max.max(1),
            Some(Window::Count(())) | None => DEFAULT_WINDOW,
        };
        let multiplier = options.checkpoint_interval_multiplier.max(1);
        let (part, expression) = match options.filter {
            Some(Field::StreamIdentifier(expression)) => (Part::Stream, expression),
            Some(Field::EventType(expression)) => (Part::Type, expression),
            None => return Err(Status::invalid_argument("a filter has an expression")),
        };
        let (store, expression) = read_expression(part, expression)?;
        Ok(Self {
            store,
            expression,
            checkpoint_interval: Some(u64::from(window).saturating_mul(u64::from(multiplier))),
        })
    }

    /// Those of a batch that the client wants.
    pub(crate) fn choose<'e>(
        &self,
        events: &'e [Arc<RecordedEvent>],
    ) -> Result<Vec<&'e RecordedEvent>, Status> {
        let mut chosen = Vec::with_capacity(events.len());
        for event in events {
            if self.wants(event)? {
                chosen.push(&**event);
            }
        }
        Ok(chosen)
    }

    fn wants(&self, event: &RecordedEvent) -> Result<bool, Status> {
        let Some(matcher) = &self.expression else {
            return Ok(true);
        };
        let text = match matcher.of {
            Part::Stream => event.stream.as_str(),
            Part::Type => &*event.event.event_type,
        };
        matcher.regex.is_match(text).map_err(|error| {
            Status::invalid_argument(format!("the filter's expression is too costly: {error}"))
        })
    }
}

fn read_expression(of: Part, expression: Expression) -> Result<(Filter, Option<Matcher>), Status> {
    if !expression.prefix.is_empty() {
        if expression.prefix.len() > MAX_PREFIXES {
            return Err(Status::invalid_argument(format!(
                "a filter has at most {MAX_PREFIXES} prefixes"
            )));
        }
        let filter = match of {
            Part::Stream => Filter::StreamPrefixes(expression.prefix),
            Part::Type => Filter::TypePrefixes(expression.prefix),
        };
        return Ok((filter, None));
    }
    if expression.regex.is_empty() {
        return Err(Status::invalid_argument(
            "a filter has an expression or prefixes",
        ));
    }
    if expression.regex.len() > MAX_EXPRESSION_BYTES {
        return Err(Status::invalid_argument(format!(
            "a filter's expression holds at most {MAX_EXPRESSION_BYTES} bytes"
        )));
    }
    let regex = RegexBuilder::new(&expression.regex)
        .backtrack_limit(MAX_BACKTRACKS)
        .delegate_size_limit(MAX_COMPILED_BYTES)
        .delegate_dfa_size_limit(MAX_COMPILED_BYTES)
        .build()
        .map_err(|error| {
            Status::invalid_argument(format!("the filter's expression cannot be read: {error}"))
        })?;
    Ok((Filter::All, Some(Matcher { regex, of })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(expression: Expression) -> Result<Wanted, Status> {
        Wanted::read(Some(FilterOption::Filter(FilterOptions {
            checkpoint_interval_multiplier: 3,
            filter: Some(Field::EventType(expression)),
            window: Some(Window::Max(5)),
        })))
    }

    fn regex(text: &str) -> Expression {
        Expression {
            regex: text.to_owned(),
            prefix: Vec::new(),
        }
    }

    #[test]
    fn a_window_times_its_multiplier_is_the_way_to_a_checkpoint() {
        let wanted = wanted(regex("^order")).unwrap();
        assert_eq!(wanted.checkpoint_interval, Some(15));
    }

    #[test]
    fn what_cannot_be_matched_is_refused() {
        for expression in [
            regex(""),
            regex("("),
            regex(&"a".repeat(MAX_EXPRESSION_BYTES + 1)),
            Expression {
                regex: String::new(),
                prefix: vec![String::new(); MAX_PREFIXES + 1],
            },
        ] {
            assert!(wanted(expression).is_err());
        }
    }
}
