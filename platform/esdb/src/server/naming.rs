//! What the log is called, written where clients of ours look for it.

use recourse_event_store::{
    Append, AppendError, Direction, EventStore, ExpectedRevision, NewEvent, StoreError, StreamName,
    Visibility,
};

use crate::client::naming::{EVENT_TYPE, Named, STREAM};

/// Why the log's name is not in it.
#[derive(Debug, thiserror::Error)]
pub enum NamingError {
    /// It cannot be written.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// What is there cannot be read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// There is something else.
    #[error("the stream {STREAM} does not say what the log is called")]
    Malformed(#[from] serde_json::Error),
}

/// Makes the log say what it is called, for clients of ours: a log that is restored from a backup
/// goes on under another name, and they have to know. To be called before the log is served.
///
/// # Errors
/// [`NamingError`].
pub async fn name_log(store: &dyn EventStore) -> Result<(), NamingError> {
    let id = store.log_id().0;
    let stream = StreamName::parse(STREAM)
        .map_err(|_| StoreError::Unavailable("the stream of names has no name".to_owned()))?;
    let newest = store
        .read_stream(&stream, None, Direction::Backward, Visibility::Appended, 1)
        .await?;
    let newest = newest.first();
    if let Some(event) = newest {
        let named: Named = serde_json::from_slice(&event.event.data)?;
        if named.id == id {
            return Ok(());
        }
    }
    let data = serde_json::to_vec(&Named { id })?;
    let append = Append {
        stream,
        expected: ExpectedRevision::after(newest.map(|event| event.revision)),
        events: vec![NewEvent::raw(id, EVENT_TYPE, data, &b"{}"[..])],
    };
    for answer in store.append(vec![append]).await {
        if let Some(position) = answer?.position {
            store.wait_durable(position).await?;
        }
    }
    Ok(())
}
