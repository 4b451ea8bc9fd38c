//! What PostgreSQL adds to the contract of the port: the database itself holds the rules.

use super::*;
use crate::{
    books::Books as _,
    conformance::{
        books::{self as conformance, SAMPLE, entry},
        checkpoint,
    },
    postgres::testing::{self, Cut, Way},
};

const SAMPLE_2: Book = Book {
    version: 2,
    ..SAMPLE
};

async fn connect(options: &Options) -> Books {
    Books::connect(options, &[SAMPLE, SAMPLE_2]).await.unwrap()
}

#[tokio::test]
async fn keeps_the_contract_of_the_port() {
    let Some(engine) = testing::engine() else {
        return;
    };
    conformance::run(|| async { connect(&testing::database(engine).await).await }).await;
}

async fn with_one_entry(options: &Options) -> Books {
    let books = connect(options).await;
    let first = entry(1, 7, &[("clearing", "EUR", 5), ("revenue", "EUR", -5)]);
    books
        .commit(&SAMPLE, None, &checkpoint(1), vec![first])
        .await
        .unwrap();
    books
}

#[tokio::test]
async fn who_writes_past_the_port_is_held_to_the_rules_too() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let options = testing::database(engine).await;
    let books = with_one_entry(&options).await;
    let mut past = testing::past(&options).await;
    let id = "'00000000-0000-0000-0000-000000000000'";
    let entries = |number: u32| {
        format!("INSERT INTO entries VALUES ({number}, '2', {id}, 't', 'a-1', {id}, now());")
    };
    let postings = |values: &str| format!("INSERT INTO postings VALUES {values};");
    let another = "INSERT INTO accounts (name, currency) VALUES ('x', 'EUR');";
    let late = |entry: u32| {
        format!("INSERT INTO postings SELECT {entry}, id, 5 FROM accounts WHERE name = 'x';")
    };
    let both = [postings("(2, 1, 4), (2, 2, -4)"), entries(2)].concat();
    for (sql, says) in [
        ("UPDATE postings SET amount = 6".to_owned(), "never changed"),
        ("DELETE FROM postings".to_owned(), "never changed"),
        ("TRUNCATE postings".to_owned(), "never changed"),
        ("UPDATE entries SET at = now()".to_owned(), "never changed"),
        ("DELETE FROM entries".to_owned(), "never changed"),
        ("TRUNCATE entries CASCADE".to_owned(), "never changed"),
        ("UPDATE accounts SET balance = 9".to_owned(), "follows from"),
        (
            "INSERT INTO accounts (name, currency, balance) VALUES ('x', 'EUR', 1)".to_owned(),
            "follows from",
        ),
        ("DELETE FROM accounts".to_owned(), "never deleted"),
        ("UPDATE book SET entries = 0".to_owned(), "follows from"),
        ("DELETE FROM book".to_owned(), "never emptied"),
        (
            [another.to_owned(), late(1)].concat(),
            "in the book already",
        ),
        (entries(2), "sum to zero"),
        (entries(3), "one after the other"),
        (
            [postings("(2, 1, 4), (2, 2, -3)"), entries(2)].concat(),
            "sum to zero",
        ),
        // After its entry, a posting comes too late.
        (
            [another.to_owned(), both.clone(), late(2)].concat(),
            "in the book already",
        ),
        (postings("(2, 1, 5), (2, 2, -5)"), "postings_entry_fkey"),
        (
            [postings("(2, 9, 5)"), entries(2)].concat(),
            "postings_account_fkey",
        ),
    ] {
        let mut tx = past.begin().await.unwrap();
        let sql = format!("SET LOCAL search_path TO sample_v1; {sql}");
        let done = sqlx::raw_sql(AssertSqlSafe(sql.clone()))
            .execute(&mut *tx)
            .await;
        // What is held at the end only is refused there.
        let refused = match done {
            Ok(_) => tx.commit().await.unwrap_err(),
            Err(refused) => {
                tx.rollback().await.unwrap();
                refused
            }
        };
        assert!(refused.to_string().contains(says), "{sql}: {refused}");
    }
    // What is balanced gets in, and the balances with it.
    let sql = format!("BEGIN; SET LOCAL search_path TO sample_v1; {both} COMMIT");
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut past)
        .await
        .unwrap();
    let amounts: Vec<i64> = books
        .balances(&SAMPLE)
        .await
        .unwrap()
        .iter()
        .map(|balance| balance.amount_minor)
        .collect();
    assert_eq!(amounts, [9, -9]);
}

#[tokio::test]
async fn a_connection_cut_at_any_message_leaves_all_of_a_commit_or_nothing() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let server = testing::database(engine).await;
    let direct = connect(&server).await;
    let way = Way::to(&server).await;
    let mut commits = 0;
    way.carry(async {
        let books = connect(&way.options).await;
        let mut at = None;
        for cut in [Cut::Before, Cut::After, Cut::Terminated] {
            for messages in 0.. {
                way.arm(messages, cut);
                commits += 1;
                let next = checkpoint(commits);
                let moves = [("clearing", "EUR", 5), ("revenue", "EUR", -5)];
                let entries = || vec![entry(commits, 7, &moves), entry(commits, 8, &moves)];
                let first = books.commit(&SAMPLE, at.as_ref(), &next, entries()).await;
                let was_cut = !way.disarm();
                // Where a commit was done before the cut, its connection was handed back before.
                assert!(was_cut || first.is_ok(), "{first:?}");
                // As a bookkeeper does it.
                while at != Some(next) {
                    let found = whole(&direct).await;
                    assert!(found == at || found == Some(next), "{found:?}");
                    at = found;
                    if at != Some(next) {
                        let _ = books.commit(&SAMPLE, at.as_ref(), &next, entries()).await;
                    }
                }
                if !was_cut {
                    assert!(messages > 4, "few were cut: {messages}");
                    break;
                }
            }
        }
    })
    .await;
    assert_eq!(whole(&direct).await, Some(checkpoint(commits)));
}

/// The checkpoint, after a look at whether the book is that of it: two entries a commit.
async fn whole(books: &Books) -> Option<Checkpoint> {
    let mut positions = Vec::new();
    let contents = books
        .scan(&SAMPLE, &mut |booked| {
            positions.push(booked.entry.position.commit);
        })
        .await
        .unwrap();
    let commits = contents.checkpoint.map_or(0, |at| at.position.commit);
    let expected: Vec<u64> = (1..=commits).flat_map(|commit| [commit, commit]).collect();
    assert_eq!(positions, expected);
    let amounts: Vec<i64> = contents
        .balances
        .iter()
        .map(|balance| balance.amount_minor)
        .collect();
    let amount = i64::try_from(commits).unwrap() * 10;
    let expected = if amount == 0 {
        vec![]
    } else {
        vec![amount, -amount]
    };
    assert_eq!(amounts, expected);
    contents.checkpoint
}

#[tokio::test]
async fn what_is_asked_of_a_book_walks_an_index_and_sorts_nothing_long() {
    let Some(engine) = testing::engine() else {
        return;
    };
    let options = testing::database(engine).await;
    let books = with_one_entry(&options).await;
    books.close().await;
    let mut past = testing::past(&options).await;
    sqlx::raw_sql(
        "BEGIN;
         SET LOCAL search_path TO sample_v1;
         INSERT INTO accounts (name, currency) SELECT n, 'EUR' FROM generate_series(1, 18) AS n;
         INSERT INTO postings
         SELECT n, 1 + (n + side) % 20, side * 2 - 1
         FROM generate_series(2, 20000) AS n, generate_series(0, 1) AS side;
         INSERT INTO entries
         SELECT n, n, gen_random_uuid(), 't', 'a-1', gen_random_uuid(), now()
         FROM generate_series(2, 20000) AS n;
         COMMIT;
         ANALYZE sample_v1.accounts; ANALYZE sample_v1.entries; ANALYZE sample_v1.postings",
    )
    .execute(&mut past)
    .await
    .unwrap();
    let reading = Reading::new("sample_v1");
    let id = "'00000000-0000-0000-0000-000000000007'";
    for (sql, indexes) in [
        (&reading.newest, vec!["entries_pkey"]),
        (&reading.onwards, vec!["entries_pkey"]),
        (
            &reading.of_correlation,
            vec!["entries_by_correlation", "postings_pkey"],
        ),
        (&reading.of_account, vec!["postings_by_account"]),
        (&reading.entries, vec!["entries_pkey"]),
        (&reading.postings, vec!["postings_pkey"]),
    ] {
        let asked = match sql {
            sql if Arc::ptr_eq(sql, &reading.of_account) => sql.replace("$3", "'revenue'"),
            sql if sql.contains("ANY($1)") => sql.replace("$1", "'{7,8,9}'"),
            sql => sql.replace("$3", id).replace("$4", "'revenue'"),
        };
        let asked = asked.replace("$1", "15000").replace("$2", "50");
        let plan = testing::plan(&mut past, &asked).await;
        for index in indexes {
            assert!(plan.contains(index), "{asked}:\n{plan}");
        }
        // There are few accounts.
        for table in ["entries", "postings"] {
            let scan = format!("Seq Scan on {table}");
            assert!(!plan.contains(&scan), "{asked}:\n{plan}");
        }
    }
}
