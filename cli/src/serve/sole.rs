//! Without Kafka nothing shares the sagas out: one process owns them all, and the others wait.

use std::sync::Arc;

use async_trait::async_trait;
use recourse_bus::{Bus, BusError, Consumer, Delivery, Membership, Share};
use recourse_event_store::{Filter, Position, RecordedEvent};
use recourse_views::postgres::{Held, Locks};

use super::told;

/// The event store's own tail, whose groups have one working member: who holds a lock in PostgreSQL.
pub(super) struct Sole<B> {
    pub(super) tail: B,
    pub(super) locks: Locks,
}

#[async_trait]
impl<B: Bus> Bus for Sole<B> {
    async fn commands(
        &self,
        group: &str,
        categories: &[&str],
    ) -> Result<Box<dyn Consumer<Delivery>>, BusError> {
        self.tail.commands(group, categories).await
    }

    async fn events(
        &self,
        after: Position,
        filter: Filter,
        share: &Share,
    ) -> Result<Box<dyn Consumer<Arc<RecordedEvent>>>, BusError> {
        self.tail.events(after, filter, share).await
    }

    async fn join(&self, group: &str) -> Result<Box<dyn Membership>, BusError> {
        Ok(Box::new(Member {
            locks: self.locks.clone(),
            group: group.to_owned(),
            held: None,
        }))
    }
}

struct Member {
    locks: Locks,
    group: String,
    held: Option<Held>,
}

#[async_trait]
impl Membership for Member {
    async fn share(&mut self) -> Result<Share, BusError> {
        if self.held.is_none() {
            let held = self.locks.hold(&self.group).await;
            self.held = Some(held.map_err(|error| BusError::Unavailable(told(&error)))?);
        }
        Ok(Share::whole().among_others())
    }

    async fn changed(&mut self) {
        if let Some(held) = &mut self.held {
            let why = held.lost().await;
            tracing::warn!(group = self.group, why, "another process may go on here");
            self.held = None;
        }
    }
}
