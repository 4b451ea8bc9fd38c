use recourse_bus::Json;
use recourse_event_store::Position;

use super::*;
use crate::postgres::testing;

const LOG: LogId = LogId(Uuid::from_u128(1));

#[tokio::test]
async fn checkpoints_and_snapshots_are_there_for_the_next_process() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let options = testing::database(engine).await;
    let checkpoint = |position| Checkpoint {
        log: LOG,
        position: Position::dense(position),
        event_id: Some(Uuid::from_u128(u128::from(position))),
        state: Some(Json::write(&position).unwrap()),
    };
    let stream = StreamName::new("stock", "tea-1");
    let snapshot = |revision: u64| Snapshot {
        log: LOG,
        stream: stream.clone(),
        revision,
        position: Position::dense(revision * 3),
        event_id: Uuid::from_u128(9),
        state: revision.to_be_bytes().to_vec().into(),
    };
    let state = State::connect(&options).await.unwrap();
    assert_eq!(Checkpoints::load(&state, "orders").await.unwrap(), None);
    assert_eq!(Snapshots::load(&state, &stream).await.unwrap(), None);
    for n in [1, 2] {
        Checkpoints::save(&state, "orders", checkpoint(n))
            .await
            .unwrap();
        Snapshots::save(&state, snapshot(n)).await.unwrap();
    }
    Checkpoints::save(&state, "stock", checkpoint(7))
        .await
        .unwrap();
    state.close().await;
    let again = State::connect(&options).await.unwrap();
    assert_eq!(
        Checkpoints::load(&again, "orders").await.unwrap(),
        Some(checkpoint(2))
    );
    assert_eq!(
        Snapshots::load(&again, &stream).await.unwrap(),
        Some(snapshot(2))
    );
}
