//! What the server says of itself, and whom it talks to.

use std::{collections::BTreeSet, io::Write, net::TcpStream};

use crate::{
    client::exchange,
    server::{Shared, product},
};

static SHARED: Shared = Shared::new();

#[test]
fn it_lives_and_names_each_dependency() {
    let server = SHARED.server();
    server.get("/healthz").send().expect(200);
    let ready = server.get("/readyz").send().expect(200).json();
    assert_eq!(ready["status"], "ready");
    let dependencies = ready["dependencies"].as_array().unwrap();
    let names: Vec<_> = dependencies
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "event-store",
            "sagas",
            "view-orders",
            "view-sagas",
            "view-stock",
            "view-products",
            "view-ledger",
            "disk"
        ]
    );
    for dependency in dependencies {
        assert_eq!(dependency["status"], "up", "{dependency}");
    }
    assert_eq!(dependencies[0]["needed_by"], "everything");
}

/// What a browser sends as it opens a page.
const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

#[test]
fn the_console_is_a_page_that_loads_and_calls_this_server_alone() {
    let server = SHARED.server();
    let index = server.get("/").send().expect(200);
    assert_eq!(index.json()["name"], "recourse", "to a program it is JSON");
    let page = server.get("/").header("accept", BROWSER).send().expect(200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
    assert!(
        !policy.contains("unsafe") && !policy.contains("http"),
        "{policy}"
    );

    // From the page on, whatever loads something else, until all is there.
    let mut wanted: Vec<String> = quoted(&page.text, "\"/console/", '"');
    let mut seen = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let path = format!("/console/{name}");
        let part = server.get(&path).send().expect(200);
        let media = match name.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            _ => "image/svg+xml; charset=utf-8",
        };
        assert_eq!(part.header("content-type"), Some(media), "{name}");
        assert_eq!(part.header("content-security-policy"), Some(policy));
        assert_eq!(part.header("cache-control"), Some("no-cache"));
        assert_eq!(part.header("x-content-type-options"), Some("nosniff"));
        let tag = part.header("etag").unwrap().to_owned();
        let again = server.get(&path).header("if-none-match", &tag).send();
        assert_eq!(again.expect(304).header("etag"), Some(&*tag));
        if name.ends_with(".js") {
            wanted.extend(quoted(&part.text, " from './", '\''));
        }
    }
    assert!(
        seen.contains("tally.js") && seen.contains("style.css"),
        "{seen:?}"
    );
    server
        .get("/console/lib.rs")
        .send()
        .expect_problem(404, "not-found");
}

#[test]
fn every_address_that_the_console_calls_is_in_the_contract() {
    let server = SHARED.server();
    let document = server.get("/openapi.json").send().expect(200).json();
    let paths = server.get("/console/paths.js").send().expect(200).text;
    let called = quoted(&paths, ": '/v1/", '\'');
    assert!(called.len() > 10, "{called:?}");
    for path in called {
        let path = format!("/v1/{path}");
        assert!(document["paths"][&path].is_object(), "{path}");
    }
}

/// What stands between a beginning and the next end, each time.
fn quoted(text: &str, begin: &str, end: char) -> Vec<String> {
    let parts = text.split(begin).skip(1);
    parts
        .filter_map(|rest| Some(rest.split_once(end)?.0.to_owned()))
        .collect()
}

#[test]
fn metrics_count_what_the_store_does() {
    let server = SHARED.server();
    let events = || -> u64 {
        let metrics = server.get("/metrics").send().expect(200);
        let mut lines = metrics.text.lines();
        let line = lines.find_map(|line| line.strip_prefix("recourse_store_events_total "));
        line.unwrap().parse().unwrap()
    };
    let before = events();
    server
        .put("a-metrics", &product("Tea", 1))
        .send()
        .expect(201);
    assert!(events() > before);
}

#[test]
fn every_metric_is_on_the_page_of_metrics_and_no_other() {
    let shown = SHARED.server().get("/metrics").send().expect(200).text;
    let shown: BTreeSet<&str> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let page = include_str!("../../../docs/metrics.md");
    // What other processes show is held to the page where it is counted.
    let page = page.split("## The relay").next().unwrap();
    let told: BTreeSet<&str> = page
        .split('`')
        .filter(|word| word.starts_with("recourse_"))
        .collect();
    assert_eq!(shown, told);
}

#[test]
fn open_watchers_are_counted_by_what_they_watch() {
    let server = SHARED.server();
    let open = || -> u64 {
        let metrics = server.get("/metrics").send().expect(200);
        let mut lines = metrics.text.lines();
        let of = "recourse_watchers{kind=\"stream\"} ";
        lines
            .find_map(|line| line.strip_prefix(of))
            .unwrap()
            .parse()
            .unwrap()
    };
    server
        .put("a-watched", &product("Tea", 1))
        .send()
        .expect(201);
    assert_eq!(open(), 0);
    let mut watcher = TcpStream::connect(server.address()).unwrap();
    let request = "GET /v1/streams/product-a-watched/watch HTTP/1.1\r\nhost: localhost\r\n\r\n";
    watcher.write_all(request.as_bytes()).unwrap();
    while open() != 1 {}
    drop(watcher);
    while open() != 0 {}
}

#[test]
fn every_error_code_has_its_page() {
    let server = SHARED.server();
    let list = server.get("/errors").send().expect(200).json();
    let items = list["items"].as_array().unwrap();
    assert!(items.len() >= 40);
    for item in items {
        let target = item["type"].as_str().unwrap();
        assert_eq!(
            target,
            format!("/errors/{}", item["code"].as_str().unwrap())
        );
        let page = server.get(target).send().expect(200);
        assert_eq!(
            page.header("content-type"),
            Some("text/markdown; charset=utf-8")
        );
        assert!(
            page.text
                .starts_with(&format!("# {}\n", item["title"].as_str().unwrap()))
        );
        let page = server.get(target).header("accept", "text/html").send();
        assert_eq!(
            page.header("content-type"),
            Some("text/html; charset=utf-8")
        );
    }
    let missing = server.get("/errors/no-such-code").send();
    missing.expect_problem(404, "not-found");
}

#[test]
fn an_address_that_is_not_there_or_takes_another_method_says_so() {
    let server = SHARED.server();
    for target in [
        "/nothing",
        "/v1",
        "/v1/orders/",
        "/v1//orders",
        "/v1/orders/../orders",
    ] {
        server.get(target).send().expect_problem(404, "not-found");
    }
    for (method, target, allowed) in [
        ("DELETE", "/v1/products/x", "PUT,GET,HEAD"),
        ("PATCH", "/v1/orders", "POST,GET,HEAD"),
        ("GET", "/v1/stock/x/receipts", "POST"),
    ] {
        let refused = server.request(method, target).send();
        let refused = refused.expect_problem(405, "method-not-allowed");
        assert_eq!(refused.header("allow"), Some(allowed));
    }
}

#[test]
fn a_requests_id_and_trace_go_on_and_are_made_where_there_are_none() {
    let server = SHARED.server();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let given = format!("00-{trace}-00f067aa0ba902b7-01");
    let answer = server
        .get("/nothing")
        .header("correlation-id", "mine")
        .header("traceparent", &given)
        .send();
    assert_eq!(answer.header("correlation-id"), Some("mine"));
    let traceparent = answer.header("traceparent").unwrap();
    assert!(traceparent.starts_with(&format!("00-{trace}-")) && traceparent != given);
    let made = server.get("/healthz").header("traceparent", "x").send();
    assert!(
        made.header("correlation-id")
            .is_some_and(|id| id.len() == 36)
    );
    assert!(
        made.header("traceparent")
            .is_some_and(|trace| trace.len() == 55)
    );
}

#[test]
fn it_answers_to_its_own_names_only() {
    let server = SHARED.server();
    let port = server.address().port();
    for host in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        &format!("LOCALHOST:{port}"),
    ] {
        server
            .get("/healthz")
            .header("host", host)
            .send()
            .expect(200);
    }
    for host in [
        "evil.example",
        "evil.example:80",
        "x@localhost",
        "10.0.0.1",
        "",
    ] {
        let refused = server.get("/healthz").header("host", host).send();
        refused.expect_problem(403, "host-not-allowed");
    }
    for head in [
        "GET /healthz HTTP/1.1\r\n",
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n",
        "GET http://evil.example/healthz HTTP/1.1\r\nhost: localhost\r\n",
    ] {
        let request = format!("{head}connection: close\r\n\r\n");
        let refused = exchange(server.address(), request.as_bytes());
        refused.expect_problem(403, "host-not-allowed");
    }
}

#[test]
fn a_web_page_elsewhere_cannot_drive_it() {
    let server = SHARED.server();
    let address = server.address();
    let put = |name: &str, value: &str| {
        let request = server.put("a-origin", &product("Tea", 1));
        request.header(name, value).send()
    };
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:1"),
        ("sec-fetch-site", "cross-site"),
    ] {
        put(name, value).expect_problem(403, "origin-not-allowed");
    }
    server.get("/v1/products/a-origin").send().expect(404);
    put("origin", &format!("http://{address}")).expect(201);
}

#[test]
fn headers_over_the_limit_are_refused() {
    let server = SHARED.server();
    let sent = |bytes: usize| server.get("/healthz").header("x", "a".repeat(bytes)).send();
    sent(15_000).expect(200);
    sent(16_500).expect_problem(431, "headers-too-large");
    let long = server.get(&format!("/healthz?{}", "a".repeat(17_000)));
    long.send().expect_problem(431, "headers-too-large");
    // So much that nobody reads it: the connection's own answer, which knows of no documents.
    let head = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\nx: ", server.address());
    let much = exchange(server.address(), (head + &"a".repeat(2_000_000)).as_bytes());
    assert!([400, 414, 431].contains(&much.status));
}
