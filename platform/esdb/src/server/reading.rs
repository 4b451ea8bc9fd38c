//! Reads that end: a stream or `$all`, forward or backward, up to a count.
//!
//! A page is read when the client has room for it. Positions are read as EventStoreDB does:
//! forward from the event at a position, backward from before it; revisions are inclusive.

use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use recourse_event_store::{Direction, Position, Read, StreamName, Visibility};
use tonic::Status;

use crate::server::{
    Shared,
    filter::Wanted,
    message::{self, Shape},
    refusal::unreadable,
    streams::Answers,
    wire::streams::{
        ReadResp,
        read_req::{
            self,
            options::{
                AllOptions, ReadDirection, StreamOption, StreamOptions, all_options::AllOption,
                stream_options::RevisionOption,
            },
        },
    },
};

/// How many events are read at once.
pub(crate) const PAGE_EVENTS: usize = 64;

pub(crate) fn read(
    shared: Arc<Shared>,
    options: read_req::Options,
    count: u64,
) -> Result<Answers<ReadResp>, Status> {
    let direction = match ReadDirection::try_from(options.read_direction) {
        Ok(ReadDirection::Forwards) => Direction::Forward,
        Ok(ReadDirection::Backwards) => Direction::Backward,
        Err(_) => return Err(Status::invalid_argument("there are two directions")),
    };
    let shape = Shape {
        ids: message::ids_asked(options.uuid_option),
        policy: Arc::clone(&shared.policy),
    };
    match options.stream_option {
        Some(StreamOption::Stream(stream)) => {
            let name = message::read_identifier(stream.stream_identifier.clone())?;
            let Some(known) = message::possible(&name) else {
                return Ok(Box::pin(stream::iter([Ok(message::not_found(name))])));
            };
            let (from, left) = match (first_revision(&stream)?, direction) {
                (From::End, Direction::Forward) => (None, 0),
                (From::End, Direction::Backward) => (None, count),
                (From::Start, _) => (Some(0), count),
                (From::At(revision), _) => (Some(revision), count),
            };
            let pages = StreamPages {
                shared,
                shape,
                name: known,
                from,
                direction,
                left,
                found: false,
            };
            Ok(flat(pages, StreamPages::next))
        }
        Some(StreamOption::All(all)) => {
            let wanted = Wanted::read(options.filter_option)?;
            let pages = AllPages::new(
                shared,
                shape,
                wanted,
                first_position(all)?,
                direction,
                count,
            );
            Ok(flat(pages, AllPages::next))
        }
        None => Err(Status::invalid_argument("a read is of a stream or of all")),
    }
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From<T> {
    Start,
    End,
    At(T),
}

pub(crate) fn first_revision(options: &StreamOptions) -> Result<From<u64>, Status> {
    match options.revision_option {
        Some(RevisionOption::Revision(revision)) => Ok(From::At(revision)),
        Some(RevisionOption::Start(())) => Ok(From::Start),
        Some(RevisionOption::End(())) => Ok(From::End),
        None => Err(Status::invalid_argument("a read begins at a revision")),
    }
}

pub(crate) fn first_position(options: AllOptions) -> Result<From<Position>, Status> {
    match options.all_option {
        Some(AllOption::Position(position)) => Ok(From::At(Position {
            commit: position.commit_position,
            prepare: position.prepare_position,
        })),
        Some(AllOption::Start(())) => Ok(From::Start),
        Some(AllOption::End(())) => Ok(From::End),
        None => Err(Status::invalid_argument("a read begins at a position")),
    }
}

/// What `next` gives page by page, one by one; none is the end.
fn flat<S, F>(pages: S, next: fn(S) -> F) -> Answers<ReadResp>
where
    S: Send + 'static,
    F: Future<Output = Result<Option<(Vec<ReadResp>, S)>, Status>> + Send + 'static,
{
    Box::pin(one_by_one(stream::try_unfold(pages, next)))
}

pub(crate) fn one_by_one(
    pages: impl Stream<Item = Result<Vec<ReadResp>, Status>> + Send + 'static,
) -> impl Stream<Item = Result<ReadResp, Status>> + Send + 'static {
    pages
        .map_ok(|page| stream::iter(page).map(Ok))
        .try_flatten()
}

struct StreamPages {
    shared: Arc<Shared>,
    shape: Shape,
    name: StreamName,
    /// None is the end.
    from: Option<u64>,
    direction: Direction,
    left: u64,
    /// That the stream is known to have events.
    found: bool,
}

impl StreamPages {
    async fn next(mut self) -> Result<Option<(Vec<ReadResp>, Self)>, Status> {
        let store = &*self.shared.store;
        let max = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(PAGE_EVENTS);
        let mut events = Vec::new();
        if max > 0 {
            events = store
                .read_stream(
                    &self.name,
                    self.from,
                    self.direction,
                    Visibility::Durable,
                    max,
                )
                .await
                .map_err(|error| unreadable(&error))?;
        }
        let Some(last) = events.last().map(|event| event.revision) else {
            self.left = 0;
            if self.found {
                return Ok(None);
            }
            self.found = true;
            let first = store
                .read_stream(&self.name, None, Direction::Forward, Visibility::Durable, 1)
                .await
                .map_err(|error| unreadable(&error))?;
            if !first.is_empty() {
                return Ok(None);
            }
            let missing = message::not_found(self.name.as_str().to_owned());
            return Ok(Some((vec![missing], self)));
        };
        self.found = true;
        let next = match self.direction {
            Direction::Forward => last.checked_add(1),
            Direction::Backward => last.checked_sub(1),
        };
        self.left = match next {
            Some(_) if events.len() == max => self.left.saturating_sub(events.len() as u64),
            _ => 0,
        };
        self.from = next;
        let page = events.iter().map(|event| self.shape.event(event)).collect();
        Ok(Some((page, self)))
    }
}

struct AllPages {
    shared: Arc<Shared>,
    shape: Shape,
    wanted: Wanted,
    /// As the store has it: exclusive.
    from: Option<Position>,
    /// Events outside of these are not given, both inclusive.
    least: Position,
    most: Position,
    direction: Direction,
    left: u64,
}

impl AllPages {
    fn new(
        shared: Arc<Shared>,
        shape: Shape,
        wanted: Wanted,
        from: From<Position>,
        direction: Direction,
        count: u64,
    ) -> Self {
        let mut pages = Self {
            // What is appended while the client reads does not keep the read from ending.
            most: shared.store.durable(),
            shared,
            shape,
            wanted,
            from: None,
            least: Position::START,
            direction,
            left: count,
        };
        match (from, direction) {
            (From::Start, Direction::Forward) | (From::End, Direction::Backward) => {}
            (From::Start, Direction::Backward) | (From::End, Direction::Forward) => pages.left = 0,
            (From::At(position), Direction::Backward) => pages.from = Some(position),
            (From::At(position), Direction::Forward) => {
                pages.least = position;
                // Before every position of that commit, however positions are spaced.
                pages.from = position.commit.checked_sub(1).map(|commit| Position {
                    commit,
                    prepare: u64::MAX,
                });
            }
        }
        pages
    }

    async fn next(mut self) -> Result<Option<(Vec<ReadResp>, Self)>, Status> {
        if self.left == 0 {
            return Ok(None);
        }
        // A filter that matches little reads much: others get their turn.
        tokio::task::yield_now().await;
        let batch = self
            .shared
            .store
            .read_all(Read {
                from: self.from,
                direction: self.direction,
                visibility: Visibility::Durable,
                filter: self.wanted.store.clone(),
                max_events: PAGE_EVENTS,
            })
            .await
            .map_err(|error| unreadable(&error))?;
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let page: Vec<_> = self
            .wanted
            .choose(&batch.events)?
            .into_iter()
            .filter(|event| (self.least..=self.most).contains(&event.position))
            .take(left)
            .map(|event| self.shape.event(event))
            .collect();
        self.left = self.left.saturating_sub(page.len() as u64);
        let past = self.direction == Direction::Forward && batch.considered >= self.most;
        if batch.at_end || past {
            self.left = 0;
        }
        self.from = Some(batch.considered);
        Ok(Some((page, self)))
    }
}
