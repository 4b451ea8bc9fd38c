//! The log's own order: positions, revisions, ids, marks, clients' commands.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use recourse_event_store::{LogId, Mark, Metadata, Position, RecordedEvent, StreamName};
use uuid::Uuid;

use super::report::{Breaches, Evidence, Kind};

/// For how long a client's command is remembered.
const REMEMBERED: TimeDelta = TimeDelta::days(7);

pub(super) struct Log {
    id: LogId,
    /// What it was called before, each name up to its last position.
    former: Vec<(LogId, Position)>,
    dense: bool,
    last: Position,
    streams: HashMap<StreamName, Stream>,
    ids: HashSet<u64>,
    suspects: Vec<Uuid>,
    client_commands: HashMap<Uuid, ClientCommand>,
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) streams_by_category: BTreeMap<String, u64>,
}

/// What is kept of each stream: its size decides how much memory a long log costs.
struct Stream {
    next_revision: u64,
    position: Position,
    mark: Mark,
    mark_revision: u64,
}

struct ClientCommand {
    last: Evidence,
    body: Option<Uuid>,
    at: DateTime<Utc>,
}

impl Log {
    pub(super) fn new(id: LogId, former: Vec<(LogId, Position)>, dense: bool) -> Self {
        Self {
            id,
            former,
            dense,
            last: Position::START,
            streams: HashMap::new(),
            ids: HashSet::new(),
            suspects: Vec::new(),
            client_commands: HashMap::new(),
            events: 0,
            bytes: 0,
            streams_by_category: BTreeMap::new(),
        }
    }

    pub(super) fn apply(&mut self, event: &RecordedEvent, breaches: &mut Breaches) {
        self.events = self.events.saturating_add(1);
        let bytes = event.event.event_type.len()
            + event.event.data.len()
            + event.event.metadata.len()
            + event.stream.as_str().len();
        self.bytes = self.bytes.saturating_add(bytes as u64);
        let last = std::mem::replace(&mut self.last, event.position);
        let in_order = if self.dense {
            event.position == Position::dense(last.commit.saturating_add(1))
        } else {
            event.position > last
        };
        if !in_order {
            breaches.add(
                Kind::PositionOrder,
                event.position,
                format!("the event before it is at {last}"),
                [event.into()],
            );
        }
        // Ids are hashes, so half of one tells nearly all apart; whoever shares a half is
        // looked at again, whole. Others may well copy an event of ours under its id.
        let (half, _) = event.event.id.as_u64_pair();
        if super::is_verified(event) && !self.ids.insert(half) {
            self.suspects.push(event.event.id);
        }
        self.revision(event, breaches);
    }

    fn revision(&mut self, event: &RecordedEvent, breaches: &mut Breaches) {
        let Some(stream) = self.streams.get_mut(&event.stream) else {
            let count = self
                .streams_by_category
                .entry(event.stream.category().to_owned())
                .or_default();
            *count = count.saturating_add(1);
            if event.revision != 0 {
                breaches.add(
                    Kind::RevisionOrder,
                    &event.stream,
                    format!("its first event has revision {}", event.revision),
                    [event.into()],
                );
            }
            self.streams.insert(
                event.stream.clone(),
                Stream {
                    next_revision: event.revision.saturating_add(1),
                    position: event.position,
                    mark: Mark::default(),
                    mark_revision: 0,
                },
            );
            return;
        };
        if event.revision != stream.next_revision {
            let before = Evidence {
                stream: event.stream.clone(),
                revision: stream.next_revision.saturating_sub(1),
                position: stream.position,
            };
            breaches.add(
                Kind::RevisionOrder,
                &event.stream,
                format!("revision {} follows {}", event.revision, before.revision),
                [before, event.into()],
            );
        }
        stream.next_revision = event.revision.saturating_add(1);
        stream.position = event.position;
    }

    /// What the metadata says of the log, the stream's mark and the client's command.
    pub(super) fn metadata(
        &mut self,
        event: &RecordedEvent,
        metadata: &Metadata,
        breaches: &mut Breaches,
    ) {
        let name = self.name_at(event.position);
        if metadata.log != name {
            breaches.add(
                Kind::WrongLog,
                &event.stream,
                format!("written for log {}, found in {name}", metadata.log),
                [event.into()],
            );
        }
        if let Some(mark) = metadata.mark {
            self.mark(event, mark, breaches);
        }
        if let Some(command) = metadata.command_id {
            self.client_command(event, metadata, command, breaches);
        }
    }

    /// What the log was called when the event at a position was written.
    fn name_at(&self, position: Position) -> LogId {
        let former = self.former.iter().find(|(_, last)| position <= *last);
        former.map_or(self.id, |(name, _)| *name)
    }

    fn mark(&mut self, event: &RecordedEvent, mark: Mark, breaches: &mut Breaches) {
        let Some(stream) = self.streams.get_mut(&event.stream) else {
            return;
        };
        // The events of one decision share its mark and stand side by side.
        let one_decision =
            mark == stream.mark && stream.mark_revision.checked_add(1) == Some(event.revision);
        if (mark <= stream.mark && !one_decision) || mark.position >= event.position {
            breaches.add(
                Kind::MarkWrong,
                &event.stream,
                format!(
                    "takes the command at {}#{} after the one at {}#{}",
                    mark.position, mark.index, stream.mark.position, stream.mark.index
                ),
                [event.into()],
            );
        }
        stream.mark = stream.mark.max(mark);
        stream.mark_revision = event.revision;
    }

    fn client_command(
        &mut self,
        event: &RecordedEvent,
        metadata: &Metadata,
        command: Uuid,
        breaches: &mut Breaches,
    ) {
        if let Some(known) = self.client_commands.get(&command) {
            let one_decision = known.last.stream == event.stream
                && known.last.revision.checked_add(1) == Some(event.revision)
                && known.body == metadata.body_hash;
            let forgotten = metadata.recorded_at.signed_duration_since(known.at) > REMEMBERED;
            if !one_decision && !forgotten {
                breaches.add(
                    Kind::ClientCommandTwice,
                    &event.stream,
                    format!("command {command} had taken effect before"),
                    [known.last.clone(), event.into()],
                );
            }
        }
        self.client_commands.insert(
            command,
            ClientCommand {
                last: event.into(),
                body: metadata.body_hash,
                at: metadata.recorded_at,
            },
        );
    }

    /// The ids that more than one event may have.
    pub(super) fn suspects(&mut self) -> Vec<Uuid> {
        std::mem::take(&mut self.suspects)
    }

    /// The last event of each stream that a row of this id may be made of.
    pub(super) fn last_events_of(&self, id: &str) -> Vec<Evidence> {
        ["order", "payment", "product", "saga", "stock"]
            .iter()
            .filter_map(|category| {
                let name = StreamName::parse(&format!("{category}-{id}")).ok()?;
                let stream = self.streams.get(&name)?;
                Some(Evidence {
                    stream: name,
                    revision: stream.next_revision.saturating_sub(1),
                    position: stream.position,
                })
            })
            .collect()
    }

    /// Which log it is.
    pub(super) const fn id(&self) -> LogId {
        self.id
    }

    /// The last position read.
    pub(super) const fn last(&self) -> Position {
        self.last
    }
}
