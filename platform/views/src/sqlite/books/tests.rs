//! What `SQLite` adds to the contract of the port: the file itself holds the rules.

use super::*;
use crate::{
    books::Books as _,
    conformance::{
        books::{self as conformance, SAMPLE, entry},
        checkpoint,
    },
};

const SAMPLE_2: Book = Book {
    version: 2,
    ..SAMPLE
};

async fn open(folder: &Path, access: Access) -> Books {
    let books = [SAMPLE, SAMPLE_2];
    Books::open(folder, &books, access, &Options::default())
        .await
        .unwrap()
}

/// Removed once it is dropped, after the files are closed.
struct Owned {
    books: Books,
    _folder: tempfile::TempDir,
}

#[async_trait]
impl books::Books for Owned {
    async fn checkpoint(&self, book: &Book) -> Result<Option<Checkpoint>, Error> {
        self.books.checkpoint(book).await
    }

    async fn commit(
        &self,
        book: &Book,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        entries: Vec<Entry>,
    ) -> Result<(), Error> {
        self.books.commit(book, expected, next, entries).await
    }

    async fn balances(&self, book: &Book) -> Result<Vec<Balance>, Error> {
        self.books.balances(book).await
    }

    async fn entries(&self, book: &Book, query: &Query) -> Result<Vec<Booked>, Error> {
        self.books.entries(book, query).await
    }

    async fn scan(
        &self,
        book: &Book,
        visit: &mut (dyn FnMut(Booked) + Send),
    ) -> Result<Contents, Error> {
        self.books.scan(book, visit).await
    }

    async fn discard(&self, book: &Book) -> Result<(), Error> {
        self.books.discard(book).await
    }
}

#[tokio::test]
async fn keeps_the_contract_of_the_port() {
    conformance::run(|| async {
        let folder = tempfile::tempdir().unwrap();
        Owned {
            books: open(folder.path(), Access::ReadWrite).await,
            _folder: folder,
        }
    })
    .await;
}

async fn with_one_entry(folder: &Path) -> Books {
    let books = open(folder, Access::ReadWrite).await;
    let first = entry(1, 7, &[("clearing", "EUR", 5), ("revenue", "EUR", -5)]);
    books
        .commit(&SAMPLE, None, &checkpoint(1), vec![first])
        .await
        .unwrap();
    books
}

#[tokio::test]
async fn who_writes_past_the_port_is_held_to_the_rules_too() {
    let folder = tempfile::tempdir().unwrap();
    let books = with_one_entry(folder.path()).await;
    let opened = books.file(&SAMPLE).await.unwrap().unwrap();
    let writer = opened.file.writer.clone().unwrap();
    let another = "INSERT INTO entries VALUES (2, '2', x'00', 't', 'a-1', x'00', 0);";
    for (sql, says) in [
        (
            "UPDATE postings SET amount = 6 WHERE account = 1",
            "never changed",
        ),
        ("DELETE FROM postings", "never deleted"),
        ("UPDATE entries SET at = 0", "never changed"),
        ("DELETE FROM entries", "never deleted"),
        (
            "INSERT INTO accounts VALUES (9, 'x', 'EUR', 0); INSERT INTO postings VALUES (9, 1, 5)",
            "in the book already",
        ),
        ("UPDATE book SET entries = 0", "one after the other"),
        (
            &format!("{another} UPDATE book SET entries = 2"),
            "no postings",
        ),
        (
            &format!(
                "{another} INSERT INTO postings VALUES (1, 2, 5); UPDATE book SET entries = 2"
            ),
            "sum to zero",
        ),
        (
            &format!(
                "{another} INSERT INTO postings VALUES (1, 2, 5), (2, 2, -5); UPDATE book SET entries = 3"
            ),
            "one after the other",
        ),
        ("INSERT INTO postings VALUES (1, 9, 5)", "FOREIGN KEY"),
        (
            &format!("{another} INSERT INTO postings VALUES (9, 2, 5)"),
            "FOREIGN KEY",
        ),
    ] {
        let mut tx = writer.begin().await.unwrap();
        let refused = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut *tx)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(says), "{sql}: {refused}");
    }
    // What is balanced gets in, and the balances with it.
    let mut tx = writer.begin().await.unwrap();
    let sql = format!(
        "{another} INSERT INTO postings VALUES (1, 2, 4), (2, 2, -4); UPDATE book SET entries = 2"
    );
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
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
async fn what_was_committed_is_there_after_opening_again_and_beside() {
    let folder = tempfile::tempdir().unwrap();
    let books = with_one_entry(folder.path()).await;
    let beside = open(folder.path(), Access::ReadOnly).await;
    assert_eq!(beside.balances(&SAMPLE).await.unwrap().len(), 2);
    let refused = beside
        .commit(&SAMPLE, Some(&checkpoint(1)), &checkpoint(2), vec![])
        .await;
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    books.close().await;
    let again = open(folder.path(), Access::ReadWrite).await;
    let at = again.checkpoint(&SAMPLE).await.unwrap();
    assert_eq!(at, Some(checkpoint(1)));
}

#[tokio::test]
async fn reading_only_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let books = open(folder.path(), Access::ReadOnly).await;
    assert_eq!(books.checkpoint(&SAMPLE).await.unwrap(), None);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_asked_of_a_book_walks_ranges_and_sorts_nothing_long() {
    let folder = tempfile::tempdir().unwrap();
    let books = with_one_entry(folder.path()).await;
    let opened = books.file(&SAMPLE).await.unwrap().unwrap();
    let writer = opened.file.writer.clone().unwrap();
    for (sql, walks) in [
        (
            "SELECT number FROM entries WHERE number < 9 ORDER BY number DESC LIMIT 9",
            "SEARCH entries USING INTEGER PRIMARY KEY",
        ),
        (
            "SELECT entry FROM postings WHERE account = 1 AND entry < 9 ORDER BY entry DESC",
            "SEARCH postings USING PRIMARY KEY",
        ),
        (
            "SELECT number FROM entries WHERE correlation_id = x'00' AND number < 9
             ORDER BY number DESC",
            "SEARCH entries USING COVERING INDEX entries_by_correlation",
        ),
    ] {
        let explained = format!("EXPLAIN QUERY PLAN {sql}");
        let rows = sqlx::query(AssertSqlSafe(explained))
            .fetch_all(&writer)
            .await
            .unwrap();
        let plan: Vec<String> = rows
            .iter()
            .map(|row| sqlx::Row::get(row, "detail"))
            .collect();
        let plan = plan.join("; ");
        assert!(plan.contains(walks), "{sql}: {plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}
