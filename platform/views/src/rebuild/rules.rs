//! What happens to the generations of a view, and what that makes of them.

use recourse_event_store::Position;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    By, Command, Compared, Event, GenerationDropped, Level, NotPossible, NotReady, RebuildStarted,
    Refusal, Switch, Switched,
};

/// The generations of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    /// Oldest first.
    rebuilds: Vec<Rebuild>,
}

/// One rebuild of a view.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rebuild {
    /// What it is called.
    pub id: Uuid,
    /// The version of the projection.
    pub version: u32,
    /// The generation that it fills.
    pub generation: u32,
    /// The generation that was live when it began.
    pub replaces: u32,
    /// How far it is.
    pub stage: Stage,
    /// What came of comparing both.
    pub comparison: Option<Compared>,
    /// The one of both that is dropped.
    pub dropped: Option<u32>,
}

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// Its generation was never live.
    Filling,
    /// Its generation is live, or was until a later rebuild's.
    Promoted,
    /// The one before is live, or was until a later rebuild's.
    RolledBack,
}

impl Rebuild {
    /// The one of its two generations that it leaves live.
    const fn live(&self) -> u32 {
        match self.stage {
            Stage::Promoted => self.generation,
            Stage::Filling | Stage::RolledBack => self.replaces,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn beside(&self) -> u32 {
        match self.stage {
            Stage::Promoted => self.replaces,
            Stage::Filling | Stage::RolledBack => self.generation,
        }
    }

    /// Whether both of its generations are kept.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.dropped.is_none()
    }

    fn is_open(&self) -> bool {
        self.is_kept() && self.stage == Stage::Filling
    }
}

impl State {
    /// Every rebuild, oldest first.
    #[must_use]
    pub fn rebuilds(&self) -> &[Rebuild] {
        &self.rebuilds
    }

    /// A rebuild.
    #[must_use]
    pub fn rebuild(&self, id: Uuid) -> Option<&Rebuild> {
        self.rebuilds.iter().find(|rebuild| rebuild.id == id)
    }

    /// The rebuild whose two generations are kept, where there is one.
    #[must_use]
    pub fn current(&self, version: u32) -> Option<&Rebuild> {
        self.last(version).filter(|rebuild| rebuild.is_kept())
    }

    /// The generation that is to be asked.
    #[must_use]
    pub fn live(&self, version: u32) -> u32 {
        self.last(version).map_or(0, Rebuild::live)
    }

    /// The generations that are to be fed, the live one first.
    #[must_use]
    pub fn kept(&self, version: u32) -> Vec<u32> {
        let mut kept = vec![self.live(version)];
        kept.extend(self.current(version).map(Rebuild::beside));
        kept
    }

    /// The generations of which nothing is to be left, each with the version of the projection that
    /// filled it: whatever version is running, it removes them all.
    #[must_use]
    pub fn gone(&self) -> Vec<(u32, u32)> {
        let gone = |rebuild: &Rebuild| Some((rebuild.version, rebuild.dropped?));
        self.rebuilds.iter().filter_map(gone).collect()
    }

    fn last(&self, version: u32) -> Option<&Rebuild> {
        let mut rebuilds = self.rebuilds.iter().rev();
        rebuilds.find(|rebuild| rebuild.version == version)
    }

    /// The number of the next generation: higher than that of any, whatever its version.
    fn next(&self) -> u32 {
        let highest = self.rebuilds.iter().map(|rebuild| rebuild.generation).max();
        highest.unwrap_or(0).saturating_add(1)
    }

    /// The last rebuild of the running version, where it is this one: those before it say nothing of
    /// what is live any more.
    fn last_of_version(&self, id: Uuid, version: u32) -> Result<&Rebuild, Refusal> {
        let rebuild = self.rebuild(id).ok_or(Refusal::Unknown)?;
        if rebuild.version != version {
            return Err(NotPossible::OtherVersion(rebuild.version).into());
        }
        match self.last(version) {
            Some(last) if last.id != id => Err(NotPossible::Superseded(last.id).into()),
            _ => Ok(rebuild),
        }
    }
}

/// Whether both generations of a rebuild are there to switch between.
fn with_both(rebuild: &Rebuild) -> Result<(), Refusal> {
    match rebuild.dropped {
        Some(generation) => Err(NotPossible::Dropped(generation).into()),
        None => Ok(()),
    }
}

/// What happens; nothing where it is so already.
pub(super) fn decide(state: &State, command: &Command) -> Result<Vec<Event>, Refusal> {
    match command {
        Command::Rebuild {
            rebuild_id,
            version,
            by,
        } => rebuild(state, *rebuild_id, *version, by),
        Command::RecordComparison(compared) => {
            let rebuild = state.rebuild(compared.rebuild_id).ok_or(Refusal::Unknown)?;
            // Somebody else was faster, or it is not wanted any more.
            if !rebuild.is_open() || rebuild.comparison.is_some() {
                return Ok(Vec::new());
            }
            Ok(vec![Event::RebuildCompared(compared.clone())])
        }
        Command::Promote(switch) => promote(state, switch),
        Command::RollBack(switch) => roll_back(state, switch),
        Command::Drop { rebuild_id, by } => {
            let rebuild = state.rebuild(*rebuild_id).ok_or(Refusal::Unknown)?;
            Ok(drop_beside(rebuild, by).into_iter().collect())
        }
    }
}

fn rebuild(state: &State, id: Uuid, version: u32, by: &By) -> Result<Vec<Event>, Refusal> {
    if state.rebuild(id).is_some() {
        return Ok(Vec::new());
    }
    let current = state.current(version);
    if let Some(open) = current.filter(|rebuild| rebuild.is_open()) {
        return Err(Refusal::Open(open.id));
    }
    let started = RebuildStarted {
        rebuild_id: id,
        version,
        generation: state.next(),
        replaces: state.live(version),
        by: by.clone(),
    };
    let dropped = current.and_then(|rebuild| drop_beside(rebuild, by));
    let started = Event::RebuildStarted(started);
    Ok(dropped.into_iter().chain([started]).collect())
}

fn promote(state: &State, switch: &Switch) -> Result<Vec<Event>, Refusal> {
    let rebuild = state.last_of_version(switch.rebuild_id, switch.version)?;
    if rebuild.stage == Stage::Promoted {
        return Ok(Vec::new());
    }
    with_both(rebuild)?;
    if rebuild.comparison.is_none() {
        return Err(NotReady::NotCompared.into());
    }
    let position = level(rebuild, switch)?;
    Ok(vec![Event::Promoted(switched(rebuild, switch, position))])
}

fn roll_back(state: &State, switch: &Switch) -> Result<Vec<Event>, Refusal> {
    let rebuild = state.last_of_version(switch.rebuild_id, switch.version)?;
    if rebuild.stage == Stage::RolledBack {
        return Ok(Vec::new());
    }
    with_both(rebuild)?;
    if rebuild.stage == Stage::Filling {
        return Err(NotPossible::NotPromoted.into());
    }
    let position = level(rebuild, switch)?;
    Ok(vec![Event::RolledBack(switched(rebuild, switch, position))])
}

/// Nobody is to see less than they could see before: how far the one is that is to be live.
fn level(rebuild: &Rebuild, switch: &Switch) -> Result<Position, Refusal> {
    let Some(Level {
        generation,
        target,
        live,
    }) = switch.level
    else {
        return Err(NotReady::NotKnown.into());
    };
    // Where the other one is meant, nothing is known of how far this one is.
    if generation != rebuild.beside() {
        return Err(NotReady::NotKnown.into());
    }
    if target < live {
        return Err(NotReady::Behind { target, live }.into());
    }
    Ok(target)
}

fn switched(rebuild: &Rebuild, switch: &Switch, position: Position) -> Switched {
    Switched {
        rebuild_id: rebuild.id,
        version: rebuild.version,
        generation: rebuild.beside(),
        replaced: rebuild.live(),
        position,
        by: switch.by.clone(),
    }
}

/// Nothing where it is dropped already.
fn drop_beside(rebuild: &Rebuild, by: &By) -> Option<Event> {
    let dropped = || GenerationDropped {
        rebuild_id: rebuild.id,
        version: rebuild.version,
        generation: rebuild.beside(),
        by: by.clone(),
    };
    let is_kept = rebuild.is_kept();
    is_kept.then(|| Event::GenerationDropped(dropped()))
}

/// What an event makes of the state.
pub(super) fn evolve(mut state: State, event: &Event) -> State {
    let mut change = |id: Uuid, change: &dyn Fn(&mut Rebuild)| {
        let found = state.rebuilds.iter_mut().find(|rebuild| rebuild.id == id);
        if let Some(rebuild) = found {
            change(rebuild);
        }
    };
    match event {
        Event::RebuildStarted(started) => state.rebuilds.push(Rebuild {
            id: started.rebuild_id,
            version: started.version,
            generation: started.generation,
            replaces: started.replaces,
            stage: Stage::Filling,
            comparison: None,
            dropped: None,
        }),
        Event::RebuildCompared(compared) => change(compared.rebuild_id, &|rebuild| {
            rebuild.comparison = Some(compared.clone());
        }),
        Event::Promoted(switched) => change(switched.rebuild_id, &|rebuild| {
            rebuild.stage = Stage::Promoted;
        }),
        Event::RolledBack(switched) => change(switched.rebuild_id, &|rebuild| {
            rebuild.stage = Stage::RolledBack;
        }),
        Event::GenerationDropped(dropped) => change(dropped.rebuild_id, &|rebuild| {
            rebuild.dropped = Some(dropped.generation);
        }),
    }
    state
}
