//! What makes a client's command the same command when it comes again.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, Method, request::Parts},
};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use uuid::Uuid;

use super::{IDEMPOTENCY_KEY, context};
use crate::{Problem, errors};

const COMMANDS: Uuid = Uuid::from_u128(0x61c3_0b7e_5a0f_5d1c_b8d4_17f0_42ae_9d33);
const BODIES: Uuid = Uuid::from_u128(0x0f7a_95d2_e6c4_5b28_a1c9_5e83_66b0_d271);

/// The key of a client: 1 to 128 visible ASCII characters. `"k"` and `k` are the same key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// Reads a key as a header carries it.
    ///
    /// # Errors
    /// `invalid-idempotency-key`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let malformed = || Problem::new(errors::INVALID_IDEMPOTENCY_KEY);
        let key = match text.strip_prefix('"') {
            Some(rest) => rest.strip_suffix('"').ok_or_else(malformed)?,
            None => text,
        };
        let well_formed = (1..=128).contains(&key.len())
            && key
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'"');
        if well_formed {
            Ok(Self(key.into()))
        } else {
            Err(malformed())
        }
    }

    /// The key, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(Problem::new(errors::INVALID_IDEMPOTENCY_KEY).detail("it is there twice"));
        }
        let text = value
            .to_str()
            .map_err(|_| Problem::new(errors::INVALID_IDEMPOTENCY_KEY))?;
        Self::parse(text).map(Some)
    }
}

/// Which command a request is: the same one each time it comes. An extractor for POST and PUT;
/// the gateway has added a key where the client sent none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCommand {
    /// [`client_command_id`] of the request.
    pub id: Uuid,
    /// The key it came under.
    pub key: IdempotencyKey,
}

impl ClientCommand {
    /// [`body_hash`].
    #[must_use]
    pub fn body_hash<T: Serialize>(&self, body: &T) -> Uuid {
        body_hash(body)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientCommand {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let key = IdempotencyKey::of(&parts.headers)?
            .ok_or_else(|| Problem::new(errors::INVALID_IDEMPOTENCY_KEY).detail("there is none"))?;
        let context = context::of(parts);
        let path = percent_decode_str(parts.uri.path()).decode_utf8_lossy();
        let id = client_command_id(context.principal(), &parts.method, &path, &key);
        Ok(Self { id, key })
    }
}

/// The id of a client's command: `UUIDv5` of who asks, the method, the (decoded) path and the key.
#[must_use]
pub fn client_command_id(
    principal: &str,
    method: &Method,
    path: &str,
    key: &IdempotencyKey,
) -> Uuid {
    let mut name = Vec::with_capacity(path.len() + 160);
    for part in [principal, method.as_str(), path, key.as_str()] {
        // Lengths keep two lists of parts from making the same name.
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(&COMMANDS, &name)
}

/// A digest of a body as it was understood: white space and the order of keys do not matter,
/// for `T` writes itself in its own order.
#[must_use]
pub fn body_hash<T: Serialize>(body: &T) -> Uuid {
    // What was read from JSON can be written as JSON.
    Uuid::new_v5(&BODIES, &serde_json::to_vec(body).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_key_is_the_same_key() {
        assert_eq!(
            IdempotencyKey::parse("\"k\"").unwrap(),
            IdempotencyKey::parse("k").unwrap()
        );
        let longest = "x".repeat(128);
        assert!(IdempotencyKey::parse(&longest).is_ok());
        assert!(IdempotencyKey::parse(&format!("\"{longest}\"")).is_ok());
    }

    #[test]
    fn a_malformed_key_is_refused() {
        let long = "x".repeat(129);
        for text in ["", "\"\"", "\"", "\"k", "k\"", "a b", "é", "a\tb", &long] {
            let problem = IdempotencyKey::parse(text).unwrap_err();
            assert_eq!(problem.code().code, "invalid-idempotency-key", "{text}");
        }
    }

    #[test]
    fn a_command_is_another_one_for_another_address_or_key() {
        let id = |path: &str, key: &str| {
            let key = IdempotencyKey::parse(key).unwrap();
            client_command_id("anonymous", &Method::POST, path, &key)
        };
        assert_eq!(id("/v1/orders", "k"), id("/v1/orders", "\"k\""));
        assert_ne!(id("/v1/orders", "k"), id("/v1/orders", "l"));
        assert_ne!(id("/v1/orders", "k"), id("/v1/order", "sk"));
    }
}
