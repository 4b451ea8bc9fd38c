//! Brings the generations of the views to where the log says that they are to be.
//!
//! ```text
//! projection-… ─▶ state ─▶ what is to be ─┬▶ fill       each kept generation, by a task of its own
//!                  ▲                      ├▶ compare    once the new one is level with the live one
//!                  │                      ├▶ switch     once no reader would go back in time
//!                  └── rebuild-compared ──┘             ▼
//!                                          └▶ discard   what is dropped, read by nobody and not fed
//! ```
//!
//! Nothing of this is remembered anywhere: after a crash the log is read, and what is not as it is
//! to be yet is done then. A generation that is half filled goes on from its checkpoint; one that is
//! dropped and still there is discarded, and discarding it twice does no harm.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use recourse_bus::Turns;
use recourse_cqrs::Handle;
use recourse_event_store::EventStore;
use recourse_views::{
    CheckpointError,
    projector::Error,
    rebuild::{Generations, Stage},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    comparing,
    kind::{Fill, Kind},
    serving::Serves,
    view::View,
};

/// How long to wait before another try at what failed.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Looks after the generations of one view.
pub(crate) struct Keeper {
    view: Arc<View>,
    store: Arc<dyn EventStore>,
    handle: Handle<Generations>,
    /// Who fills, where several processes could.
    turns: Option<Arc<dyn Turns>>,
    /// Opened and not fed yet.
    opened: BTreeMap<u32, Box<dyn Fill>>,
    /// Those that a task feeds, and how it is ended.
    feeding: BTreeMap<u32, CancellationToken>,
    /// Those that cannot go on.
    stopped: BTreeSet<u32>,
    /// Those of which nothing is left, or that are being discarded, each with its version: another
    /// version of the program may have left them.
    discarded: BTreeSet<(u32, u32)>,
    /// The comparison under way.
    comparing: Option<(Uuid, CancellationToken)>,
    /// The generation to which the queries are being switched.
    switching: Option<(u32, CancellationToken)>,
}

/// What a task of a keeper came to.
pub(crate) enum Done {
    /// A generation is not fed any more.
    Fed {
        generation: u32,
        ended: Result<(), Error>,
    },
    /// A generation is discarded.
    Discarded,
    /// Both generations of a rebuild were compared, or it is not wanted any more.
    Compared,
    /// The queries were switched, or it is not wanted any more.
    Switched,
}

/// The tasks of all keepers: which keeper, and what it came to.
pub(crate) type Tasks = JoinSet<(usize, Done)>;

impl Keeper {
    pub(crate) fn new(
        view: Arc<View>,
        store: Arc<dyn EventStore>,
        handle: Handle<Generations>,
    ) -> Self {
        Self {
            view,
            store,
            handle,
            turns: None,
            opened: BTreeMap::new(),
            feeding: BTreeMap::new(),
            stopped: BTreeSet::new(),
            discarded: BTreeSet::new(),
            comparing: None,
            switching: None,
        }
    }

    /// Other processes look after the same view: each of its generations is filled by one at a time.
    pub(crate) fn shares(&mut self, turns: Arc<dyn Turns>) {
        self.turns = Some(turns);
    }

    pub(crate) fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// What was opened is to be fed by the next [`Self::reconcile`].
    pub(crate) fn opened(&mut self, generation: u32, filler: Box<dyn Fill>) {
        let head = self.store.durable();
        self.view.feeds(generation, filler.considered(), head);
        self.opened.insert(generation, filler);
    }

    /// Has done what the log says and is not done yet.
    pub(crate) fn reconcile(&mut self, me: usize, tasks: &mut Tasks, shutdown: &CancellationToken) {
        let version = self.view.kind.version();
        let state = self.view.state();
        let kept = state.kept(version);
        let live = state.live(version);
        for generation in &kept {
            let is_fed = self.feeding.contains_key(generation);
            if !is_fed && !self.stopped.contains(generation) {
                self.feed(*generation, me, tasks, shutdown);
            }
        }
        self.direct(live, me, tasks, shutdown);
        let read = self.view.serving.now().generation;
        for (of, generation) in state.gone() {
            let is_ours = of == version;
            if is_ours && generation == read {
                // Whoever reads it is switched first.
                continue;
            }
            let feeding = self.feeding.get(&generation).filter(|_| is_ours);
            if let Some(token) = feeding {
                token.cancel();
            } else if self.discarded.insert((of, generation)) {
                if is_ours {
                    self.view.let_go(generation);
                }
                self.discard(of, generation, me, tasks, shutdown);
            }
        }
        let open = state
            .current(version)
            .filter(|rebuild| rebuild.stage == Stage::Filling && rebuild.comparison.is_none());
        match (open, &self.comparing) {
            (Some(open), None) => {
                let pair = (open.replaces, open.generation);
                self.compare(open.id, pair, me, tasks, shutdown);
            }
            (None, Some((_, token))) => token.cancel(),
            // The next one is compared once this one has ended.
            (Some(open), Some((id, token))) if *id != open.id => token.cancel(),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// Takes in what a task came to: the generation that cannot go on, and why, where it is that.
    pub(crate) fn done(&mut self, done: Done) -> Option<(u32, Error)> {
        match done {
            Done::Fed { generation, ended } => {
                self.feeding.remove(&generation);
                match ended {
                    Ok(()) => self.view.let_go(generation),
                    Err(error) => {
                        self.view.failed(generation, &error);
                        self.stopped.insert(generation);
                        return Some((generation, error));
                    }
                }
            }
            Done::Discarded => {}
            Done::Compared => self.comparing = None,
            Done::Switched => self.switching = None,
        }
        None
    }

    fn feed(
        &mut self,
        generation: u32,
        me: usize,
        tasks: &mut Tasks,
        shutdown: &CancellationToken,
    ) {
        if !self.opened.contains_key(&generation) {
            let filler = self.view.kind.filler(generation);
            self.opened(generation, filler);
        }
        let Some(mut filler) = self.opened.remove(&generation) else {
            return;
        };
        let token = shutdown.child_token();
        self.feeding.insert(generation, token.clone());
        let (view, turns) = (Arc::clone(&self.view), self.turns.clone());
        tasks.spawn(async move {
            let ended = match turns {
                Some(turns) => take_turns(&*turns, &view, generation, &mut *filler, &token).await,
                None => fill(&view, generation, &mut *filler, &token).await,
            };
            (me, Done::Fed { generation, ended })
        });
    }

    /// Switches the queries to the generation that is live.
    fn direct(&mut self, live: u32, me: usize, tasks: &mut Tasks, shutdown: &CancellationToken) {
        if let Some((to, token)) = &self.switching {
            if *to != live {
                self.view.serving.abandon();
                token.cancel();
            }
            return;
        }
        if self.view.serving.now().generation == live {
            return;
        }
        let Some(fed) = self.view.fed(live) else {
            return;
        };
        let serves = Serves {
            generation: live,
            considered: fed.considered,
        };
        self.view.serving.begin(serves);
        let token = shutdown.child_token();
        self.switching = Some((live, token.clone()));
        let (view, store) = (Arc::clone(&self.view), Arc::clone(&self.store));
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = switch(&view, &*store) => {
                    let (view, generation) = (view.kind.name(), view.serving.now().generation);
                    tracing::info!(view, generation, "queries read another generation");
                }
            }
            (me, Done::Switched)
        });
    }

    fn discard(
        &self,
        version: u32,
        generation: u32,
        me: usize,
        tasks: &mut Tasks,
        shutdown: &CancellationToken,
    ) {
        let view = Arc::clone(&self.view);
        let token = shutdown.child_token();
        tasks.spawn(async move {
            // Where it is not done, the next process finds it in the log and does it.
            let _ = discard(&*view.kind, version, generation, &token).await;
            (me, Done::Discarded)
        });
    }

    fn compare(
        &mut self,
        rebuild: Uuid,
        (live, other): (u32, u32),
        me: usize,
        tasks: &mut Tasks,
        shutdown: &CancellationToken,
    ) {
        let token = shutdown.child_token();
        self.comparing = Some((rebuild, token.clone()));
        let view = Arc::clone(&self.view);
        let handle = self.handle.clone();
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = comparing::compared(&view, &handle, rebuild, live, other) => {}
            }
            (me, Done::Compared)
        });
    }
}

/// Waits a little before another try; false where there is to be none.
async fn pause(token: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = token.cancelled() => false,
        () = tokio::time::sleep(RETRY_AFTER) => true,
    }
}

/// Switches the queries, once it is known how far anybody can have seen.
async fn switch(view: &View, store: &dyn EventStore) {
    loop {
        match store.appended().await {
            Ok(head) => {
                view.serving.told_up_to(head);
                return view.serving.switch().await;
            }
            Err(error) => {
                tracing::warn!(%error, "queries are not switched yet");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// Fills a generation whenever it is this process' turn. Meanwhile its queries follow how far
/// another one brings it.
async fn take_turns(
    turns: &dyn Turns,
    view: &View,
    generation: u32,
    filler: &mut dyn Fill,
    token: &CancellationToken,
) -> Result<(), Error> {
    let (name, version) = (view.kind.name(), view.kind.version());
    let turn_name = format!("view-{name}-v{version}-g{generation}");
    while !token.is_cancelled() {
        let taken = tokio::select! {
            biased;
            () = token.cancelled() => break,
            taken = turns.take(&turn_name) => taken,
            () = filler.follow() => continue,
        };
        let mut turn = match taken {
            Ok(turn) => turn,
            Err(error) => {
                tracing::warn!(view = name, generation, %error, "the view waits for its turn");
                tokio::select! {
                    biased;
                    () = token.cancelled() => {}
                    () = tokio::time::sleep(RETRY_AFTER) => {}
                    () = filler.follow() => {}
                }
                continue;
            }
        };
        tracing::info!(view = name, generation, "this process fills the view");
        let ours = token.child_token();
        let filling = async {
            let ended = fill(view, generation, filler, &ours).await;
            let is_lost = ours.is_cancelled() && !token.is_cancelled();
            (ended, is_lost)
        };
        let losing = async {
            let why = turn.lost().await;
            tracing::warn!(
                view = name,
                generation,
                why,
                "another process may fill the view"
            );
            ours.cancel();
            std::future::pending().await
        };
        let (ended, is_lost) = tokio::select! {
            biased;
            filled = filling => filled,
            never = losing => never,
        };
        if !is_lost || ended.is_err() {
            turn.release().await;
            return ended;
        }
    }
    Ok(())
}

/// Removes a generation, however often that takes; false where it is to be tried no more.
async fn discard(
    kind: &dyn Kind,
    version: u32,
    generation: u32,
    token: &CancellationToken,
) -> bool {
    while let Err(error) = kind.discard(version, generation).await {
        tracing::warn!(
            view = kind.name(),
            version,
            generation,
            error = &error as &dyn std::error::Error,
            "a generation is not removed yet"
        );
        if !pause(token).await {
            return false;
        }
    }
    true
}

/// Fills a generation. One that is not read and that does not belong to the log is none of this
/// log's: it is removed and filled again.
async fn fill(
    view: &View,
    generation: u32,
    filler: &mut dyn Fill,
    token: &CancellationToken,
) -> Result<(), Error> {
    let mut may_discard = true;
    loop {
        match filler.fill(token).await {
            Err(Error::Checkpoint(CheckpointError::Refused { reason, .. }))
                if may_discard && view.serving.now().generation != generation =>
            {
                let view_name = view.kind.name();
                tracing::warn!(view = view_name, generation, reason, "is filled again");
                if !discard(&*view.kind, view.kind.version(), generation, token).await {
                    return Ok(());
                }
                may_discard = false;
            }
            ended => return ended,
        }
    }
}
