//! What the server can do, and who leads.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::server::{
    Shared, message,
    wire::{
        gossip::{
            ClusterInfo, EndPoint, MemberInfo,
            gossip_server::{Gossip, GossipServer},
            member_info::VNodeState,
        },
        server_features::{
            SupportedMethod, SupportedMethods,
            server_features_server::{ServerFeatures, ServerFeaturesServer},
        },
    },
};

/// The version of EventStoreDB whose answers these are. Clients choose by it what they ask for.
const SPOKEN_VERSION: &str = "24.10.0";

/// The calls that are there, as clients look them up.
const METHODS: [(&str, &str); 5] = [
    ("read", "event_store.client.streams.streams"),
    ("append", "event_store.client.streams.streams"),
    ("batchappend", "event_store.client.streams.streams"),
    ("read", "event_store.client.gossip.gossip"),
    (
        "getsupportedmethods",
        "event_store.client.server_features.serverfeatures",
    ),
];

pub(crate) fn features() -> ServerFeaturesServer<Features> {
    ServerFeaturesServer::new(Features)
}

pub(crate) struct Features;

#[tonic::async_trait]
impl ServerFeatures for Features {
    async fn get_supported_methods(
        &self,
        _: Request<()>,
    ) -> Result<Response<SupportedMethods>, Status> {
        let methods = METHODS
            .iter()
            .map(|(method, service)| SupportedMethod {
                method_name: (*method).to_owned(),
                service_name: (*service).to_owned(),
                features: Vec::new(),
            })
            .collect();
        Ok(Response::new(SupportedMethods {
            methods,
            event_store_server_version: SPOKEN_VERSION.to_owned(),
        }))
    }
}

pub(crate) fn gossip(shared: Arc<Shared>) -> GossipServer<Alone> {
    GossipServer::new(Alone(shared))
}

/// A cluster of one.
pub(crate) struct Alone(Arc<Shared>);

#[tonic::async_trait]
impl Gossip for Alone {
    async fn read(&self, _: Request<()>) -> Result<Response<ClusterInfo>, Status> {
        let address = self.0.address;
        let member = MemberInfo {
            instance_id: Some(message::uuid(
                self.0.store.log_id().0,
                message::Ids::Structured,
            )),
            // Nobody compares it where there is one node.
            time_stamp: 0,
            state: VNodeState::Leader.into(),
            is_alive: true,
            http_end_point: Some(EndPoint {
                address: address.ip().to_string(),
                port: u32::from(address.port()),
            }),
        };
        Ok(Response::new(ClusterInfo {
            members: vec![member],
        }))
    }
}
