//! Which names this server answers to, and whose web pages may use it.
//!
//! A page on the internet can make the browser of whoever looks at it send requests to
//! `127.0.0.1`: by its own name pointed at that address (DNS rebinding: the `Host` gives it
//! away), or across origins (the `Origin`, or `Sec-Fetch-Site`, gives it away). An address
//! written as numbers has no name to rebind.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Method, Uri, header};
use recourse_service::{Problem, errors};

pub(crate) struct Guard {
    allowed: Vec<String>,
    listen: IpAddr,
}

impl Guard {
    pub(crate) fn new(listen: SocketAddr, allowed: &[String]) -> Self {
        Self {
            allowed: allowed
                .iter()
                .map(|host| host.trim().to_ascii_lowercase())
                .collect(),
            listen: listen.ip().to_canonical(),
        }
    }

    /// Whether the request is for this server and not from a page of another.
    pub(crate) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let refused = || Problem::new(errors::HOST_NOT_ALLOWED);
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        if hosts.next().is_some() {
            return Err(refused().detail("there are two Host headers"));
        }
        // A request line with a whole URL names the host too.
        let authority = uri.authority().map(axum::http::uri::Authority::as_str);
        let host = authority
            .or(host)
            .ok_or_else(|| refused().detail("the request names no host"))?;
        if !self.is_ours(host) {
            return Err(refused());
        }
        self.check_origin(method, host, headers)
    }

    fn check_origin(
        &self,
        method: &Method,
        host: &str,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let refused = || Err(Problem::new(errors::ORIGIN_NOT_ALLOWED));
        if let Some(origin) = headers.get(header::ORIGIN) {
            let authority = origin
                .to_str()
                .ok()
                .and_then(|origin| {
                    origin
                        .strip_prefix("http://")
                        .or_else(|| origin.strip_prefix("https://"))
                })
                .filter(|authority| !authority.contains(['/', '@', ',']));
            return match authority {
                Some(authority)
                    if authority.eq_ignore_ascii_case(host) || self.is_allowed(authority) =>
                {
                    Ok(())
                }
                _ => refused(),
            };
        }
        // A browser sends no Origin with a plain GET of an image or a link. Following a link
        // from elsewhere is fine; anything else is a page trying its luck.
        let from = |name| headers.get(name).map(axum::http::HeaderValue::as_bytes);
        let elsewhere = matches!(from("sec-fetch-site"), Some(b"cross-site" | b"same-site"));
        let followed = *method == Method::GET && from("sec-fetch-mode") == Some(b"navigate");
        if elsewhere && !followed {
            return refused();
        }
        Ok(())
    }

    fn is_ours(&self, authority: &str) -> bool {
        let name = without_port(authority);
        let Some(name) = name else { return false };
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let bare = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        if let Ok(address) = bare.parse::<IpAddr>() {
            let address = address.to_canonical();
            return address.is_loopback()
                || address == self.listen
                || self.listen.is_unspecified()
                || self.is_allowed(authority);
        }
        self.is_allowed(authority)
    }

    fn is_allowed(&self, authority: &str) -> bool {
        let Some(name) = without_port(authority) else {
            return false;
        };
        self.allowed.iter().any(|allowed| {
            allowed.eq_ignore_ascii_case(authority) || allowed.eq_ignore_ascii_case(name)
        })
    }
}

/// The host of `host:port`, brackets and all; none where the text is neither.
fn without_port(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (name, port) = authority.split_at_checked(end)?;
    let well_formed = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    (well_formed && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listen: &str, headers: &[(&'static str, &str)]) -> Result<(), &'static str> {
        let guard = Guard::new(
            listen.parse().unwrap(),
            &["Shop.example".into(), "dev.example:8080".into()],
        );
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap()))
            .collect();
        guard
            .check(&Method::POST, &"/v1/orders".parse().unwrap(), &headers)
            .map_err(|problem| problem.code().code)
    }

    const LOCAL: &str = "127.0.0.1:7171";

    #[test]
    fn only_names_of_this_server_are_answered() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:7171",
            "localhost:1",
            "LocalHost",
            "[::1]:7171",
            "shop.example",
            "SHOP.example:99",
            "dev.example:8080",
        ] {
            assert_eq!(check(LOCAL, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "dev.example",
            "dev.example:8081",
            "10.0.0.1",
            "[::1",
            "localhost:x",
            "localhost:1:2",
        ] {
            assert_eq!(
                check(LOCAL, &[("host", host)]),
                Err("host-not-allowed"),
                "{host}"
            );
        }
        assert_eq!(check(LOCAL, &[]), Err("host-not-allowed"));
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(check(LOCAL, &twice), Err("host-not-allowed"));
    }

    #[test]
    fn an_address_in_numbers_is_fine_where_the_server_listens_on_it() {
        assert_eq!(check("0.0.0.0:80", &[("host", "10.0.0.1")]), Ok(()));
        assert_eq!(check("10.0.0.1:80", &[("host", "10.0.0.1")]), Ok(()));
        assert_eq!(
            check("10.0.0.1:80", &[("host", "10.0.0.2")]),
            Err("host-not-allowed")
        );
        assert_eq!(
            check("0.0.0.0:80", &[("host", "evil.example")]),
            Err("host-not-allowed")
        );
    }

    #[test]
    fn only_pages_of_this_server_and_of_allowed_hosts_may_use_it() {
        let from = |origin| check(LOCAL, &[("host", "localhost:7171"), ("origin", origin)]);
        for origin in [
            "http://localhost:7171",
            "https://shop.example",
            "http://dev.example:8080",
        ] {
            assert_eq!(from(origin), Ok(()), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://evil.example",
            "http://localhost:3000",
            "ftp://localhost:7171",
            "http://localhost:7171@evil.example",
            "http://localhost:7171/",
        ] {
            assert_eq!(from(origin), Err("origin-not-allowed"), "{origin}");
        }
        for (site, expected) in [
            ("none", Ok(())),
            ("same-origin", Ok(())),
            ("cross-site", Err("origin-not-allowed")),
            ("same-site", Err("origin-not-allowed")),
        ] {
            let headers = [("host", "localhost"), ("sec-fetch-site", site)];
            assert_eq!(check(LOCAL, &headers), expected, "{site}");
        }
    }
}
