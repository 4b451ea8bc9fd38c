//! Rebuilding views while they are asked: their generations, and the operator's part in it.
//!
//! The rules are [`recourse_views::rebuild`]'s; the log says which generation of a view is live.
//! [`keeper`] brings this process to where that says it is to be, [`comparing`] holds the two
//! generations of a rebuild against each other, [`serving`] switches queries so that no reader goes
//! back in time, and [`http`] is what operators ask.

mod comparing;
mod http;
mod keeper;
mod kind;
mod serving;
mod shown;
mod view;

use std::{marker::PhantomData, sync::Arc};

use recourse_cqrs::Handle;
use recourse_event_store::{
    Batch, EventStore, Filter, Position, StoreError, Subscription, Visibility,
};
use recourse_views::{
    Considered, Projection,
    books::Books,
    documents::Documents,
    projector::{self, Bookkeeping, Error},
    rebuild::Generations,
};
use tokio_util::sync::CancellationToken;

use self::{
    keeper::{Done, Tasks},
    serving::Serves,
    view::Followed,
};

pub(crate) use self::{
    http::{Actions, problem, routes},
    keeper::Keeper,
    kind::Kind,
    serving::{Serving, Telling},
    shown::{Rebuild, history, lag_events},
    view::View,
};

/// The name of all views where one of them alone is not to blame.
const ALL: &str = "projections";

/// A view of rows.
pub(crate) fn rows<P: Projection>(
    store: &Arc<dyn EventStore>,
    documents: &Arc<dyn Documents>,
    options: &projector::Options,
) -> Box<dyn Kind> {
    Box::new(kind::Rows::<P> {
        store: Arc::clone(store),
        documents: Arc::clone(documents),
        options: options.clone(),
        projection: PhantomData,
    })
}

/// A view that is a book.
pub(crate) fn book<B: Bookkeeping>(
    store: &Arc<dyn EventStore>,
    books: &Arc<dyn Books>,
    options: &projector::Options,
) -> Box<dyn Kind> {
    Box::new(kind::Book::<B> {
        store: Arc::clone(store),
        books: Arc::clone(books),
        options: options.clone(),
        bookkeeping: PhantomData,
    })
}

/// Opens the generations of a view that are kept, to be fed.
///
/// # Errors
/// Where the live one does not belong to the log, or cannot be read.
pub(crate) async fn open(
    store: &Arc<dyn EventStore>,
    handle: &Handle<Generations>,
    kind: Box<dyn Kind>,
) -> Result<Keeper, Error> {
    let followed = Followed::read(&**store, kind.name()).await?;
    let kept = followed.state.kept(kind.version());
    let live = followed.state.live(kind.version());
    let mut fillers = Vec::with_capacity(kept.len());
    for generation in kept {
        let mut filler = kind.filler(generation);
        let opened = filler.open().await;
        // What nobody asks does not keep the process from starting: it is tried again.
        if generation == live {
            opened?;
        }
        fillers.push((generation, filler));
    }
    let considered = fillers
        .first()
        .map_or_else(Considered::default, |(_, filler)| filler.considered());
    let serving = Serving::new(Serves {
        generation: live,
        considered,
    });
    let view = Arc::new(View::new(kind, serving, followed));
    let mut keeper = Keeper::new(view, Arc::clone(store), handle.clone());
    for (generation, filler) in fillers {
        keeper.opened(generation, filler);
    }
    Ok(keeper)
}

/// A view as it is in its database, which somebody else fills.
///
/// # Errors
/// Where it cannot be read.
pub(crate) async fn read_only(
    store: &Arc<dyn EventStore>,
    kind: Box<dyn Kind>,
) -> Result<Arc<View>, Error> {
    let followed = Followed::read(&**store, kind.name()).await?;
    let live = followed.state.live(kind.version());
    let kept = followed.state.kept(kind.version());
    let mut positions = Vec::with_capacity(kept.len());
    for generation in kept {
        match kind.position(generation).await {
            Ok(considered) => positions.push((generation, considered)),
            Err(error) if generation == live => return Err(error),
            // What nobody asks keeps nobody from asking the others.
            Err(error) => tracing::warn!(
                view = kind.name(),
                generation,
                error = &error as &dyn std::error::Error,
                "how far a generation has come cannot be read"
            ),
        }
    }
    let considered = positions
        .first()
        .map_or_else(Considered::default, |(_, considered)| considered.clone());
    let serving = Serving::new(Serves {
        generation: live,
        considered,
    });
    let view = View::new(kind, serving, followed);
    for (generation, considered) in positions {
        view.feeds(generation, considered, Position::START);
    }
    Ok(Arc::new(view))
}

/// Which generation of each view the log says is live, by the view's name.
///
/// # Errors
/// Where the log cannot be read.
pub(crate) async fn live(
    store: &dyn EventStore,
    view: &'static str,
    version: u32,
) -> Result<u32, Error> {
    Ok(Followed::read(store, view).await?.state.live(version))
}

/// Keeps all views until `shutdown`. One that meets an event which it cannot take in stands still
/// and the others go on.
///
/// # Errors
/// After the end of all of them, what stopped the first that stopped; or at once, where the log
/// cannot be followed any more.
pub(crate) async fn run(
    mut keepers: Vec<Keeper>,
    mut follower: Follower,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let stop = shutdown.child_token();
    let mut tasks = Tasks::new();
    let mut failures = Vec::new();
    let mut followed = Ok(());
    loop {
        for (index, keeper) in keepers.iter_mut().enumerate() {
            keeper.reconcile(index, &mut tasks, &stop);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(joined) = tasks.join_next() => take(&mut keepers, joined, &mut failures),
            batch = follower.next() => match batch {
                Ok(batch) => followed = dispatch(&keepers, &batch),
                Err(source) => followed = Err(Error::Store { view: ALL, source }),
            }
        }
        if followed.is_err() {
            stop.cancel();
        }
    }
    while let Some(joined) = tasks.join_next().await {
        take(&mut keepers, joined, &mut failures);
    }
    followed?;
    // What stopped a generation that nobody reads is no reason to start again.
    let read = |keeper: &Keeper| keeper.view().serving.now().generation;
    let stopped = failures.into_iter().find(|(index, generation, _)| {
        let keeper = keepers.get(*index);
        keeper.is_some_and(|keeper| read(keeper) == *generation)
    });
    stopped.map_or(Ok(()), |(_, _, error)| Err(error))
}

/// What stopped a generation, and of which keeper.
type Failure = (usize, u32, Error);

fn take(
    keepers: &mut [Keeper],
    joined: Result<(usize, Done), tokio::task::JoinError>,
    failures: &mut Vec<Failure>,
) {
    match joined {
        Ok((index, done)) => {
            if let Some(keeper) = keepers.get_mut(index)
                && let Some((generation, error)) = keeper.done(done)
            {
                failures.push((index, generation, error));
            }
        }
        // Nobody aborts them, so it panicked: the process is to hear of it.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn dispatch(keepers: &[Keeper], batch: &Batch) -> Result<(), Error> {
    for event in &batch.events {
        let mut views = keepers.iter().map(Keeper::view);
        if let Some(view) = views.find(|view| view.stream == event.stream) {
            view.follow(event)?;
        }
    }
    Ok(())
}

/// Follows what becomes of the generations of all views.
pub(crate) struct Follower {
    store: Arc<dyn EventStore>,
    from: Position,
    subscription: Option<Box<dyn Subscription>>,
}

impl Follower {
    /// From what is durable now: the views' streams are to be read afterwards.
    pub(crate) fn new(store: Arc<dyn EventStore>) -> Self {
        Self {
            from: store.durable(),
            store,
            subscription: None,
        }
    }

    /// What comes next. May be dropped while it waits.
    async fn next(&mut self) -> Result<Batch, StoreError> {
        loop {
            let next = match &mut self.subscription {
                Some(subscription) => subscription.next().await,
                None => {
                    let filter = Filter::categories(&["projection"]);
                    let made = self.store.subscribe(self.from, filter, Visibility::Durable);
                    match made.await {
                        Ok(made) => {
                            self.subscription = Some(made);
                            continue;
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            match next {
                Ok(batch) => {
                    self.from = batch.considered;
                    return Ok(batch);
                }
                Err(StoreError::Unavailable(why)) => {
                    tracing::debug!(why, "the views' streams cannot be followed now");
                    self.subscription = None;
                    tokio::time::sleep(keeper::RETRY_AFTER).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
