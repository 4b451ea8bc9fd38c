//! What MongoDB adds to the contract of the port: how a commit is made without transactions.

use std::collections::BTreeSet;

use recourse_event_store::Position;

use super::*;
use crate::{
    conformance::{
        checkpoint,
        documents::{self as conformance, SAMPLE, put},
    },
    documents::{Comparison, Documents as _, Filter, Index, Kind, Order},
    mongodb::testing,
};

const SAMPLE_2: Collection = Collection {
    version: 2,
    indexes: &[],
    newest_first_by: None,
    ..SAMPLE
};

async fn connect(options: &Options) -> Documents {
    Documents::connect(options, &[SAMPLE, SAMPLE_2])
        .await
        .unwrap()
}

#[tokio::test]
async fn keeps_the_contract_of_the_port() {
    let Some(engine) = testing::engine() else {
        return;
    };
    // More than one command takes. The server of the tests takes milliseconds for each.
    conformance::run_with(270, || async { connect(&testing::database(engine)).await }).await;
}

fn row(id: &str, available: i64) -> Write {
    put(id, "2026-01-01T00:00:00Z", "running", available)
}

fn delete(id: &str) -> Write {
    Write {
        id: id.into(),
        change: Change::Delete,
    }
}

/// A commit that stops before its checkpoint moves.
async fn torn(documents: &Documents, next: u64, writes: Vec<Write>) {
    let at = checkpoint(next);
    let updates = writes.into_iter().map(|write| {
        let document = match write.change {
            Change::Put(json) => {
                let fields = fields::of_document(&SAMPLE, &write.id, &json).unwrap();
                layout::document(&SAMPLE, &at, &json, fields)
            }
            Change::Delete => layout::deleted(&at),
        };
        writes::replacement(&write.id, document)
    });
    let updates = updates.collect();
    let replaced = writes::replace(&documents.server, &SAMPLE, updates);
    replaced.await.unwrap();
}

/// Every document: its id, the number in it and how far it is said to be.
async fn scan(documents: &Documents) -> (Vec<(String, i64, Option<Position>)>, Scanned) {
    let mut seen = Vec::new();
    let scanned = documents
        .scan(&SAMPLE, &mut |document| {
            let json: serde_json::Value = serde_json::from_str(&document.json).unwrap();
            seen.push((document.id, json["available"].as_i64().unwrap()));
        })
        .await
        .unwrap();
    // What was written while it was read comes last, and counts.
    let last: BTreeSet<_> = seen.iter().rev().map(|(id, _)| id.clone()).collect();
    let seen = last
        .into_iter()
        .map(|id| {
            let (_, number) = seen.iter().rev().find(|(seen, _)| *seen == id).unwrap();
            let folded = scanned.folded.get(&id).copied();
            (id, *number, folded)
        })
        .collect();
    (seen, scanned)
}

#[tokio::test]
async fn what_a_commit_that_stopped_has_written_says_how_far_it_is_and_is_never_folded_back() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let documents = connect(&testing::database(engine)).await;
    let one = checkpoint(1);
    let first = vec![row("a", 1), row("b", 1), row("c", 1)];
    documents.commit(&SAMPLE, None, &one, first).await.unwrap();
    torn(&documents, 7, vec![row("b", 7), delete("c"), row("d", 7)]).await;

    let at = documents.checkpoint(&SAMPLE).await.unwrap();
    let furthest = documents.furthest(&SAMPLE).await.unwrap();
    assert_eq!((at, furthest), (Some(one), Some(checkpoint(7))));
    let ids = ["a", "b", "c", "d", "e"].map(String::from);
    let loaded = documents.load(&SAMPLE, &ids).await.unwrap();
    let seven = Position::dense(7);
    let (seen, scanned) = scan(&documents).await;
    let d = |id: &str, number, folded| (id.to_owned(), number, folded);
    assert_eq!(
        seen,
        [
            d("a", 1, None),
            d("b", 7, Some(seven)),
            d("d", 7, Some(seven))
        ]
    );
    assert_eq!(scanned.gone, [("c".to_owned(), seven)].into());
    assert_eq!(scanned.checkpoint, Some(one));
    let mut here: Vec<_> = loaded.documents.iter().map(|found| &*found.id).collect();
    here.sort_unstable();
    assert_eq!(here, ["a", "b", "d"]);
    let folded = [("a", 1), ("b", 7), ("c", 7), ("d", 7)];
    let folded = folded.map(|(id, at)| (id.to_owned(), Position::dense(at)));
    assert_eq!(loaded.folded, folded.into());

    // A commit that is less far leaves them, the deleted one too, and writes what is not.
    let five = checkpoint(5);
    let late = vec![
        row("a", 5),
        row("b", 5),
        row("c", 5),
        delete("d"),
        row("e", 5),
    ];
    documents
        .commit(&SAMPLE, Some(&one), &five, late)
        .await
        .unwrap();
    let (seen, scanned) = scan(&documents).await;
    assert_eq!(
        seen,
        [
            d("a", 5, None),
            d("b", 7, Some(seven)),
            d("d", 7, Some(seven)),
            d("e", 5, None),
        ]
    );
    assert_eq!(scanned.checkpoint, Some(five));

    // One that is further replaces them all.
    let nine = checkpoint(9);
    let last = ["a", "b", "c", "d", "e"].map(|id| row(id, 9)).to_vec();
    documents
        .commit(&SAMPLE, Some(&five), &nine, last)
        .await
        .unwrap();
    let (seen, scanned) = scan(&documents).await;
    assert!(
        seen.iter()
            .all(|(_, number, folded)| *number == 9 && folded.is_none())
    );
    assert_eq!(seen.len(), 5);
    assert_eq!(scanned.gone, documents::Folded::new());
}

#[tokio::test]
async fn a_collection_of_another_definition_is_refused_with_what_to_do() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let options = testing::database(engine);
    let documents = connect(&options).await;
    let one = checkpoint(1);
    documents.commit(&SAMPLE, None, &one, vec![]).await.unwrap();
    let changed = Collection {
        indexes: &[Index {
            path: "placed_at",
            kind: Kind::Time,
        }],
        ..SAMPLE
    };
    let refused = Documents::connect(&options, &[changed]).await.unwrap_err();
    assert!(!refused.is_transient());
    let says = refused.to_string();
    assert!(says.contains("`sample_v1`"), "{says}");
    assert!(says.contains("give it a new version"), "{says}");
}

/// The first stage of a plan that reads, and whether anything is sorted.
fn walks(stage: &Fields, names: &mut Vec<String>) {
    if let Ok(name) = stage.get_str("stage") {
        names.push(name.to_owned());
    }
    if let Ok(index) = stage.get_str("indexName") {
        names.push(index.to_owned());
    }
    if let Ok(inner) = stage.get_document("inputStage") {
        walks(inner, names);
    }
}

#[tokio::test]
async fn every_query_has_an_index() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let documents = connect(&testing::database(engine)).await;
    let mut made = Vec::new();
    let mut list = documents
        .server
        .database
        .collection::<Fields>(&SAMPLE.table())
        .list_indexes()
        .await
        .unwrap();
    while let Some(index) = list.try_next().await.unwrap() {
        let name = index.options.and_then(|options| options.name);
        made.push((name.unwrap(), index.keys));
    }
    let filter = |path, comparison, value| Filter {
        path,
        comparison,
        value,
    };
    let running = || filter("saga.status", Comparison::Equal, "running".into());
    let below = || filter("available", Comparison::Below, 3.into());
    let older = || filter("placed_at", Comparison::Below, 3.into());
    let after = || {
        Some(After {
            time: Some(7),
            id: "a".into(),
        })
    };
    let newest = Order::NewestFirst;
    let mut finds = Vec::new();
    for (filters, order, after, index, sorts) in [
        (vec![], newest, None, "by_f_placed_at", false),
        (vec![], newest, after(), "by_f_placed_at", false),
        (vec![older()], newest, None, "by_f_placed_at", false),
        (vec![running()], newest, None, "by_f_saga_status", false),
        (vec![running()], newest, after(), "by_f_saga_status", false),
        // Few are below: they are found first and then put in order.
        (vec![below()], newest, None, "by_f_available", true),
        (vec![below()], Order::ById, None, "by_f_available", true),
        (vec![], Order::ById, after(), "live", false),
        (vec![], Order::ById, None, "live", false),
    ] {
        let query = Query {
            filters,
            order,
            after,
            limit: 50,
        };
        let find = queries::find(&SAMPLE, &query).unwrap().unwrap();
        finds.push((find, index, sorts));
    }
    finds.push((queries::by_id(Some("a")), "live", false));
    finds.push((queries::furthest(), "at", false));
    finds.push((queries::further("7"), "at", false));
    for (find, index, sorts) in finds {
        // What it is found by comes first in the index, then what it is ordered by.
        let (_, keys) = made.iter().find(|(name, _)| name == index).unwrap();
        let mut keys = keys.keys();
        let first = keys.next().unwrap();
        let filter = find.filter.to_string();
        assert!(filter.contains(&format!("\"{first}\"")), "{filter}");
        let ordered: Vec<_> = find.sort.keys().filter(|key| *key != first).collect();
        if !sorts {
            assert_eq!(
                keys.take(ordered.len()).collect::<Vec<_>>(),
                ordered,
                "{filter}"
            );
        }
        // A server that tells its plans says the same.
        let explained = documents
            .server
            .command(doc! {
                "explain": { "find": SAMPLE.table(), "filter": find.filter, "sort": find.sort },
                "verbosity": "queryPlanner",
            })
            .await;
        let plan = explained.ok().and_then(|answer| {
            let planner = answer.get_document("queryPlanner").ok()?;
            let plan = planner.get_document("winningPlan").ok()?;
            plan.contains_key("stage").then(|| plan.clone())
        });
        if let Some(plan) = plan {
            let mut names = Vec::new();
            walks(&plan, &mut names);
            assert!(
                names.iter().any(|name| name == index),
                "{filter}: {names:?}"
            );
            assert!(
                !names.contains(&"COLLSCAN".to_owned()),
                "{filter}: {names:?}"
            );
            let is_sorted = names.contains(&"SORT".to_owned());
            assert_eq!(is_sorted, sorts, "{filter}: {names:?}");
        }
    }
}
