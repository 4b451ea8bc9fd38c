//! Pages: a limit, a cursor that knows its filters, and a link to what comes next.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de, de::DeserializeOwned};
use uuid::Uuid;

use crate::{Problem, errors};

/// How many items a page holds at most: 1 to 200, 50 where nobody says.
///
/// ```
/// use recourse_service::page::Limit;
///
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Orders {
///     #[serde(default)]
///     limit: Limit,
///     cursor: Option<String>,
///     status: Option<String>,
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(usize);

impl Limit {
    /// The most.
    pub const MAX: usize = 200;

    /// The number of items.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || de::Error::custom(format_args!("a limit is 1 to {}", Self::MAX));
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        match text.parse() {
            Ok(limit @ 1..=Self::MAX) => Ok(Self(limit)),
            _ => Err(wrong()),
        }
    }
}

impl JsonSchema for Limit {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "integer",
            "minimum": 1,
            "maximum": Self::MAX,
            "default": Self::default().get(),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor<K> {
    #[serde(rename = "f")]
    filters: Uuid,
    #[serde(rename = "k")]
    last: K,
}

const FILTERS: Uuid = Uuid::from_u128(0x2a64_9d1c_70be_5f3e_8d0b_3b5a_9c1f_66d4);

fn digest(filters: &impl Serialize) -> Uuid {
    // Filters are strings and numbers in a struct or tuple: they have a form in JSON.
    Uuid::new_v5(&FILTERS, &serde_json::to_vec(filters).unwrap_or_default())
}

/// Writes a cursor: where the next page begins (the sort key of the last item) and for which
/// filters that holds.
///
/// ```
/// use recourse_service::page;
///
/// let filters = ("orders", Some("pending"));
/// let cursor = page::write_cursor(&filters, &(1_700_000_000_000_i64, "id"));
/// let (at, id): (i64, String) = page::read_cursor(&cursor, &filters).unwrap();
/// assert_eq!((at, &*id), (1_700_000_000_000, "id"));
/// let other = page::read_cursor::<(i64, String)>(&cursor, &("orders", Some("rejected")));
/// assert_eq!(other.unwrap_err().code().code, "cursor-mismatch");
/// ```
#[must_use]
pub fn write_cursor<K: Serialize>(filters: &impl Serialize, last: &K) -> String {
    let cursor = Cursor {
        filters: digest(filters),
        last,
    };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).unwrap_or_default())
}

/// Reads a cursor.
///
/// # Errors
/// `invalid-cursor` where it is malformed, `cursor-mismatch` where it belongs to other filters.
pub fn read_cursor<K: DeserializeOwned>(
    text: &str,
    filters: &impl Serialize,
) -> Result<K, Problem> {
    let malformed = || Problem::new(errors::INVALID_CURSOR);
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed())?;
    // The key of another kind of page has another shape, so the digest is looked at first.
    let raw: Cursor<serde_json::Value> = serde_json::from_slice(&json).map_err(|_| malformed())?;
    if raw.filters != digest(filters) {
        return Err(Problem::new(errors::CURSOR_MISMATCH));
    }
    serde_json::from_value(raw.last).map_err(|_| malformed())
}

/// Some items, and where the next ones are.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next page, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of at most `limit` of `items`, of which the caller read one more than that to
    /// see whether there is a next page. `cursor` makes the cursor after the last item.
    #[must_use]
    pub fn of(mut items: Vec<T>, limit: Limit, cursor: impl FnOnce(&T) -> String) -> Self {
        let more = items.len() > limit.get();
        items.truncate(limit.get());
        let next_cursor = if more { items.last().map(cursor) } else { None };
        Self { items, next_cursor }
    }
}

impl<T: Serialize> Page<T> {
    /// The answer to a request for `uri`, with a `Link` to the next page.
    #[must_use]
    pub fn respond(&self, uri: &Uri) -> Response {
        let mut response = (StatusCode::OK, Json(self)).into_response();
        if let Some(cursor) = &self.next_cursor {
            let mut query = form_urlencoded::Serializer::new(String::new());
            let given = uri.query().unwrap_or_default();
            for (name, value) in form_urlencoded::parse(given.as_bytes()) {
                if name != "cursor" {
                    query.append_pair(&name, &value);
                }
            }
            query.append_pair("cursor", cursor);
            let link = format!("<{}?{}>; rel=\"next\"", uri.path(), query.finish());
            if let Ok(link) = HeaderValue::from_str(&link) {
                response.headers_mut().insert(header::LINK, link);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> Option<usize> {
        serde_urlencoded::from_str::<std::collections::BTreeMap<String, Limit>>(&format!(
            "limit={text}"
        ))
        .ok()
        .and_then(|query| query.get("limit").map(|limit| limit.get()))
    }

    #[test]
    fn a_limit_is_one_to_two_hundred() {
        assert_eq!(limit("1"), Some(1));
        assert_eq!(limit("200"), Some(200));
        for text in [
            "0",
            "201",
            "-1",
            "%2B1",
            "1.5",
            "x",
            "",
            "99999999999999999999999",
        ] {
            assert_eq!(limit(text), None, "{text}");
        }
    }

    #[test]
    fn a_malformed_cursor_is_refused() {
        for text in ["", "x", "e30", "bnVsbA", "===", "é"] {
            let problem = read_cursor::<u64>(text, &()).unwrap_err();
            assert_eq!(problem.code().code, "invalid-cursor", "{text}");
        }
        let of_text = write_cursor(&(), &"seven");
        let problem = read_cursor::<u64>(&of_text, &()).unwrap_err();
        assert_eq!(problem.code().code, "invalid-cursor");
    }

    #[test]
    fn a_page_links_to_the_next_one_with_the_same_filters() {
        let page = Page::of((0..51).collect(), Limit::default(), |last| last.to_string());
        assert_eq!(page.items.len(), 50);
        let uri = "/v1/orders?status=a%26b&cursor=old".parse().unwrap();
        let response = page.respond(&uri);
        assert_eq!(
            response.headers()[header::LINK],
            "</v1/orders?status=a%26b&cursor=49>; rel=\"next\""
        );
        let last = Page::of((0..50).collect::<Vec<u8>>(), Limit::default(), |_| {
            String::new()
        });
        assert_eq!(last.next_cursor, None);
        assert!(last.respond(&uri).headers().get(header::LINK).is_none());
    }
}
