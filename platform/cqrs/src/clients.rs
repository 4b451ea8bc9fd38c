//! What an aggregate remembers of the clients' commands that it accepted.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How long a client's command is remembered, by the time its event was recorded at.
pub const REMEMBERED_FOR: TimeDelta = TimeDelta::days(7);

/// A client's command that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Remembered {
    /// A digest of its body.
    pub body_hash: Uuid,
    /// When it was accepted.
    pub recorded_at: DateTime<Utc>,
    /// The revision of the last event that it wrote.
    pub revision: u64,
    /// That it wrote the stream's first event: remembered for ever.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub created: bool,
}

/// The commands, and the order in which they are forgotten.
///
/// A fold of the events alone: what is forgotten follows from the times in the events, never
/// from when somebody looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Clients {
    by_id: BTreeMap<Uuid, Remembered>,
    /// All but the creation, oldest first.
    forget_next: VecDeque<(DateTime<Utc>, Uuid)>,
}

impl Clients {
    /// What is known of a command at `now`.
    pub(crate) fn find(&self, id: Uuid, now: DateTime<Utc>) -> Option<&Remembered> {
        // Not yet pruned on a quiet stream, yet forgotten all the same: how much else
        // happens to an aggregate must not show in what it remembers.
        self.by_id
            .get(&id)
            .filter(|known| known.created || !is_past(known.recorded_at, now))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Remembers that `id` wrote the event at `revision`.
    pub(crate) fn remember(
        &mut self,
        id: Uuid,
        body_hash: Uuid,
        recorded_at: DateTime<Utc>,
        revision: u64,
    ) {
        if let Some(known) = self.by_id.get_mut(&id)
            && known.recorded_at == recorded_at
            && known.body_hash == body_hash
        {
            // A further event of the same decision.
            known.revision = revision;
            return;
        }
        let created = revision == 0 || self.by_id.get(&id).is_some_and(|known| known.created);
        if !created {
            self.forget_next.push_back((recorded_at, id));
        }
        self.by_id.insert(
            id,
            Remembered {
                body_hash,
                recorded_at,
                revision,
                created,
            },
        );
    }

    /// Whether [`Self::forget`] would forget anything.
    pub(crate) fn has_past(&self, now: DateTime<Utc>) -> bool {
        self.forget_next
            .front()
            .is_some_and(|(recorded_at, _)| is_past(*recorded_at, now))
    }

    /// Forgets what is past. Each command is forgotten once, so this costs what it forgets.
    pub(crate) fn forget(&mut self, now: DateTime<Utc>) {
        while self.has_past(now) {
            let Some((recorded_at, id)) = self.forget_next.pop_front() else {
                return;
            };
            if self
                .by_id
                .get(&id)
                .is_some_and(|known| !known.created && known.recorded_at == recorded_at)
            {
                self.by_id.remove(&id);
            }
        }
    }
}

fn is_past(recorded_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    now.signed_duration_since(recorded_at) > REMEMBERED_FOR
}
