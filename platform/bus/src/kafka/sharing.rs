//! How the members of a group share all correlations: as the partitions of the topic of events.

use std::{num::NonZeroU32, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Bus, Place};
use crate::{BusError, Membership, Share};

/// A member of a group, in whichever generation is current.
pub(super) struct Member {
    bus: Bus,
    group: String,
    newest: watch::Receiver<u32>,
    place: Option<InGeneration>,
}

/// A place in the group of one generation.
struct InGeneration {
    number: u32,
    partitions: NonZeroU32,
    /// How many partitions the generations before had.
    before: Vec<NonZeroU32>,
    place: Place,
}

impl Member {
    pub(super) fn new(bus: Bus, group: &str) -> Self {
        Self {
            newest: bus.newest.subscribe(),
            bus,
            group: group.to_owned(),
            place: None,
        }
    }

    /// The place in the group of the current generation.
    async fn place(&mut self) -> Result<&mut InGeneration, BusError> {
        let newest = *self.newest.borrow_and_update();
        let place = match self.place.take().filter(|place| place.number >= newest) {
            Some(place) => place,
            None => self.new_place().await?,
        };
        Ok(self.place.insert(place))
    }

    async fn new_place(&self) -> Result<InGeneration, BusError> {
        let (generation, state) = self.bus.generation(&self.group).await?;
        let client = &self.bus.client;
        let mut before = Vec::new();
        let mut number = generation.number;
        while let Some(earlier) = state.before(number) {
            before.push(earlier.event_partitions);
            number = earlier.number;
        }
        let topics = client.topics();
        // Half of what the broker gives who does not answer: it saves rows meanwhile.
        let patience = Duration::from_millis(client.options().session_timeout_ms / 2);
        let place = Place::ask(
            client.clone(),
            &topics.events(generation.number),
            &topics.group(generation.number, &self.group),
            patience,
        );
        Ok(InGeneration {
            number: generation.number,
            partitions: generation.event_partitions,
            before,
            place,
        })
    }
}

impl InGeneration {
    fn owned(&mut self) -> Result<Share, BusError> {
        let owned = self.place.owned()?.into_iter();
        let owned = owned.filter_map(|partition| u32::try_from(partition).ok());
        Ok(Share::of(self.partitions, owned.collect()).after(self.before.iter().copied()))
    }
}

#[async_trait]
impl Membership for Member {
    async fn share(&mut self) -> Result<Share, BusError> {
        loop {
            let owned = self.place().await?.owned();
            let share = owned.inspect_err(|_| self.place = None)?;
            if share.owned().len() > 0 {
                return Ok(share);
            }
            self.changed().await;
        }
    }

    async fn changed(&mut self) {
        let Some(InGeneration { number, place, .. }) = &mut self.place else {
            return;
        };
        let number = *number;
        let newest = self.newest.wait_for(|newest| *newest > number);
        tokio::select! {
            biased;
            // The bus is ours, and so the sender is there.
            _ = newest => {}
            () = place.changed() => {}
        }
    }
}
