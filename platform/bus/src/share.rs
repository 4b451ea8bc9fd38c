//! Who acts on which correlations, where several processes share them.
//!
//! ```text
//! correlation ─▶ hash ─▶ partition ─▶ the member that has it
//!
//! member   share ──▶ acts ──▶ changed ──▶ stops acting ──▶ share ──▶ acts …
//!                                                             └ from here on others may have
//!                                                               what it has no more
//! ```
//!
//! A member that stands still may go on acting for a moment on what others have by then. So ownership
//! saves work and keeps rows apart; what may happen once only is guarded by the revisions of streams.

use std::{collections::BTreeSet, num::NonZeroU32};

use async_trait::async_trait;
use uuid::Uuid;

use crate::{
    BusError,
    hash::{hash, partition},
};

/// The correlations that one member of a group acts on: those of some of the partitions that all
/// are divided into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// How many partitions there are.
    divided_into: NonZeroU32,
    owned: BTreeSet<u32>,
    /// How many there were before, in other times.
    before: BTreeSet<NonZeroU32>,
    /// That other processes act on the same correlations, if only for an operator.
    is_among_others: bool,
}

impl Share {
    /// All of them, and nobody else is there.
    #[must_use]
    pub fn whole() -> Self {
        Self {
            divided_into: NonZeroU32::MIN,
            owned: BTreeSet::from([0]),
            before: BTreeSet::new(),
            is_among_others: false,
        }
    }

    /// These partitions of so many; others have the rest.
    #[must_use]
    pub fn of(divided_into: NonZeroU32, owned: BTreeSet<u32>) -> Self {
        Self {
            divided_into,
            owned,
            before: BTreeSet::new(),
            is_among_others: true,
        }
    }

    /// With other processes, which act on nothing of it but what an operator asks them.
    #[must_use]
    pub fn among_others(self) -> Self {
        Self {
            is_among_others: true,
            ..self
        }
    }

    /// After times in which there were so many partitions.
    #[must_use]
    pub fn after(self, before: impl IntoIterator<Item = NonZeroU32>) -> Self {
        Self {
            before: before.into_iter().collect(),
            ..self
        }
    }

    /// How many partitions there are.
    #[must_use]
    pub fn divided_into(&self) -> NonZeroU32 {
        self.divided_into
    }

    /// How many partitions there were in other times.
    pub fn before(&self) -> impl Iterator<Item = NonZeroU32> {
        self.before.iter().copied()
    }

    /// The partitions that are owned, in order.
    pub fn owned(&self) -> impl ExactSizeIterator<Item = u32> {
        self.owned.iter().copied()
    }

    /// Whether other processes act on the same correlations, if only for an operator.
    #[must_use]
    pub fn is_among_others(&self) -> bool {
        self.is_among_others
    }

    /// Whether it is all there is.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.owned.len() == self.divided_into.get() as usize
    }

    /// The partition of a correlation.
    #[must_use]
    pub fn partition_of(&self, correlation: Uuid) -> u32 {
        if self.divided_into == NonZeroU32::MIN {
            return 0;
        }
        let mut text = Uuid::encode_buffer();
        let key = correlation.hyphenated().encode_lower(&mut text);
        partition(hash(key.as_bytes()), self.divided_into)
    }

    /// Whether a correlation belongs to it.
    #[must_use]
    pub fn covers(&self, correlation: Uuid) -> bool {
        self.is_whole() || self.owned.contains(&self.partition_of(correlation))
    }
}

/// A place in a group whose members share the correlations. Dropped, it is given up.
#[async_trait]
pub trait Membership: Send {
    /// What this member owns; waits until that is something. To ask says that nothing is done any
    /// more with what was answered before, so that others may have it. May be dropped while it waits.
    ///
    /// # Errors
    /// Where the group cannot be reached: ask again, or ask the bus for a new place.
    async fn share(&mut self) -> Result<Share, BusError>;

    /// Waits until the share is another than was answered last. Then stop, and ask what it is now. May
    /// be dropped while it waits.
    async fn changed(&mut self);
}

/// The place of who is alone and owns everything for ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

#[async_trait]
impl Membership for Alone {
    async fn share(&mut self) -> Result<Share, BusError> {
        Ok(Share::whole())
    }

    async fn changed(&mut self) {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_correlation_belongs_to_one_partition_and_to_who_owns_it() {
        let three = NonZeroU32::new(3).unwrap();
        let [some, others] = [[0, 2].as_slice(), &[1]]
            .map(|owned| Share::of(three, owned.iter().copied().collect()));
        assert!(Share::whole().is_whole() && !some.is_whole());
        let mut owned = [0, 0];
        for number in 0..300 {
            let correlation = Uuid::from_u128(number);
            assert_eq!(
                some.partition_of(correlation),
                others.partition_of(correlation)
            );
            assert_ne!(some.covers(correlation), others.covers(correlation));
            assert!(Share::whole().covers(correlation));
            owned[usize::from(others.covers(correlation))] += 1;
        }
        assert!(owned[0] > 150 && owned[1] > 60, "{owned:?}");
    }
}
