//! The conventions of the API, from outside: a real socket, a client that can say anything.

mod bad_input;
mod client;
mod history;
mod server;
mod ways_in;
mod world;
