//! Sends each collection to the database that it belongs to.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

use crate::{
    Checkpoint,
    documents::{Collection, Document, Documents, Error, Loaded, Page, Query, Scanned, Write},
};

/// Several databases of documents as one. A collection, in all its versions and generations,
/// belongs to one of them.
#[derive(Clone)]
pub struct Router {
    /// By the collections' names.
    routes: BTreeMap<&'static str, Arc<dyn Documents>>,
    others: Arc<dyn Documents>,
}

impl Router {
    /// Sends all collections to one database.
    #[must_use]
    pub fn new(others: Arc<dyn Documents>) -> Self {
        Self {
            routes: BTreeMap::new(),
            others,
        }
    }

    /// Sends the collections of these names to another one.
    #[must_use]
    pub fn with(
        mut self,
        names: impl IntoIterator<Item = &'static str>,
        documents: &Arc<dyn Documents>,
    ) -> Self {
        let names = names.into_iter();
        self.routes
            .extend(names.map(|name| (name, Arc::clone(documents))));
        self
    }

    fn of(&self, collection: &Collection) -> &dyn Documents {
        let route = self.routes.get(collection.name);
        &**route.unwrap_or(&self.others)
    }
}

#[async_trait]
impl Documents for Router {
    async fn checkpoint(&self, collection: &Collection) -> Result<Option<Checkpoint>, Error> {
        self.of(collection).checkpoint(collection).await
    }

    async fn furthest(&self, collection: &Collection) -> Result<Option<Checkpoint>, Error> {
        self.of(collection).furthest(collection).await
    }

    async fn load(&self, collection: &Collection, ids: &[String]) -> Result<Loaded, Error> {
        self.of(collection).load(collection, ids).await
    }

    async fn commit(
        &self,
        collection: &Collection,
        expected: Option<&Checkpoint>,
        next: &Checkpoint,
        writes: Vec<Write>,
    ) -> Result<(), Error> {
        let documents = self.of(collection);
        documents.commit(collection, expected, next, writes).await
    }

    async fn query(&self, collection: &Collection, query: &Query) -> Result<Page, Error> {
        self.of(collection).query(collection, query).await
    }

    async fn scan(
        &self,
        collection: &Collection,
        visit: &mut (dyn FnMut(Document) + Send),
    ) -> Result<Scanned, Error> {
        self.of(collection).scan(collection, visit).await
    }

    async fn discard(&self, collection: &Collection) -> Result<(), Error> {
        self.of(collection).discard(collection).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        conformance::{
            checkpoint,
            documents::{self as conformance, SAMPLE, put},
        },
        memory::{self, piecemeal},
    };

    #[tokio::test]
    async fn keeps_the_contract_of_the_port_whatever_is_behind_it() {
        let one: Arc<dyn Documents> = Arc::new(memory::Documents::default());
        conformance::run(|| async { Router::new(Arc::new(memory::Documents::default())) }).await;
        conformance::run(|| async {
            let other: Arc<dyn Documents> = Arc::new(piecemeal::Documents::default());
            Router::new(Arc::clone(&one)).with([SAMPLE.name], &other)
        })
        .await;
        assert_eq!(one.checkpoint(&SAMPLE).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_collection_goes_where_its_name_says_in_each_generation() {
        let others: Arc<dyn Documents> = Arc::new(memory::Documents::default());
        let named: Arc<dyn Documents> = Arc::new(memory::Documents::default());
        let router = Router::new(Arc::clone(&others)).with(["named", "sample"], &named);
        let elsewhere = Collection {
            name: "elsewhere",
            ..SAMPLE
        };
        let one = checkpoint(1);
        for collection in [SAMPLE, SAMPLE.in_generation(3), elsewhere] {
            let row = put("a", "2026-01-01T00:00:00Z", "running", 1);
            let commit = router.commit(&collection, None, &one, vec![row]);
            commit.await.unwrap();
            let (here, there) = match collection.name {
                "elsewhere" => (&others, &named),
                _ => (&named, &others),
            };
            assert_eq!(here.checkpoint(&collection).await.unwrap(), Some(one));
            assert_eq!(there.checkpoint(&collection).await.unwrap(), None);
        }
    }
}
