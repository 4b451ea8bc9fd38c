//! The engines as they are read by who verifies them.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use recourse_bench::verify::Opened;
use recourse_esdb::client;
use recourse_event_store::LogId;
use recourse_projection_services::live_generations;
use recourse_service::{Clock, Ids, clock::SystemClock};
use recourse_views::{mongodb, postgres};

use super::engines::{FIRST_CONNECT, connect_mongodb, routed};
use crate::{folder, system};

/// Engines instead of a data folder.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub(crate) struct Engines {
    /// The event store, in place of the data folder: `esdb://HOST:PORT`.
    #[arg(long, value_name = "URL", requires = "postgres")]
    event_store: Option<client::Address>,
    /// PostgreSQL, with the views.
    #[arg(long, value_name = "URL", requires = "event_store")]
    postgres: Option<postgres::Address>,
    /// MongoDB, where the views of orders and sagas are there.
    #[arg(long, value_name = "URL", requires = "event_store")]
    mongodb: Option<mongodb::Address>,
}

impl Engines {
    /// Opens them, where they are named.
    ///
    /// # Errors
    /// Where one cannot be reached.
    pub(crate) async fn open(self) -> anyhow::Result<Option<Opened>> {
        let (Some(event_store), Some(postgres)) = (self.event_store, self.postgres) else {
            return Ok(None);
        };
        let options = postgres::Options::new(postgres);
        let documents = postgres::Documents::connect(&options, &system::collections())
            .await
            .context("cannot open the views")?;
        let in_mongodb = match &self.mongodb {
            Some(address) => {
                let connected = connect_mongodb(address).await;
                Some(connected.context("cannot open the views of orders and sagas")?)
            }
            None => None,
        };
        let documents = routed(Arc::new(documents), in_mongodb.as_ref());
        let books = recourse_projection_services::books();
        let books = postgres::Books::connect(&options, &books)
            .await
            .context("cannot open the ledger")?;
        let options = client::Options::new(event_store);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids = Ids::from_entropy(clock).context("no randomness")?;
        let store = client::Store::connect_within(options, LogId(ids.next()), FIRST_CONNECT * 2)
            .await
            .context("cannot open the event store")?;
        let store: Arc<dyn recourse_event_store::EventStore> = Arc::new(store);
        // What is durable is known once it is asked for.
        store.appended().await.context("cannot read the log")?;
        let mut live = live_generations(&*store).await?;
        loop {
            let views = folder::scan(&*documents, &books, &live).await;
            // After the views: a log that is read first may end before what they hold by now.
            store.appended().await.context("cannot read the log")?;
            let now = live_generations(&*store).await?;
            if now == live {
                return Ok(Some(Opened {
                    published_durable: None,
                    store,
                    views,
                }));
            }
            live = now;
        }
    }
}
