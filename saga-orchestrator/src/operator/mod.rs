//! What operators do to sagas: previewed, then written at the revision that was previewed.
//!
//! ```text
//! request ─▶ load the saga ─▶ act ─┬▶ dry run: the plan
//!                ▲                 └▶ append ─▶ durable ─▶ the plan, written
//!                └ somebody was first ┘   └▶ the orchestrator reloads it
//! ```
//!
//! The saga's stream is all there is: whoever drives it learns of the action by the revision. The
//! orchestrator of this process is told, so that it need not find out by chance; one of another
//! process hears of it on the bus.

pub(crate) mod http;
mod plan;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use recourse_event_store::{
    AppendError, Direction, EventStore, Position, RecordedEvent, StoreError, StreamName,
    Visibility, typed,
};
use recourse_saga::{ActError, Action, By, Definition, Event, State, act};
use recourse_service::{Clock, Problem, errors, http::Preconditions};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    errors::ACTION_NOT_POSSIBLE,
    live::{ClientCommand, Live, LiveError},
};

pub(crate) use plan::{Plan, words};

/// How many events of a saga's stream are read at a time.
const PAGE: usize = 256;

/// How often an action is decided anew because the saga has moved on.
const MAX_CONFLICTS: u32 = 16;

/// What operators may do to sagas.
#[derive(Clone)]
pub struct Actions {
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    definitions: Arc<[Arc<Definition>]>,
    told: Told,
}

/// Whom to tell which saga an operator has moved: whoever drives the sagas in this process, while
/// anybody does. Clones are handles of the same.
#[derive(Clone, Default)]
pub(crate) struct Told {
    tell: Arc<Mutex<Option<mpsc::Sender<Uuid>>>>,
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Option<mpsc::Sender<Uuid>>> {
        self.tell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on this one is told.
    pub(crate) fn set(&self, tell: mpsc::Sender<Uuid>) {
        *self.lock() = Some(tell);
    }

    async fn tell(&self, saga: Uuid) {
        let tell = self.lock().clone();
        if let Some(tell) = tell {
            // Where nobody listens any more, whoever starts next reads it in the log.
            let _ = tell.send(saga).await;
        }
    }
}

/// What an operator wants, before the log is asked.
pub(crate) struct Order {
    pub(crate) action: Action,
    pub(crate) by: By,
    /// None for a dry run.
    pub(crate) command: Option<ClientCommand>,
}

/// What came of it.
pub(crate) struct Done {
    pub(crate) plan: Plan,
    /// Where the saga stands: after the action, or before a dry run.
    pub(crate) revision: u64,
    pub(crate) position: Position,
    pub(crate) replayed: bool,
}

/// A saga as its stream has it.
struct Saga {
    live: Live,
    definition: Arc<Definition>,
    revision: u64,
}

impl Actions {
    pub(crate) fn new(
        store: Arc<dyn EventStore>,
        clock: Arc<dyn Clock>,
        definitions: Vec<Arc<Definition>>,
        told: Told,
    ) -> Self {
        Self {
            store,
            clock,
            definitions: definitions.into(),
            told,
        }
    }

    pub(crate) fn store(&self) -> &dyn EventStore {
        &*self.store
    }

    /// Does it, or says what it would do.
    pub(crate) async fn take(
        &self,
        saga: Uuid,
        order: &Order,
        preconditions: &Preconditions,
    ) -> Result<Done, Problem> {
        for _ in 0..MAX_CONFLICTS {
            if let Some(command) = &order.command
                && let Some(done) = self.done_before(saga, command).await?
            {
                return Ok(done);
            }
            let Saga {
                mut live,
                definition,
                revision,
            } = self.load(saga).await?;
            if order.command.is_some() {
                preconditions.require(Some(revision))?;
            }
            let now = self.clock.now();
            let events = match act(&definition, &live.state, &order.action, &order.by, now) {
                Ok(events) => events,
                Err(ActError::NotPossible(why)) => {
                    return Err(Problem::new(ACTION_NOT_POSSIBLE).detail(why));
                }
                Err(ActError::React(error)) => return Err(unexpected(saga, &error)),
            };
            let Some(command) = &order.command else {
                let mut after = live.state.clone();
                for event in &events {
                    after.apply(event, now);
                }
                return Ok(Done {
                    plan: Plan::of(&definition, &events, &after)
                        .map_err(|error| unexpected(saga, &error))?,
                    revision,
                    position: live.position,
                    replayed: false,
                });
            };
            let plan = events.clone();
            let log = self.store.log_id();
            live.write_action(events, command, now, log)
                .map_err(|error| unexpected(saga, &error))?;
            let Some(append) = live.take_append() else {
                return Err(Problem::new(ACTION_NOT_POSSIBLE).detail("it would change nothing"));
            };
            let appended = self.store.append(vec![append]).await.into_iter().next();
            match appended {
                Some(Ok(appended)) => {
                    let position = match appended.position {
                        Some(position) => position,
                        // A repeat of what stands somewhere before the head.
                        None => self.store.appended().await?,
                    };
                    // Told before it is durable: who asked may go away meanwhile.
                    self.told.tell(saga).await;
                    self.store.wait_durable(position).await?;
                    return Ok(Done {
                        plan: Plan::of(&definition, &plan, &live.state)
                            .map_err(|error| unexpected(saga, &error))?,
                        revision: live.state.revision().unwrap_or_default(),
                        position,
                        replayed: false,
                    });
                }
                // The saga has moved on: the tag is held against it as it stands now.
                Some(Err(AppendError::WrongExpectedRevision { .. })) => {}
                Some(Err(AppendError::Store(error))) => return Err(error.into()),
                Some(Err(error @ (AppendError::TooLarge { .. } | AppendError::Empty))) => {
                    return Err(unexpected(saga, &error));
                }
                None => return Err(Problem::new(errors::INTERNAL)),
            }
        }
        Err(Problem::new(errors::CONFLICT))
    }

    /// The saga, once all of what is known of it is durable.
    async fn load(&self, saga: Uuid) -> Result<Saga, Problem> {
        let live = match Live::load(&*self.store, saga, |hash| self.of_hash(hash)).await {
            Ok(Some(live)) => live,
            Ok(None) => return Err(Problem::new(errors::NOT_FOUND)),
            Err(LiveError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(unexpected(saga, &error)),
        };
        self.store.wait_durable(live.position).await?;
        let definition = self.definition(&live.state)?;
        let revision = live.state.revision().unwrap_or_default();
        Ok(Saga {
            live,
            definition,
            revision,
        })
    }

    /// What came of the same command when it came first: what was answered then, however the
    /// saga stands by now.
    async fn done_before(
        &self,
        saga: Uuid,
        command: &ClientCommand,
    ) -> Result<Option<Done>, Problem> {
        let stream = Definition::stream(saga);
        let mut state = State::new(saga);
        let mut written: Vec<Event> = Vec::new();
        let mut after = None;
        for event in self.all(&stream).await? {
            let (metadata, happened) = read(&event).map_err(|error| unexpected(saga, &error))?;
            state.apply(&happened, metadata.recorded_at);
            if metadata.command_id == Some(command.id) {
                if metadata.body_hash != Some(command.body_hash) {
                    return Err(Problem::new(errors::IDEMPOTENCY_KEY_REUSED));
                }
                written.push((*happened).clone());
                after = Some((state.clone(), event.position));
            } else if after.is_some() {
                // One command writes its events in one append.
                break;
            }
        }
        let Some((after, position)) = after else {
            return Ok(None);
        };
        self.store.wait_durable(position).await?;
        let definition = self.definition(&after)?;
        Ok(Some(Done {
            plan: Plan::of(&definition, &written, &after)
                .map_err(|error| unexpected(saga, &error))?,
            revision: after.revision().unwrap_or_default(),
            position,
            replayed: true,
        }))
    }

    /// The definition that a saga began with.
    fn definition(&self, state: &State) -> Result<Arc<Definition>, Problem> {
        self.of_hash(state.definition_hash()).ok_or_else(|| {
            let why = "the saga began with a version of its definition that is not here";
            Problem::new(ACTION_NOT_POSSIBLE).detail(why)
        })
    }

    fn of_hash(&self, hash: &str) -> Option<Arc<Definition>> {
        let mut definitions = self.definitions.iter();
        definitions.find(|its| its.hash() == hash).map(Arc::clone)
    }

    async fn all(&self, stream: &StreamName) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let mut events: Vec<Arc<RecordedEvent>> = Vec::new();
        loop {
            let from = events
                .last()
                .map_or(0, |last| last.revision.saturating_add(1));
            let (forward, seen) = (Direction::Forward, Visibility::Appended);
            let page = self
                .store
                .read_stream(stream, Some(from), forward, seen, PAGE)
                .await?;
            let is_last = page.len() < PAGE;
            events.extend(page);
            if is_last {
                return Ok(events);
            }
        }
    }
}

fn read(
    event: &RecordedEvent,
) -> Result<(Arc<recourse_event_store::Metadata>, Arc<Event>), typed::Error> {
    Ok((event.metadata()?.clone().into(), event.decode::<Event>()?))
}

fn unexpected(saga: Uuid, error: &dyn std::error::Error) -> Problem {
    tracing::error!(%saga, error = %error, "an operator's action cannot be decided");
    Problem::new(errors::INTERNAL)
}
