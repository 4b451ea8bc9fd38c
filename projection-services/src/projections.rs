//! All views of a process: opened, run, asked.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use recourse_bus::Turns;
use recourse_cqrs::{
    Clock as Now, Repository, RepositoryOptions, Worker, WorkerError, WorkerOptions,
};
use recourse_event_store::{EventStore, StoreError};
use recourse_service::{
    Clock,
    command::Commands,
    contract::Routes,
    readiness::{Health, Need, Registry},
};
use recourse_views::{
    Considered, Projection,
    books::{Book, Books},
    documents::{Collection, Documents},
    projector::{self, Bookkeeping, Error},
    rebuild::Generations,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    generations::{self, Follower, Keeper},
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
    keepers: Vec<Keeper>,
    worker: Worker<Generations>,
    follower: Follower,
}

/// How one view is doing. Cheap to clone.
#[derive(Clone)]
pub struct Progress {
    /// The view.
    pub name: &'static str,
    /// Which version of it.
    pub version: u32,
    view: Arc<generations::View>,
}

impl Progress {
    fn of(view: &Arc<generations::View>) -> Self {
        Self {
            name: view.kind.name(),
            version: view.kind.version(),
            view: Arc::clone(view),
        }
    }

    /// Which of its generations is asked.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.view.serving.now().generation
    }

    /// How far the generation that is asked has come.
    #[must_use]
    pub fn considered(&self) -> Considered {
        self.view.serving.now().considered
    }

    /// Whether the view can be asked: not before it has come to where the log was when it was
    /// opened, nor after an event that it cannot take in. What is filled beside it does not count.
    #[must_use]
    pub fn health(&self) -> Health {
        self.view.health()
    }

    /// The view and its generations.
    pub(crate) fn view(&self) -> &Arc<generations::View> {
        &self.view
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
        // Before any view's stream is read, so that nothing between the two is missed.
        let follower = Follower::new(Arc::clone(&store));
        let repository = Repository::new(Arc::clone(&store), RepositoryOptions::default());
        let now: Now = {
            let clock = Arc::clone(&clock);
            Arc::new(move || clock.now())
        };
        let worker_options = WorkerOptions::default();
        let (worker, handle) = Worker::new(Arc::new(repository), None, now, worker_options);
        let views = Views {
            store: &store,
            documents: &documents,
            books: &books,
            options: &options.projector,
        };
        let mut keepers = Vec::new();
        for kind in views.all() {
            keepers.push(generations::open(&store, &handle, kind).await?);
        }
        let opened: Vec<_> = keepers.iter().map(Keeper::view).cloned().collect();
        let default_wait = Duration::from_millis(options.default_wait_ms);
        let actions = generations::Actions {
            views: opened.clone(),
            store: Arc::clone(&store),
            commands: Commands::new(handle, Arc::clone(&store), generations::problem),
            default_wait,
        };
        let routes = views
            .routes(&opened, &clock, default_wait)
            .merge(payments::routes(store, default_wait))
            .merge(generations::routes(actions));
        Ok(Self {
            routes,
            keepers,
            worker,
            follower,
        })
    }

    /// The same, where other processes have these views too: each is filled by one at a time, which
    /// saves them work, and is asked of all.
    #[must_use]
    pub fn sharing(mut self, turns: &Arc<dyn Turns>) -> Self {
        for keeper in &mut self.keepers {
            keeper.shares(Arc::clone(turns));
        }
        self
    }

    /// The addresses of all views.
    #[must_use]
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }

    /// How each view is doing.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        let views = self.keepers.iter().map(Keeper::view);
        views.map(Progress::of).collect()
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
        let Self {
            keepers,
            worker,
            follower,
            ..
        } = self;
        let ends = shutdown.child_token();
        let worker = async {
            let ended = worker.run(ends.clone()).await;
            // Nobody can have a view rebuilt any more: the process is to end.
            ends.cancel();
            ended
        };
        let keeping = async {
            let ended = generations::run(keepers, follower, &ends).await;
            ends.cancel();
            ended
        };
        let (worked, kept) = tokio::join!(worker, keeping);
        kept?;
        worked.map_err(|error| Error::Store {
            view: "projections",
            source: match error {
                WorkerError::Store(source) => source,
                error => StoreError::Failed(error.to_string()),
            },
        })
    }
}

/// What the views stand on.
struct Views<'a> {
    store: &'a Arc<dyn EventStore>,
    documents: &'a Arc<dyn Documents>,
    books: &'a Arc<dyn Books>,
    options: &'a projector::Options,
}

impl Views<'_> {
    /// All of them, in the order in which they are shown.
    fn all(&self) -> Vec<Box<dyn generations::Kind>> {
        vec![
            self.rows::<Orders>(),
            self.rows::<Sagas>(),
            self.rows::<Stocks>(),
            self.rows::<Products>(),
            generations::book::<Ledger>(self.store, self.books, self.options),
        ]
    }

    fn rows<P: Projection>(&self) -> Box<dyn generations::Kind> {
        generations::rows::<P>(self.store, self.documents, self.options)
    }

    /// What is asked of them.
    fn routes(
        &self,
        opened: &[Arc<generations::View>],
        clock: &Arc<dyn Clock>,
        default_wait: Duration,
    ) -> Routes {
        let freshness = |name: &str| {
            let view = opened.iter().find(|view| view.kind.name() == name)?;
            let store = Arc::clone(self.store);
            Some(Freshness::new(store, Arc::clone(view), default_wait))
        };
        let mut routes = Routes::new();
        if let Some(freshness) = freshness(Orders::NAME) {
            routes = routes.merge(orders::routes(self.view(freshness)));
        }
        if let Some(freshness) = freshness(Sagas::NAME) {
            routes = routes.merge(sagas::routes(self.view(freshness), Arc::clone(clock)));
        }
        if let Some(freshness) = freshness(Stocks::NAME) {
            routes = routes.merge(stock::routes(self.view(freshness)));
        }
        if let Some(freshness) = freshness(Products::NAME) {
            routes = routes.merge(products::routes(self.view(freshness)));
        }
        if let Some(freshness) = freshness(Ledger::NAME) {
            routes = routes.merge(ledger::routes(Arc::clone(self.books), freshness));
        }
        let progress = opened.iter().map(Progress::of).collect();
        let (store, clock) = (Arc::clone(self.store), Arc::clone(clock));
        routes.merge(listing::routes(store, clock, progress))
    }

    fn view<P: Projection>(&self, freshness: Freshness) -> View<P> {
        View::new(Arc::clone(self.documents), freshness)
    }
}

/// The queries of views that another process fills, or nobody: each as it is in its database now.
///
/// # Errors
/// Where a view or the log cannot be read.
pub async fn reading(
    store: Arc<dyn EventStore>,
    documents: Arc<dyn Documents>,
    books: Arc<dyn Books>,
    clock: Arc<dyn Clock>,
) -> Result<Routes, Error> {
    let views = Views {
        store: &store,
        documents: &documents,
        books: &books,
        options: &projector::Options::default(),
    };
    let mut opened = Vec::new();
    for kind in views.all() {
        opened.push(generations::read_only(&store, kind).await?);
    }
    // Nobody moves them on here.
    Ok(views.routes(&opened, &clock, Duration::ZERO))
}

/// Which generation of each view the log says is asked, by the view's name.
///
/// # Errors
/// Where the log cannot be read.
pub async fn live_generations(
    store: &dyn EventStore,
) -> Result<BTreeMap<&'static str, u32>, Error> {
    let versions = [
        (Orders::NAME, Orders::VERSION),
        (Sagas::NAME, Sagas::VERSION),
        (Stocks::NAME, Stocks::VERSION),
        (Products::NAME, Products::VERSION),
        (Ledger::NAME, Ledger::VERSION),
    ];
    let mut live = BTreeMap::new();
    for (name, version) in versions {
        live.insert(name, generations::live(store, name, version).await?);
    }
    Ok(live)
}
