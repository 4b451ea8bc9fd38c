//! What the server says of itself: that it lives, whether it is ready, what its errors mean.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use recourse_service::{
    Problem,
    contract::{Answer, Operation, Routes},
    errors,
    http::Id,
    problem::Code,
    readiness::{self, Registry},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Error, console};

type Codes = Arc<BTreeMap<&'static str, Code>>;

pub(crate) fn routes(readiness: Registry, tables: &[&'static [Code]]) -> Result<Routes, Error> {
    let mut codes = BTreeMap::new();
    for code in tables.iter().copied().chain([errors::ERRORS]).flatten() {
        if codes
            .insert(code.code, *code)
            .is_some_and(|old| old != *code)
        {
            return Err(Error::CodeTwice(code.code));
        }
    }
    let ready = |status, description| Answer::json::<readiness::Report>(status, description);
    Ok(Routes::new()
        .get(
            "/errors",
            list,
            Operation::new("listErrors", "List error codes")
                .tag("server")
                .answer(Answer::json::<ErrorList>(
                    200,
                    "Every code that an answer can have",
                )),
        )
        .get(
            "/errors/{code}",
            page,
            Operation::new("getError", "Read about an error code")
                .describe("In Markdown, or in HTML where `Accept` asks for that.")
                .tag("server")
                .answer(Answer::text(200, "Its page", "text/markdown").or_media_type("text/html")),
        )
        .with_state(Arc::new(codes))
        .get(
            "/",
            index,
            Operation::new("getIndex", "See what there is")
                .describe("In JSON, or the console where `Accept` asks for HTML.")
                .tag("server")
                .answer(Answer::json::<Index>(200, "Where to begin").or_media_type("text/html")),
        )
        .get(
            "/healthz",
            || async { Json(Health { status: "up" }) },
            Operation::new("getHealth", "See that the process lives")
                .tag("server")
                .answer(Answer::json::<Health>(200, "It lives").example(r#"{"status": "up"}"#))
                .always_admitted(),
        )
        .get(
            "/readyz",
            move || async move { readiness.respond() },
            Operation::new("getReadiness", "See whether it can serve")
                .tag("server")
                .answer(ready(200, "It can, at least in part"))
                .answer(
                    ready(503, "It cannot")
                        .may_have("Retry-After", "After how many seconds to try again"),
                )
                .always_admitted(),
        ))
}

/// What `/` says.
#[derive(Serialize, JsonSchema)]
struct Index {
    /// What this is.
    name: &'static str,
    /// Its version.
    version: &'static str,
    /// Where things are.
    links: BTreeMap<&'static str, &'static str>,
}

async fn index(headers: HeaderMap) -> Response {
    if is_browser(&headers) {
        return console::page();
    }
    let index = Index {
        name: "recourse",
        version: env!("CARGO_PKG_VERSION"),
        links: BTreeMap::from([
            ("docs", "/docs"),
            ("openapi", "/openapi.json"),
            ("products", "/v1/products"),
            ("stock", "/v1/stock"),
            ("orders", "/v1/orders"),
            ("sagas", "/v1/sagas"),
            ("events", "/v1/events"),
            ("stream", "/v1/streams/{stream}"),
            ("health", "/healthz"),
            ("readiness", "/readyz"),
            ("errors", "/errors"),
        ]),
    };
    Json(index).into_response()
}

/// Whether HTML is wanted.
fn is_browser(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

/// What `/healthz` says.
#[derive(Serialize, JsonSchema)]
struct Health {
    /// Always `up`: what does not live does not answer.
    status: &'static str,
}

/// Every code.
#[derive(Serialize, JsonSchema)]
struct ErrorList {
    /// In alphabetical order.
    items: Vec<ErrorEntry>,
}

/// A code.
#[derive(Serialize, JsonSchema)]
struct ErrorEntry {
    /// The address of its page.
    #[serde(rename = "type")]
    kind: String,
    /// Its name, stable.
    code: &'static str,
    /// The HTTP status that it comes with.
    status: u16,
    /// What kind of problem it is.
    title: &'static str,
    /// That the same request under the same idempotency key may succeed.
    retryable: bool,
}

async fn list(State(codes): State<Codes>) -> Json<ErrorList> {
    let items = codes
        .values()
        .map(|code| ErrorEntry {
            kind: format!("/errors/{}", code.code),
            code: code.code,
            status: code.status,
            title: code.title,
            retryable: code.retryable,
        })
        .collect();
    Json(ErrorList { items })
}

/// The page of a code: as it is written, or in HTML to a browser.
async fn page(
    State(codes): State<Codes>,
    Id(code): Id<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let code = codes
        .get(&*code)
        .ok_or_else(|| Problem::new(errors::NOT_FOUND))?;
    Ok(if is_browser(&headers) {
        let page = format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>{}</title>\
             <pre style=\"white-space:pre-wrap;max-width:80ch;margin:2em auto\">{}</pre></html>\n",
            escaped(code.title),
            escaped(code.page)
        );
        ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
    } else {
        let plain = [(header::CONTENT_TYPE, "text/markdown; charset=utf-8")];
        (plain, code.page).into_response()
    })
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
