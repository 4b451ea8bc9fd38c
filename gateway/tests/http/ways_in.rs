//! Who is let in, what a request is known by, and what the server says of itself.

use super::world::World;
use recourse_service::errors::ERRORS;

#[tokio::test]
async fn a_web_page_elsewhere_cannot_use_a_local_server() {
    let world = World::with(|options| options.allowed_hosts = vec!["shop.example".into()]).await;
    for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1"] {
        world
            .send(&format!("GET /healthz\r\nHost: {host}"), "")
            .await
            .problem("host-not-allowed");
    }
    world
        .send("GET http://evil.example/healthz", "")
        .await
        .problem("host-not-allowed");
    for origin in ["null", "https://evil.example", "http://localhost:1"] {
        let head = format!("POST /probe/orders\r\nOrigin: {origin}");
        world.send(&head, "").await.problem("origin-not-allowed");
    }
    world
        .send(
            "GET /v1/events\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors",
            "",
        )
        .await
        .problem("origin-not-allowed");
    for head in [
        "GET /healthz\r\nHost: shop.example:99",
        "GET /healthz\r\nOrigin: http://localhost",
        "GET /healthz\r\nOrigin: https://shop.example",
        "GET /healthz\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate",
    ] {
        assert_eq!(world.send(head, "").await.status, 200, "{head}");
    }
    // HTTP/1.1 without a Host.
    let mut connection = world.connect().await;
    connection.send("GET /healthz HTTP/1.1\r\n\r\n").await;
    connection
        .receive()
        .await
        .unwrap()
        .problem("host-not-allowed");
}

#[tokio::test]
async fn a_request_is_known_by_its_ids() {
    let world = World::new().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let head = format!(
        "GET /probe/context\r\nCorrelation-Id: mine-7\r\n\
         traceparent: 00-{trace}-00f067aa0ba902b7-01"
    );
    let answer = world.send(&head, "").await;
    assert_eq!(answer.header("correlation-id"), Some("mine-7"));
    let context = answer.json();
    assert_eq!(context["request_id"], "mine-7");
    assert_eq!(context["principal"], "anonymous");
    assert_eq!(
        answer.header("traceparent"),
        context["traceparent"].as_str()
    );
    assert!(
        context["traceparent"]
            .as_str()
            .unwrap()
            .starts_with(&format!("00-{trace}-"))
    );
    let first = world.get("/probe/context").await;
    let second = world.get("/probe/context").await;
    assert_ne!(
        first.header("correlation-id"),
        second.header("correlation-id")
    );
    assert_ne!(first.json()["traceparent"], second.json()["traceparent"]);
    let failed = world
        .send("GET /nowhere?x=1\r\nCorrelation-Id: mine-8", "")
        .await;
    assert_eq!(failed.header("correlation-id"), Some("mine-8"));
    assert_eq!(failed.problem("not-found")["instance"], "/nowhere");
}

#[tokio::test]
async fn a_wait_is_capped_and_the_cap_shown() {
    let world = World::new().await;
    for (prefer, applied) in [
        ("wait=5", Some("wait=5")),
        ("wait=31", Some("wait=30")),
        ("respond-async, wait=99999999999999999999", Some("wait=30")),
        ("wait=soon", None),
    ] {
        let answer = world
            .send(&format!("GET /probe/context\r\nPrefer: {prefer}"), "")
            .await;
        assert_eq!(answer.header("preference-applied"), applied, "{prefer}");
    }
}

#[tokio::test]
async fn every_code_has_its_page() {
    let world = World::new().await;
    let list = world.get("/errors").await.json();
    let codes: Vec<_> = list["items"].as_array().unwrap().iter().collect();
    assert_eq!(codes.len(), ERRORS.len());
    for code in codes {
        let page = world.get(code["type"].as_str().unwrap()).await;
        assert_eq!(page.status, 200);
        assert_eq!(
            page.header("content-type"),
            Some("text/markdown; charset=utf-8")
        );
        assert!(
            page.text()
                .contains(&format!("`{}`", code["code"].as_str().unwrap()))
        );
    }
    let html = world
        .send("GET /errors/not-found\r\nAccept: text/html,*/*", "")
        .await;
    assert_eq!(
        html.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(html.text().contains("<title>There is nothing here</title>"));
    world.get("/errors/no-such-code").await.problem("not-found");
}

#[tokio::test]
async fn health_readiness_and_the_index_are_there() {
    let world = World::new().await;
    assert_eq!(world.get("/healthz").await.json()["status"], "up");
    let ready = world.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.json()["status"]),
        (200, &"ready".into())
    );
    world.readiness.down("the disk is gone");
    let ready = world.get("/readyz").await;
    assert_eq!(
        (ready.status, ready.header("retry-after")),
        (503, Some("1"))
    );
    let dependency = &ready.json()["dependencies"][0];
    assert_eq!(dependency["name"], "event-store");
    assert_eq!(dependency["status"], "down");
    assert_eq!(dependency["detail"], "the disk is gone");
    assert_eq!(
        world.get("/healthz").await.status,
        200,
        "the process still lives"
    );
    let index = world.get("/").await;
    assert_eq!(index.json()["links"]["events"], "/v1/events");
    assert_eq!(index.header("cache-control"), Some("no-store"));
    assert_eq!(index.header("x-content-type-options"), Some("nosniff"));
}
