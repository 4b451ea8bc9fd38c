//! What the store promises, tested on the real disk and on one that loses power.

mod backup;
mod crash;
mod crash_disk;
mod daily;
mod damage;
mod faults;
mod growth;
mod spied_disk;
mod world;
