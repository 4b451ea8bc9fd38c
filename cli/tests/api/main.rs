//! The API as a client meets it: the real binary, over a real socket, knowing nothing of what
//! is inside.

#[cfg(test)]
mod about;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod client;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod declared;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod process;
#[cfg(test)]
mod products;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod rebuilds;
#[cfg(test)]
mod repeating;
#[cfg(test)]
mod returns;
#[cfg(test)]
mod sagas;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod server;
#[cfg(test)]
mod stock;
#[cfg(test)]
mod watching;
#[cfg(test)]
mod why;
