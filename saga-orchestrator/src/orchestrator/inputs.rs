//! What an event means to which sagas.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use recourse_event_store::{Position, RecordedEvent, typed};
use recourse_saga::{Answer, Definition, Event, Input};
use uuid::Uuid;

use super::{Driver, Error, with_sources};
use crate::live::Cause;

/// What happens to a saga.
#[derive(Clone)]
pub(super) enum Happening {
    /// An input of the engine.
    Input(Input),
    /// Something that could not be read.
    Unreadable { position: Position, error: String },
}

/// A happening with its cause.
#[derive(Clone)]
pub(super) struct Fed {
    pub(super) happening: Happening,
    /// None for time, whose cause is the saga's last event.
    pub(super) cause: Option<Cause>,
    /// The definition of a saga that this starts.
    pub(super) starts: Option<Arc<Definition>>,
}

pub(super) type Work = BTreeMap<Uuid, Vec<Fed>>;

impl Driver {
    /// Takes an event of a saga's own stream. What was not written here others wrote: an operator who asked
    /// another process, or whoever acted on the saga before or still does.
    pub(super) fn hear(&mut self, event: &RecordedEvent) {
        let Ok(saga) = event.stream.id().parse::<Uuid>() else {
            return;
        };
        let is_news = match self.live.get(&saga) {
            Some(live) => live
                .state
                .revision()
                .is_none_or(|revision| revision < event.revision),
            // What begins or moves it otherwise comes to it by itself.
            None => Event::is_of_operator(&event.event.event_type) && !self.ended.contains(saga),
        };
        if is_news {
            self.to_load.insert(saga);
        }
    }

    /// What an event means to which sagas.
    pub(super) fn read(&self, event: &RecordedEvent, work: &mut Work) -> Result<(), Error> {
        let (cause, metadata) =
            match Cause::of(event).and_then(|cause| Ok((cause, event.metadata()?))) {
                Ok(read) => read,
                Err(source) => {
                    let position = event.position;
                    return Err(Error::Unreadable { position, source });
                }
            };
        let mut found: Vec<(Uuid, Happening, Option<Arc<Definition>>)> = Vec::new();
        let unreadable = |error: &typed::Error| Happening::Unreadable {
            position: event.position,
            error: with_sources(error),
        };
        for (definition, is_current) in self.definitions_by_age() {
            match definition.starts(event) {
                Ok(Some(start)) if is_current => {
                    let input = Input::Start { input: start.input };
                    let saga = definition.saga_id(event.event.id);
                    found.push((saga, Happening::Input(input), Some(Arc::clone(definition))));
                }
                Err(error) if is_current => {
                    let saga = definition.saga_id(event.event.id);
                    found.push((saga, unreadable(&error), Some(Arc::clone(definition))));
                }
                Ok(_) | Err(_) => {}
            }
            let cancelled = match definition.cancels(event) {
                Ok(Some(cancel)) => Some((
                    cancel.correlation,
                    Happening::Input(Input::Cancelled {
                        position: event.position,
                    }),
                )),
                Ok(None) => None,
                Err(error) => Some((cause.correlation, unreadable(&error))),
            };
            if let Some((correlation, happening)) = cancelled {
                for saga in self.sagas_of(correlation, definition, work) {
                    found.push((saga, happening.clone(), None));
                }
            }
        }
        for answered in &metadata.answers {
            let Ok(saga) = answered.saga.id().parse::<Uuid>() else {
                tracing::error!(position = %event.position, saga = %answered.saga, "an answer names no saga");
                continue;
            };
            let answer = Input::Answer {
                command: answered.command,
                answer: Answer::from(metadata.refused.as_ref()),
                position: event.position,
            };
            found.push((saga, Happening::Input(answer), None));
        }
        for (saga, happening, starts) in found {
            work.entry(saga).or_default().push(Fed {
                happening,
                cause: Some(cause.clone()),
                starts,
            });
        }
        Ok(())
    }

    /// The sagas of a definition that belong to a correlation: those that are live, and those
    /// that begin in the batch at hand.
    fn sagas_of(&self, correlation: Uuid, definition: &Definition, work: &Work) -> BTreeSet<Uuid> {
        let live = self.by_correlation.get(&correlation).into_iter().flatten();
        let live = live.filter(|saga| {
            let its = self
                .live
                .get(saga)
                .and_then(|live| live.definition.as_ref());
            its.is_some_and(|its| its.hash() == definition.hash())
        });
        let begins = work.iter().filter(|(_, fed)| {
            fed.iter().any(|fed| {
                let is_same = |its: &Arc<Definition>| its.hash() == definition.hash();
                let belongs = |its: &Cause| its.correlation == correlation;
                fed.starts.as_ref().is_some_and(is_same) && fed.cause.as_ref().is_some_and(belongs)
            })
        });
        live.chain(begins.map(|(saga, _)| saga)).copied().collect()
    }

    fn definitions_by_age(&self) -> impl Iterator<Item = (&Arc<Definition>, bool)> {
        self.definitions
            .iter()
            .enumerate()
            .map(|(index, definition)| {
                let is_current = !self
                    .definitions
                    .iter()
                    .take(index)
                    .any(|newer| newer.name() == definition.name());
                (definition, is_current)
            })
    }
}
