//! A server that misbehaves as EventStoreDB may, for tests of clients.
//!
//! It stands between the clients and the server proper and changes what passes: positions are
//! sparse pairs and several events share a commit; the store's own `$` events stand between ours;
//! checkpoints may lie between events, with a prepare position of 0; a repeat is answered without
//! a position, or as a conflict, its ids forgotten; answers come in another order, say that the
//! time was over though the append took effect, or are lost with the session; reads fail half-way,
//! subscriptions are ended; calls are told that another node leads. Which of it happens when is a
//! function of the seed and of the order of calls.

mod places;
mod service;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use tonic::{Code, Request, Response, Status, metadata::MetadataMap};

use super::wire::gossip::{
    ClusterInfo, EndPoint, MemberInfo,
    gossip_server::{Gossip, GossipServer},
    member_info::VNodeState,
};
pub(super) use service::Service;

use places::Places;

/// How a server misbehaves.
#[derive(Clone)]
pub struct Hostility(Arc<Fate>);

/// How often something has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `$` events that were shown.
    pub system_events: u64,
    /// Checkpoints with a prepare position of 0.
    pub prepare_0: u64,
    /// Successes of a repeat that did not say where.
    pub missing_positions: u64,
    /// Repeats that were called a conflict.
    pub forgotten_ids: u64,
    /// Appends that took effect and were said to be too late.
    pub deadlines: u64,
    /// Appends that took effect and were told that another node leads.
    pub not_handled: u64,
    /// Answers that changed places.
    pub out_of_order: u64,
    /// Sessions that ended with an append that took effect.
    pub lost_sessions: u64,
    /// Reads that failed.
    pub failed_reads: u64,
    /// Subscriptions that were ended.
    pub ended_subscriptions: u64,
    /// Calls that were told that another node leads.
    pub not_leader: u64,
}

#[derive(Default)]
struct Counters {
    system_events: AtomicU64,
    prepare_0: AtomicU64,
    missing_positions: AtomicU64,
    forgotten_ids: AtomicU64,
    deadlines: AtomicU64,
    not_handled: AtomicU64,
    out_of_order: AtomicU64,
    lost_sessions: AtomicU64,
    failed_reads: AtomicU64,
    ended_subscriptions: AtomicU64,
    not_leader: AtomicU64,
}

struct Fate {
    random: Mutex<ChaCha8Rng>,
    places: Places,
    counters: Counters,
    /// The node that leads, where this one does not.
    leader: Option<SocketAddr>,
}

impl Hostility {
    /// All of it, as the seed has it.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(seed, None)
    }

    /// A node that does not lead and says who does.
    #[must_use]
    pub fn follower_of(leader: SocketAddr) -> Self {
        Self::with(0, Some(leader))
    }

    fn with(seed: u64, leader: Option<SocketAddr>) -> Self {
        Self(Arc::new(Fate {
            random: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
            places: Places { seed },
            counters: Counters::default(),
            leader,
        }))
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counters = &self.0.counters;
        Counts {
            system_events: counters.system_events.load(Relaxed),
            prepare_0: counters.prepare_0.load(Relaxed),
            missing_positions: counters.missing_positions.load(Relaxed),
            forgotten_ids: counters.forgotten_ids.load(Relaxed),
            deadlines: counters.deadlines.load(Relaxed),
            not_handled: counters.not_handled.load(Relaxed),
            out_of_order: counters.out_of_order.load(Relaxed),
            lost_sessions: counters.lost_sessions.load(Relaxed),
            failed_reads: counters.failed_reads.load(Relaxed),
            ended_subscriptions: counters.ended_subscriptions.load(Relaxed),
            not_leader: counters.not_leader.load(Relaxed),
        }
    }

    pub(super) fn gossip(&self, own: SocketAddr) -> GossipServer<Cluster> {
        GossipServer::new(Cluster {
            own,
            leader: self.0.leader,
        })
    }
}

impl Fate {
    /// Whether what happens once in `n` times happens now.
    fn strikes(&self, n: u32, counter: &AtomicU64) -> bool {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let strikes = random.next_u32().is_multiple_of(n);
        if strikes {
            counter.fetch_add(1, Relaxed);
        }
        strikes
    }

    /// What a call is told before it is looked at.
    fn greet(&self, own: SocketAddr) -> Result<(), Status> {
        let leader = match self.leader {
            Some(leader) => leader,
            None if self.strikes(64, &self.counters.not_leader) => own,
            None => return Ok(()),
        };
        let mut trailers = MetadataMap::new();
        for (key, value) in [
            ("exception", "not-leader".to_owned()),
            ("leader-endpoint-host", leader.ip().to_string()),
            ("leader-endpoint-port", leader.port().to_string()),
        ] {
            if let Ok(value) = value.parse() {
                trailers.insert(key, value);
            }
        }
        Err(Status::with_metadata(
            Code::NotFound,
            "another node leads",
            trailers,
        ))
    }
}

/// The nodes that there are.
pub(super) struct Cluster {
    own: SocketAddr,
    leader: Option<SocketAddr>,
}

#[tonic::async_trait]
impl Gossip for Cluster {
    async fn read(&self, _: Request<()>) -> Result<Response<ClusterInfo>, Status> {
        let member = |address: SocketAddr, state: VNodeState, is_alive| MemberInfo {
            instance_id: None,
            time_stamp: 0,
            state: state.into(),
            is_alive,
            http_end_point: Some(EndPoint {
                address: address.ip().to_string(),
                port: u32::from(address.port()),
            }),
        };
        let members = match self.leader {
            None => vec![member(self.own, VNodeState::Leader, true)],
            Some(leader) => vec![
                // One that led and is gone is listed for a while.
                member(self.own, VNodeState::Leader, false),
                member(self.own, VNodeState::Follower, true),
                member(leader, VNodeState::Leader, true),
            ],
        };
        Ok(Response::new(ClusterInfo { members }))
    }
}
