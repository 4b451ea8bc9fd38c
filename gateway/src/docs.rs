//! The contract for those who use it: `/openapi.json` for programs, `/docs` for people.

mod page;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use recourse_service::contract::{Answer, Info, Operation, Routes, document};
use schemars::JsonSchema;

const INFO: Info = Info {
    title: "Recourse",
    version: env!("CARGO_PKG_VERSION"),
    description: "Orders, payments and stock whose sagas always settle: every order ends fully \
                  done or fully undone.\n\nEvery command's answer says where in the log it stands \
                  (`Recourse-Position`), and every query can ask to be at least as new \
                  (`Recourse-Min-Position`). Every failure is a problem document (RFC 9457) whose \
                  `code` has a page under `/errors/<code>`.",
    license: "Apache-2.0",
    tags: &[
        ("orders", "What customers order, and what became of it"),
        ("products", "The catalogue"),
        ("stock", "What is on hand"),
        ("payments", "The money of each order"),
        ("ledger", "All money, by double entry"),
        ("sagas", "What fulfils or undoes an order, step by step"),
        ("events", "The log, which is all there is"),
        ("projections", "The views that queries are answered from"),
        ("server", "The server itself"),
    ],
};

#[derive(Clone)]
struct Docs {
    json: Bytes,
    page: Bytes,
}

/// Any `OpenAPI` document.
#[derive(JsonSchema)]
#[schemars(inline)]
#[expect(dead_code, reason = "it is only described")]
struct OpenApi {
    /// The version of `OpenAPI`.
    openapi: String,
    /// What the API is.
    info: serde_json::Map<String, serde_json::Value>,
    /// Each address with what is promised of it.
    paths: serde_json::Map<String, serde_json::Value>,
}

/// Adds the addresses that show what is promised of all of them, themselves included.
pub(crate) fn documented(routes: Routes) -> Routes {
    let own = Routes::new()
        .get(
            "/openapi.json",
            json,
            Operation::new("getOpenApi", "Read this contract, as a program")
                .tag("server")
                .answer(Answer::json::<OpenApi>(200, "OpenAPI 3.1")),
        )
        .get(
            "/docs",
            html,
            Operation::new("getDocs", "Read this contract")
                .tag("server")
                .answer(Answer::text(200, "A page", "text/html")),
        );
    let operations = [routes.operations(), own.operations()].concat();
    let document = document(&INFO, &operations);
    let docs = Docs {
        // A document of strings and numbers always has a form in JSON.
        json: serde_json::to_vec(&document).unwrap_or_default().into(),
        page: page::render(&document).into(),
    };
    routes.merge(own.with_state(docs))
}

async fn json(State(docs): State<Docs>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], docs.json).into_response()
}

async fn html(State(docs): State<Docs>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        // It loads nothing, from nowhere.
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    ];
    (headers, docs.page).into_response()
}
