//! Looks up in the target's stream what became of a command.

use recourse_event_store::{
    Direction, EventStore, Mark, Position, RecordedEvent, StoreError, StreamName, Visibility, typed,
};
use recourse_saga::{Answer, Definition, Sent};
use uuid::Uuid;

/// How many events are read at a time: an answer is nearly always among the last few.
const PAGE: usize = 64;

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It was answered, there.
    Answered(Answer, Position),
    /// Its answer is still to come: it has not arrived yet, or its outcome is open.
    Waiting,
    /// The stream's mark is past it and it was neither answered nor taken: it can never take
    /// effect.
    Lost,
}

/// Why a look-up failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    /// The store cannot be read.
    #[error("the target's stream cannot be read")]
    Store(#[from] StoreError),
    /// An event there has metadata that is not ours.
    #[error("an event of the target's stream cannot be read")]
    Event(#[from] typed::Error),
    /// The saga's own event is not there.
    #[error("the saga's event {0} is gone")]
    Gone(u64),
}

/// What became of a command that a saga sent, by its target's stream up to now.
///
/// # Errors
/// Where a stream cannot be read, or the saga's event that carries the command is gone.
pub(crate) async fn of_sent(
    store: &dyn EventStore,
    saga: Uuid,
    sent: &Sent,
) -> Result<Found, LookupError> {
    let (stream, seen) = (Definition::stream(saga), Visibility::Appended);
    let carries = store
        .read_stream(&stream, Some(sent.revision), Direction::Forward, seen, 1)
        .await?;
    let position = carries
        .first()
        .map(|event| event.position)
        .ok_or(LookupError::Gone(sent.revision))?;
    let mark = Mark {
        position,
        index: sent.index,
    };
    look_up(store, &sent.target, sent.id, mark).await
}

/// What became of a command, by its target's stream up to now.
///
/// Reads backward, and only what was appended after the command was sent.
///
/// # Errors
/// Where the stream cannot be read.
pub(crate) async fn look_up(
    store: &dyn EventStore,
    target: &StreamName,
    command: Uuid,
    mark: Mark,
) -> Result<Found, LookupError> {
    let mut before = None;
    let mut mark_is_past = false;
    loop {
        let page = store
            .read_stream(
                target,
                before,
                Direction::Backward,
                Visibility::Appended,
                PAGE,
            )
            .await?;
        for event in &page {
            if event.position < mark.position {
                return Ok(verdict(mark_is_past));
            }
            let metadata = event.metadata()?;
            if let Some(answer) = answer_to(event, command)? {
                return Ok(Found::Answered(answer, event.position));
            }
            let is_taken = metadata
                .takes
                .as_ref()
                .is_some_and(|taken| taken.answered.command == command);
            if is_taken {
                return Ok(Found::Waiting);
            }
            mark_is_past |= metadata.mark.is_some_and(|taken| taken >= mark);
        }
        match page.last() {
            Some(oldest) if oldest.revision > 0 => before = Some(oldest.revision - 1),
            _ => return Ok(verdict(mark_is_past)),
        }
    }
}

fn verdict(mark_is_past: bool) -> Found {
    if mark_is_past {
        Found::Lost
    } else {
        Found::Waiting
    }
}

/// What an event answers to a command, if anything.
///
/// # Errors
/// Where its metadata is not ours.
pub(crate) fn answer_to(
    event: &RecordedEvent,
    command: Uuid,
) -> Result<Option<Answer>, typed::Error> {
    let metadata = event.metadata()?;
    let answers = metadata
        .answers
        .iter()
        .any(|answered| answered.command == command);
    Ok(answers.then(|| Answer::from(metadata.refused.as_ref())))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use recourse_event_store::{
        Answered, Append, ExpectedRevision, LogId, Metadata, NewEvent, Refused, Taken, memory,
    };

    use super::*;

    const LOG: LogId = LogId(Uuid::from_u128(1));

    fn target() -> StreamName {
        StreamName::new("stock", "tea-1")
    }

    fn command(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn answered(number: u128) -> Answered {
        Answered {
            command: command(number),
            saga: StreamName::new("saga", Uuid::nil()),
        }
    }

    /// The mark of a command whose saga event stands first in the log.
    fn sent() -> Mark {
        Mark {
            position: Position::dense(1),
            index: 0,
        }
    }

    /// A log that begins with the saga's event and goes on with these in the target's stream.
    async fn log(events: impl IntoIterator<Item = Metadata>) -> memory::Store {
        let store = memory::Store::new(LOG);
        let append = |stream: StreamName, metadata: &Metadata, id: u128| {
            let event = NewEvent::raw(
                Uuid::from_u128(id),
                "some.happened.v1",
                "{}",
                serde_json::to_vec(metadata).unwrap(),
            );
            Append {
                stream,
                expected: ExpectedRevision::Any,
                events: vec![event],
            }
        };
        let mut appends = vec![append(StreamName::new("saga", Uuid::nil()), &plain(), 100)];
        for (id, metadata) in (101..).zip(events) {
            appends.push(append(target(), &metadata, id));
        }
        for appended in store.append(appends).await {
            appended.unwrap();
        }
        store
    }

    fn plain() -> Metadata {
        Metadata::new(Uuid::nil(), Uuid::nil(), DateTime::UNIX_EPOCH, LOG)
    }

    fn past(position: u64) -> Metadata {
        Metadata {
            mark: Some(Mark {
                position: Position::dense(position),
                index: 0,
            }),
            ..plain()
        }
    }

    async fn found(events: impl IntoIterator<Item = Metadata>) -> Found {
        let store = log(events).await;
        look_up(&store, &target(), command(7), sent())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_command_that_has_not_arrived_is_waited_for() {
        assert_eq!(found([]).await, Found::Waiting);
        assert_eq!(found([plain(), plain()]).await, Found::Waiting);
    }

    #[tokio::test]
    async fn a_command_that_the_mark_passed_is_lost() {
        assert_eq!(found([past(3), plain()]).await, Found::Lost);
    }

    #[tokio::test]
    async fn an_answer_is_found_behind_any_number_of_later_events() {
        let answer = Metadata {
            answers: vec![answered(6), answered(7)],
            ..past(1)
        };
        let later = (0..200).map(|_| past(9));
        assert_eq!(
            found(std::iter::once(answer).chain(later)).await,
            Found::Answered(Answer::Done, Position::dense(2))
        );
    }

    #[tokio::test]
    async fn a_refusal_is_found_as_one() {
        let refusal = Metadata {
            answers: vec![answered(7)],
            refused: Some(Refused {
                code: "out-of-stock".into(),
                detail: "none left".into(),
                is_final: false,
            }),
            ..past(1)
        };
        assert!(matches!(
            found([refusal]).await,
            Found::Answered(Answer::Refused { code, .. }, _) if code == "out-of-stock"
        ));
    }

    #[tokio::test]
    async fn an_open_intent_is_waited_for_though_the_mark_is_past_it() {
        let intent = Metadata {
            takes: Some(Taken {
                answered: answered(7),
                operation: "authorize".into(),
            }),
            ..past(1)
        };
        assert_eq!(found([intent, past(9)]).await, Found::Waiting);
    }
}
