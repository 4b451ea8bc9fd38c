//! Reads of a stream and of the whole log. One that the connection was lost under is made again.

use std::sync::Arc;

use recourse_event_store::{
    Batch, Direction, Filter, Position, Read, RecordedEvent, StoreError, StreamName,
};
use tokio::time::Instant;
use tonic::Status;

use super::{
    Inner,
    connection::Link,
    recorded::{self, LAST},
    status,
};
use crate::{
    message::identifier,
    wire::streams::{
        ReadReq, read_req,
        read_req::options::{
            AllOptions, ControlOption, CountOption, FilterOption, FilterOptions,
            Position as WirePosition, ReadDirection, StreamOption, StreamOptions, UuidOption,
            all_options::AllOption,
            filter_options::{Expression, Filter as Field, Window},
            stream_options::RevisionOption,
            uuid_option,
        },
        read_resp::Content,
    },
};

/// The most events that one read of the whole log gives.
const MAX_PAGE_EVENTS: usize = 4_096;
/// What no stream and no type of ours begins with, for a filter that wants nothing.
const NOTHING: &str = "$nothing-";

/// The options of a read that ends.
pub(super) fn options(of: StreamOption, direction: ReadDirection, count: u64) -> read_req::Options {
    asked(of, direction, CountOption::Count(count), &Filter::All, 1)
}

/// The options of a read. `window` is how many events are looked at for one checkpoint.
pub(super) fn asked(
    of: StreamOption,
    direction: ReadDirection,
    count: CountOption,
    filter: &Filter,
    window: u32,
) -> read_req::Options {
    read_req::Options {
        read_direction: direction.into(),
        resolve_links: false,
        filter_option: Some(filter_option(filter, window)),
        uuid_option: Some(UuidOption {
            content: Some(uuid_option::Content::Structured(())),
        }),
        // Says that we know of caught-up and fell-behind.
        control_option: Some(ControlOption { compatibility: 1 }),
        count_option: Some(count),
        stream_option: Some(of),
    }
}

fn filter_option(filter: &Filter, window: u32) -> FilterOption {
    let (field, prefixes): (fn(Expression) -> Field, _) = match filter {
        Filter::All => return FilterOption::NoFilter(()),
        Filter::StreamPrefixes(prefixes) => (Field::StreamIdentifier, prefixes),
        Filter::TypePrefixes(prefixes) => (Field::EventType, prefixes),
    };
    let mut prefix = prefixes.clone();
    if prefix.is_empty() {
        prefix.push(NOTHING.to_owned());
    }
    FilterOption::Filter(FilterOptions {
        checkpoint_interval_multiplier: 1,
        filter: Some(field(Expression {
            regex: String::new(),
            prefix,
        })),
        window: Some(Window::Max(window)),
    })
}

/// Where a read of the whole log begins.
pub(super) fn all_from(option: AllOption) -> StreamOption {
    StreamOption::All(AllOptions {
        all_option: Some(option),
    })
}

pub(super) fn wire_position(position: Position) -> AllOption {
    AllOption::Position(WirePosition {
        commit_position: position.commit,
        prepare_position: position.prepare,
    })
}

/// What a read gives, to its end.
pub(super) async fn collect(
    link: &Link,
    options: read_req::Options,
) -> Result<Vec<Content>, Status> {
    let request = link.request(ReadReq {
        options: Some(options),
    });
    let mut answers = link.reads.clone().read(request).await?.into_inner();
    let mut contents = Vec::new();
    while let Some(answer) = answers.message().await? {
        contents.extend(answer.content);
    }
    Ok(contents)
}

/// The position of the log's last event, whoever's it is.
pub(super) async fn end(link: &Link) -> Result<Position, Status> {
    let last = options(all_from(AllOption::End(())), ReadDirection::Backwards, 1);
    let contents = collect(link, last).await?;
    let position = contents.into_iter().find_map(|content| match content {
        Content::Event(event) => event.event.or(event.link).map(|event| Position {
            commit: event.commit_position,
            prepare: event.prepare_position,
        }),
        _ => None,
    });
    Ok(position.unwrap_or(Position::START))
}

impl Inner {
    /// What a read gives, over as many connections as that takes within the time that a call has.
    async fn collect(&self, options: read_req::Options) -> Result<Vec<Content>, StoreError> {
        let deadline = Instant::now() + self.options.timeout();
        loop {
            let link = self.connection.link(deadline).await?;
            let read = tokio::time::timeout_at(deadline, collect(&link, options.clone()));
            match read.await {
                Ok(Ok(contents)) => return Ok(contents),
                Ok(Err(status)) if status::is_lost(&status) => {
                    self.connection.lost(link.number, &status);
                }
                Ok(Err(status)) => return Err(status::unreadable(&status)),
                Err(_) => {
                    return Err(StoreError::Unavailable(format!(
                        "a read took longer than {} ms",
                        self.options.timeout_ms
                    )));
                }
            }
        }
    }

    pub(super) async fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<u64>,
        direction: Direction,
        max_events: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let revision = match (direction, from) {
            (Direction::Forward, None) => RevisionOption::Start(()),
            // No stream is so long.
            (Direction::Forward, Some(revision)) if revision > LAST => return Ok(Vec::new()),
            (Direction::Backward, Some(revision)) if revision > LAST => RevisionOption::End(()),
            (Direction::Backward, None) => RevisionOption::End(()),
            (_, Some(revision)) => RevisionOption::Revision(revision),
        };
        if max_events == 0 {
            return Ok(Vec::new());
        }
        let of = StreamOption::Stream(StreamOptions {
            stream_identifier: Some(identifier(stream.as_str().to_owned())),
            revision_option: Some(revision),
        });
        let max = u64::try_from(max_events).unwrap_or(LAST).min(LAST);
        let options = options(of, wire_direction(direction), max);
        let mut events = Vec::new();
        for content in self.collect(options).await? {
            if let Content::Event(shown) = content
                && let Some(event) = recorded::of_stream(shown)?
            {
                self.progress.saw(event.position);
                events.push(event);
            }
        }
        Ok(events)
    }

    pub(super) async fn read_all(&self, mut read: Read) -> Result<Batch, StoreError> {
        let max = read.max_events.min(MAX_PAGE_EVENTS);
        if max == 0 {
            let nowhere = match read.direction {
                Direction::Forward => Position::START,
                Direction::Backward => Position::dense(u64::MAX),
            };
            return Ok(Batch {
                events: Vec::new(),
                considered: read.from.unwrap_or(nowhere),
                at_end: false,
            });
        }
        let mut looked_at = max;
        loop {
            let batch = match read.direction {
                Direction::Forward => self.read_forward(&read, max, looked_at).await?,
                Direction::Backward => self.read_backward(&read, max, looked_at).await?,
            };
            if batch.at_end || !batch.events.is_empty() {
                return Ok(batch);
            }
            // Nothing but events of the store's own: on to ours.
            read.from = Some(batch.considered);
            looked_at = MAX_PAGE_EVENTS;
        }
    }

    /// At most `max` events out of `looked_at`.
    async fn read_forward(
        &self,
        read: &Read,
        max: usize,
        looked_at: usize,
    ) -> Result<Batch, StoreError> {
        let from = read.from.unwrap_or(Position::START);
        if from.commit > LAST {
            return Ok(Batch {
                events: Vec::new(),
                considered: from,
                at_end: true,
            });
        }
        // What is known to be there before the read is asked for, it looks at.
        let known = self.progress.durable();
        let begin = if from == Position::START {
            AllOption::Start(())
        } else {
            wire_position(from)
        };
        // It begins with the event at the position, if there is one, which was seen before.
        let count = looked_at.saturating_add(1);
        let options = asked(
            all_from(begin),
            ReadDirection::Forwards,
            CountOption::Count(count as u64),
            &read.filter,
            PAGE_WINDOW,
        );
        let contents = match self.collect(options).await {
            // A log that ends before the position may say so with an error.
            Err(StoreError::Unavailable(why)) if from > known => {
                if self.appended().await? > from {
                    return Err(StoreError::Unavailable(why));
                }
                Vec::new()
            }
            contents => contents?,
        };
        let mut page = Page::new(&read.filter, max, from);
        let shown = self.look_at(contents, |found| {
            if found.position > from {
                page.take(found);
            }
        })?;
        let at_end = shown < count && !page.left_out;
        let considered = if at_end {
            page.considered.max(known)
        } else {
            page.considered
        };
        Ok(Batch {
            events: page.events,
            considered,
            at_end,
        })
    }

    async fn read_backward(
        &self,
        read: &Read,
        max: usize,
        looked_at: usize,
    ) -> Result<Batch, StoreError> {
        let from = read.from.filter(|from| from.commit <= LAST);
        let begin = match from {
            None => AllOption::End(()),
            Some(Position::START) => AllOption::Start(()),
            Some(from) => wire_position(from),
        };
        let options = asked(
            all_from(begin),
            ReadDirection::Backwards,
            CountOption::Count(looked_at as u64),
            &read.filter,
            PAGE_WINDOW,
        );
        let contents = self.collect(options).await?;
        let mut page = Page::new(&read.filter, max, from.unwrap_or(Position::dense(u64::MAX)));
        let shown = self.look_at(contents, |found| {
            if found.position < page.considered {
                page.take(found);
            }
        })?;
        let at_end = shown < looked_at && !page.left_out;
        Ok(Batch {
            events: page.events,
            considered: if at_end {
                Position::START
            } else {
                page.considered
            },
            at_end,
        })
    }

    /// Goes through what a read of the whole log gave, and says how many events that was.
    fn look_at(
        &self,
        contents: Vec<Content>,
        mut each: impl FnMut(recorded::Found),
    ) -> Result<usize, StoreError> {
        let mut shown = 0_usize;
        for content in contents {
            if let Content::Event(event) = content {
                shown = shown.saturating_add(1);
                if let Some(found) = recorded::found(event)? {
                    self.progress.saw(found.position);
                    each(found);
                }
            }
        }
        Ok(shown)
    }

    pub(super) async fn appended(&self) -> Result<Position, StoreError> {
        let deadline = Instant::now() + self.options.timeout();
        loop {
            let link = self.connection.link(deadline).await?;
            match tokio::time::timeout_at(deadline, end(&link)).await {
                Ok(Ok(end)) => {
                    self.progress.saw(end);
                    return Ok(end.max(self.progress.durable()));
                }
                Ok(Err(status)) if status::is_lost(&status) => {
                    self.connection.lost(link.number, &status);
                }
                Ok(Err(status)) => return Err(status::unreadable(&status)),
                Err(_) => {
                    return Err(StoreError::Unavailable(format!(
                        "the end of the log was not read within {} ms",
                        self.options.timeout_ms
                    )));
                }
            }
        }
    }
}

/// How many events a read looks at in one go.
const PAGE_WINDOW: u32 = 1_000;

/// Some events of the whole log.
struct Page<'f> {
    filter: &'f Filter,
    max: usize,
    events: Vec<Arc<RecordedEvent>>,
    considered: Position,
    /// That there was no room for another one.
    left_out: bool,
}

impl<'f> Page<'f> {
    fn new(filter: &'f Filter, max: usize, considered: Position) -> Self {
        Self {
            filter,
            max,
            events: Vec::new(),
            considered,
            left_out: false,
        }
    }

    fn take(&mut self, found: recorded::Found) {
        self.left_out |= self.events.len() >= self.max;
        if !self.left_out {
            self.considered = found.position;
            let wanted = |event: &Arc<_>| wants(self.filter, event);
            self.events.extend(found.event.filter(wanted));
        }
    }
}

pub(super) fn wants(filter: &Filter, event: &RecordedEvent) -> bool {
    filter.wants(event.stream.as_str(), &event.event.event_type)
}

fn wire_direction(direction: Direction) -> ReadDirection {
    match direction {
        Direction::Forward => ReadDirection::Forwards,
        Direction::Backward => ReadDirection::Backwards,
    }
}
