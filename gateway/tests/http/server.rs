//! What the server does under load, in trouble and at its end.

use std::{sync::Arc, time::Duration};

use recourse_event_store::{LogId, memory};
use recourse_gateway::{Error, Gateway, Log, Options, Parts};
use recourse_schema::{Catalog, Redactor};
use recourse_service::{Ids, clock::SystemClock, problem::Code, readiness::Registry};
use tokio_util::sync::CancellationToken;

use super::world::{World, request};

#[tokio::test]
async fn more_requests_than_there_is_room_for_are_refused_at_once() {
    let world = World::with(|options| options.max_requests_in_flight = 2).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut connection = world.connect().await;
        connection.send(request("GET /probe/held", b"")).await;
        world.arrived.notified().await;
        held.push(connection);
    }
    world.get("/probe/list").await.problem("overloaded");
    assert_eq!(world.get("/healthz").await.status, 200);
    assert_eq!(world.get("/readyz").await.status, 200);
    world.go_on.notify_one();
    world.go_on.notify_waiters();
    for mut connection in held {
        assert_eq!(connection.receive().await.unwrap().status, 200);
    }
    assert_eq!(
        world.get("/probe/list").await.status,
        200,
        "there is room again"
    );
}

#[tokio::test]
async fn room_is_given_back_by_those_who_hang_up() {
    let world = World::with(|options| options.max_requests_in_flight = 1).await;
    let mut connection = world.connect().await;
    connection.send(request("GET /probe/held", b"")).await;
    world.arrived.notified().await;
    drop(connection);
    while world.get("/probe/list").await.status != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let world = World::with(|options| options.max_connections = 1).await;
    let mut first = world.connect().await;
    first.send(request("GET /healthz", b"")).await;
    assert_eq!(first.receive().await.unwrap().status, 200);
    let mut second = world.connect().await;
    second.send(request("GET /healthz", b"")).await;
    let early = tokio::time::timeout(Duration::from_millis(50), second.receive()).await;
    assert!(early.is_err(), "the second is not served beside the first");
    drop(first);
    assert_eq!(second.receive().await.unwrap().status, 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended() {
    let world = World::with(|options| {
        options.max_wait_s = 0;
        options.request_timeout_ms = 20;
    })
    .await;
    world.get("/probe/held").await.problem("request-timeout");
    // Nor does a body that never ends hold a request open.
    let mut connection = world.connect().await;
    let endless = "POST /probe/orders HTTP/1.1\r\nHost: localhost\r\n\
                   Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{";
    connection.send(endless).await;
    connection
        .receive()
        .await
        .unwrap()
        .problem("request-timeout");
}

#[tokio::test]
async fn a_connection_that_sends_nothing_is_closed() {
    let world = World::with(|options| options.idle_timeout_ms = 20).await;
    for begun in ["", "GET /healthz HTTP/1.1\r\nHost: loc"] {
        let mut connection = world.connect().await;
        connection.send(begun).await;
        assert!(connection.is_closed().await || connection.is_closed().await);
    }
}

#[tokio::test]
async fn a_panic_is_a_problem_and_the_connection_goes_on() {
    let world = World::new().await;
    let mut connection = world.connect().await;
    for _ in 0..2 {
        connection.send(request("GET /probe/panics", b"")).await;
        let answer = connection.receive().await.unwrap();
        answer.problem("internal");
        assert!(
            !answer.text().contains("on purpose"),
            "what went wrong stays inside"
        );
    }
    connection.send(request("GET /healthz", b"")).await;
    assert_eq!(connection.receive().await.unwrap().status, 200);
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let world = World::new().await;
    let mut connection = world.connect().await;
    let one = request("GET /probe/list", b"");
    connection.send([&*one, &*one, &*one].concat()).await;
    for _ in 0..3 {
        assert_eq!(connection.receive().await.unwrap().status, 200);
    }
    connection
        .send(request("GET /healthz\r\nConnection: close", b""))
        .await;
    assert_eq!(connection.receive().await.unwrap().status, 200);
    assert!(connection.is_closed().await);
}

#[tokio::test]
async fn at_the_end_what_is_in_flight_is_finished_and_nothing_new_is_taken() {
    let world = World::new().await;
    let mut idle = world.connect().await;
    idle.send(request("GET /healthz", b"")).await;
    assert_eq!(idle.receive().await.unwrap().status, 200);
    let mut held = world.connect().await;
    held.send(request("GET /probe/held", b"")).await;
    world.arrived.notified().await;
    world.shutdown.cancel();
    assert!(idle.is_closed().await, "an idle connection is closed");
    // The address is given back while the rest is drained.
    while tokio::net::TcpStream::connect(world.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    world.go_on.notify_one();
    let answer = held.receive().await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "done".into()));
    assert!(held.is_closed().await);
    assert!(world.ended().await, "everything was finished");
}

#[tokio::test]
async fn at_the_end_those_who_wait_get_what_there_is() {
    let world = World::new().await;
    let mut waiting = world.connect().await;
    waiting
        .send(request("POST /probe/waits\r\nPrefer: wait=30", b""))
        .await;
    world.arrived.notified().await;
    world.shutdown.cancel();
    let answer = waiting.receive().await.unwrap();
    assert_eq!(
        (answer.status, answer.header("preference-applied")),
        (202, Some("wait=30"))
    );
    assert!(world.ended().await);
}

#[tokio::test]
async fn the_end_is_not_put_off_for_ever() {
    let world = World::with(|options| options.drain_timeout_ms = 20).await;
    let mut held = world.connect().await;
    held.send(request("GET /probe/held", b"")).await;
    world.arrived.notified().await;
    world.shutdown.cancel();
    assert!(held.receive().await.is_none());
    assert!(!world.ended().await, "something was left");
}

fn compose(options: Options, errors: Vec<&'static [Code]>) -> Result<Gateway, Error> {
    Gateway::new(
        options,
        Parts {
            routes: Vec::new(),
            log: Some(Log {
                store: Arc::new(memory::Store::new(LogId(uuid::Uuid::nil()))),
                redactor: Arc::new(Redactor::new(&Catalog::new())),
                sagas: None,
            }),
            keys: None,
            errors,
            readiness: Registry::new(),
            ids: Ids::seeded(Arc::new(SystemClock), 1),
            shutdown: CancellationToken::new(),
        },
    )
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_before_it_is() {
    let open = Options {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..Options::default()
    };
    let refused = compose(open.clone(), Vec::new()).err().unwrap().to_string();
    assert!(refused.contains("--insecure-listen"), "{refused}");
    let insecure = Options {
        insecure_listen: true,
        ..open
    };
    assert!(compose(insecure, Vec::new()).unwrap().bind().await.is_ok());

    const OTHER: Code = Code::new("not-found", 404, "Something else", "");
    let twice = compose(Options::default(), vec![&[OTHER]]).err();
    assert!(matches!(twice, Some(Error::CodeTwice("not-found"))));

    let world = World::new().await;
    let taken = Options {
        listen: world.address,
        ..Options::default()
    };
    let taken = compose(taken, Vec::new()).unwrap().bind().await.err();
    assert!(matches!(taken, Some(Error::Bind { .. })));
}
