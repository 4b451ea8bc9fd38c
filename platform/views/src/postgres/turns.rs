//! Turns are locks of the database.

use async_trait::async_trait;
use recourse_bus::{Turn, Turns, TurnsError};

use super::{Held, Locks};

#[async_trait]
impl Turns for Locks {
    async fn take(&self, name: &str) -> Result<Box<dyn Turn>, TurnsError> {
        let held = self.hold(name).await;
        let held = held.map_err(|error| TurnsError(with_source(&error)))?;
        Ok(Box::new(held))
    }
}

#[async_trait]
impl Turn for Held {
    async fn lost(&mut self) -> String {
        Held::lost(self).await
    }

    async fn release(self: Box<Self>) {
        Held::release(*self).await;
    }
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
