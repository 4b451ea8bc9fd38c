//! Subscriptions: a stream or `$all`, from where the client was, on to what is new.
//!
//! A batch is taken from the log when the client has room for it, so a slow one costs a batch
//! and the connection's window, and holds up nobody. It is told that it fell behind, and when it
//! has caught up again. A subscription ends with an error, never as if there were no more:
//! clients take it up again after an error.

use std::sync::{Arc, atomic::Ordering};

use futures::stream;
use recourse_event_store::{
    Batch, Direction, Filter, Position, RecordedEvent, StreamName, Subscription, Visibility,
};
use tonic::Status;
use uuid::Uuid;

use crate::server::{
    Shared,
    filter::Wanted,
    message::{self, Reached, Shape},
    reading::{self, From, PAGE_EVENTS},
    refusal::unreadable,
    streams::Answers,
    wire::streams::{
        ReadResp,
        read_req::{self, options::ReadDirection, options::StreamOption},
    },
};

pub(crate) async fn subscribe(
    shared: Arc<Shared>,
    options: read_req::Options,
) -> Result<Answers<ReadResp>, Status> {
    if options.read_direction != i32::from(ReadDirection::Forwards) {
        return Err(Status::invalid_argument("a subscription goes forward"));
    }
    let shape = Shape {
        ids: message::ids_asked(options.uuid_option),
        policy: Arc::clone(&shared.policy),
    };
    let follower = match options.stream_option {
        Some(StreamOption::Stream(stream)) => {
            let name = message::read_identifier(stream.stream_identifier.clone())?;
            let name = StreamName::parse(&name)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            let next = match reading::first_revision(&stream)? {
                From::Start => 0,
                From::At(revision) => revision.saturating_add(1),
                From::End => end_of(&shared, &name).await?,
            };
            let source = Source::Stream {
                name,
                next,
                following: false,
            };
            Follower::new(shared, shape, source)
        }
        Some(StreamOption::All(all)) => {
            let wanted = Wanted::read(options.filter_option)?;
            let durable = shared.store.durable();
            let after = match reading::first_position(all)? {
                From::Start => Position::START,
                From::End => durable,
                // Only what is durable was ever shown, so it is another log's.
                From::At(position) if position > durable => {
                    return Err(Status::invalid_argument(
                        "the position is past the end of the log",
                    ));
                }
                From::At(position) => position,
            };
            let source = Source::All {
                wanted,
                told: after,
            };
            let mut follower = Follower::new(shared, shape, source);
            follower.follow(after).await?;
            if after >= durable {
                follower.live = true;
                follower.ready.push(message::caught_up(Reached::All(after)));
            }
            follower
        }
        None => {
            return Err(Status::invalid_argument(
                "a subscription is to a stream or to all",
            ));
        }
    };
    let pages = stream::try_unfold(follower, |mut follower| async move {
        let page = follower.next().await?;
        Ok::<_, Status>(Some((page, follower)))
    });
    Ok(Box::pin(reading::one_by_one(pages)))
}

/// The revision that the stream's next event has.
async fn end_of(shared: &Shared, name: &StreamName) -> Result<u64, Status> {
    let newest = shared
        .store
        .read_stream(name, None, Direction::Backward, Visibility::Durable, 1)
        .await
        .map_err(|error| unreadable(&error))?;
    Ok(newest
        .first()
        .map_or(0, |event| event.revision.saturating_add(1)))
}

/// What is followed.
enum Source {
    All {
        wanted: Wanted,
        /// The last position that the client knows of.
        told: Position,
    },
    Stream {
        name: StreamName,
        /// The revision that comes next.
        next: u64,
        /// That what is stored has been read.
        following: bool,
    },
}

struct Follower {
    shared: Arc<Shared>,
    shape: Shape,
    source: Source,
    subscription: Option<Box<dyn Subscription>>,
    /// That the client has been told that it has caught up.
    live: bool,
    /// To be sent before anything else.
    ready: Vec<ReadResp>,
}

impl Follower {
    fn new(shared: Arc<Shared>, shape: Shape, source: Source) -> Self {
        let number = shared.subscriptions.fetch_add(1, Ordering::Relaxed);
        let id = Uuid::new_v5(&shared.store.log_id().0, &number.to_be_bytes());
        Self {
            shared,
            shape,
            source,
            subscription: None,
            live: false,
            ready: vec![message::confirmation(id)],
        }
    }

    async fn follow(&mut self, after: Position) -> Result<(), Status> {
        let filter = match &self.source {
            Source::All { wanted, .. } => wanted.store.clone(),
            Source::Stream { name, .. } => Filter::StreamPrefixes(vec![name.as_str().to_owned()]),
        };
        let subscription = self
            .shared
            .store
            .subscribe(after, filter, Visibility::Durable)
            .await
            .map_err(|error| unreadable(&error))?;
        self.subscription = Some(subscription);
        Ok(())
    }

    async fn next(&mut self) -> Result<Vec<ReadResp>, Status> {
        if !self.ready.is_empty() {
            return Ok(std::mem::take(&mut self.ready));
        }
        // A filter that matches little reads much: others get their turn.
        tokio::task::yield_now().await;
        let stop = self.shared.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(Status::unavailable("the server stops")),
            page = self.page() => page,
        }
    }

    async fn page(&mut self) -> Result<Vec<ReadResp>, Status> {
        if let Source::Stream {
            name,
            next,
            following: following @ false,
        } = &mut self.source
        {
            let store = &self.shared.store;
            // Taken before the read: what is durable by then, the read shows.
            let mut after = store.durable();
            let events = store
                .read_stream(
                    name,
                    Some(*next),
                    Direction::Forward,
                    Visibility::Durable,
                    PAGE_EVENTS,
                )
                .await
                .map_err(|error| unreadable(&error))?;
            let mut page: Vec<_> = events.iter().map(|event| self.shape.event(event)).collect();
            if let Some(last) = events.last() {
                *next = last.revision.saturating_add(1);
                after = after.max(last.position);
            }
            if events.len() < PAGE_EVENTS {
                *following = true;
                page.push(message::caught_up(Reached::Stream(next.checked_sub(1))));
                self.live = true;
                self.follow(after).await?;
            }
            return Ok(page);
        }
        let Some(subscription) = &mut self.subscription else {
            return Err(Status::internal("the subscription has no source"));
        };
        let batch = subscription
            .next()
            .await
            .map_err(|error| unreadable(&error))?;
        self.show(&batch)
    }

    fn show(&mut self, batch: &Batch) -> Result<Vec<ReadResp>, Status> {
        let mut page = Vec::with_capacity(batch.events.len().saturating_add(2));
        if self.live && !batch.at_end {
            self.live = false;
            page.push(message::fell_behind(self.source.reached()));
        }
        for event in self.source.choose(&batch.events)? {
            page.push(self.shape.event(event));
        }
        let catches_up = batch.at_end && !self.live;
        page.extend(self.source.pass(batch.considered, catches_up));
        if catches_up {
            self.live = true;
            page.push(message::caught_up(self.source.reached()));
        }
        Ok(page)
    }
}

impl Source {
    /// Those that the client is to see, which it then has.
    fn choose<'e>(
        &mut self,
        events: &'e [Arc<RecordedEvent>],
    ) -> Result<Vec<&'e RecordedEvent>, Status> {
        match self {
            Self::All { wanted, told } => {
                let chosen = wanted.choose(events)?;
                if let Some(last) = chosen.last() {
                    *told = last.position;
                }
                Ok(chosen)
            }
            Self::Stream { name, next, .. } => {
                // The filter is a prefix, which other streams may have too.
                let chosen: Vec<&RecordedEvent> = events
                    .iter()
                    .map(|event| &**event)
                    .filter(|event| event.stream == *name && event.revision >= *next)
                    .collect();
                if let Some(last) = chosen.last() {
                    *next = last.revision.saturating_add(1);
                }
                Ok(chosen)
            }
        }
    }

    /// A checkpoint, where a filter has passed over so much that one is due.
    fn pass(&mut self, considered: Position, catches_up: bool) -> Option<ReadResp> {
        let Self::All { wanted, told } = self else {
            return None;
        };
        let interval = wanted.checkpoint_interval?;
        let passed = considered.commit.saturating_sub(told.commit);
        let is_due = considered > *told && (catches_up || passed >= interval);
        is_due.then(|| {
            *told = considered;
            message::checkpoint(considered)
        })
    }

    fn reached(&self) -> Reached {
        match self {
            Self::All { told, .. } => Reached::All(*told),
            Self::Stream { next, .. } => Reached::Stream(next.checked_sub(1)),
        }
    }
}
