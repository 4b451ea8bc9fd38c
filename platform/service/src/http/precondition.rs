//! `If-Match` and `If-None-Match` on strong entity tags: the revision of a stream, quoted.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
};

use crate::{Problem, errors};

/// The entity tag of a revision: `"3"`.
#[must_use]
pub fn etag(revision: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{revision}\""))
        .unwrap_or_else(|_| HeaderValue::from(revision))
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    /// `*`
    Any,
    /// The strong tags, without their quotes. A weak one never matches strongly.
    These(Vec<String>),
}

impl Tags {
    fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let malformed = || {
            Problem::new(errors::INVALID_HEADER)
                .detail(format!("`{name}` is `*` or quoted entity tags"))
        };
        let mut tags = Vec::new();
        let mut any = false;
        let mut given = false;
        for value in headers.get_all(name) {
            given = true;
            let mut rest = value.to_str().map_err(|_| malformed())?.trim();
            if rest == "*" {
                any = true;
                continue;
            }
            loop {
                let weak = rest.starts_with("W/");
                let quoted = rest.strip_prefix("W/").unwrap_or(rest);
                let (tag, after) = quoted
                    .strip_prefix('"')
                    .and_then(|rest| rest.split_once('"'))
                    .ok_or_else(malformed)?;
                if !weak {
                    tags.push(tag.to_owned());
                }
                rest = after.trim_start();
                if rest.is_empty() {
                    break;
                }
                rest = rest.strip_prefix(',').ok_or_else(malformed)?.trim_start();
            }
        }
        match (given, any, tags.is_empty()) {
            (false, _, _) => Ok(None),
            (true, false, _) => Ok(Some(Self::These(tags))),
            (true, true, true) => Ok(Some(Self::Any)),
            (true, true, false) => Err(malformed()),
        }
    }

    fn matches(&self, current: Option<u64>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::These(tags), Some(current)) => {
                let current = current.to_string();
                tags.contains(&current)
            }
        }
    }
}

/// What must hold of the current revision for a request to go ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

impl Preconditions {
    /// Whether there is an `If-Match`.
    #[must_use]
    pub fn has_if_match(&self) -> bool {
        self.if_match.is_some()
    }

    /// Whether there is nothing to hold.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Whether a change may go ahead; `current` is the revision of what exists.
    ///
    /// # Errors
    /// `precondition-failed`, with the current `ETag`.
    pub fn check(&self, current: Option<u64>) -> Result<(), Problem> {
        let held = self
            .if_match
            .as_ref()
            .is_none_or(|tags| tags.matches(current))
            && !self
                .if_none_match
                .as_ref()
                .is_some_and(|tags| tags.matches(current));
        if held {
            return Ok(());
        }
        let problem = Problem::new(errors::PRECONDITION_FAILED);
        Err(match current {
            Some(revision) => problem.header(header::ETAG, etag(revision)),
            None => problem.detail("it does not exist"),
        })
    }

    /// The same, where a change must say what it was decided on.
    ///
    /// # Errors
    /// `precondition-required` without `If-Match`, else as [`Self::check`].
    pub fn require(&self, current: Option<u64>) -> Result<(), Problem> {
        if self.if_match.is_none() {
            return Err(Problem::new(errors::PRECONDITION_REQUIRED));
        }
        self.check(current)
    }

    /// Whether a GET can be answered with 304: the client has this revision.
    #[must_use]
    pub fn not_modified(&self, current: u64) -> bool {
        self.if_none_match
            .as_ref()
            .is_some_and(|tags| tags.matches(Some(current)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Preconditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self {
            if_match: Tags::of(&parts.headers, &header::IF_MATCH)?,
            if_none_match: Tags::of(&parts.headers, &header::IF_NONE_MATCH)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(if_match: &str, if_none_match: &str) -> Result<Preconditions, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::IF_MATCH, if_match),
            (header::IF_NONE_MATCH, if_none_match),
        ] {
            if !value.is_empty() {
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
        }
        Ok(Preconditions {
            if_match: Tags::of(&headers, &header::IF_MATCH)?,
            if_none_match: Tags::of(&headers, &header::IF_NONE_MATCH)?,
        })
    }

    #[test]
    fn a_change_goes_ahead_only_where_its_conditions_hold() {
        let holds = |a: &str, b: &str, current| conditions(a, b).unwrap().check(current).is_ok();
        assert!(holds("", "", None) && holds("", "", Some(3)));
        assert!(holds("\"3\"", "", Some(3)) && holds("\"1\", \"3\"", "", Some(3)));
        assert!(!holds("\"3\"", "", Some(4)) && !holds("\"3\"", "", None));
        assert!(holds("*", "", Some(0)) && !holds("*", "", None));
        assert!(holds("", "*", None) && !holds("", "*", Some(0)));
        assert!(
            !holds("W/\"3\"", "", Some(3)),
            "a weak tag never matches strongly"
        );
        let failed = conditions("\"3\"", "").unwrap().check(Some(4)).unwrap_err();
        assert_eq!(failed.code().code, "precondition-failed");
    }

    #[test]
    fn a_change_that_needs_a_condition_says_so() {
        let none = conditions("", "").unwrap().require(Some(3)).unwrap_err();
        assert_eq!(none.code().code, "precondition-required");
        assert!(conditions("\"3\"", "").unwrap().require(Some(3)).is_ok());
    }

    #[test]
    fn a_malformed_tag_is_refused() {
        for tag in [
            "3",
            "\"3",
            "3\"",
            "\"3\" \"4\"",
            "\"3\",",
            "*, \"3\"",
            "w/\"3\"",
        ] {
            let problem = conditions(tag, "").unwrap_err();
            assert_eq!(problem.code().code, "invalid-header", "{tag}");
        }
    }
}
