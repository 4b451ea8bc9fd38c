//! Which sagas are in flight: a checkpointed view of its own, in parts.
//!
//! ```text
//! sagas_in_flight_v1       whoever owns everything
//! sagas_in_flight_v1_g6    partition 0 of 4      each has rows and a checkpoint,
//!                 …_g9     partition 3 of 4      and is written by who owns the partition
//! ```
//!
//! A restart, or a new owner, loads the rows of the partitions that it owns, reads the log on from
//! the least of their checkpoints, and then acts. So it costs as much as there is in flight, not as
//! much as there ever was. Where partitions were never saved, because there were fewer or more of them
//! until now, the rows of the former ones say as much.

mod part;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::Arc,
};

use recourse_bus::{BusError, Share};
use recourse_event_store::{EventStore, Position};
use recourse_views::{
    CheckpointError,
    documents::{self, Collection, Documents},
};
use uuid::Uuid;

use self::part::Part;

/// The rows, beside the sagas' read model and never promoted or dropped with it. Its generations are
/// the partitions of those who share the sagas; this one is of whoever owns everything.
pub const IN_FLIGHT: Collection = Collection {
    name: "sagas_in_flight",
    version: 1,
    generation: 0,
    indexes: &[],
    newest_first_by: None,
};

/// After how many saves of other parts one is saved in which nothing has happened: so that its
/// checkpoint is not left behind.
const MAX_SAVES_OF_OTHERS: u32 = 64;

/// Why the rows cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Their database cannot.
    #[error("the rows of the sagas in flight cannot be read or written")]
    Documents(#[from] documents::Error),
    /// They belong to another log.
    #[error("the rows of the sagas in flight are not believed")]
    Checkpoint(#[from] CheckpointError),
    /// The store cannot say which event stands where they are.
    #[error("the position of the sagas in flight cannot be told")]
    Position(#[from] BusError),
}

/// A saga that was in flight when its row was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// That whoever owned it had no definition for it, and passed over what it waits for.
    pub(crate) is_passed_over: bool,
}

/// What there was when an owner began.
pub(crate) struct Loaded {
    pub(crate) rows: InFlight,
    /// The sagas that were in flight; of former partitions also those of others.
    pub(crate) sagas: BTreeMap<Uuid, Row>,
    /// What comes after this is to be read.
    pub(crate) position: Position,
}

/// The rows of one owner, and their checkpoints.
pub(crate) struct InFlight {
    share: Share,
    parts: BTreeMap<u32, Part>,
    /// Which of them was saved last.
    last: u32,
}

/// The collection of a partition among so many: those of one come first, then those of two, and so on.
fn collection(partition: u32, divided_into: NonZeroU32) -> Collection {
    let before = u64::from(divided_into.get()) * u64::from(divided_into.get() - 1) / 2;
    let number = before.saturating_add(u64::from(partition));
    IN_FLIGHT.in_generation(u32::try_from(number).unwrap_or(u32::MAX))
}

impl InFlight {
    /// Loads the rows of a share.
    pub(crate) async fn load(
        documents: Arc<dyn Documents>,
        store: &dyn EventStore,
        share: &Share,
    ) -> Result<Loaded, Error> {
        // Others saved these rows: the log may have gone on since this process last heard of it.
        store.appended().await.map_err(BusError::Store)?;
        let divided_into = share.divided_into();
        let mut parts = BTreeMap::new();
        let mut sagas = BTreeMap::new();
        let mut position: Option<Position> = None;
        let mut is_any_new = false;
        for partition in share.owned() {
            let collection = collection(partition, divided_into);
            let (part, found) = Part::load(Arc::clone(&documents), store, collection).await?;
            match part.position() {
                Some(its) => position = Some(position.map_or(its, |position| position.min(its))),
                None => is_any_new = true,
            }
            sagas.extend(found);
            parts.insert(partition, part);
        }
        if is_any_new && divided_into > NonZeroU32::MIN {
            let former = former(&documents, store, share).await?;
            let (found, its) = former.unwrap_or_default();
            for (saga, row) in found {
                sagas.entry(saga).or_insert(row);
            }
            position = Some(position.map_or(its, |position| position.min(its)));
            // Else those in which nothing happens would be looked for in the former ones each time.
            let new = parts.values_mut().filter(|part| part.position().is_none());
            new.for_each(Part::save_in_any_case);
        }
        let rows = Self {
            share: share.clone(),
            parts,
            last: 0,
        };
        Ok(Loaded {
            rows,
            sagas,
            position: position.unwrap_or_default(),
        })
    }

    /// Notes that a saga is in flight.
    pub(crate) fn begun(&mut self, saga: Uuid, correlation: Uuid, row: Row) {
        let partition = self.share.partition_of(correlation);
        if let Some(part) = self.parts.get_mut(&partition) {
            part.begun(saga, row);
        }
    }

    /// Notes that a saga has ended.
    pub(crate) fn ended(&mut self, saga: Uuid, correlation: Uuid) {
        let partition = self.share.partition_of(correlation);
        if let Some(part) = self.parts.get_mut(&partition) {
            part.ended(saga);
        }
    }

    /// Whether there is anything to save, everything up to `considered` being seen.
    pub(crate) fn is_changed(&self, considered: Position) -> bool {
        self.parts.values().any(|part| part.is_due(considered))
    }

    /// Saves one part in which something changed, as of `considered`, which is durable, with all that
    /// followed from it. Each in its turn.
    pub(crate) async fn save(
        &mut self,
        store: &dyn EventStore,
        considered: Position,
    ) -> Result<(), Error> {
        let last = self.last;
        let due = |(_, part): &(&u32, &Part)| part.is_due(considered);
        let mut after = self.parts.range(last.saturating_add(1)..).filter(due);
        let mut before = self.parts.range(..=last).filter(due);
        let Some(next) = after.next().or_else(|| before.next()) else {
            return Ok(());
        };
        let next = *next.0;
        if let Some(part) = self.parts.get_mut(&next) {
            part.save(store, considered).await?;
        }
        self.last = next;
        for (partition, part) in &mut self.parts {
            if *partition != next {
                part.another_was_saved(MAX_SAVES_OF_OTHERS);
            }
        }
        Ok(())
    }
}

/// What the rows say that were saved when there were fewer or more partitions: those that are
/// furthest. None where there are none.
async fn former(
    documents: &Arc<dyn Documents>,
    store: &dyn EventStore,
    share: &Share,
) -> Result<Option<(BTreeMap<Uuid, Row>, Position)>, Error> {
    let mut numbers: BTreeSet<NonZeroU32> = share.before().collect();
    numbers.insert(NonZeroU32::MIN);
    numbers.remove(&share.divided_into());
    let mut furthest: Option<(BTreeMap<Uuid, Row>, Position)> = None;
    for divided_into in numbers {
        let mut sagas = BTreeMap::new();
        let mut least: Option<Position> = None;
        for partition in 0..divided_into.get() {
            let collection = collection(partition, divided_into);
            let (part, found) = Part::load(Arc::clone(documents), store, collection).await?;
            let its = part.position().unwrap_or_default();
            least = Some(least.map_or(its, |least| least.min(its)));
            sagas.extend(found);
        }
        let position = least.unwrap_or_default();
        if furthest.as_ref().is_none_or(|(_, its)| *its < position) {
            furthest = Some((sagas, position));
        }
    }
    Ok(furthest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_rows_of_its_own() {
        let number = |partition, divided_into| {
            collection(partition, NonZeroU32::new(divided_into).unwrap()).generation
        };
        assert_eq!(collection(0, NonZeroU32::MIN), IN_FLIGHT);
        let all: Vec<u32> = (1..=40)
            .flat_map(|divided_into| (0..divided_into).map(move |part| number(part, divided_into)))
            .collect();
        assert_eq!(all, (0..820).collect::<Vec<_>>());
    }
}
