//! One batch: bring each stream up to date, decide, append once, and again for those streams
//! where somebody else was first or nobody knows what happened.

use std::{collections::VecDeque, sync::Arc};

use chrono::{DateTime, Utc};
use recourse_event_store::{
    Append, AppendError, Appended, ExpectedRevision, NewEvent, Position, RecordedEvent, Refused,
    StoreError, StreamName,
};
use uuid::Uuid;

use crate::{
    Aggregate, DECISION_TOO_LARGE, Effect, Error, Handled, Outcome, Repository, Request,
    cache::Slot,
    decide::refuse_saga,
    handle, load,
    plan::{Plan, What},
};

type Results<A> = [Option<Result<Outcome<A>, Error<<A as Aggregate>::Refusal>>>];

/// The requests of one stream that are still to be answered, and what is known of it.
pub(crate) struct Group<A: Aggregate> {
    stream: StreamName,
    todo: VecDeque<usize>,
    slot: Option<Slot<A>>,
    /// That the store has been asked for what is new since the slot came from the cache.
    fresh: bool,
    stale: bool,
    /// How many requests go into one append at most.
    limit: usize,
    /// That the first request alone is over the store's limit.
    oversized: Option<(usize, usize)>,
    conflicts: u32,
    failures: u32,
    backing_off: bool,
    /// What may or may not have been appended.
    uncertain: Vec<Attempt>,
}

struct Attempt {
    request: usize,
    first_event: Uuid,
    effect: Effect,
    events: usize,
}

/// Runs groups to their end: afterwards each of their requests has its result.
pub(crate) async fn run<A: Aggregate>(
    repository: &Repository<A>,
    requests: &[Request<A>],
    mut groups: Vec<Group<A>>,
    results: &mut Results<A>,
    now: DateTime<Utc>,
) {
    loop {
        for group in &mut groups {
            group.bring_up_to_date(repository, results).await;
        }
        let mut plans = Vec::with_capacity(groups.len());
        let mut appends = Vec::with_capacity(groups.len());
        for group in &mut groups {
            let plan = match group.decide(repository, requests, now) {
                Some(Ok(plan)) => plan,
                Some(Err(error)) => {
                    group.fail(results, &Error::Store(error));
                    continue;
                }
                None => continue,
            };
            if plan.pending.is_empty() {
                if plan.doubtful && !group.fresh {
                    group.stale = true;
                } else {
                    group.settle(repository, plan, None, results);
                }
                continue;
            }
            appends.push(Append {
                stream: group.stream.clone(),
                expected: group.expected(),
                events: plan
                    .pending
                    .iter()
                    .map(|recorded| recorded.event.clone())
                    .collect::<Vec<NewEvent>>(),
            });
            plans.push((group, plan));
        }
        if !appends.is_empty() {
            let mut answers = repository.store.append(appends).await.into_iter();
            for (group, plan) in plans {
                let answer = answers.next().unwrap_or_else(|| {
                    Err(AppendError::Store(StoreError::Unavailable(
                        "an append was not answered".to_owned(),
                    )))
                });
                group.appended(repository, plan, answer, results);
            }
        }
        groups.retain_mut(|group| {
            if group.todo.is_empty() {
                group.release(repository);
            }
            !group.todo.is_empty()
        });
        if groups.is_empty() {
            return;
        }
        let wait = groups
            .iter_mut()
            .filter_map(|group| {
                std::mem::take(&mut group.backing_off)
                    .then(|| repository.options.backoff(group.failures))
            })
            .max();
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
    }
}

impl<A: Aggregate> Group<A> {
    pub(crate) fn new(stream: StreamName, first: usize) -> Self {
        Self {
            stream,
            todo: VecDeque::from([first]),
            slot: None,
            fresh: false,
            stale: false,
            limit: usize::MAX,
            oversized: None,
            conflicts: 0,
            failures: 0,
            backing_off: false,
            uncertain: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, request: usize) {
        self.todo.push_back(request);
    }

    fn expected(&self) -> ExpectedRevision {
        ExpectedRevision::after(self.slot.as_ref().and_then(|slot| slot.tracked.revision()))
    }

    /// Gives what is known back to the cache: always a prefix of the stream.
    fn release(&mut self, repository: &Repository<A>) {
        if let Some(slot) = self.slot.take() {
            repository.put(&self.stream, slot);
        }
    }

    async fn bring_up_to_date(&mut self, repository: &Repository<A>, results: &mut Results<A>) {
        if self.slot.is_none() {
            self.slot = repository.take(&self.stream);
        }
        let new = match &mut self.slot {
            Some(slot) if self.stale => {
                load::refresh(repository, &self.stream, &mut slot.tracked).await
            }
            Some(_) => return,
            None => match load::from_the_start(repository, &self.stream).await {
                Ok(slot) => {
                    self.slot = Some(slot);
                    Ok(Vec::new())
                }
                Err(error) => Err(error),
            },
        };
        match new {
            Ok(new) => {
                self.stale = false;
                self.fresh = true;
                self.recognise(&new, results);
            }
            Err(error) => {
                self.stale = true;
                self.not_available(repository, error, results);
            }
        }
    }

    /// Finds the appends of ours that took effect though nobody said so.
    fn recognise(&mut self, new: &[Arc<RecordedEvent>], results: &mut Results<A>) {
        let Some(slot) = &self.slot else { return };
        for attempt in std::mem::take(&mut self.uncertain) {
            let found = new
                .iter()
                .find(|event| event.event.id == attempt.first_event);
            match found {
                Some(first) if self.todo.contains(&attempt.request) => {
                    let more = attempt.events.saturating_sub(1) as u64;
                    self.todo.retain(|request| *request != attempt.request);
                    put(
                        results,
                        attempt.request,
                        Ok(Outcome {
                            effect: attempt.effect,
                            events: attempt.events,
                            revision: Some(first.revision.saturating_add(more)),
                            position: slot.tracked.position(),
                            tracked: Arc::clone(&slot.tracked),
                        }),
                    );
                }
                Some(_) => {}
                // It may still be on its way.
                None => self.uncertain.push(attempt),
            }
        }
    }

    /// None where nothing is known of the stream yet.
    fn decide(
        &mut self,
        repository: &Repository<A>,
        requests: &[Request<A>],
        now: DateTime<Utc>,
    ) -> Option<Result<Plan<A>, StoreError>> {
        let slot = self.slot.as_ref().filter(|_| !self.stale)?;
        if self.todo.is_empty() {
            return None;
        }
        let base = &*slot.tracked;
        let log = repository.store.log_id();
        let mut plan = Plan::new();
        for at in self.todo.iter().copied().take(self.limit) {
            let Some(request) = requests.get(at) else {
                continue;
            };
            if let Err(error) = plan.catch_up(base) {
                return Some(Err(error));
            }
            let mut handled = handle(plan.tracked(base), request, now, log);
            if let (Some((bytes, max_bytes)), Handled::Write { .. }) = (self.oversized, &handled) {
                match request {
                    Request::Saga(saga) => {
                        let refused = Refused {
                            code: DECISION_TOO_LARGE.to_owned(),
                            detail: format!(
                                "its events hold {bytes} bytes; the store takes at most {max_bytes}"
                            ),
                            is_final: true,
                        };
                        handled = refuse_saga(saga, refused, now, log);
                    }
                    Request::Direct { .. } => {
                        plan.say(at, What::TooLarge(bytes, max_bytes));
                        continue;
                    }
                }
            }
            plan.add(
                at,
                handled,
                base,
                &self.stream,
                matches!(request, Request::Saga(_)),
            );
        }
        Some(Ok(plan))
    }

    fn appended(
        &mut self,
        repository: &Repository<A>,
        plan: Plan<A>,
        answer: Result<Appended, AppendError>,
        results: &mut Results<A>,
    ) {
        match answer {
            Ok(Appended {
                position: Some(position),
                ..
            }) => self.settle(repository, plan, Some(position), results),
            Ok(Appended { position: None, .. }) => {
                self.remember_attempt(&plan);
                self.conflict(repository, results);
            }
            Err(AppendError::WrongExpectedRevision { .. }) => self.conflict(repository, results),
            Err(AppendError::TooLarge { bytes, max_bytes }) => {
                if self.oversized.is_some() {
                    // Not even the refusal fits.
                    self.fail(results, &Error::TooLarge { bytes, max_bytes });
                } else if plan.verdicts.len() > 1 {
                    self.limit = plan.verdicts.len() / 2;
                } else {
                    self.limit = 1;
                    self.oversized = Some((bytes, max_bytes));
                }
            }
            Err(AppendError::Store(error)) => {
                self.remember_attempt(&plan);
                self.stale = true;
                self.not_available(repository, error, results);
            }
            // Never: an append is only made of a plan that holds events.
            Err(AppendError::Empty) => self.conflict(repository, results),
        }
    }

    fn remember_attempt(&mut self, plan: &Plan<A>) {
        for verdict in &plan.verdicts {
            if let What::Effect {
                effect,
                first,
                events,
            } = &verdict.what
                && let Some(first) = plan.pending.get(*first).filter(|_| *events > 0)
            {
                self.uncertain.push(Attempt {
                    request: verdict.request,
                    first_event: first.event.id,
                    effect: effect.clone(),
                    events: *events,
                });
            }
        }
    }

    /// Somebody else was first, or nobody knows: read what is new, then decide again.
    fn conflict(&mut self, repository: &Repository<A>, results: &mut Results<A>) {
        self.stale = true;
        self.conflicts = self.conflicts.saturating_add(1);
        if self.conflicts > repository.options.max_conflicts {
            self.fail(results, &Error::Contended);
        }
    }

    fn not_available(
        &mut self,
        repository: &Repository<A>,
        error: StoreError,
        results: &mut Results<A>,
    ) {
        self.failures = self.failures.saturating_add(1);
        self.backing_off = true;
        let may_pass = matches!(error, StoreError::Unavailable(_));
        if !may_pass || self.failures > repository.options.max_unavailable {
            self.fail(results, &Error::Store(error));
        }
    }

    fn fail(&mut self, results: &mut Results<A>, error: &Error<A::Refusal>) {
        for request in self.todo.drain(..) {
            put(results, request, Err(error.clone()));
        }
    }

    /// The plan is part of the log, or has nothing to add to it.
    fn settle(
        &mut self,
        repository: &Repository<A>,
        mut plan: Plan<A>,
        position: Option<Position>,
        results: &mut Results<A>,
    ) {
        let Some(mut slot) = self.slot.take() else {
            return;
        };
        let next = slot.tracked.tracking().next_revision();
        if let Some(position) = position {
            match plan.finish(slot.tracked, position) {
                Ok(tracked) => slot.tracked = Arc::new(tracked),
                Err(error) => return self.fail(results, &Error::Store(error)),
            }
            self.fresh = true;
        }
        let tracked = &slot.tracked;
        for verdict in plan.verdicts {
            self.todo.retain(|request| *request != verdict.request);
            let result = match verdict.what {
                What::Effect {
                    effect,
                    first,
                    events,
                } => Ok(Outcome {
                    revision: match (&effect, events) {
                        (Effect::Replayed { revision }, _) => Some(*revision),
                        (_, 0) => tracked.revision(),
                        _ => Some(next.saturating_add((first + events) as u64 - 1)),
                    },
                    effect,
                    events,
                    position: tracked.position(),
                    tracked: Arc::clone(tracked),
                }),
                What::Rejected(rejection) => Err(Error::rejected(rejection, tracked.position())),
                What::TooLarge(bytes, max_bytes) => Err(Error::TooLarge { bytes, max_bytes }),
            };
            put(results, verdict.request, result);
        }
        if self.oversized.take().is_some() {
            self.limit = usize::MAX;
        }
        repository.snapshot(&self.stream, &mut slot);
        self.slot = Some(slot);
    }
}

fn put<A: Aggregate>(
    results: &mut Results<A>,
    request: usize,
    result: Result<Outcome<A>, Error<A::Refusal>>,
) {
    if let Some(slot) = results.get_mut(request) {
        *slot = Some(result);
    }
}
