//! The console: what a person sees at `/`, a page that uses nothing but the public API.
//!
//! ```text
//! gateway/console/ ── built in ──▶ / (to a browser) and /console/<part> ──▶ the API, as any client
//! ```
//!
//! It is a page of the server's own, without a build step and without a request to anybody else: its
//! policy lets it load and call this server alone, and run no text as code.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use recourse_service::{
    Problem,
    contract::{Answer, Operation, Routes},
    errors,
    http::Id,
};
use uuid::Uuid;

const CSS: &str = "text/css";
const JAVASCRIPT: &str = "text/javascript";
const SVG: &str = "image/svg+xml";

/// What is shown at `/`.
const PAGE: &str = include_str!("../console/index.html");

/// What the page loads: name, media type, text.
const PARTS: &[(&str, &str, &str)] = &[
    ("api.js", JAVASCRIPT, include_str!("../console/api.js")),
    ("app.js", JAVASCRIPT, include_str!("../console/app.js")),
    ("dom.js", JAVASCRIPT, include_str!("../console/dom.js")),
    (
        "events.js",
        JAVASCRIPT,
        include_str!("../console/events.js"),
    ),
    ("icon.svg", SVG, include_str!("../console/icon.svg")),
    ("live.js", JAVASCRIPT, include_str!("../console/live.js")),
    (
        "operator.js",
        JAVASCRIPT,
        include_str!("../console/operator.js"),
    ),
    ("order.js", JAVASCRIPT, include_str!("../console/order.js")),
    (
        "orders.js",
        JAVASCRIPT,
        include_str!("../console/orders.js"),
    ),
    (
        "overview.js",
        JAVASCRIPT,
        include_str!("../console/overview.js"),
    ),
    ("pages.js", JAVASCRIPT, include_str!("../console/pages.js")),
    ("paths.js", JAVASCRIPT, include_str!("../console/paths.js")),
    (
        "rebuilds.js",
        JAVASCRIPT,
        include_str!("../console/rebuilds.js"),
    ),
    ("route.js", JAVASCRIPT, include_str!("../console/route.js")),
    ("saga.js", JAVASCRIPT, include_str!("../console/saga.js")),
    ("sagas.js", JAVASCRIPT, include_str!("../console/sagas.js")),
    ("style.css", CSS, include_str!("../console/style.css")),
    ("tally.js", JAVASCRIPT, include_str!("../console/tally.js")),
    (
        "telling.js",
        JAVASCRIPT,
        include_str!("../console/telling.js"),
    ),
    ("views.js", JAVASCRIPT, include_str!("../console/views.js")),
    ("words.js", JAVASCRIPT, include_str!("../console/words.js")),
];

/// It loads and calls this server alone, nobody may frame it, and no text becomes code or markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// A part with the tag of its content.
#[derive(Clone, Copy)]
struct Part {
    media_type: &'static str,
    text: &'static str,
    tag: Uuid,
}

type Parts = Arc<BTreeMap<&'static str, Part>>;

/// The page's parts; the page itself is [`page`].
pub(crate) fn routes() -> Routes {
    let parts: BTreeMap<_, _> = PARTS
        .iter()
        .map(|&(name, media_type, text)| {
            let tag = Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes());
            let part = Part {
                media_type,
                text,
                tag,
            };
            (name, part)
        })
        .collect();
    let tag = "The content: give it back in `If-None-Match`";
    Routes::new()
        .get(
            "/console/{part}",
            part,
            Operation::new("getConsolePart", "Load a part of the console")
                .describe("The console is the page at `/`.")
                .tag("server")
                .answer(
                    Answer::text(200, "The part", JAVASCRIPT)
                        .or_media_type(CSS)
                        .or_media_type(SVG)
                        .header("ETag", tag),
                )
                .answer(Answer::empty(304, "Whoever asks has it already").header("ETag", tag)),
        )
        .with_state(Arc::new(parts))
}

/// The page, to a browser.
pub(crate) fn page() -> Response {
    let policy = [(header::CONTENT_SECURITY_POLICY, POLICY)];
    (policy, Html(PAGE)).into_response()
}

async fn part(
    State(parts): State<Parts>,
    Id(name): Id<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let part = parts
        .get(&*name)
        .ok_or_else(|| Problem::new(errors::NOT_FOUND))?;
    let tag = format!("\"{}\"", part.tag.simple());
    let is_there = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|tags| tags.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .any(|given| given.trim().trim_start_matches("W/") == tag);
    let media_type = HeaderValue::try_from(format!("{}; charset=utf-8", part.media_type));
    let mut response = if is_there {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        part.text.into_response()
    };
    let headers = response.headers_mut();
    if let (false, Ok(media_type)) = (is_there, media_type) {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    // Kept, and asked for each time: all parts are of one version of the server.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_file_of_the_console_is_served_and_fits_on_a_few_screens() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
        let mut files: BTreeSet<String> = BTreeSet::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let lines = fs::read_to_string(&path).unwrap().lines().count();
                assert!(lines <= 400, "{} has {lines} lines", path.display());
                files.insert(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
        assert!(files.remove("index.html") && files.remove("package.json"));
        let served: BTreeSet<_> = PARTS.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(files, served);
    }

    /// What leaves the modules that may ask is what the contract is held against.
    #[test]
    fn only_the_list_of_paths_names_addresses_of_the_api_and_nothing_takes_markup() {
        for (name, _, text) in PARTS {
            assert_eq!(text.contains("/v1/"), *name == "paths.js", "{name}");
            assert_eq!(text.contains("fetch("), *name == "api.js", "{name}");
            assert_eq!(
                text.contains("new EventSource("),
                *name == "live.js",
                "{name}"
            );
            for sink in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "javascript:",
                "srcdoc",
                "http://127",
                "https://",
            ] {
                assert!(!text.contains(sink), "{name} has {sink}");
            }
        }
        for inline in ["<style", " style=", " onclick=", "https://"] {
            assert!(!PAGE.contains(inline), "{inline}");
        }
    }
}
