//! Whatever is wrong with a request is a problem with a code, and says where.

use super::{client::Answer, world::World};

const ID: &str = "\"customer_id\":\"00000000-0000-0000-0000-000000000001\"";

fn order(rest: &str) -> String {
    format!("{{{ID},{rest}}}")
}

#[tokio::test]
async fn a_body_with_a_wrong_field_is_refused_with_a_pointer_to_it() {
    let world = World::new().await;
    let line = |line: &str| {
        order(&format!(
            "\"lines\":[{{\"sku\":\"a\",\"quantity\":1}},{{{line}}}]"
        ))
    };
    let quantity = |number: &str| line(&format!("\"sku\":\"b\",\"quantity\":{number}"));
    let at_quantity = "#/lines/1/quantity";
    for (body, pointer) in [
        (quantity("-1"), at_quantity),
        (quantity("1.5"), at_quantity),
        (quantity("4294967296"), at_quantity),
        (quantity("99999999999999999999999999"), at_quantity),
        (quantity("1e3"), at_quantity),
        (quantity("\"1\""), at_quantity),
        (quantity("null"), at_quantity),
        (quantity("true"), at_quantity),
        (quantity("[]"), at_quantity),
        (line("\"sku\":\"b\""), at_quantity),
        (line("\"sku\":7,\"quantity\":1"), "#/lines/1/sku"),
        (
            line("\"sku\":\"b\",\"quantity\":1,\"price\":1"),
            "#/lines/1/price",
        ),
        (
            line("\"sku\":\"b\",\"quantity\":1,\"a/b~c\":1"),
            "#/lines/1/a~1b~0c",
        ),
        (
            line("\"sku\":\"b\",\"quantity\":1,\"quantity\":2"),
            at_quantity,
        ),
        (order("\"lines\":{}"), "#/lines"),
        (order("\"lines\":[],\"lines\":[]"), "#/lines"),
        (order("\"lines\":[],\"note\":1"), "#/note"),
        (
            "{\"customer_id\":\"x\",\"lines\":[]}".into(),
            "#/customer_id",
        ),
        (format!("{{{ID}}}"), "#/lines"),
        ("[]".into(), "#"),
        ("null".into(), "#"),
        ("7".into(), "#"),
    ] {
        let answer = world.post("/probe/orders", &body).await;
        answer.problem("invalid-body");
        assert_eq!(answer.pointers(), [pointer], "{body}: {}", answer.text());
    }
    // Each of several is pointed at.
    let answer = world.post("/probe/orders", "{\"\":1}").await;
    answer.problem("invalid-body");
    assert_eq!(answer.pointers(), ["#/", "#/customer_id", "#/lines"]);
    let good = world.post("/probe/orders", &quantity("4294967295")).await;
    assert_eq!(good.status, 201, "{}", good.text());
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused() {
    let world = World::new().await;
    let mut bodies: Vec<Vec<u8>> = [
        "",
        " ",
        "{",
        "{\"customer_id\"",
        "{'a':1}",
        "{\"a\":1,}",
        "{\"lines\":[01]}",
        "{\"lines\":[NaN]}",
        "\u{feff}{}",
        "{\"note\":\"\u{1}\"}",
        "{\"note\":\"\\ud800\"}",
    ]
    .map(Into::into)
    .to_vec();
    bodies.push(b"{\"note\":\"\xff\"}".to_vec());
    bodies.push([order("\"lines\":[]").as_bytes(), b" x"].concat());
    bodies.push([order("\"lines\":[]").as_bytes(), b"{}"].concat());
    for body in bodies {
        let head = "POST /probe/orders\r\nContent-Type: application/json";
        let answer = world.send(head, &body).await;
        let said = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(
            answer.json()["code"],
            "malformed-json",
            "{said}: {}",
            answer.text()
        );
        answer.problem("malformed-json");
    }
}

#[tokio::test]
async fn deep_nesting_is_refused_and_not_followed() {
    let world = World::new().await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [200, 20_000] {
            let body = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            world
                .post("/probe/nested", &body)
                .await
                .problem("malformed-json");
            world
                .post("/probe/nested", &open.repeat(depth))
                .await
                .problem("malformed-json");
        }
    }
    let shallow = format!("{}1{}", "[".repeat(50), "]".repeat(50));
    assert_eq!(world.post("/probe/nested", &shallow).await.status, 200);
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json() {
    let world = World::new().await;
    let body = order("\"lines\":[]");
    for kind in [
        "",
        "\r\nContent-Type: text/plain",
        "\r\nContent-Type: application/jsonp",
    ] {
        let answer = world
            .send(&format!("POST /probe/orders{kind}"), &body)
            .await;
        answer.problem("unsupported-media-type");
    }
    for kind in ["application/json", "Application/JSON; charset=utf-8"] {
        let head = format!("POST /probe/orders\r\nContent-Type: {kind}");
        assert_eq!(world.send(&head, &body).await.status, 201, "{kind}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_it_says_its_length_or_not() {
    let world = World::new().await;
    let body = |bytes: usize| {
        let empty = order("\"lines\":[],\"note\":\"\"");
        order(&format!(
            "\"lines\":[],\"note\":\"{}\"",
            "x".repeat(bytes - empty.len())
        ))
    };
    let most = 256 * 1024;
    assert_eq!(world.post("/probe/orders", &body(most)).await.status, 201);
    for bytes in [most + 1, 700 * 1024] {
        world
            .post("/probe/orders", &body(bytes))
            .await
            .problem("body-too-large");
    }
    let head = "POST /probe/orders\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked";
    let chunked = |body: &str| format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let answer = world.send(head, chunked(&body(most))).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let answer = world.send(head, chunked(&body(most + 1))).await;
    answer.problem("body-too-large");
    // One who only claims to have more is told before it is sent.
    let mut connection = world.connect().await;
    let claim = "POST /probe/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\
                 \r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n";
    connection.send(claim).await;
    let told = connection.receive().await.unwrap();
    // The server may ask for the body first; it then gets none and gives up.
    let told = if told.status == 100 {
        connection.receive().await.unwrap()
    } else {
        told
    };
    told.problem("body-too-large");
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let world = World::new().await;
    let with = |bytes: usize| format!("GET /healthz\r\nX-Long: {}", "x".repeat(bytes));
    assert_eq!(world.send(&with(15 * 1024), "").await.status, 200);
    world
        .send(&with(16 * 1024), "")
        .await
        .problem("headers-too-large");
    let long = format!("/errors/{}", "x".repeat(17 * 1024));
    world.get(&long).await.problem("headers-too-large");
    let many: String = (0..200)
        .map(|n| format!("\r\nX-{n}: {}", "x".repeat(90)))
        .collect();
    world
        .send(&format!("GET /healthz{many}"), "")
        .await
        .problem("headers-too-large");
    // Far over it, or in far too many parts, the server does not read to the end.
    assert_eq!(world.send(&with(100 * 1024), "").await.status, 431);
    let many: String = (0..400).map(|n| format!("\r\nX-{n}: x")).collect();
    assert_eq!(
        world.send(&format!("GET /healthz{many}"), "").await.status,
        431
    );
    assert_eq!(world.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn what_is_not_http_ends_the_connection_and_nothing_else() {
    let world = World::new().await;
    for bytes in [
        "\r\n\r\nhello\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: magic\r\n\r\n",
    ] {
        let mut connection = world.connect().await;
        connection.send(bytes).await;
        if let Some(answer) = connection.receive().await {
            assert!(
                (400..600).contains(&answer.status),
                "{bytes}: {}",
                answer.status
            );
        }
        assert!(connection.is_closed().await, "{bytes}");
    }
    assert_eq!(world.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_query_parameter_that_is_unknown_repeated_or_wrong_is_refused() {
    let world = World::new().await;
    for (query, pointer) in [
        ("limit=0", "?limit"),
        ("limit=201", "?limit"),
        ("limit=-1", "?limit"),
        ("limit=x", "?limit"),
        ("limit=", "?limit"),
        ("limit=1&limit=2", "?limit"),
        ("older_than_ms=-1", "?older_than_ms"),
        ("older_than_ms=1.5", "?older_than_ms"),
        ("older_than_ms=18446744073709551616", "?older_than_ms"),
        ("status=pending", "?status"),
        ("Limit=1", "?Limit"),
    ] {
        let answer = world.get(&format!("/probe/list?{query}")).await;
        answer.problem("invalid-query");
        assert_eq!(answer.pointers(), [pointer], "{query}: {}", answer.text());
    }
    let answer = world.get("/probe/list").await;
    assert_eq!(answer.json()["limit"], 50);
    let answer = world.get("/probe/list?limit=200&older_than_ms=5").await;
    assert_eq!(
        answer.json(),
        serde_json::json!({"limit": 200, "older_than_ms": 5})
    );
}

#[tokio::test]
async fn an_absurd_id_names_nothing_and_nothing_is_made_under_it() {
    let world = World::new().await;
    let long = "9".repeat(5000);
    for id in ["x", "%00", "%ff", "..", "%2e%2e%2f", "7", "%20", &long] {
        world
            .get(&format!("/probe/things/{id}"))
            .await
            .problem("not-found");
        let answer = world.send(&format!("PUT /probe/names/{id}"), "").await;
        let code = answer.json()["code"].clone();
        // A path that is not UTF-8, or has another shape, is no address at all.
        assert!(code == "invalid-id" || code == "not-found", "{id}: {code}");
        answer.problem(code.as_str().unwrap());
    }
    let id = "00000000-0000-0000-0000-000000000001";
    assert_eq!(world.get(&format!("/probe/things/{id}")).await.status, 200);
    assert_eq!(
        world
            .send(&format!("PUT /probe/names/{id}"), "")
            .await
            .status,
        200
    );
    world
        .send("PUT /probe/names/x", "")
        .await
        .problem("invalid-id");
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_method_are_problems() {
    let world = World::new().await;
    for path in ["/nowhere", "/v1", "/v1/events/", "//", "/healthz/x"] {
        world.get(path).await.problem("not-found");
    }
    for head in [
        "DELETE /probe/held",
        "OPTIONS /probe/held",
        "PUT /probe/held",
        "BREW /probe/held",
    ] {
        let answer = world.send(head, "").await;
        answer.problem("method-not-allowed");
        let allow = answer.header("allow").unwrap();
        assert!(
            allow.contains("GET") && allow.contains("POST"),
            "{head}: {allow}"
        );
    }
    // An extractor that knows nothing of problems is made to speak as one.
    let answer = world.post("/probe/foreign", "{").await;
    assert!(answer.status >= 400);
    let code = answer.json()["code"].as_str().unwrap().to_owned();
    answer.problem(&code);
}

#[tokio::test]
async fn a_stale_or_malformed_precondition_is_refused() {
    let world = World::new().await;
    let put = |header: &'static str| {
        let world = &world;
        async move {
            world
                .send(&format!("PUT /probe/revision-3\r\n{header}"), "")
                .await
        }
    };
    for header in [
        "If-Match: \"2\"",
        "If-Match: W/\"3\"",
        "If-None-Match: *",
        "If-None-Match: \"3\"",
    ] {
        let answer = put(header).await;
        answer.problem("precondition-failed");
        assert_eq!(answer.header("etag"), Some("\"3\""), "{header}");
    }
    for header in [
        "If-Match: 3",
        "If-Match: \"3",
        "If-None-Match: x",
        "If-Match: ",
    ] {
        put(header).await.problem("invalid-header");
    }
    for header in [
        "If-Match: \"3\"",
        "If-Match: *",
        "If-Match: \"1\", \"3\"",
        "X: y",
    ] {
        let answer = put(header).await;
        assert_eq!(
            (answer.status, answer.header("etag")),
            (200, Some("\"4\"")),
            "{header}"
        );
    }
}

#[tokio::test]
async fn a_position_that_is_none_of_this_log_is_refused() {
    let world = World::new().await;
    let ask = |position: &'static str| {
        let world = &world;
        async move {
            let head = format!("GET /probe/at-least\r\nRecourse-Min-Position: {position}");
            world.send(&head, "").await
        }
    };
    let others: [(&str, Option<&str>); 6] = [
        ("0-9f3a2c41", None),
        ("1-9f3a2c41", Some("ahead")),
        ("0-00000000", Some("another log")),
        ("0", Some("malformed")),
        ("x", Some("malformed")),
        ("-1-9f3a2c41", Some("malformed")),
    ];
    for (position, why) in others {
        let answer: Answer = ask(position).await;
        match why {
            Some(why) => {
                let document = answer.problem("invalid-position");
                assert!(
                    document["detail"].as_str().unwrap().contains(why),
                    "{document}"
                );
            }
            None => assert_eq!(answer.header("recourse-position"), Some("0-9f3a2c41")),
        }
    }
}

#[tokio::test]
async fn an_idempotency_key_is_the_same_with_and_without_quotes_and_refused_where_malformed() {
    let world = World::new().await;
    let place = |key: String, body: String| {
        let world = &world;
        async move {
            let head = format!("POST /probe/orders\r\nContent-Type: application/json{key}");
            world.send(&head, body).await
        }
    };
    let body = order("\"lines\":[]");
    let plain = place("\r\nIdempotency-Key: k".into(), body.clone())
        .await
        .json();
    let spaced = format!(" {} ", body.replace(',', " ,\n "));
    let quoted = place("\r\nIdempotency-Key: \"k\"".into(), spaced)
        .await
        .json();
    assert_eq!(
        plain, quoted,
        "neither quotes nor white space make another command"
    );
    let other = place(
        "\r\nIdempotency-Key: k".into(),
        order("\"lines\":[],\"note\":\"\""),
    )
    .await;
    assert_eq!(other.json()["command"], plain["command"]);
    assert_ne!(other.json()["hash"], plain["hash"]);
    let long = "x".repeat(129);
    for key in ["", "\"\"", "\"k", "a b", "\u{e9}", &long] {
        let key = format!("\r\nIdempotency-Key: {key}");
        place(key, body.clone())
            .await
            .problem("invalid-idempotency-key");
    }
    let twice = "\r\nIdempotency-Key: a\r\nIdempotency-Key: b";
    place(twice.into(), body.clone())
        .await
        .problem("invalid-idempotency-key");
    let first = place(String::new(), body.clone()).await.json();
    let second = place(String::new(), body).await.json();
    assert_ne!(
        first["key"], second["key"],
        "a key is added where none came"
    );
    assert_ne!(first["command"], second["command"]);
}
