//! For tests: a store that does something otherwise than the one beneath it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    Append, AppendError, Appended, Batch, Direction, EventStore, Filter, LogId, Position, Read,
    RecordedEvent, StoreError, StreamName, Subscription, Visibility,
};

/// A store in front of another: what it does not do itself, the one beneath does. Whatever is a
/// layer is an [`EventStore`].
#[async_trait]
pub trait Layer: Send + Sync + 'static {
    /// The store that it stands in front of.
    fn beneath(&self) -> &dyn EventStore;

    /// As [`EventStore::append`].
    async fn append(&self, appends: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
        self.beneath().append(appends).await
    }

    /// As [`EventStore::read_stream`].
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<u64>,
        direction: Direction,
        visibility: Visibility,
        max_events: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        self.beneath()
            .read_stream(stream, from, direction, visibility, max_events)
            .await
    }

    /// As [`EventStore::read_all`].
    async fn read_all(&self, read: Read) -> Result<Batch, StoreError> {
        self.beneath().read_all(read).await
    }

    /// As [`EventStore::subscribe`].
    async fn subscribe(
        &self,
        after: Position,
        filter: Filter,
        visibility: Visibility,
    ) -> Result<Box<dyn Subscription>, StoreError> {
        self.beneath().subscribe(after, filter, visibility).await
    }
}

#[async_trait]
impl<L: Layer> EventStore for L {
    fn log_id(&self) -> LogId {
        self.beneath().log_id()
    }

    fn former_names(&self) -> Vec<(LogId, Position)> {
        self.beneath().former_names()
    }

    fn counts_events(&self) -> bool {
        self.beneath().counts_events()
    }

    async fn append(&self, appends: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
        Layer::append(self, appends).await
    }

    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<u64>,
        direction: Direction,
        visibility: Visibility,
        max_events: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        Layer::read_stream(self, stream, from, direction, visibility, max_events).await
    }

    async fn read_all(&self, read: Read) -> Result<Batch, StoreError> {
        Layer::read_all(self, read).await
    }

    async fn subscribe(
        &self,
        after: Position,
        filter: Filter,
        visibility: Visibility,
    ) -> Result<Box<dyn Subscription>, StoreError> {
        Layer::subscribe(self, after, filter, visibility).await
    }

    async fn appended(&self) -> Result<Position, StoreError> {
        self.beneath().appended().await
    }

    fn durable(&self) -> Position {
        self.beneath().durable()
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        self.beneath().wait_durable(position).await
    }
}
