//! Errors, as clients parse them: a status with trailers, and details in a batch's answer.

use prost::Message;
use prost_types::Any;
use recourse_event_store::{StoreError, StreamName};
use tonic::{Code, Status, metadata::MetadataMap};

use crate::server::wire::{
    AccessDenied, BadRequest, MaximumAppendSizeExceeded, Timeout, Unknown, WrongExpectedVersion,
    rpc,
    wrong_expected_version::{CurrentStreamRevisionOption, ExpectedStreamPositionOption},
};

/// What a client expects of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Any,
    NoStream,
    Exists,
    Revision(u64),
}

/// Why an append is not done.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// The stream's last revision is another.
    Conflict {
        expected: Expected,
        actual: Option<u64>,
    },
    TooLarge {
        max_bytes: usize,
    },
    /// Not in this stream, or not of this type.
    Denied(StreamName),
    /// It cannot be taken as it is.
    Bad(String),
    /// It was not durable in the time that the client gives it. It has its place all the same.
    Late,
    Store(StoreError),
}

/// The trailer by which clients tell errors apart.
const EXCEPTION: &str = "exception";

impl Refusal {
    pub(crate) fn status(&self) -> Status {
        let trailers = self.trailers();
        Status::with_metadata(self.code(), self.message(), trailers)
    }

    /// Of an append in a batch session.
    pub(crate) fn detailed(&self) -> rpc::Status {
        let details = match self {
            Self::Conflict { expected, actual } => {
                any("WrongExpectedVersion", &conflict(*expected, *actual))
            }
            Self::TooLarge { max_bytes } => any(
                "MaximumAppendSizeExceeded",
                &MaximumAppendSizeExceeded {
                    max_append_size: u32::try_from(*max_bytes).unwrap_or(u32::MAX),
                },
            ),
            Self::Denied(_) => any("AccessDenied", &AccessDenied {}),
            Self::Bad(why) => any(
                "BadRequest",
                &BadRequest {
                    message: why.clone(),
                },
            ),
            Self::Late => any("Timeout", &Timeout {}),
            Self::Store(_) => any("Unknown", &Unknown {}),
        };
        rpc::Status {
            code: self.code() as i32,
            message: self.message(),
            details: Some(details),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Conflict { .. } => Code::FailedPrecondition,
            Self::TooLarge { .. } | Self::Bad(_) => Code::InvalidArgument,
            Self::Denied(_) => Code::PermissionDenied,
            Self::Late => Code::DeadlineExceeded,
            Self::Store(error) => store_code(error),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Conflict { actual, .. } => {
                format!("the stream is at revision {actual:?}, not where the append expects it")
            }
            Self::TooLarge { max_bytes } => {
                format!("an append holds at most {max_bytes} bytes")
            }
            Self::Denied(stream) => {
                format!("clients of this protocol may not append such an event to {stream}")
            }
            Self::Bad(why) => why.clone(),
            Self::Late => "the append was not durable in time, and may be later".to_owned(),
            Self::Store(error) => error.to_string(),
        }
    }

    fn trailers(&self) -> MetadataMap {
        let mut trailers = MetadataMap::new();
        let exception = match self {
            Self::Conflict { .. } => "wrong-expected-version",
            Self::TooLarge { .. } => "maximum-append-size-exceeded",
            Self::Denied(_) => "access-denied",
            Self::Bad(_) | Self::Late | Self::Store(_) => return trailers,
        };
        trailers.insert(
            EXCEPTION,
            tonic::metadata::MetadataValue::from_static(exception),
        );
        if let Self::TooLarge { max_bytes } = self {
            trailers.insert("maximum-append-size", (*max_bytes as u64).into());
        }
        trailers
    }
}

fn conflict(expected: Expected, actual: Option<u64>) -> WrongExpectedVersion {
    use CurrentStreamRevisionOption as Current;
    use ExpectedStreamPositionOption as Wanted;
    WrongExpectedVersion {
        current_stream_revision_option: Some(
            actual.map_or(Current::CurrentNoStream(()), Current::CurrentStreamRevision),
        ),
        expected_stream_position_option: Some(match expected {
            Expected::Any => Wanted::ExpectedAny(()),
            Expected::NoStream => Wanted::ExpectedNoStream(()),
            Expected::Exists => Wanted::ExpectedStreamExists(()),
            Expected::Revision(revision) => Wanted::ExpectedStreamPosition(revision),
        }),
    }
}

fn any(name: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/event_store.client.{name}"),
        value: message.encode_to_vec(),
    }
}

fn store_code(error: &StoreError) -> Code {
    match error {
        StoreError::Unavailable(_) | StoreError::Closed => Code::Unavailable,
        StoreError::Full(_) => Code::ResourceExhausted,
        StoreError::Failed(_) => Code::Internal,
        StoreError::Corrupt { .. } => Code::DataLoss,
    }
}

/// The store cannot answer a reader.
pub(crate) fn unreadable(error: &StoreError) -> Status {
    Status::new(store_code(error), error.to_string())
}
