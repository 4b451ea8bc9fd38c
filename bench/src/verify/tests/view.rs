//! A view against the log: the row off by one is named, with the events it is made of.

use std::sync::Arc;

use recourse_domain::stock;
use recourse_event_store::{Append, ExpectedRevision, RecordedEvent, memory::Store};
use recourse_views::{
    Checkpoint, Projection, ProjectionError,
    documents::{Change, Documents, Index, Write},
    memory,
};
use serde::{Deserialize, Serialize};

use super::*;

/// How many came in, by SKU.
struct Received;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Row {
    pieces: u32,
}

impl Projection for Received {
    const NAME: &'static str = "received";
    const VERSION: u32 = 1;
    const INDEXES: &'static [Index] = &[];
    type Row = Row;

    fn filter() -> Filter {
        Filter::categories(&["stock"])
    }

    fn key(event: &RecordedEvent) -> Result<Option<String>, ProjectionError> {
        Ok(Some(event.stream.id().to_owned()))
    }

    fn apply(row: Option<Row>, event: &RecordedEvent) -> Result<Option<Row>, ProjectionError> {
        Ok(match &*event.decode::<stock::Event>()? {
            stock::Event::Received(received) => Some(Row {
                pieces: row.unwrap_or_default().pieces + received.quantity.get(),
            }),
            _ => row,
        })
    }
}

/// The same log as a store would have taken it.
async fn store_of(log: &Log) -> Arc<dyn EventStore> {
    let store = Store::new(log.id);
    for event in &log.events {
        let append = Append {
            stream: event.stream.clone(),
            expected: ExpectedRevision::Any,
            events: vec![event.event.clone()],
        };
        store.append(vec![append]).await.remove(0).unwrap();
    }
    Arc::new(store)
}

/// A view with these rows, at the log's end.
async fn view_of(log: &Log, rows: &[(&str, u32)]) -> Vec<Box<dyn View>> {
    let documents = memory::Documents::default();
    let last = log.events.last().unwrap();
    let next = Checkpoint {
        log: log.id,
        position: last.position,
        event_id: Some(last.event.id),
    };
    let put = |(sku, count): &(&str, u32)| Write {
        id: (*sku).to_owned(),
        change: Change::Put(serde_json::to_string(&Row { pieces: *count }).unwrap()),
    };
    documents
        .commit(
            &Received::collection(),
            None,
            &next,
            rows.iter().map(put).collect(),
        )
        .await
        .unwrap();
    vec![Box::new(Projected::<Received>::scan(&documents).await)]
}

#[tokio::test]
async fn a_view_that_is_the_fold_of_the_log_holds_and_one_that_is_off_by_one_does_not() {
    let log = Log::new();
    let options = Options::new(noon());
    let views = view_of(&log, &[("tea", 100), ("mug", 100)]).await;
    let report = run(store_of(&log).await, &views, &options).await.unwrap();
    assert!(report.holds(), "{}", report.text());
    assert_eq!(report.views[0].rows, 2);
    assert_eq!(report.views[0].position, Position::dense(4));

    for (rows, differences) in [
        (&[("tea", 100), ("mug", 101)][..], &["mug"][..]),
        (&[("tea", 100)], &["mug"]),
        (&[("tea", 100), ("mug", 100), ("cup", 1)], &["cup"]),
        (&[], &["mug", "tea"]),
    ] {
        let views = view_of(&log, rows).await;
        let report = run(store_of(&log).await, &views, &options).await.unwrap();
        let found: Vec<_> = report
            .breaches
            .iter()
            .map(|breach| (breach.kind, breach.promise, breach.subject.clone()))
            .collect();
        let expected: Vec<_> = differences
            .iter()
            .map(|sku| (Kind::ViewDiffers, 6, format!("received {sku}")))
            .collect();
        assert_eq!(found, expected);
        if rows.len() == 2 {
            let streams: Vec<_> = report.breaches[0]
                .events
                .iter()
                .map(|event| event.stream.to_string())
                .collect();
            assert_eq!(streams, ["product-mug", "stock-mug"]);
        }
    }
}

#[tokio::test]
async fn a_view_of_another_log_is_found() {
    let log = Log::new();
    let mut other = log.clone();
    other.id = recourse_event_store::LogId(Uuid::from_u128(9));
    let views = view_of(&other, &[("tea", 100)]).await;
    let options = Options::new(noon());
    let report = run(store_of(&log).await, &views, &options).await.unwrap();
    assert_eq!(report.breaches[0].kind, Kind::ViewUnusable);
    assert!(
        report.breaches[0].detail.contains("made from"),
        "{}",
        report.text()
    );
}
