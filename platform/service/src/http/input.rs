//! What a request brings: its body, its query, the id in its path.

use axum::{
    body::HttpBody,
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
    http::{HeaderMap, header, request::Parts},
};
use http_body_util::BodyExt;
use recourse_event_store::{EventStore, Position};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IgnoredAny, value::StrDeserializer},
};
use uuid::{Uuid, fmt::Hyphenated};

use super::{context, objects::Objects, wrong};
use crate::{
    Problem, errors, position,
    problem::{FieldError, FieldErrors},
};

/// How many times the limit of a body is read of one that is too large, so that its sender
/// comes to read the answer: a connection closed with data unread is reset, and the answer
/// lost with it.
pub const SWALLOWED: usize = 4;

/// A JSON body, read strictly: of the right media type, as it is and not compressed, within the
/// limit, one value and no more, every field of its type, a struct as an object. A type that says `#[serde(deny_unknown_fields)]`, as each
/// does, refuses unknown and repeated fields too.
///
/// Syntax is refused with 400 `malformed-json`, content with 422 `invalid-body` and a pointer
/// to each field that is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + JsonSchema, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            return Err(Problem::new(errors::UNSUPPORTED_MEDIA_TYPE));
        }
        if !is_plain(&parts.headers) {
            return Err(Problem::new(errors::UNSUPPORTED_MEDIA_TYPE)
                .detail("a body is taken without a Content-Encoding"));
        }
        let max_bytes = context::of(&parts).limits().max_body_bytes;
        let bytes = read_body(body, max_bytes).await?;
        read_json(&bytes).map(Self)
    }
}

/// A JSON body that may be left out: nothing at all is what the type is by default. What is
/// there is read as a [`Body`].
#[derive(Clone, Copy, Debug)]
pub struct MaybeBody<T>(pub T);

impl<T: DeserializeOwned + JsonSchema + Default, S: Send + Sync> FromRequest<S> for MaybeBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_named = request.headers().contains_key(header::CONTENT_TYPE);
        if HttpBody::is_end_stream(request.body()) && !is_named {
            return Ok(Self(T::default()));
        }
        let Body(body) = Body::from_request(request, state).await?;
        Ok(Self(body))
    }
}

async fn read_body(mut body: axum::body::Body, max_bytes: usize) -> Result<Vec<u8>, Problem> {
    let declared = HttpBody::size_hint(&body).lower().min(max_bytes as u64);
    let mut bytes = Vec::with_capacity(usize::try_from(declared).unwrap_or_default());
    let mut total = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(error = %error, "a body broke off");
            Problem::new(errors::MALFORMED_JSON).detail("the body broke off")
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        total = total.saturating_add(data.len());
        if total <= max_bytes {
            bytes.extend_from_slice(&data);
        } else if total > max_bytes.saturating_mul(SWALLOWED) {
            break;
        }
    }
    if total > max_bytes {
        return Err(too_large(max_bytes));
    }
    Ok(bytes)
}

/// What is said to a body over the limit.
#[must_use]
pub fn too_large(max_bytes: usize) -> Problem {
    Problem::new(errors::BODY_TOO_LARGE).detail(format!("a body has at most {max_bytes} bytes"))
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            let media_type = value.split(';').next().unwrap_or_default();
            media_type.trim().eq_ignore_ascii_case("application/json")
        })
}

/// Whether it is sent as it is.
fn is_plain(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

pub(super) fn read_json<T: DeserializeOwned + JsonSchema>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(Objects(&mut json)).map_err(|error| {
        let pointer = pointer(error.path(), error.inner());
        let error = error.into_inner();
        // What is not JSON at all is said first, though it may stand after the wrong field.
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes) {
            return malformed(&error);
        }
        let text = error.to_string();
        let body = serde_json::from_slice::<serde_json::Value>(bytes).ok();
        let detail = if error.is_data() {
            // Serde adds the place in the text; the pointer says it better.
            text.split(" at line ").next().unwrap_or_default()
        } else if body.is_some() {
            // Where one of some names is expected, serde_json takes anything else for bad syntax.
            "this is of another type than what is expected here"
        } else {
            return malformed(&error);
        };
        let first = FieldError {
            pointer,
            detail: detail.to_owned(),
        };
        let mut found = FieldErrors::new();
        let all = match body {
            Some(body) => wrong::all::<T>(body, first),
            // Too deep to be looked through.
            None => vec![first],
        };
        for FieldError { pointer, detail } in all {
            found.add(pointer, detail);
        }
        found.into_problem()
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(errors::MALFORMED_JSON).detail(error.to_string())
}

/// The path of a field as a JSON pointer (RFC 6901) in a fragment.
pub(super) fn pointer(path: &serde_path_to_error::Path, error: &serde_json::Error) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::from("#");
    let mut push = |segment: &str| {
        pointer.push('/');
        pointer.push_str(&segment.replace('~', "~0").replace('/', "~1"));
    };
    let mut last = None;
    for segment in path {
        match segment {
            Segment::Seq { index } => push(&index.to_string()),
            Segment::Map { key } => {
                push(key);
                last = Some(key.as_str());
            }
            Segment::Enum { variant } => push(variant),
            Segment::Unknown => {}
        }
    }
    // For these serde is still at the object that lacks or repeats the field.
    let text = error.to_string();
    for lead in ["missing field `", "duplicate field `", "unknown field `"] {
        if let Some((field, _)) = text
            .strip_prefix(lead)
            .and_then(|rest| rest.split_once('`'))
            && last != Some(field)
        {
            push(field);
        }
    }
    pointer
}

/// The parameters of a query, read strictly: a parameter that is unknown (where the type says
/// `deny_unknown_fields`), repeated or of another type is 400 `invalid-query`.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(pairs)
            .map(Self)
            .map_err(|error| {
                let path = error.path().to_string();
                let detail = error.into_inner().to_string();
                // An unknown or repeated name is not yet a path.
                let name = detail
                    .split_once("field `")
                    .and_then(|(_, rest)| rest.split_once('`'))
                    .map_or(path.as_str(), |(name, _)| name);
                Problem::new(errors::INVALID_QUERY).field(format!("?{name}"), detail)
            })
    }
}

/// The query of an address that takes no parameters: `Query(NoParameters {})` refuses any.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoParameters {}

/// The one id in a path that names something that exists. What is not well-formed names
/// nothing: 404 `not-found`.
#[derive(Clone, Copy, Debug)]
pub struct Id<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = last_parameter(parts, state).await?;
        read_id(&text)
            .map(Self)
            .map_err(|_| Problem::new(errors::NOT_FOUND))
    }
}

/// The one id in a path under which something may be created. What is not well-formed is 400
/// `invalid-id`.
#[derive(Clone, Copy, Debug)]
pub struct NewId<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for NewId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        read_id(&last_parameter(parts, state).await?).map(Self)
    }
}

/// Reads an id: a UUID, a SKU, whatever reads itself from one string.
///
/// # Errors
/// `invalid-id` with what the type says.
pub fn read_id<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let text: StrDeserializer<'_, serde::de::value::Error> = StrDeserializer::new(text);
    T::deserialize(text).map_err(|error| Problem::new(errors::INVALID_ID).detail(error.to_string()))
}

/// A UUID in its usual form, and in none of the others that UUIDs are written in: in braces,
/// without dashes, as a URN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct UsualUuid(pub Uuid);

impl<'de> Deserialize<'de> for UsualUuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Hyphenated::deserialize(deserializer)?.into_uuid()))
    }
}

async fn last_parameter<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Problem> {
    let parameters = RawPathParams::from_request_parts(parts, state)
        .await
        // The only way for a client to get here is a path that is not UTF-8.
        .map_err(|_| Problem::new(errors::NOT_FOUND))?;
    let last = parameters.iter().last().map(|(_, value)| value.to_owned());
    last.ok_or_else(|| {
        tracing::error!("a route without a parameter asks for an id");
        Problem::new(errors::INTERNAL)
    })
}

/// What a query must be as new as: `Recourse-Min-Position`, not yet read.
#[derive(Clone, Debug, Default)]
pub struct MinPosition(Option<String>);

impl MinPosition {
    /// The position, where the client named one.
    ///
    /// # Errors
    /// `invalid-position` where it is malformed, of another log, or ahead of this one; or the
    /// store's own where it does not say how far it is.
    pub async fn resolve(&self, store: &dyn EventStore) -> Result<Option<Position>, Problem> {
        let Some(token) = &self.0 else {
            return Ok(None);
        };
        let position = position::read(token, store.log_id())?;
        // What was given out was durable, so most often this asks nobody.
        if position > store.durable() {
            position::read_within(token, store.log_id(), store.appended().await?)?;
        }
        Ok(Some(position))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for MinPosition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(position::MIN_HEADER) else {
            return Ok(Self(None));
        };
        let text = value
            .to_str()
            .map_err(|_| Problem::new(errors::INVALID_POSITION))?;
        Ok(Self(Some(text.to_owned())))
    }
}
