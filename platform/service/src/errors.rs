//! The codes that every service shares.
//!
//! Each has its page under `docs/errors/`, which says what it means, whether a repeat is safe
//! and what to do.

use recourse_event_store::{AppendError, StoreError};

use crate::problem::{Code, Problem};

/// There is nothing here.
pub const NOT_FOUND: Code = Code::new(
    "not-found",
    404,
    "There is nothing here",
    include_str!("../../../docs/errors/not-found.md"),
);

/// This address does not take that method.
pub const METHOD_NOT_ALLOWED: Code = Code::new(
    "method-not-allowed",
    405,
    "This address does not take that method",
    include_str!("../../../docs/errors/method-not-allowed.md"),
);

/// The body is not JSON.
pub const MALFORMED_JSON: Code = Code::new(
    "malformed-json",
    400,
    "The body is not JSON",
    include_str!("../../../docs/errors/malformed-json.md"),
);

/// The body is not what this address takes.
pub const INVALID_BODY: Code = Code::new(
    "invalid-body",
    422,
    "The body is not what this address takes",
    include_str!("../../../docs/errors/invalid-body.md"),
);

/// The body must be application/json.
pub const UNSUPPORTED_MEDIA_TYPE: Code = Code::new(
    "unsupported-media-type",
    415,
    "The body must be application/json",
    include_str!("../../../docs/errors/unsupported-media-type.md"),
);

/// This address does not answer in a form you take.
pub const NOT_ACCEPTABLE: Code = Code::new(
    "not-acceptable",
    406,
    "This address does not answer in a form you take",
    include_str!("../../../docs/errors/not-acceptable.md"),
);

/// The body is too large.
pub const BODY_TOO_LARGE: Code = Code::new(
    "body-too-large",
    413,
    "The body is too large",
    include_str!("../../../docs/errors/body-too-large.md"),
);

/// The headers are too large.
pub const HEADERS_TOO_LARGE: Code = Code::new(
    "headers-too-large",
    431,
    "The headers are too large",
    include_str!("../../../docs/errors/headers-too-large.md"),
);

/// A header cannot be read.
pub const INVALID_HEADER: Code = Code::new(
    "invalid-header",
    400,
    "A header cannot be read",
    include_str!("../../../docs/errors/invalid-header.md"),
);

/// The idempotency key is malformed.
pub const INVALID_IDEMPOTENCY_KEY: Code = Code::new(
    "invalid-idempotency-key",
    400,
    "The idempotency key is malformed",
    include_str!("../../../docs/errors/invalid-idempotency-key.md"),
);

/// This idempotency key belongs to another request.
pub const IDEMPOTENCY_KEY_REUSED: Code = Code::new(
    "idempotency-key-reused",
    422,
    "This idempotency key belongs to another request",
    include_str!("../../../docs/errors/idempotency-key-reused.md"),
);

/// This is no position of this log.
pub const INVALID_POSITION: Code = Code::new(
    "invalid-position",
    400,
    "This is no position of this log",
    include_str!("../../../docs/errors/invalid-position.md"),
);

/// The view has not come that far yet.
pub const VIEW_BEHIND: Code = Code::new(
    "view-behind",
    503,
    "The view has not come that far yet",
    include_str!("../../../docs/errors/view-behind.md"),
)
.retryable();

/// The cursor is malformed.
pub const INVALID_CURSOR: Code = Code::new(
    "invalid-cursor",
    400,
    "The cursor is malformed",
    include_str!("../../../docs/errors/invalid-cursor.md"),
);

/// The cursor belongs to other filters.
pub const CURSOR_MISMATCH: Code = Code::new(
    "cursor-mismatch",
    400,
    "The cursor belongs to other filters",
    include_str!("../../../docs/errors/cursor-mismatch.md"),
);

/// A query parameter cannot be used.
pub const INVALID_QUERY: Code = Code::new(
    "invalid-query",
    400,
    "A query parameter cannot be used",
    include_str!("../../../docs/errors/invalid-query.md"),
);

/// The id in the address is malformed.
pub const INVALID_ID: Code = Code::new(
    "invalid-id",
    400,
    "The id in the address is malformed",
    include_str!("../../../docs/errors/invalid-id.md"),
);

/// It has changed since you read it.
pub const PRECONDITION_FAILED: Code = Code::new(
    "precondition-failed",
    412,
    "It has changed since you read it",
    include_str!("../../../docs/errors/precondition-failed.md"),
);

/// If-Match is required here.
pub const PRECONDITION_REQUIRED: Code = Code::new(
    "precondition-required",
    428,
    "If-Match is required here",
    include_str!("../../../docs/errors/precondition-required.md"),
);

/// Somebody else changed it at the same time.
pub const CONFLICT: Code = Code::new(
    "conflict",
    409,
    "Somebody else changed it at the same time",
    include_str!("../../../docs/errors/conflict.md"),
)
.retryable();

/// The server has all the work it can take.
pub const OVERLOADED: Code = Code::new(
    "overloaded",
    503,
    "The server has all the work it can take",
    include_str!("../../../docs/errors/overloaded.md"),
)
.retryable();

/// The request took too long.
pub const REQUEST_TIMEOUT: Code = Code::new(
    "request-timeout",
    503,
    "The request took too long",
    include_str!("../../../docs/errors/request-timeout.md"),
)
.retryable();

/// The event store is not available.
pub const STORE_UNAVAILABLE: Code = Code::new(
    "store-unavailable",
    503,
    "The event store is not available",
    include_str!("../../../docs/errors/store-unavailable.md"),
)
.retryable();

/// The event store has no room left.
pub const STORE_FULL: Code = Code::new(
    "store-full",
    503,
    "The event store has no room left",
    include_str!("../../../docs/errors/store-full.md"),
)
.retryable();

/// The disk is nearly full: no new orders and returns are taken.
pub const STORAGE_LOW: Code = Code::new(
    "storage-low",
    503,
    "The disk is nearly full: no new orders and returns are taken",
    include_str!("../../../docs/errors/storage-low.md"),
)
.retryable();

/// The event store has failed.
pub const STORE_FAILED: Code = Code::new(
    "store-failed",
    500,
    "The event store has failed",
    include_str!("../../../docs/errors/store-failed.md"),
);

/// Something this request needs is down.
pub const DEPENDENCY_UNAVAILABLE: Code = Code::new(
    "dependency-unavailable",
    503,
    "Something this request needs is down",
    include_str!("../../../docs/errors/dependency-unavailable.md"),
)
.retryable();

/// The server is going down.
pub const SHUTTING_DOWN: Code = Code::new(
    "shutting-down",
    503,
    "The server is going down",
    include_str!("../../../docs/errors/shutting-down.md"),
)
.retryable();

/// This server does not answer to that name.
pub const HOST_NOT_ALLOWED: Code = Code::new(
    "host-not-allowed",
    403,
    "This server does not answer to that name",
    include_str!("../../../docs/errors/host-not-allowed.md"),
);

/// Only those who have a key of the service may use it.
pub const SERVICE_KEY_REQUIRED: Code = Code::new(
    "service-key-required",
    401,
    "Only those who have a key of the service may use it",
    include_str!("../../../docs/errors/service-key-required.md"),
);

/// Web pages of that origin may not use this server.
pub const ORIGIN_NOT_ALLOWED: Code = Code::new(
    "origin-not-allowed",
    403,
    "Web pages of that origin may not use this server",
    include_str!("../../../docs/errors/origin-not-allowed.md"),
);

/// Something went wrong here.
pub const INTERNAL: Code = Code::new(
    "internal",
    500,
    "Something went wrong here",
    include_str!("../../../docs/errors/internal.md"),
);

/// All of them.
pub const ERRORS: &[Code] = &[
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    MALFORMED_JSON,
    INVALID_BODY,
    UNSUPPORTED_MEDIA_TYPE,
    NOT_ACCEPTABLE,
    BODY_TOO_LARGE,
    HEADERS_TOO_LARGE,
    INVALID_HEADER,
    INVALID_IDEMPOTENCY_KEY,
    IDEMPOTENCY_KEY_REUSED,
    INVALID_POSITION,
    VIEW_BEHIND,
    INVALID_CURSOR,
    CURSOR_MISMATCH,
    INVALID_QUERY,
    INVALID_ID,
    PRECONDITION_FAILED,
    PRECONDITION_REQUIRED,
    CONFLICT,
    OVERLOADED,
    REQUEST_TIMEOUT,
    STORE_UNAVAILABLE,
    STORE_FULL,
    STORAGE_LOW,
    STORE_FAILED,
    DEPENDENCY_UNAVAILABLE,
    SHUTTING_DOWN,
    HOST_NOT_ALLOWED,
    ORIGIN_NOT_ALLOWED,
    SERVICE_KEY_REQUIRED,
    INTERNAL,
];

/// What may happen to every request, whatever its address.
pub const EVERYWHERE: &[Code] = &[
    HOST_NOT_ALLOWED,
    ORIGIN_NOT_ALLOWED,
    BODY_TOO_LARGE,
    HEADERS_TOO_LARGE,
    OVERLOADED,
    REQUEST_TIMEOUT,
    INTERNAL,
];

/// What may happen where the store is read.
pub const READING: &[Code] = &[STORE_UNAVAILABLE, STORE_FAILED, SHUTTING_DOWN];

/// What may happen where a view is asked.
pub const QUERY: &[Code] = &[
    VIEW_BEHIND,
    DEPENDENCY_UNAVAILABLE,
    STORE_UNAVAILABLE,
    STORE_FAILED,
    SHUTTING_DOWN,
];

/// What may happen where a page of a view is asked for.
pub const LIST: &[Code] = &[
    INVALID_CURSOR,
    CURSOR_MISMATCH,
    VIEW_BEHIND,
    DEPENDENCY_UNAVAILABLE,
    STORE_UNAVAILABLE,
    STORE_FAILED,
    SHUTTING_DOWN,
];

/// What may happen to every command of a client, beside what its rules refuse.
pub const COMMAND: &[Code] = &[
    IDEMPOTENCY_KEY_REUSED,
    CONFLICT,
    STORE_UNAVAILABLE,
    STORE_FULL,
    STORE_FAILED,
    SHUTTING_DOWN,
];

/// What a client is told where the store cannot answer; the cause is for the log.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::warn!(error = %error, "the event store did not answer a request");
        Self::new(match error {
            StoreError::Unavailable(_) => STORE_UNAVAILABLE,
            StoreError::Full(_) => STORE_FULL,
            StoreError::Failed(_) | StoreError::Corrupt { .. } => STORE_FAILED,
            StoreError::Closed => SHUTTING_DOWN,
        })
    }
}

/// The same for an append.
impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::WrongExpectedRevision { .. } => Self::new(CONFLICT),
            AppendError::TooLarge { max_bytes, .. } => Self::new(BODY_TOO_LARGE)
                .detail(format!("the store takes at most {max_bytes} bytes at once")),
            AppendError::Empty => {
                tracing::error!("an append without an event was asked for");
                Self::new(INTERNAL)
            }
            AppendError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_a_page_that_names_it_and_says_what_to_do() {
        let mut seen = BTreeSet::new();
        for code in ERRORS {
            assert!(seen.insert(code.code), "{} twice", code.code);
            assert!((400..600).contains(&code.status));
            assert!(
                code.page.starts_with(&format!("# {}\n", code.title)),
                "{}",
                code.code
            );
            assert!(
                code.page
                    .contains(&format!("`{}` · HTTP {} ·", code.code, code.status)),
                "{}",
                code.code
            );
            for part in ["## What it means", "## Is a repeat safe?", "## What to do"] {
                assert!(code.page.contains(part), "{}: {part}", code.code);
            }
        }
    }
}
