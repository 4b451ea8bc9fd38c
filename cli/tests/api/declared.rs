//! Every route and every answer that the contract declares is provoked, one by one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    client::{Answer, Request},
    contract::{self, Contract, Operation},
    server::{Server, order, product},
};

/// What nobody can provoke from outside, and what provokes it instead.
const UNPROVOKED: &[(&str, &str)] = &[
    (
        "internal",
        "a mistake of ours; the gateway's tests make a handler panic",
    ),
    (
        "store-failed",
        "a disk that fails; the store's tests have one",
    ),
    ("store-unavailable", "no embedded store says so"),
    (
        "store-full",
        "a disk without room; the store's tests have one",
    ),
    (
        "shutting-down",
        "a command between the last answer and the end of its worker",
    ),
    (
        "dependency-unavailable",
        "views that cannot be read; their tests have some",
    ),
    (
        "request-timeout",
        "a handler that hangs; the gateway's tests have one",
    ),
    (
        "storage-low",
        "a disk that is nearly full; the tests of the storage say that it is",
    ),
    (
        "conflict",
        "appends that collide again and again; the repository's tests make them",
    ),
    (
        "rebuild-not-ready",
        "a generation that is not level takes a moment only; the views' tests hold one up",
    ),
    (
        "view-behind",
        "a view at rest, which no client can bring about; the views' tests do",
    ),
];

/// Answers without a code that nobody can provoke from outside.
const UNPROVOKED_STATUSES: &[(&str, u16, &str)] = &[(
    "getReadiness",
    503,
    "a process that cannot serve; its own tests have one",
)];

struct World {
    server: Server,
    contract: &'static Contract,
    order: Value,
    payment: Value,
}

impl World {
    fn new() -> Self {
        let server = Server::start();
        server.stocked("tea-1", 1_000);
        for (sku, amount_minor, currency, active) in [
            ("in-dollars", 1_000, "USD", true),
            ("inactive", 1_000, "EUR", false),
            ("free", 0, "EUR", true),
            ("dear", i64::MAX, "EUR", true),
        ] {
            let mut body = product("Tea", amount_minor);
            body["price"]["currency"] = currency.into();
            body["active"] = active.into();
            server.put(sku, &body).send().expect(201);
        }
        let placed = server
            .order("tea-1", 1, "tok_visa")
            .wait(20)
            .send()
            .expect(201);
        // What the view shows is as new as that from here on.
        server.get("/v1/orders").after(&placed).send().expect(200);
        let order = server.get(placed.location()).after(&placed).send();
        Self {
            contract: contract::learn(server.address()),
            order: placed.json(),
            payment: order.expect(200).json()["payment"]["payment_id"].clone(),
            server,
        }
    }

    /// A request that nothing is wrong with.
    fn good(&self, operation: Operation<'_>) -> Request {
        self.at(operation, &self.path(operation.path))
    }

    /// The same to another path.
    fn at(&self, operation: Operation<'_>, path: &str) -> Request {
        let request = self.server.request(&operation.method.to_uppercase(), path);
        let media = &operation.value["requestBody"]["content"]["application/json"];
        match media.get("example") {
            Some(example) => request.json(example),
            None => request,
        }
    }

    fn path(&self, template: &str) -> String {
        // Well-formed, and of none: those that need one start one.
        let no_rebuild = json!("0d7cbbb4-8f6c-4b7e-9f6e-1d1f5a2b3c4d");
        let id = match template {
            _ if template.starts_with("/v1/projections") => &no_rebuild,
            _ if template.starts_with("/v1/orders") => &self.order["order_id"],
            _ if template.starts_with("/v1/sagas") => &self.order["saga_id"],
            _ if template.starts_with("/v1/payments") => &self.payment,
            _ => &Value::Null,
        };
        template
            .replace("{sku}", "tea-1")
            .replace("{stream}", "product-tea-1")
            .replace("{code}", "not-found")
            .replace("{part}", "app.js")
            .replace("{name}", "products")
            .replace("{id}", id.as_str().unwrap_or("{id}"))
    }

    /// An answer of this status, or one that says why not.
    fn succeed(&self, operation: Operation<'_>, status: u16) -> Answer {
        let id = operation.id();
        match (id, status) {
            ("putProduct", 201) => {
                let body = product("New", 5);
                self.server.put("new", &body).send()
            }
            ("receiveStock", 201) => self.server.receive("tea-1", 1, "fresh").send(),
            ("receiveStock", 200) => {
                self.good(operation).send();
                self.good(operation).send()
            }
            ("placeOrder", 201) => self.good(operation).wait(20).send(),
            ("returnOrder", status) => {
                let ordered = self.server.order("tea-1", 1, "tok_visa").wait(20).send();
                let returns = ordered.expect(201).location().to_owned() + "/returns";
                let returned = self.at(operation, &returns);
                if status == 201 {
                    returned.wait(20).send()
                } else {
                    returned.send()
                }
            }
            ("rebuildProjection", 202) => {
                self.dropped("orders");
                self.at(operation, "/v1/projections/orders/rebuilds").send()
            }
            ("rollBackProjectionRebuild", 200) => {
                let rebuild = self.rebuilt();
                self.promoted(&rebuild).expect(200);
                self.of_rebuild(operation, &rebuild).send()
            }
            (id, 200) if id.ends_with("ProjectionRebuild") => {
                self.of_rebuild(operation, &self.rebuilt()).send()
            }
            ("watchSaga", 204) => {
                let seen = self.server.get(&self.path("/v1/sagas/{id}")).send();
                let last = seen.position().to_owned();
                self.good(operation).header("last-event-id", last).send()
            }
            ("getConsolePart", 304) => {
                let part = self.good(operation).send();
                let tag = part.header("etag").unwrap().to_owned();
                self.good(operation).header("if-none-match", tag).send()
            }
            ("actOnSaga", 200) => self.at(operation, &self.actions_of_pending_saga()).send(),
            ("cancelOrder", 200) => {
                let cancelled = self.path_of_pending_order() + "/cancellation";
                self.at(operation, &cancelled).send()
            }
            _ => self.good(operation).send(),
        }
    }

    /// Drops what is kept beside the live generation of a view.
    fn dropped(&self, view: &str) {
        let listing = self.server.get("/v1/projections").send().expect(200).json();
        let mut views = listing["items"].as_array().unwrap().iter();
        let found = views.find(|item| item["name"] == view).unwrap();
        if let Some(id) = found["rebuild"]["rebuild_id"].as_str() {
            let drop = format!("/v1/projections/{view}/rebuilds/{id}/drop");
            self.server.request("POST", &drop).send().expect(200);
        }
    }

    /// Where a rebuild is that can be promoted.
    fn rebuilt(&self) -> String {
        self.dropped("products");
        let start = "/v1/projections/products/rebuilds";
        let started = self.server.request("POST", start).send().expect(202);
        let location = started.location().to_owned();
        while self.server.get(&location).send().json()["status"] != "ready" {}
        location
    }

    fn promoted(&self, rebuild: &str) -> Answer {
        let promote = format!("{rebuild}/promote");
        self.server.request("POST", &promote).send()
    }

    /// The same of a rebuild.
    fn of_rebuild(&self, operation: Operation<'_>, rebuild: &str) -> Request {
        let action = operation.path.rsplit_once("{id}").map(|(_, rest)| rest);
        self.at(operation, &format!("{rebuild}{}", action.unwrap()))
    }

    /// An answer with a code that operators' requests about rebuilds give otherwise than others.
    fn fail_rebuild(&self, operation: Operation<'_>, code: &str) -> Option<Answer> {
        let id = operation.id();
        Some(match code {
            "not-found" => {
                let unknown =
                    "/v1/projections/products/rebuilds/0d7cbbb4-8f6c-4b7e-9f6e-1d1f5a2b3c4d";
                let unknown = if id == "rebuildProjection" {
                    self.at(operation, "/v1/projections/unknown/rebuilds")
                } else {
                    self.of_rebuild(operation, unknown)
                };
                unknown.send()
            }
            "rebuild-open" => {
                self.rebuilt();
                self.good(operation).send()
            }
            "rebuild-not-possible" => {
                let rebuild = self.rebuilt();
                self.dropped("products");
                self.of_rebuild(operation, &rebuild).send()
            }
            "precondition-failed" => {
                let refused = self.of_rebuild(operation, &self.rebuilt());
                refused.header("if-match", "\"999\"").send()
            }
            "idempotency-key-reused" => {
                let path = if id == "rebuildProjection" {
                    self.dropped("products");
                    self.path(operation.path)
                } else {
                    let rebuild = self.rebuilt();
                    if id.starts_with("rollBack") {
                        self.promoted(&rebuild).expect(200);
                    }
                    let action = operation.path.rsplit_once("{id}").unwrap().1;
                    format!("{rebuild}{action}")
                };
                let keyed = |reason: &str| {
                    let body = json!({"reason": reason});
                    self.server.post(&path, &body).key("twice").send()
                };
                assert!(keyed("once").status < 300);
                keyed("twice")
            }
            _ => return None,
        })
    }

    /// Where a saga that is under way is acted on.
    fn actions_of_pending_saga(&self) -> String {
        let placed = self.server.order("tea-1", 1, "tok_slow_30000").send();
        let placed = placed.expect(202).json();
        let saga = placed["saga_id"].as_str().unwrap();
        let saga = format!("/v1/sagas/{saga}");
        // It begins right after its order is placed.
        while self.server.get(&saga).send().status == 404 {}
        saga + "/actions"
    }

    fn path_of_pending_order(&self) -> String {
        let placed = self.server.order("tea-1", 1, "tok_slow_30000").send();
        placed.expect(202).location().to_owned()
    }

    /// An answer with this code, where it can be provoked.
    fn fail(&self, operation: Operation<'_>, code: &str) -> Option<Answer> {
        let good = || self.good(operation);
        let path = self.path(operation.path);
        if operation.path.contains("/rebuilds")
            && let Some(answer) = self.fail_rebuild(operation, code)
        {
            return Some(answer);
        }
        if operation.id() == "actOnSaga"
            && let Some(answer) = self.fail_action(operation, code)
        {
            return Some(answer);
        }
        Some(match code {
            "host-not-allowed" => good().header("host", "evil.example").send(),
            "origin-not-allowed" => good().header("origin", "http://evil.example").send(),
            "headers-too-large" => good().header("x-much", "x".repeat(20_000)).send(),
            "body-too-large" => good().body("x".repeat(300_000)).send(),
            "unsupported-media-type" => good().header("content-type", "text/plain").send(),
            "malformed-json" => good().body("{").send(),
            "invalid-body" => good().body("5").send(),
            "invalid-idempotency-key" => good().key("\"").send(),
            "invalid-header" => good().header("if-match", "3").send(),
            "invalid-id" | "not-found" => {
                let (start, rest) = operation.path.split_once('{').unwrap();
                let (_, rest) = rest.split_once('}').unwrap();
                self.at(operation, &format!("{start}!{rest}")).send()
            }
            "invalid-position" if operation.id().starts_with("watch") => {
                self.at(operation, &format!("{path}?from=x")).send()
            }
            "not-acceptable" => good().header("accept", "application/json").send(),
            "invalid-position" => good().header("recourse-min-position", "x").send(),
            "invalid-cursor" => self.at(operation, &format!("{path}?cursor=x")).send(),
            "cursor-mismatch" => {
                let page = self.server.get("/v1/events?limit=1&types=product").send();
                let cursor = page.json()["next_cursor"].as_str().unwrap().to_owned();
                self.at(operation, &format!("{path}?cursor={cursor}"))
                    .send()
            }
            "invalid-query" => self.at(operation, &format!("{path}?limit=0")).send(),
            "precondition-failed" => good().header("if-match", "\"999\"").send(),
            _ => return self.refuse(operation, code),
        })
    }

    /// An answer with a code that actions on sagas give otherwise than other commands.
    fn fail_action(&self, operation: Operation<'_>, code: &str) -> Option<Answer> {
        let pause = |path: &str, reason: &str| {
            let body = json!({"action": "pause", "reason": reason});
            self.server.post(path, &body)
        };
        let path = self.path(operation.path);
        Some(match code {
            "not-found" => {
                let unknown = "/v1/sagas/0d7cbbb4-8f6c-4b7e-9f6e-1d1f5a2b3c4d/actions";
                self.at(operation, unknown).send()
            }
            "action-not-possible" => self.good(operation).send(),
            "precondition-required" => pause(&path, "to look").send(),
            "precondition-failed" => pause(&path, "to look").header("if-match", "\"999\"").send(),
            "idempotency-key-reused" => {
                let path = self.actions_of_pending_saga();
                let keyed = |reason| pause(&path, reason).header("if-match", "*").key("twice");
                keyed("once").send().expect(200);
                keyed("twice").send()
            }
            _ => return None,
        })
    }

    /// An answer with a code that the rules give.
    fn refuse(&self, operation: Operation<'_>, code: &str) -> Option<Answer> {
        let place = |change: &dyn Fn(&mut Value)| {
            let mut body = order("tea-1", 1, "tok_visa");
            change(&mut body);
            self.server.post("/v1/orders", &body).send()
        };
        let of = |sku: &'static str| place(&move |body| body["lines"][0]["sku"] = sku.into());
        let adjust = |delta: i64| {
            let body = json!({"delta": delta, "reason": "counted"});
            self.server
                .post("/v1/stock/tea-1/adjustments", &body)
                .send()
        };
        let cancel = |path: String| {
            let body = json!({"reason": "changed my mind"});
            self.server.post(&format!("{path}/cancellation"), &body)
        };
        Some(match (operation.id(), code) {
            ("cancelOrder", "idempotency-key-reused") => {
                let pending = self.path_of_pending_order();
                cancel(pending.clone()).key("twice").send().expect(200);
                self.at(operation, &(pending + "/cancellation"))
                    .key("twice")
                    .send()
            }
            (_, "idempotency-key-reused") => {
                let key = format!("twice-{}", operation.id());
                let mut body =
                    operation.value["requestBody"]["content"]["application/json"]["example"]
                        .clone();
                // A change, so that the command has an effect.
                let path = self.path(operation.path);
                for field in ["reference", "reason", "name"] {
                    if let Some(value) = body.get_mut(field) {
                        *value = "once".into();
                    }
                }
                self.server
                    .post(&path, &body)
                    .method(operation.method)
                    .key(&key)
                    .send();
                for field in ["reference", "reason", "name"] {
                    if let Some(value) = body.get_mut(field) {
                        *value = "twice".into();
                    }
                }
                if let Some(quantity) = body.pointer_mut("/lines/0/quantity") {
                    *quantity = 7.into();
                }
                self.server
                    .post(&path, &body)
                    .method(operation.method)
                    .key(&key)
                    .send()
            }
            ("receiveStock" | "adjustStock", "unknown-sku") => self
                .at(operation, &operation.path.replace("{sku}", "unknown"))
                .send(),
            ("receiveStock", "reference-reused") => self.server.receive("tea-1", 3, "first").send(),
            ("receiveStock", "quantity-overflow") => {
                let most = (1_i64 << 53) - 1;
                self.server.put("full", &product("Tea", 5)).send();
                let body = json!({"delta": most, "reason": "counted"});
                self.server
                    .post("/v1/stock/full/adjustments", &body)
                    .send()
                    .expect(201);
                self.server.receive("full", 1, "one-more").send()
            }
            ("adjustStock", "quantity-overflow") => adjust(i64::MAX),
            ("adjustStock", "stock-would-be-negative") => adjust(-1_000_000),
            ("placeOrder", "unknown-product") => of("unknown"),
            ("placeOrder", "product-inactive") => of("inactive"),
            ("placeOrder", "currency-mismatch") => of("in-dollars"),
            ("placeOrder", "nothing-to-pay") => of("free"),
            ("placeOrder", "total-overflow") => place(&|body| {
                body["lines"][0] = json!({"sku": "dear", "quantity": 2});
            }),
            ("placeOrder", "duplicate-line") => place(&|body| {
                let line = body["lines"][0].clone();
                body["lines"].as_array_mut().unwrap().push(line);
            }),
            ("returnOrder", "not-returnable") => {
                let rejected = self
                    .server
                    .order("tea-1", 1, "tok_declined")
                    .wait(20)
                    .send();
                let returns = rejected.expect(201).location().to_owned() + "/returns";
                self.at(operation, &returns).send()
            }
            ("returnOrder", "not-ordered" | "duplicate-line") => {
                let ordered = json!({"sku": "tea-1", "quantity": 1});
                let other = json!({"sku": "free", "quantity": 1});
                let second = if code == "not-ordered" {
                    other
                } else {
                    ordered.clone()
                };
                let body = json!({"lines": [ordered, second], "reason": "too bitter"});
                self.server.post(&self.path(operation.path), &body).send()
            }
            ("cancelOrder", "order-already-settled") => cancel(self.path("/v1/orders/{id}")).send(),
            ("cancelOrder", "order-already-confirmed") => {
                let confirmed = self.server.order("tea-1", 1, "tok_capture_refused");
                cancel(confirmed.wait(20).send().expect(202).location().to_owned()).send()
            }
            _ => return None,
        })
    }
}

#[test]
fn every_route_and_every_error_declared_is_answered() {
    let world = World::new();
    let mut missing = Vec::new();
    let mut unprovoked = BTreeSet::new();
    for operation in world.contract.operations() {
        for status in operation.value["responses"].as_object().unwrap().keys() {
            let status: u16 = status.parse().unwrap();
            let codes = operation.codes(status);
            if operation.answers_itself(status) {
                let is_known = UNPROVOKED_STATUSES
                    .iter()
                    .any(|(id, known, _)| *id == operation.id() && *known == status);
                let answer = world.succeed(operation, status);
                if !is_known && answer.status != status {
                    missing.push(format!("{} {status}: {answer:?}", operation.id()));
                }
            }
            for code in codes {
                if UNPROVOKED.iter().any(|(known, _)| *known == code) {
                    unprovoked.insert(code.to_owned());
                    continue;
                }
                if code == "overloaded" {
                    continue; // below
                }
                let answer = world.fail(operation, code);
                let is_it = answer
                    .as_ref()
                    .is_some_and(|answer| answer.status == status && answer.json()["code"] == code);
                if !is_it {
                    missing.push(format!("{} {code}: {answer:?}", operation.id()));
                }
            }
        }
    }
    assert!(
        missing.is_empty(),
        "declared and not answered: {missing:#?}"
    );
    let excused: BTreeSet<_> = UNPROVOKED
        .iter()
        .map(|(code, _)| (*code).to_owned())
        .collect();
    assert_eq!(unprovoked, excused, "what is excused is declared somewhere");
}

#[test]
fn every_operation_that_says_so_is_refused_where_there_is_too_much_to_do() {
    let server = Server::start_with(&["--max-requests-in-flight", "1"]);
    let contract = contract::learn(server.address());
    server.stocked("tea-1", 10);
    let slow = server.order("tea-1", 1, "tok_slow_30000").wait(25);
    std::thread::scope(|scope| {
        // A look at whether it is in flight may be in its way.
        scope.spawn(|| while slow.clone().send().status == 503 {});
        let full = || server.get("/v1/products").send().status == 503;
        assert!((0..20_000).any(|_| full()), "nothing is in flight");
        for operation in contract.operations() {
            let says_so = operation.codes(503).contains(&"overloaded");
            let answer = server
                .request(
                    &operation.method.to_uppercase(),
                    &operation.path.replace(['{', '}'], ""),
                )
                .send();
            let is_refused = answer.status == 503 && answer.json()["code"] == "overloaded";
            assert_eq!(is_refused, says_so, "{}: {answer:?}", operation.id());
        }
        // What waits is answered with what there is.
        server.signal(rustix::process::Signal::TERM);
    });
}

#[test]
fn the_document_is_complete_and_its_examples_are_what_it_says() {
    let server = Server::start();
    let contract = contract::learn(server.address());
    let document = &contract.document;
    assert_eq!(document["openapi"], "3.1.1");
    assert_eq!(document["info"]["license"]["identifier"], "Apache-2.0");
    let tags: Vec<_> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| &tag["name"])
        .collect();
    let page = server.get("/docs").send().expect(200);
    let mut ids = BTreeSet::new();
    for operation in contract.operations() {
        let (id, value) = (operation.id(), operation.value);
        assert!(ids.insert(id), "{id} twice");
        assert!(
            value["summary"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{id}"
        );
        assert!(
            tags.contains(&&value["tags"][0]),
            "{id} is in no known group"
        );
        assert!(
            page.text.contains(&format!("<article id=\"{id}\">")),
            "{id} is not on the page"
        );
        for parameter in value["parameters"].as_array().unwrap() {
            if let Some(example) = parameter.get("example") {
                let wrong = contract.check(&parameter["schema"], example);
                assert!(wrong.is_empty(), "{id}: {wrong:?}");
            }
        }
        let mut media = vec![&value["requestBody"]["content"]["application/json"]];
        for (status, response) in value["responses"].as_object().unwrap() {
            let json = &response["content"]["application/json"];
            let is_documented =
                json.is_null() || json.get("example").is_some() || !status.starts_with('2');
            assert!(
                is_documented || value["tags"][0] == "server",
                "{id} {status} has no example"
            );
            media.push(json);
        }
        if !value["requestBody"].is_null() {
            assert!(
                media[0].get("example").is_some(),
                "{id} has no example of a body"
            );
        }
        for media in media {
            if let Some(example) = media.get("example") {
                let wrong = contract.check(&media["schema"], example);
                assert!(wrong.is_empty(), "{id}: {wrong:#?}");
            }
        }
    }
    // It loads nothing.
    for outside in ["<script", "<link", "<img", "src=", "@import", "https://cdn"] {
        assert!(!page.text.contains(outside), "{outside}");
    }
}
