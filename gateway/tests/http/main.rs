//! The conventions of the API, from outside: a real socket, a client that can say anything.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod client;
#[cfg(test)]
mod forward;
#[cfg(test)]
mod history;
#[cfg(test)]
mod server;
#[cfg(test)]
mod watch;
#[cfg(test)]
mod ways_in;
#[cfg(test)]
mod world;
