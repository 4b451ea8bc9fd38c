//! Ids and names as the protocol has them.

use bytes::Bytes;
use uuid::Uuid;

use crate::wire::{
    self, StreamIdentifier,
    uuid::{Structured, Value},
};

/// The keys of an event's metadata in the protocol.
pub(crate) const TYPE: &str = "type";
pub(crate) const CONTENT_TYPE: &str = "content-type";
pub(crate) const CREATED: &str = "created";
pub(crate) const JSON: &str = "application/json";

/// How a client wants ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    Structured,
    Text,
}

#[expect(
    clippy::cast_possible_wrap,
    reason = "the protocol has the bits signed"
)]
pub(crate) fn uuid(id: Uuid, ids: Ids) -> wire::Uuid {
    let value = match ids {
        Ids::Structured => {
            let (most, least) = id.as_u64_pair();
            Value::Structured(Structured {
                most_significant_bits: most as i64,
                least_significant_bits: least as i64,
            })
        }
        Ids::Text => Value::String(id.to_string()),
    };
    wire::Uuid { value: Some(value) }
}

/// None where there is no id, or none that can be read.
#[expect(clippy::cast_sign_loss, reason = "the protocol has the bits signed")]
pub(crate) fn read_uuid(id: Option<wire::Uuid>) -> Option<Uuid> {
    match id?.value? {
        Value::Structured(bits) => Some(Uuid::from_u64_pair(
            bits.most_significant_bits as u64,
            bits.least_significant_bits as u64,
        )),
        Value::String(text) => text.parse().ok(),
    }
}

pub(crate) fn identifier(name: impl Into<Bytes>) -> StreamIdentifier {
    StreamIdentifier {
        stream_name: name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_in_both_forms() {
        let id = Uuid::from_u128(0xfedc_ba98_7654_3210_8123_4567_89ab_cdef);
        for ids in [Ids::Structured, Ids::Text] {
            assert_eq!(read_uuid(Some(uuid(id, ids))), Some(id));
        }
    }
}
