//! What `SQLite` adds to the contract of the port.

use super::*;
use crate::{
    conformance::{
        checkpoint,
        documents::{self as conformance, SAMPLE, put},
    },
    documents::{Comparison, Documents as _, Filter, Index, Kind, Order},
};

const SAMPLE_2: Collection = Collection {
    version: 2,
    indexes: &[],
    newest_first_by: None,
    ..SAMPLE
};

async fn open(folder: &Path, access: Access) -> Documents {
    Documents::open(folder, &[SAMPLE, SAMPLE_2], access, &Options::default())
        .await
        .unwrap()
}

/// Removed once it is dropped, after the files are closed.
struct Owned {
    documents: Documents,
    _folder: tempfile::TempDir,
}

#[async_trait]
impl documents::Documents for Owned {
    async fn checkpoint(&self, collection: &Collection) -> Result<Option<Checkpoint>, Error> {
        self.documents.checkpoint(collection).await
    }

    async fn load(&self, collection: &Collection, ids: &[String]) -> Result<Loaded, Error> {
        self.documents.load(collection, ids).await
    }

    async fn commit(
        &self,
        collection: &Collection,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        writes: Vec<Write>,
    ) -> Result<(), Error> {
        self.documents
            .commit(collection, expected, next, writes)
            .await
    }

    async fn query(&self, collection: &Collection, query: &Query) -> Result<Page, Error> {
        self.documents.query(collection, query).await
    }

    async fn scan(
        &self,
        collection: &Collection,
        visit: &mut (dyn FnMut(Document) + Send),
    ) -> Result<Scanned, Error> {
        self.documents.scan(collection, visit).await
    }

    async fn discard(&self, collection: &Collection) -> Result<(), Error> {
        self.documents.discard(collection).await
    }
}

#[tokio::test]
async fn keeps_the_contract_of_the_port() {
    conformance::run(|| async {
        let folder = tempfile::tempdir().unwrap();
        Owned {
            documents: open(folder.path(), Access::ReadWrite).await,
            _folder: folder,
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_committed_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let documents = open(folder.path(), Access::ReadWrite).await;
    let row = put("a", "2026-01-01T00:00:00Z", "running", 1);
    let one = checkpoint(1);
    documents
        .commit(&SAMPLE, None, &one, vec![row])
        .await
        .unwrap();
    // Beside the one that writes.
    let beside = open(folder.path(), Access::ReadOnly).await;
    assert_eq!(beside.checkpoint(&SAMPLE).await.unwrap(), Some(one));
    documents.close().await;
    let again = open(folder.path(), Access::ReadWrite).await;
    assert_eq!(again.checkpoint(&SAMPLE).await.unwrap(), Some(one));
    let rows = again.load(&SAMPLE, &["a".into()]).await.unwrap();
    assert_eq!(rows.documents.len(), 1);
}

#[tokio::test]
async fn reading_only_makes_no_file_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let documents = open(folder.path(), Access::ReadOnly).await;
    assert_eq!(documents.checkpoint(&SAMPLE).await.unwrap(), None);
    let refused = documents
        .commit(&SAMPLE, None, &checkpoint(1), vec![])
        .await;
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_of_another_definition_or_layout_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let documents = open(folder.path(), Access::ReadWrite).await;
    for collection in [SAMPLE, SAMPLE_2] {
        documents
            .commit(&collection, None, &checkpoint(1), vec![])
            .await
            .unwrap();
    }
    let changed = Collection {
        indexes: &[Index {
            path: "placed_at",
            kind: Kind::Time,
        }],
        ..SAMPLE
    };
    let options = Options::default();
    let what = |opened| match opened {
        Err(OpenError::Incompatible { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let opened = Documents::open(folder.path(), &[changed], Access::ReadWrite, &options).await;
    assert!(what(opened).contains("give it a new version"));
    let opened = documents.file(&SAMPLE_2).await.unwrap().unwrap();
    let writer = opened.file.writer.clone().unwrap();
    sqlx::raw_sql("PRAGMA user_version = 2")
        .execute(&writer)
        .await
        .unwrap();
    let opened = Documents::open(folder.path(), &[SAMPLE_2], Access::ReadOnly, &options).await;
    assert!(what(opened).contains("another version of this program"));
}

#[tokio::test]
async fn a_query_walks_an_index_and_sorts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let documents = open(folder.path(), Access::ReadWrite).await;
    let one = checkpoint(1);
    let commit = documents.commit(&SAMPLE, None, &one, vec![]);
    commit.await.unwrap();
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
            after(),
            "by_f_available",
            true,
        ),
        (vec![below()], Order::ById, None, "by_f_available", true),
        (
            vec![],
            Order::ById,
            after(),
            "sqlite_autoindex_documents_1",
            false,
        ),
    ] {
        let query = Query {
            filters,
            order,
            after,
            limit: 50,
        };
        let (sql, values) = statements::query(&SAMPLE, &query).unwrap();
        let explained = format!("EXPLAIN QUERY PLAN {sql}");
        let mut statement = sqlx::query(AssertSqlSafe(explained));
        for value in values {
            statement = match value {
                Value::Integer(number) => statement.bind(number),
                Value::Text(text) => statement.bind(text),
            };
        }
        let opened = documents.file(&SAMPLE).await.unwrap().unwrap();
        let readers = opened.file.readers.clone();
        let rows = statement.fetch_all(&readers).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        let plan = plan.join("; ");
        assert!(
            plan.contains(&format!("USING INDEX {index}")),
            "{sql}: {plan}"
        );
        assert_eq!(plan.contains("TEMP B-TREE"), sorts, "{sql}: {plan}");
    }
}

#[tokio::test]
async fn a_generation_is_a_file_and_one_that_is_discarded_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let documents = open(folder.path(), Access::ReadWrite).await;
    let other = SAMPLE.in_generation(2);
    // Opened to be read before it is there.
    let beside = open(folder.path(), Access::ReadOnly).await;
    assert_eq!(beside.checkpoint(&other).await.unwrap(), None);
    let row = put("a", "2026-01-01T00:00:00Z", "running", 1);
    let one = checkpoint(1);
    let commit = documents.commit(&other, None, &one, vec![row]);
    commit.await.unwrap();
    assert!(folder.path().join("sample_v1_g2.db").exists());
    assert_eq!(beside.checkpoint(&other).await.unwrap(), Some(one));
    let refused = beside.discard(&other).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    documents.discard(&other).await.unwrap();
    let left = std::fs::read_dir(folder.path()).unwrap();
    let mut names = left.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(names.all(|name| !name.contains("_g2")));
}

#[tokio::test]
async fn who_reads_a_collection_does_not_wait_for_who_makes_it() {
    let folder = tempfile::tempdir().unwrap();
    let documents = open(folder.path(), Access::ReadWrite).await;
    let next = checkpoint(1);
    let writes = vec![put("a", "2026-01-01T00:00:00Z", "running", 1)];
    // Not one that is made when the folder is opened.
    let other = SAMPLE.in_generation(2);
    let mut making = documents.commit(&other, None, &next, writes);
    assert!(futures::poll!(making.as_mut()).is_pending());
    // As a projector reads: nobody polls the commit meanwhile.
    let wanted = ["a".to_owned()];
    let reading = documents.load(&other, &wanted);
    let read = tokio::time::timeout(std::time::Duration::from_secs(5), reading).await;
    assert_eq!(read.unwrap().unwrap().documents, []);
    making.await.unwrap();
    let loaded = documents.load(&other, &wanted).await.unwrap();
    assert_eq!(loaded.documents.len(), 1);
}
