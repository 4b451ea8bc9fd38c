//! What of a request and of its answer goes on.

use axum::http::{HeaderMap, HeaderName, header};

/// What concerns one connection only, RFC 9110 7.6.1, or is said anew on the next one; and what a
/// browser says of itself, which was checked here.
const NOT_PASSED_ON: [HeaderName; 15] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::HOST,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::ORIGIN,
    HeaderName::from_static("sec-fetch-site"),
];

/// Without what concerns this connection only.
pub(super) fn passed_on(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&NOT_PASSED_ON) {
        headers.remove(name);
    }
    headers
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn what_concerns_one_connection_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("host", "localhost"),
            ("authorization", "Bearer of-the-client"),
            ("origin", "http://localhost"),
            ("prefer", "wait=3"),
            ("if-match", "\"3\""),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let passed = passed_on(headers);
        let mut names: Vec<_> = passed.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["if-match", "prefer"]);
    }
}
