//! The messages, as generated from `proto/`. `tests/generated.rs` holds them current.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]

pub(crate) mod event_store {
    pub(crate) mod client {
        include!("generated/event_store.client.rs");
        pub(crate) mod streams {
            include!("generated/event_store.client.streams.rs");
        }
        pub(crate) mod gossip {
            include!("generated/event_store.client.gossip.rs");
        }
        pub(crate) mod server_features {
            include!("generated/event_store.client.server_features.rs");
        }
    }
}

pub(crate) mod google {
    pub(crate) mod rpc {
        include!("generated/google.rpc.rs");
    }
}

pub(crate) use event_store::client::*;
pub(crate) use google::rpc;
