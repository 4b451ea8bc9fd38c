//! How a request fails: one document, RFC 9457, with a code that has a page.

use std::{borrow::Cow, time::Duration};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

/// The media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// The longest detail that is sent, in bytes: a detail may quote what came in.
const MAX_DETAIL_BYTES: usize = 400;

/// A kind of problem. Each crate has its table of them, `ERRORS`, and each has a page under
/// `docs/errors/` that the gateway serves at `/errors/<code>`.
///
/// ```
/// use recourse_service::problem::{Code, Problem};
///
/// const NO_TEA: Code = Code::new("no-tea", 409, "There is no tea", "# No tea\nWait.\n").retryable();
/// const ERRORS: &[Code] = &[NO_TEA];
///
/// let problem = Problem::new(NO_TEA).detail("the last pot is empty");
/// assert_eq!(problem.code().code, ERRORS[0].code);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Stable, kebab-case.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What kind of problem it is, for a person; the same each time.
    pub title: &'static str,
    /// That the same request under the same idempotency key may succeed later.
    pub retryable: bool,
    /// Its page, in Markdown.
    pub page: &'static str,
}

impl Code {
    /// A code that no repeat mends.
    #[must_use]
    pub const fn new(
        code: &'static str,
        status: u16,
        title: &'static str,
        page: &'static str,
    ) -> Self {
        Self {
            code,
            status,
            title,
            retryable: false,
            page,
        }
    }

    /// The same, and a repeat may succeed.
    #[must_use]
    pub const fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// Where: a JSON pointer as a fragment, `#/lines/0/quantity`, for a body; `?limit` for a
    /// query parameter.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

/// Why a request failed. What it holds is shown to the client, so nothing internal goes in:
/// causes are logged where they happen.
#[derive(Clone, Debug)]
pub struct Problem {
    // Boxed, so that a `Result` of it stays small.
    inner: Box<Inner>,
}

#[derive(Clone, Debug)]
struct Inner {
    code: Code,
    detail: Option<Cow<'static, str>>,
    instance: Option<String>,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of this kind.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self {
            inner: Box::new(Inner {
                code,
                detail: None,
                instance: None,
                errors: Vec::new(),
                // A client that may repeat is told when.
                retry_after: (code.retryable && matches!(code.status, 429 | 503))
                    .then_some(Duration::from_secs(1)),
                headers: Vec::new(),
            }),
        }
    }

    /// What is wrong this time, for a person.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.inner.detail = Some(shortened(detail.into()));
        self
    }

    /// What is wrong with one field: see [`FieldError::pointer`].
    #[must_use]
    pub fn field(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.inner.errors.push(FieldError {
            pointer: pointer.into(),
            detail: shortened(Cow::Owned(detail.into())).into_owned(),
        });
        self
    }

    /// The path of the request. The HTTP context sets it.
    #[must_use]
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.inner.instance = Some(instance.into());
        self
    }

    /// When to try again, rounded up to seconds.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.inner.retry_after = Some(after);
        self
    }

    /// A header of the answer: `Allow`, `Recourse-Position`.
    #[must_use]
    pub fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.inner.headers.push((name, value));
        self
    }

    /// Its kind.
    #[must_use]
    pub fn code(&self) -> Code {
        self.inner.code
    }

    /// What is wrong with each field.
    #[must_use]
    pub fn errors(&self) -> &[FieldError] {
        &self.inner.errors
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.inner.code.code)?;
        if let Some(detail) = &self.inner.detail {
            write!(f, ": {detail}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    code: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Inner {
            code,
            detail,
            instance,
            errors,
            retry_after,
            headers,
        } = &*self.inner;
        let document = Document {
            kind: format!("/errors/{}", code.code),
            title: code.title,
            status: code.status,
            detail: detail.as_deref(),
            instance: instance.as_deref(),
            code: code.code,
            retryable: code.retryable,
            errors,
        };
        // A document of strings and numbers always has a form in JSON.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = (
            code.status(),
            [(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))],
            body,
        )
            .into_response();
        if let Some(after) = retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        for (name, value) in headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        // The context of the request completes it.
        response.extensions_mut().insert(self);
        response
    }
}

/// Collects what is wrong with each field of a body, so that a client learns all of it at once.
///
/// ```
/// use recourse_service::problem::FieldErrors;
///
/// let mut errors = FieldErrors::new();
/// let quantity = errors.take("#/lines/0/quantity", u32::try_from(-1));
/// let delta = errors.take("#/delta", u32::try_from(1));
/// assert_eq!((quantity, delta), (None, Some(1)));
/// let problem = errors.finish().unwrap_err();
/// assert_eq!(problem.code().code, "invalid-body");
/// assert_eq!(problem.errors()[0].pointer, "#/lines/0/quantity");
/// ```
#[derive(Debug, Default)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Nothing wrong so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes what is wrong at a pointer.
    pub fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(FieldError {
            pointer: pointer.into(),
            detail: shortened(Cow::Owned(detail.into())).into_owned(),
        });
    }

    /// The value, or a note of why there is none.
    pub fn take<T, E: std::fmt::Display>(
        &mut self,
        pointer: impl Into<String>,
        value: Result<T, E>,
    ) -> Option<T> {
        value
            .map_err(|error| self.add(pointer, error.to_string()))
            .ok()
    }

    /// Whether nothing is wrong.
    ///
    /// # Errors
    /// `invalid-body` with every note.
    pub fn finish(self) -> Result<(), Problem> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(self.into_problem())
    }

    pub(crate) fn into_problem(self) -> Problem {
        let mut problem = Problem::new(crate::errors::INVALID_BODY);
        problem.inner.errors = self.0;
        problem
    }
}

fn shortened(text: Cow<'static, str>) -> Cow<'static, str> {
    if text.len() <= MAX_DETAIL_BYTES {
        return text;
    }
    let mut end = MAX_DETAIL_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut short = text.into_owned();
    short.truncate(end);
    short.push('…');
    Cow::Owned(short)
}
