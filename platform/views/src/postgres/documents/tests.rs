//! What PostgreSQL adds to the contract of the port.

use super::*;
use crate::{
    conformance::{
        checkpoint,
        documents::{self as conformance, SAMPLE, put},
    },
    documents::{Comparison, Documents as _, Filter, Index, Order},
    postgres::testing::{self, Cut, Way},
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
    conformance::run(|| async { connect(&testing::database(engine).await).await }).await;
}

#[tokio::test]
async fn what_was_committed_is_there_for_the_next_process() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let options = testing::database(engine).await;
    // Two that find nothing there at once, and both make it.
    let (documents, beside) = tokio::join!(connect(&options), connect(&options));
    let row = || put("a", "2026-01-01T00:00:00Z", "running", 1);
    let one = checkpoint(1);
    let (first, second) = tokio::join!(
        documents.commit(&SAMPLE, None, &one, vec![row()]),
        beside.commit(&SAMPLE, None, &one, vec![row()])
    );
    let failed = first.err().xor(second.err());
    assert!(matches!(failed, Some(Error::Moved { .. })), "{failed:?}");
    assert_eq!(documents.checkpoint(&SAMPLE).await.unwrap(), Some(one));
    assert_eq!(beside.checkpoint(&SAMPLE).await.unwrap(), Some(one));
    documents.close().await;
    let again = connect(&options).await;
    assert_eq!(again.checkpoint(&SAMPLE).await.unwrap(), Some(one));
    let rows = again.load(&SAMPLE, &["a".into()]).await.unwrap();
    assert_eq!(rows.documents.len(), 1);
}

#[tokio::test]
async fn a_schema_of_another_definition_is_refused_and_a_dropped_one_made_again() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let options = testing::database(engine).await;
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
    // What it says to do helps.
    sqlx::raw_sql("DROP SCHEMA \"sample_v1\" CASCADE")
        .execute(&mut testing::past(&options).await)
        .await
        .unwrap();
    let again = Documents::connect(&options, &[changed]).await.unwrap();
    assert_eq!(again.checkpoint(&changed).await.unwrap(), None);
    again.commit(&changed, None, &one, vec![]).await.unwrap();
    // Who has not looked since is told when it does.
    let two = checkpoint(2);
    let late = documents.commit(&SAMPLE, Some(&one), &two, vec![]);
    let late = late.await.unwrap_err();
    assert!(matches!(late, Error::Incompatible { .. }), "{late:?}");
}

#[tokio::test]
async fn what_postgresql_cannot_hold_is_damaged_and_never_found() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let documents = connect(&testing::database(engine).await).await;
    let row = |id: &str, json: &str| Write {
        id: id.into(),
        change: Change::Put(json.into()),
    };
    for (damaged, names) in [
        (row("a", r#"{"saga":{"status":"\u0000"}}"#), "a"),
        (row("b\0", "{}"), "b\0"),
        // Past the last field that is asked for, where only the database reads on.
        (
            row(
                "c",
                r#"{"placed_at":"2026-01-01T00:00:00Z","saga":{"status":""},"available":1,"#,
            ),
            "of a commit",
        ),
    ] {
        let result = documents
            .commit(&SAMPLE, None, &checkpoint(1), vec![damaged])
            .await;
        assert!(
            matches!(&result, Err(Error::Damaged { id, .. }) if id == names),
            "{result:?}"
        );
    }
    assert_eq!(documents.checkpoint(&SAMPLE).await.unwrap(), None);
    let found = documents.load(&SAMPLE, &["b\0".into()]).await.unwrap();
    assert_eq!(found.documents, []);
    let query = Query {
        filters: vec![Filter {
            path: "saga.status",
            comparison: Comparison::Equal,
            value: "\0".into(),
        }],
        order: Order::ById,
        after: None,
        limit: 1,
    };
    let page = documents.query(&SAMPLE, &query).await.unwrap();
    assert_eq!(page, Page::default());
}

#[tokio::test]
async fn a_connection_cut_at_any_message_leaves_all_of_a_commit_or_nothing() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let server = testing::database(engine).await;
    let direct = connect(&server).await;
    let way = Way::to(&server).await;
    way.carry(async {
        let documents = connect(&way.options).await;
        let mut at = None;
        let mut position = 0;
        for cut in [Cut::Before, Cut::After, Cut::Terminated] {
            for messages in 0.. {
                way.arm(messages, cut);
                position += 1;
                // Each commit writes its number into both, and deletes what the one before put.
                let row = |id: &str| put(id, "2026-01-01T00:00:00Z", "running", position);
                let id = |position: i64| format!("c-{position}");
                let writes = || {
                    vec![
                        row("a"),
                        row("b"),
                        row(&id(position)),
                        Write {
                            id: id(position - 1),
                            change: Change::Delete,
                        },
                    ]
                };
                let next = checkpoint(position.unsigned_abs());
                let first = documents.commit(&SAMPLE, at.as_ref(), &next, writes());
                let first = first.await;
                let was_cut = !way.disarm();
                // Where a commit was done before the cut, its connection was handed back before.
                assert!(was_cut || first.is_ok(), "{first:?}");
                // As a projector does it.
                while at != Some(next) {
                    let found = whole(&direct).await;
                    assert!(found == at || found == Some(next), "{found:?}");
                    at = found;
                    if at != Some(next) {
                        let _ = documents
                            .commit(&SAMPLE, at.as_ref(), &next, writes())
                            .await;
                    }
                }
                if !was_cut {
                    assert!(messages > 0, "nothing was cut");
                    break;
                }
            }
        }
    })
    .await;
}

/// The checkpoint, after a look at whether the rows are those of it.
async fn whole(documents: &Documents) -> Option<Checkpoint> {
    let mut rows = Vec::new();
    let at = documents
        .scan(&SAMPLE, &mut |document| rows.push(document))
        .await
        .unwrap()
        .checkpoint;
    let Some(at) = at else {
        assert_eq!(rows, []);
        return None;
    };
    let number = at.position.commit;
    let ids: Vec<_> = rows.iter().map(|row| &*row.id).collect();
    assert_eq!(ids, ["a", "b", &format!("c-{number}")]);
    let ends = format!("\"available\":{number}");
    assert!(rows.iter().all(|row| row.json.contains(&ends)), "{rows:?}");
    Some(at)
}

#[tokio::test]
async fn a_query_walks_an_index_and_sorts_nothing_long() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let options = testing::database(engine).await;
    let documents = connect(&options).await;
    let one = checkpoint(1);
    let commit = documents.commit(&SAMPLE, None, &one, vec![]);
    commit.await.unwrap();
    let mut past = testing::past(&options).await;
    sqlx::raw_sql(
        "INSERT INTO sample_v1.documents
         SELECT n, '{}', n * 1000, CASE n % 50 WHEN 0 THEN 'running' ELSE 'completed' END, n / 100
         FROM generate_series(1, 20000) AS n;
         ANALYZE sample_v1.documents",
    )
    .execute(&mut past)
    .await
    .unwrap();
    let filter = |path, comparison, value| Filter {
        path,
        comparison,
        value,
    };
    let running = || filter("saga.status", Comparison::Equal, "running".into());
    let below = || filter("available", Comparison::Below, 3.into());
    let older = || filter("placed_at", Comparison::Below, 30_000.into());
    let after = || {
        Some(After {
            time: Some(10_000_000),
            id: "a".into(),
        })
    };
    for (filters, order, after, index, sorts) in [
        (vec![], Order::NewestFirst, None, "by_f_placed_at", false),
        (vec![], Order::NewestFirst, after(), "by_f_placed_at", false),
        (
            vec![older()],
            Order::NewestFirst,
            None,
            "by_f_placed_at",
            false,
        ),
        (
            vec![running()],
            Order::NewestFirst,
            None,
            "by_f_saga_status",
            false,
        ),
        (
            vec![running()],
            Order::NewestFirst,
            after(),
            "by_f_saga_status",
            false,
        ),
        // Few are below: they are found first and then put in order.
        (
            vec![below()],
            Order::NewestFirst,
            None,
            "by_f_available",
            true,
        ),
        (vec![below()], Order::ById, None, "by_f_available", true),
        (vec![], Order::ById, after(), "documents_pkey", false),
        (vec![], Order::ById, None, "documents_pkey", false),
    ] {
        let query = Query {
            filters,
            order,
            after,
            limit: 50,
        };
        let (sql, values) = statements::query(&SAMPLE, &query).unwrap();
        // Last to first, so that `$1` is not taken for the beginning of `$10`.
        let sql = (1..)
            .zip(values)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .fold(sql, |sql, (number, value)| {
                let text = match value {
                    Value::Integer(number) => number.to_string(),
                    Value::Text(text) => format!("'{text}'"),
                };
                sql.replace(&format!("${number}"), &text)
            });
        let plan = testing::plan(&mut past, &sql).await;
        assert!(plan.contains(index), "{sql}:\n{plan}");
        assert!(!plan.contains("Seq Scan"), "{sql}:\n{plan}");
        assert_eq!(plan.contains("Sort"), sorts, "{sql}:\n{plan}");
    }
    let load = Statements::new(&SAMPLE).load.replace("$1", "'{1,2,3}'");
    let plan = testing::plan(&mut past, &load).await;
    assert!(plan.contains("documents_pkey"), "{load}:\n{plan}");
}
