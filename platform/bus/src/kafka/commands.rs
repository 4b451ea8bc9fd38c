//! Commands, as a member of a group has them: its share of the partitions.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use rdkafka::{TopicPartitionList, consumer::Consumer as _, topic_partition_list::Offset};
use recourse_event_store::Position;

use super::{
    Body, Client, Error, Generation, State,
    chain::{Chain, Missing},
    client::blocking,
    reader::{Done, Item, Lane, Reader, Reading, Received},
};
use crate::{BusError, Consumer, Deliveries, Delivery};

/// A member of `group`, for the commands of these categories.
pub(super) async fn open(
    client: Client,
    generation: Generation,
    state: State,
    group: &str,
    categories: &[&str],
    head: Position,
) -> Result<Commands, BusError> {
    let mut topics = Vec::new();
    for category in categories {
        let topic = client.topics().commands(generation.number, category);
        let Some(partitions) = generation.command_partitions.get(*category) else {
            return Err(BusError::Topic {
                topic,
                reason: format!(
                    "generation {} has no commands of this category: start one that does",
                    generation.number
                ),
            });
        };
        check(&state.topics, &topic, partitions.get(), &generation)?;
        topics.push(topic);
    }
    let needed = needed(&client, &generation, state, group, categories).await?;
    if generation.from > needed {
        let missing = Missing {
            after: needed,
            next: generation.from,
        };
        let topic = topics.first().map_or(group, String::as_str);
        return Err(missing.of(topic, &generation));
    }
    let reading = Reading {
        group: client.topics().group(generation.number, group),
        client,
        generation: generation.clone(),
    };
    let reader = Reader::start(reading, move |consumer| {
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(Error::from)?;
        Ok(vec![])
    });
    Ok(Commands {
        reader,
        generation,
        needed,
        lanes: BTreeMap::new(),
        reported: Position::START,
        head,
    })
}

/// Holds a topic against what its generation says of it.
pub(super) fn check(
    existing: &BTreeMap<String, u32>,
    topic: &str,
    partitions: u32,
    generation: &Generation,
) -> Result<(), BusError> {
    let found = existing.get(topic).copied();
    if found == Some(partitions) {
        return Ok(());
    }
    let reason = match found {
        None => "it is not there".to_owned(),
        Some(found) => format!("it has {found} partitions, and was made with {partitions}"),
    };
    Err(BusError::Topic {
        topic: topic.to_owned(),
        reason: format!("{reason}: {}", generation.repair()),
    })
}

/// After which position a group needs commands that has nothing in this generation yet: what it
/// has committed in the last one that it read.
async fn needed(
    client: &Client,
    generation: &Generation,
    state: State,
    group: &str,
    categories: &[&str],
) -> Result<Position, BusError> {
    if generation.from == Position::START {
        return Ok(Position::START);
    }
    let (client, group) = (client.clone(), group.to_owned());
    let categories: Vec<String> = categories.iter().map(|&name| name.to_owned()).collect();
    let number = generation.number;
    let position = blocking(move || {
        let mut number = number;
        while let Some(before) = state.before(number) {
            number = before.number;
            let member = client.consumer(
                &client.topics().group(number, &group),
                super::client::Logged,
            )?;
            let mut wanted = TopicPartitionList::new();
            for category in &categories {
                let Some(partitions) = before.command_partitions.get(category) else {
                    continue;
                };
                let topic = client.topics().commands(number, category);
                for partition in 0..partitions.get() {
                    wanted.add_partition(&topic, i32::try_from(partition).unwrap_or(i32::MAX));
                }
            }
            let committed = member.committed_offsets(wanted, client.timeout())?;
            let mut least: Option<Position> = None;
            let mut is_any = false;
            for partition in committed.elements() {
                let position = match (partition.offset(), Chain::parse(partition.metadata())) {
                    (Offset::Offset(_), Some(chain)) => {
                        is_any = true;
                        chain.considered
                    }
                    _ => before.from,
                };
                least = Some(least.map_or(position, |least| least.min(position)));
            }
            if let (true, Some(least)) = (is_any, least) {
                return Ok(least);
            }
        }
        Ok(Position::START)
    });
    Ok(position.await?)
}

pub(super) struct Commands {
    reader: Reader,
    generation: Generation,
    /// What a partition is read after where this group has committed nothing in it.
    needed: Position,
    lanes: BTreeMap<Lane, Share>,
    /// The last `considered` that was answered.
    reported: Position,
    /// The log's head when this was made.
    head: Position,
}

/// A partition that this member has.
struct Share {
    chain: Chain,
    /// What was handed over and is not committed, in order.
    handed: VecDeque<Handed>,
    /// The generation that goes on where this one ends.
    is_ended: Option<u32>,
}

/// Records up to `offset` were handed over.
struct Handed {
    until: Until,
    offset: i64,
    chain: Chain,
}

/// What a commit must say to cover a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// This position or a later one.
    At(Position),
    /// A later position: this one was answered before the record was handed over, as happens where
    /// a partition comes from another member.
    Past(Position),
}

impl Until {
    fn is_covered(self, by: Position) -> bool {
        match self {
            Self::At(position) => by >= position,
            Self::Past(position) => by > position,
        }
    }
}

impl Commands {
    fn take(&mut self, item: Item, messages: &mut Vec<Delivery>) -> Result<(), BusError> {
        match item {
            Item::Assigned(assigned) => {
                for assigned in assigned {
                    let chain = assigned.chain.unwrap_or(Chain::after(self.needed));
                    let share = Share {
                        chain,
                        handed: VecDeque::new(),
                        is_ended: None,
                    };
                    self.lanes.insert(assigned.lane, share);
                }
            }
            Item::Revoked(lanes) => self.lanes.retain(|lane, _| !lanes.contains(lane)),
            Item::Records(records) => {
                for received in records {
                    self.receive(received, messages)?;
                }
            }
            Item::Failed(error) => return Err(error),
        }
        Ok(())
    }

    fn receive(
        &mut self,
        received: Received,
        messages: &mut Vec<Delivery>,
    ) -> Result<(), BusError> {
        let Received {
            lane,
            offset,
            record,
            ..
        } = received;
        let Some(share) = self.lanes.get_mut(&lane) else {
            // On its way when the partition went to another member.
            return Ok(());
        };
        let place = record.body.place();
        let is_new = share
            .chain
            .take(record.previous, place, record.considered)
            .map_err(|missing| missing.of(&lane.topic, &self.generation))?;
        let position = place.map_or(share.chain.considered, |place| place.position);
        let until = if position <= self.reported {
            Until::Past(self.reported)
        } else {
            Until::At(position)
        };
        let handed = Handed {
            until,
            offset,
            chain: share.chain,
        };
        match share.handed.back_mut() {
            Some(last) if last.until == until => *last = handed,
            _ => share.handed.push_back(handed),
        }
        match record.body {
            Body::Command(delivery) if is_new => messages.push(delivery),
            Body::Ended(next) => share.is_ended = Some(next),
            Body::Command(_) | Body::Event(_) | Body::Considered => {}
        }
        Ok(())
    }

    /// How far all partitions of this member have come.
    fn considered(&self) -> Position {
        let least = self
            .lanes
            .values()
            .map(|share| share.chain.considered)
            .min();
        least.unwrap_or_default().max(self.reported)
    }
}

#[async_trait]
impl Consumer<Delivery> for Commands {
    async fn next(&mut self) -> Result<Deliveries<Delivery>, BusError> {
        loop {
            let item = self.reader.next().await;
            let mut messages = Vec::new();
            self.take(item, &mut messages)?;
            let considered = self.considered();
            if !messages.is_empty() || considered > self.reported {
                self.reported = considered;
                return Ok(Deliveries {
                    messages,
                    considered,
                    at_end: considered >= self.head,
                });
            }
            let mut ends = self.lanes.values().map(|share| share.is_ended);
            if let Some(next) = ends.next().flatten()
                && ends.all(|end| end.is_some())
            {
                return Err(BusError::Unavailable(format!(
                    "generation {next} of the topics goes on where this one ends"
                )));
            }
        }
    }

    async fn commit(&mut self, considered: Position) -> Result<(), BusError> {
        let mut done = BTreeMap::new();
        for (lane, share) in &mut self.lanes {
            let mut covered = None;
            while let Some(handed) = share
                .handed
                .pop_front_if(|handed| handed.until.is_covered(considered))
            {
                covered = Some(handed);
            }
            if let Some(handed) = covered {
                let done_so_far = Done {
                    next_offset: handed.offset.saturating_add(1),
                    chain: handed.chain,
                };
                done.insert(lane.clone(), done_so_far);
            }
        }
        if !done.is_empty() {
            self.reader.commit(done);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use recourse_event_store::{LogId, Mark, NewEvent, StreamName};
    use tokio::sync::mpsc;
    use uuid::Uuid;

    use super::{
        super::{Record, reader::Assigned},
        *,
    };
    use crate::{Command, Json};

    fn lane(partition: i32) -> Lane {
        Lane {
            topic: "commands".into(),
            partition,
        }
    }

    fn assigned(partition: i32) -> Item {
        Item::Assigned(vec![Assigned {
            lane: lane(partition),
            chain: None,
        }])
    }

    fn received(partition: i32, offset: i64, previous: u64, considered: u64, body: Body) -> Item {
        let previous = Mark {
            position: Position::dense(previous),
            index: 0,
        };
        Item::Records(vec![Received {
            lane: lane(partition),
            offset,
            record: Record {
                log: LogId(Uuid::nil()),
                previous,
                considered: Some(Position::dense(considered)),
                body,
            },
            bytes: 0,
        }])
    }

    fn command(position: u64) -> Body {
        let position = Position::dense(position);
        let event = NewEvent::raw(Uuid::nil(), "saga.sent.v1", "", "{}");
        Body::Command(Delivery {
            command: Command {
                id: Uuid::nil(),
                target: StreamName::new("stock", "a"),
                command_type: "stock.reserve".to_owned(),
                data: Json::write(&1).unwrap(),
                undoes: vec![],
            },
            mark: Mark { position, index: 0 },
            event: Arc::new(event.record(position, StreamName::new("saga", "a"), 0)),
        })
    }

    struct Member {
        commands: Commands,
        items: mpsc::Sender<Item>,
    }

    impl Member {
        fn new() -> Self {
            let (items, receiver) = mpsc::channel(16);
            let commands = Commands {
                reader: Reader::of(receiver),
                generation: Generation::first(LogId(Uuid::nil())),
                needed: Position::START,
                lanes: BTreeMap::new(),
                reported: Position::START,
                head: Position::START,
            };
            Self { commands, items }
        }

        /// How many commands come next, and what is considered then.
        async fn next(&mut self) -> (usize, u64) {
            let deliveries = self.commands.next().await.unwrap();
            (deliveries.messages.len(), deliveries.considered.commit)
        }

        /// The next offset of each partition, by number, that a commit sets.
        async fn commit(&mut self, considered: u64) -> Vec<(i32, i64)> {
            self.commands
                .commit(Position::dense(considered))
                .await
                .unwrap();
            let done = self.commands.reader.take_done();
            done.into_iter()
                .map(|(lane, done)| (lane.partition, done.next_offset))
                .collect()
        }
    }

    #[tokio::test]
    async fn an_offset_is_committed_once_what_is_considered_covers_its_record() {
        let mut member = Member::new();
        for item in [
            assigned(0),
            assigned(1),
            received(0, 7, 0, 4, command(4)),
            received(1, 3, 0, 6, command(5)),
        ] {
            member.items.send(item).await.unwrap();
        }
        assert_eq!(
            member.next().await,
            (1, 0),
            "partition 1 may have older ones"
        );
        assert_eq!(member.next().await, (1, 4));
        assert_eq!(member.commit(4).await, [(0, 8)]);
        assert_eq!(member.commit(4).await, []);
        let further = received(0, 8, 4, 9, Body::Considered);
        member.items.send(further).await.unwrap();
        assert_eq!(member.next().await, (0, 6));
        assert_eq!(member.commit(6).await, [(1, 4)]);
    }

    #[tokio::test]
    async fn a_commit_under_way_does_not_cover_a_partition_that_came_after_it() {
        let mut member = Member::new();
        member.items.send(assigned(0)).await.unwrap();
        let first = received(0, 7, 0, 10, command(10));
        member.items.send(first).await.unwrap();
        assert_eq!(member.next().await, (1, 10));
        // Another member has gone, and its partition is behind what was said already.
        member.items.send(assigned(1)).await.unwrap();
        let older = received(1, 3, 0, 6, command(5));
        member.items.send(older).await.unwrap();
        assert_eq!(member.next().await, (1, 10));
        assert_eq!(
            member.commit(10).await,
            [(0, 8)],
            "its effect may be to come"
        );
        for partition in [0, 1] {
            let previous = if partition == 0 { 10 } else { 5 };
            let further = received(partition, 9, previous, 12, Body::Considered);
            member.items.send(further).await.unwrap();
        }
        assert_eq!(member.next().await, (0, 12));
        assert_eq!(member.commit(12).await, [(0, 10), (1, 10)]);
    }

    #[tokio::test]
    async fn a_partition_that_went_away_is_not_committed() {
        let mut member = Member::new();
        member.items.send(assigned(0)).await.unwrap();
        let first = received(0, 7, 0, 10, command(10));
        member.items.send(first).await.unwrap();
        assert_eq!(member.next().await, (1, 10));
        let gone = Item::Revoked(vec![lane(0)]);
        member.items.send(gone).await.unwrap();
        member.items.send(assigned(1)).await.unwrap();
        let other = received(1, 3, 0, 11, command(11));
        member.items.send(other).await.unwrap();
        assert_eq!(member.next().await, (1, 11));
        assert_eq!(member.commit(11).await, [(1, 4)]);
    }
}
