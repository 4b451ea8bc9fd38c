//! All views of a process: opened, run, asked.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use recourse_event_store::{EventStore, Position};
use recourse_service::{
    Clock,
    contract::Routes,
    readiness::{Health, Need, Registry},
};
use recourse_views::{
    Bookkeeper, Considered, Projection, Projector,
    books::{Book, Books},
    documents::{Collection, Documents},
    projector::{self, Bookkeeping, Error},
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    ledger::{self, Ledger},
    listing,
    orders::{self, Orders},
    payments,
    products::{self, Products},
    sagas::{self, Sagas},
    stock::{self, Stocks},
    view::{Freshness, View},
};

/// How the views are filled and asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How each is filled.
    pub projector: projector::Options,
    /// How long a query waits for its view where it does not say.
    pub default_wait_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            projector: projector::Options::default(),
            default_wait_ms: 2_000,
        }
    }
}

/// The collections of all views: what a database is opened with.
#[must_use]
pub fn collections() -> Vec<Collection> {
    vec![
        Orders::collection(),
        Sagas::collection(),
        Stocks::collection(),
        Products::collection(),
    ]
}

/// The books of all views: what a database is opened with.
#[must_use]
pub fn books() -> Vec<Book> {
    vec![Ledger::book()]
}

/// All views of a process.
pub struct Projections {
    routes: Routes,
    progress: Vec<Progress>,
    orders: Projector<Orders>,
    sagas: Projector<Sagas>,
    stock: Projector<Stocks>,
    products: Projector<Products>,
    ledger: Bookkeeper<Ledger>,
}

/// How one view is doing. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The view.
    pub name: &'static str,
    /// Which version of it.
    pub version: u32,
    /// How far it has come.
    pub considered: Considered,
    /// Where the log was when the view was opened.
    head_then: Position,
    failure: Arc<Mutex<Option<String>>>,
}

impl Progress {
    /// Whether the view can be asked: not before it has come to where the log was when it was
    /// opened, nor after an event that it cannot take in.
    #[must_use]
    pub fn health(&self) -> Health {
        let failure = self
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(why) = failure {
            return Health::Down(why);
        }
        let considered = self.considered.get();
        if considered < self.head_then {
            let head = self.head_then;
            return Health::Starting(format!("at {considered} on the way to {head}"));
        }
        Health::Up
    }

    fn failed(&self, error: &Error) {
        tracing::error!(
            view = self.name,
            error = error as &dyn std::error::Error,
            "the view stands still"
        );
        let mut why = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            why = format!("{why}: {error}");
            source = error.source();
        }
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

impl Projections {
    /// Finds where each view is and holds its checkpoint against the log.
    ///
    /// # Errors
    /// Where a view does not belong to this log, or cannot be read: the process is not to start.
    pub async fn open(
        store: Arc<dyn EventStore>,
        documents: Arc<dyn Documents>,
        books: Arc<dyn Books>,
        clock: Arc<dyn Clock>,
        options: &Options,
    ) -> Result<Self, Error> {
        let mut opening = Opening {
            head: store.durable(),
            default_wait: Duration::from_millis(options.default_wait_ms),
            options: options.projector.clone(),
            store: Arc::clone(&store),
            documents,
            progress: Vec::new(),
        };
        let (orders, orders_view) = opening.view::<Orders>().await?;
        let (sagas, sagas_view) = opening.view::<Sagas>().await?;
        let (stock, stock_view) = opening.view::<Stocks>().await?;
        let (products, products_view) = opening.view::<Products>().await?;
        let (ledger, ledger_is) = opening.book::<Ledger>(&books).await?;
        let default_wait = opening.default_wait;
        let routes = orders::routes(orders_view)
            .merge(sagas::routes(sagas_view, Arc::clone(&clock)))
            .merge(stock::routes(stock_view))
            .merge(products::routes(products_view))
            .merge(ledger::routes(books, ledger_is))
            .merge(payments::routes(Arc::clone(&store), default_wait))
            .merge(listing::routes(store, clock, opening.progress.clone()));
        Ok(Self {
            routes,
            progress: opening.progress,
            orders,
            sagas,
            stock,
            products,
            ledger,
        })
    }

    /// The addresses of all views.
    #[must_use]
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }

    /// How each view is doing.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        self.progress.clone()
    }

    /// Names each view as a dependency of the process: `view-orders`.
    pub fn register(&self, registry: &Registry) {
        for progress in self.progress() {
            let name = format!("view-{}", progress.name);
            registry.probe(name, Need::Some, move || progress.health());
        }
    }

    /// Fills the views until `shutdown`. One that meets an event which it cannot take in stands
    /// still, is down in [`Self::progress`], and the others go on.
    ///
    /// # Errors
    /// After the end of all of them, what stopped the first that stopped.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut running = JoinSet::new();
        let mut progress = self.progress.into_iter();
        let mut start = |fill: FillFuture| {
            let progress = progress.next();
            running.spawn(async move {
                let ended = fill.await;
                if let (Err(error), Some(progress)) = (&ended, progress) {
                    progress.failed(error);
                }
                ended
            });
        };
        // In the order in which they were opened.
        start(Box::pin(self.orders.run(shutdown.clone())));
        start(Box::pin(self.sagas.run(shutdown.clone())));
        start(Box::pin(self.stock.run(shutdown.clone())));
        start(Box::pin(self.products.run(shutdown.clone())));
        start(Box::pin(self.ledger.run(shutdown)));
        let mut first = Ok(());
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok(ended) => first = first.and(ended),
                // Nobody aborts them, so it panicked: the process is to hear of it.
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        first
    }
}

type FillFuture = std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

struct Opening {
    store: Arc<dyn EventStore>,
    documents: Arc<dyn Documents>,
    options: projector::Options,
    default_wait: Duration,
    head: Position,
    progress: Vec<Progress>,
}

impl Opening {
    async fn view<P: Projection>(&mut self) -> Result<(Projector<P>, View<P>), Error> {
        let mut projector = Projector::new(
            Arc::clone(&self.store),
            Arc::clone(&self.documents),
            self.options.clone(),
        );
        projector.open().await?;
        let freshness = self.opened(P::NAME, P::VERSION, projector.considered());
        let view = View::new(Arc::clone(&self.documents), freshness);
        Ok((projector, view))
    }

    async fn book<B: Bookkeeping>(
        &mut self,
        books: &Arc<dyn Books>,
    ) -> Result<(Bookkeeper<B>, Freshness), Error> {
        let mut bookkeeper = Bookkeeper::new(
            Arc::clone(&self.store),
            Arc::clone(books),
            self.options.clone(),
        );
        bookkeeper.open().await?;
        let freshness = self.opened(B::NAME, B::VERSION, bookkeeper.considered());
        Ok((bookkeeper, freshness))
    }

    fn opened(&mut self, name: &'static str, version: u32, considered: Considered) -> Freshness {
        let store = Arc::clone(&self.store);
        let freshness = Freshness::new(store, considered.clone(), self.default_wait);
        self.progress.push(Progress {
            name,
            version,
            considered,
            head_then: self.head,
            failure: Arc::default(),
        });
        freshness
    }
}
