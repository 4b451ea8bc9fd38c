//! Which relay is the active one: the member of a group that has the one partition there is.

use std::time::Duration;

use recourse_bus::kafka::{Client, Place};

use crate::{Error, Options};

/// A place in the group. Dropped, it is given up.
pub(crate) struct Lease(Place);

impl Lease {
    /// Joins the group.
    pub(crate) fn ask(client: Client, options: &Options) -> Self {
        // Its members have nothing to do with the generations of topics.
        let topic = client.topics().relay();
        let group = options.lease_group.as_ref().unwrap_or(&topic);
        // Two at once repeat records, which harms nobody: no need to wait for the one that ends.
        Self(Place::ask(client.clone(), &topic, group, Duration::ZERO))
    }

    /// Waits until the lease is held.
    pub(crate) async fn held(&mut self) -> Result<(), Error> {
        while self.0.owned()?.is_empty() {
            self.0.changed().await;
        }
        Ok(())
    }

    /// Waits until it is not held any more.
    pub(crate) async fn lost(&mut self) {
        loop {
            self.0.changed().await;
            // Without a place it is lost too.
            if self.0.owned().map_or(true, |owned| owned.is_empty()) {
                return;
            }
        }
    }
}
