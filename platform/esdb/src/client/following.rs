//! Subscriptions that outlive connections: each goes on after what it last considered.
//!
//! A filter is looked at by the server, and its checkpoints say how far. Far behind, it looks at
//! many events for one; once it has caught up, the subscription is made again with a checkpoint
//! for each, so that a reader of a quiet category still moves with the log.

use std::{future::Future, pin::Pin, sync::Arc};

use async_trait::async_trait;
use futures::FutureExt as _;
use recourse_event_store::{Batch, Filter, Position, RecordedEvent, StoreError, Subscription};
use tonic::{Code, Status, Streaming};

use super::{Inner, connection::Pause, reading, recorded, status};
use crate::wire::streams::{
    ReadReq, ReadResp,
    read_req::options::{CountOption, ReadDirection, SubscriptionOptions, all_options::AllOption},
    read_resp::Content,
};

/// The most events that one batch gives.
const MAX_BATCH_EVENTS: usize = 1_024;
/// How many events are looked at for one checkpoint, far behind.
const WIDE_WINDOW: u32 = 1_000;
/// And once it has caught up.
const NARROW_WINDOW: u32 = 1;

type Opening = dyn Future<Output = Result<Open, Status>> + Send;

/// A subscription of the server's.
struct Open {
    /// Which connection it came over.
    link: u64,
    answers: Box<Streaming<ReadResp>>,
    /// That it has a checkpoint for each event.
    is_narrow: bool,
    /// Why nothing more comes.
    ended: Option<Status>,
}

enum Source {
    Closed,
    Opening(Pin<Box<Opening>>),
    Open(Open),
}

pub(super) struct Tail {
    inner: Arc<Inner>,
    filter: Filter,
    considered: Position,
    source: Source,
    /// That it had caught up when it was closed.
    had_caught_up: bool,
    pause: Pause,
}

impl Tail {
    pub(super) fn new(inner: Arc<Inner>, after: Position, filter: Filter) -> Self {
        Self {
            pause: Pause::new(inner.options.max_pause()),
            inner,
            filter,
            considered: after,
            source: Source::Closed,
            had_caught_up: false,
        }
    }

    /// Asks for a subscription after a pause.
    fn open(&mut self) -> Pin<Box<Opening>> {
        let pause = self.pause.next();
        let inner = Arc::clone(&self.inner);
        let is_narrow = std::mem::take(&mut self.had_caught_up)
            || self.filter == Filter::All
            || self.considered >= inner.progress.durable();
        let begin = if self.considered == Position::START {
            AllOption::Start(())
        } else {
            reading::wire_position(self.considered)
        };
        let options = reading::asked(
            reading::all_from(begin),
            ReadDirection::Forwards,
            CountOption::Subscription(SubscriptionOptions {}),
            &self.filter,
            if is_narrow {
                NARROW_WINDOW
            } else {
                WIDE_WINDOW
            },
        );
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            let link = inner.connection.link_whenever().await;
            let request = link.request(ReadReq {
                options: Some(options),
            });
            match link.reads.clone().read(request).await {
                Ok(answers) => Ok(Open {
                    link: link.number,
                    answers: Box::new(answers.into_inner()),
                    is_narrow,
                    ended: None,
                }),
                Err(status) => {
                    if status::is_lost(&status) {
                        inner.connection.lost(link.number, &status);
                    }
                    Err(status)
                }
            }
        })
    }

    /// What there is, at least one answer.
    async fn answers(&mut self) -> Result<Vec<Content>, Status> {
        loop {
            match &mut self.source {
                Source::Closed => self.source = Source::Opening(self.open()),
                Source::Opening(opening) => {
                    let open = opening.await?;
                    self.source = Source::Open(open);
                }
                Source::Open(open) => {
                    let link = open.link;
                    // The server may end this one alone. If the connection is lost, the attempt
                    // to follow anew will tell.
                    return next(open).await.inspect_err(|status| {
                        if status::leader(status).is_some() {
                            self.inner.connection.lost(link, status);
                        }
                    });
                }
            }
        }
    }

    fn take(&mut self, contents: Vec<Content>) -> Result<Option<Batch>, StoreError> {
        let before = self.considered;
        let mut events: Vec<Arc<RecordedEvent>> = Vec::new();
        let mut caught_up = false;
        for content in contents {
            match content {
                Content::Event(shown) => {
                    let Some(found) = recorded::found(shown)? else {
                        continue;
                    };
                    self.inner.progress.saw(found.position);
                    // The server repeats nothing; if it did, nobody would get it twice.
                    if found.position > self.considered {
                        self.considered = found.position;
                        let wanted = |event: &Arc<_>| reading::wants(&self.filter, event);
                        events.extend(found.event.filter(wanted));
                    }
                }
                Content::Checkpoint(checkpoint) => {
                    let position = Position {
                        commit: checkpoint.commit_position,
                        prepare: checkpoint.prepare_position,
                    };
                    if position > self.considered && position.commit <= recorded::LAST {
                        self.considered = position;
                    }
                }
                Content::CaughtUp(_) => caught_up = true,
                _ => {}
            }
        }
        self.inner.progress.considered(self.considered);
        if caught_up
            && let Source::Open(open) = &self.source
            && !open.is_narrow
        {
            self.source = Source::Closed;
            self.had_caught_up = true;
        }
        if self.considered == before {
            return Ok(None);
        }
        self.pause.reset();
        Ok(Some(Batch {
            events,
            considered: self.considered,
            at_end: self.considered >= self.inner.progress.durable(),
        }))
    }
}

/// Everything that has come, once anything has. May be dropped while it waits.
async fn next(open: &mut Open) -> Result<Vec<Content>, Status> {
    if let Some(ended) = open.ended.take() {
        return Err(ended);
    }
    let over = || Status::aborted("the server ended the subscription");
    let first = open.answers.message().await?.ok_or_else(over)?;
    let mut contents: Vec<Content> = first.content.into_iter().collect();
    while contents.len() < MAX_BATCH_EVENTS {
        match open.answers.message().now_or_never() {
            None => break,
            Some(Ok(Some(answer))) => contents.extend(answer.content),
            // What came before is given first.
            Some(Ok(None)) => {
                open.ended = Some(over());
                break;
            }
            Some(Err(status)) => {
                open.ended = Some(status);
                break;
            }
        }
    }
    Ok(contents)
}

#[async_trait]
impl Subscription for Tail {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        loop {
            match self.answers().await {
                Ok(contents) => {
                    if let Some(batch) = self.take(contents)? {
                        return Ok(batch);
                    }
                }
                Err(status) => {
                    self.source = Source::Closed;
                    let why = status::told(&status);
                    // Only another log's position is past the end.
                    if status.code() == Code::InvalidArgument {
                        return Err(StoreError::Failed(format!(
                            "the log cannot be followed from {}: {why}",
                            self.considered
                        )));
                    }
                    tracing::debug!(why, after = %self.considered, "following the log anew");
                }
            }
        }
    }
}
