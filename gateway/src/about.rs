//! What the server says of itself: that it lives, whether it is ready, what its errors mean.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use recourse_service::{Problem, errors, http::Id, problem::Code, readiness::Registry};
use serde_json::json;

use crate::Error;

type Codes = Arc<BTreeMap<&'static str, Code>>;

pub(crate) fn router(readiness: Registry, tables: &[&'static [Code]]) -> Result<Router, Error> {
    let mut codes = BTreeMap::new();
    for code in tables.iter().copied().chain([errors::ERRORS]).flatten() {
        if codes
            .insert(code.code, *code)
            .is_some_and(|old| old != *code)
        {
            return Err(Error::CodeTwice(code.code));
        }
    }
    Ok(Router::new()
        .route("/errors", get(list))
        .route("/errors/{code}", get(page))
        .with_state(Arc::new(codes))
        .route("/", get(index))
        .route("/healthz", get(|| async { Json(json!({"status": "up"})) }))
        .route("/readyz", get(move || async move { readiness.respond() })))
}

async fn index() -> Json<serde_json::Value> {
    Json(json!({
        "name": "recourse",
        "version": env!("CARGO_PKG_VERSION"),
        "links": {
            "products": "/v1/products",
            "stock": "/v1/stock",
            "orders": "/v1/orders",
            "sagas": "/v1/sagas",
            "events": "/v1/events",
            "stream": "/v1/streams/{stream}",
            "health": "/healthz",
            "readiness": "/readyz",
            "errors": "/errors",
        }
    }))
}

async fn list(State(codes): State<Codes>) -> Json<serde_json::Value> {
    let items: Vec<_> = codes
        .values()
        .map(|code| {
            json!({
                "type": format!("/errors/{}", code.code),
                "code": code.code,
                "status": code.status,
                "title": code.title,
                "retryable": code.retryable,
            })
        })
        .collect();
    Json(json!({ "items": items }))
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
    let browser = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    Ok(if browser {
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

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
