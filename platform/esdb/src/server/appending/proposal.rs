//! What a client proposes to append, checked as it comes.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use recourse_event_store::{NewEvent, StreamName};
use serde::de::IgnoredAny;

use crate::server::{
    Policy, Shared,
    message::{self, CONTENT_TYPE, JSON, TYPE},
    refusal::{Expected, Refusal},
    wire,
};

/// The longest name of an event's type, in bytes.
const MAX_TYPE_BYTES: usize = 200;

/// Events for one stream.
pub(super) struct Proposal {
    pub(super) stream: StreamName,
    pub(super) expected: Expected,
    pub(super) events: Vec<NewEvent>,
    bytes: usize,
    max_bytes: usize,
    policy: Arc<dyn Policy>,
}

impl Proposal {
    pub(super) fn begin(
        shared: &Shared,
        stream: &str,
        expected: Expected,
    ) -> Result<Self, Refusal> {
        let stream = StreamName::parse(stream).map_err(|error| Refusal::Bad(error.to_string()))?;
        Ok(Self {
            stream,
            expected,
            events: Vec::new(),
            bytes: 0,
            max_bytes: shared.options.max_append_bytes,
            policy: Arc::clone(&shared.policy),
        })
    }

    pub(super) fn add(
        &mut self,
        id: Option<wire::Uuid>,
        mut named: BTreeMap<String, String>,
        metadata: Bytes,
        data: Bytes,
    ) -> Result<(), Refusal> {
        let id = message::read_uuid(id)
            .ok_or_else(|| Refusal::Bad("an event has an id that is a UUID".to_owned()))?;
        let event_type = named.remove(TYPE).unwrap_or_default();
        if event_type.is_empty() || event_type.len() > MAX_TYPE_BYTES {
            return Err(Refusal::Bad(format!(
                "an event has a type of at most {MAX_TYPE_BYTES} bytes"
            )));
        }
        if event_type.starts_with('$') {
            return Err(Refusal::Bad(
                "an event's type does not begin with $".to_owned(),
            ));
        }
        if !self.policy.may_append(&self.stream, &event_type) {
            return Err(Refusal::Denied(self.stream.clone()));
        }
        if named.get(CONTENT_TYPE).is_none_or(|kind| kind != JSON) || !is_json(&data) {
            return Err(Refusal::Bad(format!(
                "an event's data is JSON, and its {CONTENT_TYPE} {JSON}"
            )));
        }
        if !metadata.is_empty() && !is_json(&metadata) {
            return Err(Refusal::Bad("an event's metadata is JSON".to_owned()));
        }
        self.bytes = self
            .bytes
            .saturating_add(event_type.len())
            .saturating_add(data.len())
            .saturating_add(metadata.len());
        if self.bytes > self.max_bytes {
            return Err(Refusal::TooLarge {
                max_bytes: self.max_bytes,
            });
        }
        self.events
            .push(NewEvent::raw(id, event_type, data, metadata));
        Ok(())
    }
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}
