//! What every adapter of [`Documents`] does the same.

use recourse_event_store::LogId;
use serde_json::json;
use uuid::Uuid;

use super::checkpoint;
use crate::{
    Checkpoint,
    documents::{
        After, Change, Collection, Comparison, Document, Documents, Error, Filter, Index, Kind,
        Loaded, Order, Query, Scanned, Write,
    },
};

pub(crate) const SAMPLE: Collection = Collection {
    name: "sample",
    version: 1,
    generation: 0,
    indexes: &[
        Index {
            path: "placed_at",
            kind: Kind::Time,
        },
        Index {
            path: "saga.status",
            kind: Kind::Text,
        },
        Index {
            path: "available",
            kind: Kind::Integer,
        },
    ],
    newest_first_by: Some("placed_at"),
};

pub(crate) fn put(id: &str, placed_at: &str, status: &str, available: i64) -> Write {
    let row = json!({"placed_at": placed_at, "saga": {"status": status}, "available": available});
    Write {
        id: id.into(),
        change: Change::Put(row.to_string()),
    }
}

fn delete(id: &str) -> Write {
    Write {
        id: id.into(),
        change: Change::Delete,
    }
}

/// Runs the suite, each part on a database of its own.
pub(crate) async fn run<D, F>(new: impl Fn() -> F)
where
    D: Documents,
    F: Future<Output = D>,
{
    run_with(1777, new).await;
}

/// Runs the suite with so many writes where there are many.
pub(crate) async fn run_with<D, F>(many: usize, new: impl Fn() -> F)
where
    D: Documents,
    F: Future<Output = D>,
{
    a_collection_never_written_is_empty(&new().await).await;
    rows_and_checkpoint_move_together(&new().await).await;
    nothing_is_written_where_the_checkpoint_has_moved(&new().await).await;
    nothing_is_written_where_one_write_is_damaged(&new().await).await;
    many_writes_are_one_commit(&new().await, many).await;
    versions_are_beside_each_other(&new().await).await;
    generations_are_beside_each_other(&new().await).await;
    a_discarded_collection_was_never_written(&new().await).await;
    pages_go_newest_first(&new().await).await;
    pages_go_by_id(&new().await).await;
    filters_hold(&new().await).await;
    what_has_no_index_is_refused(&new().await).await;
}

async fn ids(documents: &dyn Documents, query: &Query) -> (Vec<String>, Option<After>) {
    let page = documents.query(&SAMPLE, query).await.unwrap();
    let ids = page.documents.into_iter().map(|document| document.id);
    (ids.collect(), page.next)
}

async fn all(documents: &dyn Documents) -> (Vec<Document>, Option<Checkpoint>) {
    let mut seen = Vec::new();
    let scanned = documents
        .scan(&SAMPLE, &mut |document| seen.push(document))
        .await
        .unwrap();
    // Nothing was cut: none is further than the checkpoint.
    assert_eq!((scanned.folded, scanned.gone), Default::default());
    (seen, scanned.checkpoint)
}

async fn a_collection_never_written_is_empty(documents: &dyn Documents) {
    assert_eq!(documents.checkpoint(&SAMPLE).await.unwrap(), None);
    let loaded = documents.load(&SAMPLE, &["a".into()]).await.unwrap();
    assert_eq!(loaded, Loaded::default());
    assert_eq!(documents.furthest(&SAMPLE).await.unwrap(), None);
    assert_eq!(all(documents).await, (vec![], None));
    let query = Query {
        filters: vec![],
        order: Order::NewestFirst,
        after: None,
        limit: 10,
    };
    assert_eq!(ids(documents, &query).await, (vec![], None));
}

async fn rows_and_checkpoint_move_together(documents: &dyn Documents) {
    let first = vec![
        put("b", "2026-01-01T00:00:00Z", "running", 1),
        put("a", "2026-01-01T00:00:00Z", "running", 1),
    ];
    let one = checkpoint(1);
    documents.commit(&SAMPLE, None, &one, first).await.unwrap();
    assert_eq!(documents.checkpoint(&SAMPLE).await.unwrap(), Some(one));
    let second = vec![
        put("a", "2026-01-01T00:00:00Z", "completed", 2),
        delete("b"),
        delete("never-there"),
        put("c", "2026-01-01T00:00:00Z", "it's \"quoted\" ☕", 3),
    ];
    let two = checkpoint(2);
    documents
        .commit(&SAMPLE, Some(&one), &two, second.clone())
        .await
        .unwrap();
    let (rows, at) = all(documents).await;
    assert_eq!(at, Some(two));
    let expected = second.into_iter().filter_map(|write| match write.change {
        Change::Put(json) => Some(Document { id: write.id, json }),
        Change::Delete => None,
    });
    assert_eq!(rows, expected.collect::<Vec<_>>());
    let wanted = ["c".to_owned(), "b".to_owned(), "x'\"".to_owned()];
    let mut loaded = documents.load(&SAMPLE, &wanted).await.unwrap();
    loaded.documents.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(loaded.documents, rows[1..]);
    // Where it is not in step with the checkpoint by itself, it says how far it is.
    let says = |id: &str| loaded.folded.get(id);
    assert!(
        loaded.folded.is_empty() || says("b") == Some(&two.position),
        "{loaded:?}"
    );
    let furthest = documents.furthest(&SAMPLE).await.unwrap();
    assert_eq!(furthest.is_some(), !loaded.folded.is_empty());
    assert!(furthest.is_none_or(|furthest| furthest == two));
    // A quiet log moves the checkpoint alone.
    documents
        .commit(&SAMPLE, Some(&two), &checkpoint(7), vec![])
        .await
        .unwrap();
    assert_eq!(all(documents).await, (rows, Some(checkpoint(7))));
}

async fn nothing_is_written_where_the_checkpoint_has_moved(documents: &dyn Documents) {
    let write = || vec![put("a", "2026-01-01T00:00:00Z", "running", 1)];
    let one = checkpoint(1);
    let moved =
        |result| matches!(result, Err(Error::Moved { collection }) if collection == "sample_v1");
    assert!(moved(
        documents
            .commit(&SAMPLE, Some(&one), &checkpoint(2), write())
            .await
    ));
    assert_eq!(all(documents).await, (vec![], None));
    documents.commit(&SAMPLE, None, &one, vec![]).await.unwrap();
    let other_event = Checkpoint {
        event_id: None,
        ..one
    };
    let other_log = Checkpoint {
        log: LogId(Uuid::from_u128(2)),
        ..one
    };
    for stale in [
        None,
        Some(checkpoint(0)),
        Some(other_event),
        Some(other_log),
    ] {
        let result = documents
            .commit(&SAMPLE, stale.as_ref(), &checkpoint(2), write())
            .await;
        assert!(moved(result), "{stale:?}");
        assert_eq!(all(documents).await, (vec![], Some(one)));
    }
}

async fn nothing_is_written_where_one_write_is_damaged(documents: &dyn Documents) {
    let writes = vec![
        put("a", "2026-01-01T00:00:00Z", "running", 1),
        put("b", "yesterday", "running", 1),
    ];
    let result = documents
        .commit(&SAMPLE, None, &checkpoint(1), writes)
        .await;
    assert!(matches!(result, Err(Error::Damaged { id, .. }) if id == "b"));
    assert_eq!(all(documents).await, (vec![], None));
}

async fn many_writes_are_one_commit(documents: &dyn Documents, many: usize) {
    let id = |n: usize| format!("{n:05}");
    let at = |n: usize| format!("2026-01-01T00:{:02}:{:02}Z", n / 60 % 60, n % 60);
    let writes = (0..many)
        .map(|n| put(&id(n), &at(n), "running", 1))
        .collect();
    documents
        .commit(&SAMPLE, None, &checkpoint(1), writes)
        .await
        .unwrap();
    let writes = (0..many)
        .map(|n| match n % 3 {
            0 => delete(&id(n)),
            _ => put(&id(n), &at(n), "completed", 1),
        })
        .collect();
    documents
        .commit(&SAMPLE, Some(&checkpoint(1)), &checkpoint(2), writes)
        .await
        .unwrap();
    let (rows, _) = all(documents).await;
    let left: Vec<_> = (0..many).filter(|n| n % 3 != 0).map(id).collect();
    assert_eq!(
        rows.iter().map(|row| &row.id).collect::<Vec<_>>(),
        left.iter().collect::<Vec<_>>()
    );
    assert!(rows.iter().all(|row| row.json.contains("completed")));
    let loaded = documents
        .load(&SAMPLE, &(0..many).map(id).collect::<Vec<_>>())
        .await
        .unwrap();
    assert_eq!(loaded.documents.len(), rows.len());
}

async fn versions_are_beside_each_other(documents: &dyn Documents) {
    let next_version = Collection {
        version: 2,
        indexes: &[],
        newest_first_by: None,
        ..SAMPLE
    };
    let row = put("a", "2026-01-01T00:00:00Z", "running", 1);
    documents
        .commit(&SAMPLE, None, &checkpoint(1), vec![row])
        .await
        .unwrap();
    documents
        .commit(&next_version, None, &checkpoint(9), vec![])
        .await
        .unwrap();
    assert_eq!(all(documents).await.0.len(), 1);
    let loaded = documents.load(&next_version, &["a".into()]).await.unwrap();
    assert_eq!(loaded.documents, vec![]);
    let at = documents.checkpoint(&next_version).await.unwrap();
    assert_eq!(at, Some(checkpoint(9)));
    assert_eq!(
        documents.checkpoint(&SAMPLE).await.unwrap(),
        Some(checkpoint(1))
    );
}

async fn fill(documents: &dyn Documents) {
    let writes = vec![
        put("a", "2026-01-01T00:00:00Z", "running", 5),
        put("b", "2026-01-01T00:00:00.5Z", "completed", 0),
        put("c", "2026-01-01T00:00:00.500001Z", "running", -3),
        put("d", "2026-01-01T02:00:00+02:00", "running", 7),
        put("e", "2025-12-31T23:59:59.999999Z", "completed", 5),
        Write {
            id: "f".into(),
            change: Change::Put(r#"{"available":"many","saga":null}"#.into()),
        },
    ];
    documents
        .commit(&SAMPLE, None, &checkpoint(1), writes)
        .await
        .unwrap();
}

async fn pages_go_newest_first(documents: &dyn Documents) {
    fill(documents).await;
    let mut query = Query {
        filters: vec![],
        order: Order::NewestFirst,
        after: None,
        limit: 2,
    };
    let mut pages = Vec::new();
    loop {
        let (page, next) = ids(documents, &query).await;
        pages.push(page);
        query.after = next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [vec!["c", "b"], vec!["d", "a"], vec!["e"]]);
    // A page that is exactly full has none after it.
    query.limit = 5;
    assert_eq!(ids(documents, &query).await.1, None);
}

async fn pages_go_by_id(documents: &dyn Documents) {
    fill(documents).await;
    let mut query = Query {
        filters: vec![],
        order: Order::ById,
        after: None,
        limit: 4,
    };
    let (page, next) = ids(documents, &query).await;
    assert_eq!(page, ["a", "b", "c", "d"]);
    query.after = next;
    assert_eq!(
        ids(documents, &query).await,
        (vec!["e".into(), "f".into()], None)
    );
}

async fn filters_hold(documents: &dyn Documents) {
    fill(documents).await;
    let running = Filter {
        path: "saga.status",
        comparison: Comparison::Equal,
        value: "running".into(),
    };
    let below = |limit: i64| Filter {
        path: "available",
        comparison: Comparison::Below,
        value: limit.into(),
    };
    let exactly = |value: i64| Filter {
        path: "available",
        comparison: Comparison::Equal,
        value: value.into(),
    };
    let older = Filter {
        path: "placed_at",
        comparison: Comparison::Below,
        value: chrono::DateTime::UNIX_EPOCH
            .checked_add_signed(chrono::TimeDelta::seconds(1_767_225_600))
            .unwrap()
            .into(),
    };
    for (filters, order, expected) in [
        (
            vec![running.clone()],
            Order::NewestFirst,
            vec!["c", "d", "a"],
        ),
        (
            vec![running.clone(), below(6)],
            Order::NewestFirst,
            vec!["c", "a"],
        ),
        (vec![below(5)], Order::ById, vec!["b", "c"]),
        (vec![exactly(5)], Order::ById, vec!["a", "e"]),
        (vec![older.clone()], Order::ById, vec!["e"]),
        (vec![running.clone(), older], Order::NewestFirst, vec![]),
        (
            vec![running.clone(), running],
            Order::ById,
            vec!["a", "c", "d"],
        ),
    ] {
        let mut query = Query {
            filters,
            order,
            after: None,
            limit: 10,
        };
        assert_eq!(ids(documents, &query).await.0, expected, "{query:?}");
        // Page by page it is the same.
        query.limit = 1;
        let mut seen = Vec::new();
        loop {
            let (page, next) = ids(documents, &query).await;
            seen.extend(page);
            query.after = next;
            if query.after.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected, "{query:?}");
    }
}

async fn what_has_no_index_is_refused(documents: &dyn Documents) {
    for (path, value) in [("reason", "x".into()), ("available", "5".into())] {
        let query = Query {
            filters: vec![Filter {
                path,
                comparison: Comparison::Equal,
                value,
            }],
            order: Order::ById,
            after: None,
            limit: 1,
        };
        assert!(matches!(
            documents.query(&SAMPLE, &query).await,
            Err(Error::NotIndexed { path: named, .. }) if named == path
        ));
    }
}

async fn generations_are_beside_each_other(documents: &dyn Documents) {
    let other = SAMPLE.in_generation(3);
    assert_ne!(other.table(), SAMPLE.table());
    let row = |available| put("a", "2026-01-01T00:00:00Z", "running", available);
    let (one, nine) = (checkpoint(1), checkpoint(9));
    for (collection, available) in [(&SAMPLE, 1), (&other, 2)] {
        let commit = documents.commit(collection, None, &one, vec![row(available)]);
        commit.await.unwrap();
    }
    let commit = documents.commit(&other, Some(&one), &nine, vec![]);
    commit.await.unwrap();
    assert_eq!(documents.checkpoint(&SAMPLE).await.unwrap(), Some(one));
    assert_eq!(documents.checkpoint(&other).await.unwrap(), Some(nine));
    for (collection, available) in [(&SAMPLE, 1), (&other, 2)] {
        let query = Query {
            filters: vec![Filter {
                path: "available",
                comparison: Comparison::Equal,
                value: available.into(),
            }],
            order: Order::NewestFirst,
            after: None,
            limit: 10,
        };
        let found = documents.query(collection, &query).await.unwrap();
        assert_eq!(found.documents.len(), 1);
        let loaded = documents.load(collection, &["a".into()]).await.unwrap();
        assert_eq!(found.documents, loaded.documents);
    }
}

async fn a_discarded_collection_was_never_written(documents: &dyn Documents) {
    let other = SAMPLE.in_generation(1);
    // No harm in what was never there.
    documents.discard(&other).await.unwrap();
    let row = || put("a", "2026-01-01T00:00:00Z", "running", 1);
    let (one, two) = (checkpoint(1), checkpoint(2));
    for collection in [&SAMPLE, &other] {
        let commit = documents.commit(collection, None, &one, vec![row()]);
        commit.await.unwrap();
    }
    for _ in 0..2 {
        documents.discard(&other).await.unwrap();
        assert_eq!(documents.checkpoint(&other).await.unwrap(), None);
        let loaded = documents.load(&other, &["a".into()]).await.unwrap();
        assert_eq!(loaded.documents, vec![]);
        let mut seen = 0;
        let scanned = documents.scan(&other, &mut |_| seen += 1).await.unwrap();
        assert_eq!((scanned, seen), (Scanned::default(), 0));
    }
    // Who still fills it is told, and does not make it again.
    let late = documents.commit(&other, Some(&one), &two, vec![row()]);
    assert!(matches!(late.await, Err(Error::Moved { .. })));
    assert_eq!(documents.checkpoint(&other).await.unwrap(), None);
    // The one beside it is as it was.
    assert_eq!(all(documents).await.0.len(), 1);
    assert_eq!(documents.checkpoint(&SAMPLE).await.unwrap(), Some(one));
    // It can be filled again, from the beginning.
    let again = documents.commit(&other, None, &one, vec![]);
    again.await.unwrap();
    assert_eq!(documents.checkpoint(&other).await.unwrap(), Some(one));
    let loaded = documents.load(&other, &["a".into()]).await.unwrap();
    assert_eq!(loaded.documents, vec![]);
}
