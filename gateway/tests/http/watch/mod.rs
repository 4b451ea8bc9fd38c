//! Watching over Server-Sent Events.

mod events;
mod limits;
mod sagas;
mod seeds;
mod world;
