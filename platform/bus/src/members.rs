//! A bus whose members share the correlations in memory: for tests and the simulation.
//!
//! ```text
//! Group: 4 partitions        member 1 has 0 1   member 2 has 2 3
//! member 2 stands still ──▶  member 1 has all, and member 2 acts on, until it is told
//! ```
//!
//! As a group of Kafka's: a partition changes hands once its owner has stopped acting on it, or is gone,
//! or stands still. Who stands still does not know.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use recourse_event_store::{Filter, Position, RecordedEvent};
use tokio::sync::Notify;

use crate::{BusError, Consumer, Delivery, Membership, Share};

/// A group. Clones are handles of the same one. All who join a bus of it are its members, whatever
/// name they say.
#[derive(Clone)]
pub struct Group {
    shared: Arc<Shared>,
}

struct Shared {
    partitions: NonZeroU32,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    last: u64,
    members: BTreeMap<u64, Standing>,
    /// Who may act on each partition that anybody may.
    owners: BTreeMap<u32, u64>,
}

#[derive(Default)]
struct Standing {
    /// What it was told that it owns, and acts on.
    told: BTreeSet<u32>,
    /// That it is told nothing.
    is_still: bool,
}

impl Group {
    /// Nobody is there yet.
    #[must_use]
    pub fn new(partitions: NonZeroU32) -> Self {
        Self {
            shared: Arc::new(Shared {
                partitions,
                state: Mutex::default(),
                changed: Notify::new(),
            }),
        }
    }

    /// A bus whose events are shared by the members of this group.
    #[must_use]
    pub fn over(&self, inner: Arc<dyn crate::Bus>) -> Bus {
        Bus {
            inner,
            group: self.clone(),
        }
    }

    /// The members that are there, in the order in which they joined.
    #[must_use]
    pub fn members(&self) -> Vec<u64> {
        self.lock().members.keys().copied().collect()
    }

    /// Has a member stand still, or go on: others get what it has, and it does not know.
    pub fn set_still(&self, member: u64, is_still: bool) {
        let mut state = self.lock();
        if let Some(standing) = state.members.get_mut(&member) {
            standing.is_still = is_still;
        }
        self.settle(&mut state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.shared.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives partitions to who is to have them, as far as nobody acts on them.
    fn settle(&self, state: &mut State) {
        for (partition, wanted) in state.wanted(self.shared.partitions) {
            let acts =
                |standing: &Standing| !standing.is_still && standing.told.contains(&partition);
            let is_acted_on = state.owners.get(&partition).is_some_and(|owner| {
                *owner != wanted && state.members.get(owner).is_some_and(acts)
            });
            if !is_acted_on {
                state.owners.insert(partition, wanted);
            }
        }
        self.shared.changed.notify_waiters();
    }
}

impl State {
    /// Who is to have each partition: as many each as can be, and as few as can be move.
    fn wanted(&self, partitions: NonZeroU32) -> BTreeMap<u32, u64> {
        let members = self.members.iter();
        let awake = members.filter(|(_, standing)| !standing.is_still);
        let mut counts: BTreeMap<u64, usize> = awake.map(|(member, _)| (*member, 0)).collect();
        let most = (partitions.get() as usize).div_ceil(counts.len().max(1));
        let mut wanted = BTreeMap::new();
        let mut free = Vec::new();
        for partition in 0..partitions.get() {
            let owner = self.owners.get(&partition);
            match owner.and_then(|owner| Some((*owner, counts.get_mut(owner)?))) {
                Some((owner, count)) if *count < most => {
                    *count += 1;
                    wanted.insert(partition, owner);
                }
                _ => free.push(partition),
            }
        }
        for partition in free {
            let least = counts.iter_mut().min_by_key(|(_, count)| **count);
            if let Some((member, count)) = least {
                *count += 1;
                wanted.insert(partition, *member);
            }
        }
        wanted
    }

    fn owned(&self, member: u64, partitions: NonZeroU32) -> BTreeSet<u32> {
        let wanted = self.wanted(partitions);
        let owners = self.owners.iter();
        owners
            .filter(|(partition, owner)| {
                **owner == member && wanted.get(partition) == Some(&member)
            })
            .map(|(partition, _)| *partition)
            .collect()
    }
}

/// The bus. Clones are handles of the same one.
#[derive(Clone)]
pub struct Bus {
    inner: Arc<dyn crate::Bus>,
    group: Group,
}

#[async_trait]
impl crate::Bus for Bus {
    async fn commands(
        &self,
        group: &str,
        categories: &[&str],
    ) -> Result<Box<dyn Consumer<Delivery>>, BusError> {
        self.inner.commands(group, categories).await
    }

    async fn events(
        &self,
        after: Position,
        filter: Filter,
        share: &Share,
    ) -> Result<Box<dyn Consumer<Arc<RecordedEvent>>>, BusError> {
        self.inner.events(after, filter, share).await
    }

    async fn join(&self, _: &str) -> Result<Box<dyn Membership>, BusError> {
        let mut state = self.group.lock();
        state.last += 1;
        let number = state.last;
        state.members.insert(number, Standing::default());
        self.group.settle(&mut state);
        drop(state);
        Ok(Box::new(Member {
            group: self.group.clone(),
            number,
        }))
    }
}

struct Member {
    group: Group,
    number: u64,
}

impl Member {
    /// Waits until something is so.
    async fn until(&self, is_so: impl Fn(&State) -> bool + Send) {
        loop {
            let mut changed = std::pin::pin!(self.group.shared.changed.notified());
            changed.as_mut().enable();
            if is_so(&self.group.lock()) {
                return;
            }
            changed.await;
        }
    }
}

#[async_trait]
impl Membership for Member {
    async fn share(&mut self) -> Result<Share, BusError> {
        let (number, partitions) = (self.number, self.group.shared.partitions);
        {
            let mut state = self.group.lock();
            if let Some(standing) = state.members.get_mut(&number) {
                standing.told.clear();
            }
            self.group.settle(&mut state);
        }
        self.until(|state| {
            let is_still = state.members.get(&number).is_none_or(|its| its.is_still);
            !is_still && !state.owned(number, partitions).is_empty()
        })
        .await;
        let mut state = self.group.lock();
        let owned = state.owned(number, partitions);
        if let Some(standing) = state.members.get_mut(&number) {
            standing.told.clone_from(&owned);
        }
        Ok(Share::of(partitions, owned))
    }

    async fn changed(&mut self) {
        let (number, partitions) = (self.number, self.group.shared.partitions);
        self.until(|state| {
            let standing = state.members.get(&number);
            standing.is_some_and(|its| !its.is_still && its.told != state.owned(number, partitions))
        })
        .await;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.group.lock();
        state.members.remove(&self.number);
        self.group.settle(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use recourse_event_store::{LogId, memory};

    use super::*;
    use crate::{Bus as _, MemoryCheckpoints, embedded};

    fn owned(share: &Share) -> Vec<u32> {
        share.owned().collect()
    }

    async fn is_kept(member: &mut dyn Membership) -> bool {
        tokio::time::timeout(Duration::from_secs(1), member.changed())
            .await
            .is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_change_hands_once_their_owner_has_stopped_is_gone_or_stands_still() {
        let store = Arc::new(memory::Store::new(LogId(uuid::Uuid::nil())));
        let checkpoints = Arc::new(MemoryCheckpoints::default());
        let tail = embedded::Bus::new(store, |_| Ok(vec![]), checkpoints);
        let group = Group::new(NonZeroU32::new(4).unwrap());
        let bus = group.over(Arc::new(tail));
        let mut first = bus.join("sagas").await.unwrap();
        assert_eq!(owned(&first.share().await.unwrap()), [0, 1, 2, 3]);

        let mut second = bus.join("sagas").await.unwrap();
        first.changed().await;
        let waits = tokio::time::timeout(Duration::from_secs(1), second.share()).await;
        assert!(waits.is_err(), "the first one still acts on all");
        assert_eq!(owned(&first.share().await.unwrap()), [0, 1]);
        assert_eq!(owned(&second.share().await.unwrap()), [2, 3]);
        assert!(is_kept(&mut *first).await && is_kept(&mut *second).await);

        let [_, number] = group.members()[..] else {
            panic!("two are there")
        };
        group.set_still(number, true);
        first.changed().await;
        assert_eq!(owned(&first.share().await.unwrap()), [0, 1, 2, 3]);
        assert!(is_kept(&mut *second).await, "it does not know");
        group.set_still(number, false);
        second.changed().await;
        first.changed().await;
        assert_eq!(owned(&first.share().await.unwrap()), [0, 1]);
        assert_eq!(owned(&second.share().await.unwrap()), [2, 3]);

        drop(second);
        first.changed().await;
        assert_eq!(owned(&first.share().await.unwrap()), [0, 1, 2, 3]);
    }
}
