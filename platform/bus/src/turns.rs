//! Whose turn it is to do what one process at a time does.
//!
//! A turn saves work, it guards nothing: whoever stood still for long may believe for a moment that
//! it is theirs, so what is done in turns has to bear that two do it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

/// Turns that the processes of a system take, by name.
#[async_trait]
pub trait Turns: Send + Sync + 'static {
    /// Waits until nobody else has this turn, and takes it. May be dropped while it waits.
    ///
    /// # Errors
    /// Where nobody can say whose turn it is.
    async fn take(&self, name: &str) -> Result<Box<dyn Turn>, TurnsError>;
}

/// A turn that this process has. Dropped, it is given up.
#[async_trait]
pub trait Turn: Send + 'static {
    /// Keeps it, and answers why once it is lost. It is kept only while this is polled. May be
    /// dropped, and asked again.
    async fn lost(&mut self) -> String;

    /// Gives it up, and waits a moment until another one can take it.
    async fn release(self: Box<Self>);
}

/// Why nobody can say whose turn it is.
#[derive(Clone, Debug, thiserror::Error)]
#[error("nobody can say whose turn it is: {0}")]
pub struct TurnsError(pub String);

/// Turns in memory: for tests. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryTurns {
    by_name: Arc<Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

struct Taken {
    _place: tokio::sync::OwnedMutexGuard<()>,
}

#[async_trait]
impl Turns for MemoryTurns {
    async fn take(&self, name: &str) -> Result<Box<dyn Turn>, TurnsError> {
        let turn = {
            let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(by_name.entry(name.to_owned()).or_default())
        };
        let place = turn.lock_owned().await;
        Ok(Box::new(Taken { _place: place }))
    }
}

#[async_trait]
impl Turn for Taken {
    async fn lost(&mut self) -> String {
        std::future::pending().await
    }

    async fn release(self: Box<Self>) {}
}
