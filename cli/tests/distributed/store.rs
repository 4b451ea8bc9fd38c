//! `recourse serve store` by itself.

use recourse_esdb::client;
use recourse_event_store::{
    Append, Direction, EventStore as _, ExpectedRevision, Filter, LogId, NewEvent, Read,
    StreamName, Visibility,
};
use uuid::Uuid;

use crate::process::{Process, recourse};

async fn connect(store: &Process) -> client::Store {
    let options = client::Options::new(store.url.parse().unwrap());
    let name = LogId(Uuid::nil());
    client::Store::connect(options, name).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_has_after_a_kill_what_it_has_acknowledged_and_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let args = ["serve", "store", "--data", data.to_str().unwrap()];
    let mut store = Process::start(&args, "--esdb-listen", &folder.path().join("log"));
    let before = connect(&store).await;
    let id = Uuid::from_u128(7);
    let append = Append {
        stream: StreamName::new("order", "1"),
        expected: ExpectedRevision::NoStream,
        events: vec![NewEvent::raw(id, "order.placed.v1", "{}", "{}")],
    };
    for appended in before.append(vec![append]).await {
        appended.unwrap();
    }
    store.kill();
    store.start_again();
    let after = connect(&store).await;
    assert_eq!(after.log_id(), before.log_id());
    assert_ne!(after.log_id(), LogId(Uuid::nil()), "the folder's name");
    let read = Read {
        from: None,
        direction: Direction::Backward,
        visibility: Visibility::Durable,
        filter: Filter::All,
        max_events: 1,
    };
    let last = after.read_all(read).await.unwrap().events.remove(0);
    assert_eq!(last.event.id, id);
    store.stop();
}

#[test]
fn a_store_that_other_machines_can_reach_has_to_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let listen = ["serve", "store", "--esdb-listen", "0.0.0.0:0", "--data"];
    let output = recourse().args(listen).arg(&data).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--insecure-listen"), "{said}");
    assert!(!data.exists(), "nothing is made before");
}
