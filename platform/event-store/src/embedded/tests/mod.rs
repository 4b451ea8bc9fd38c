//! What the store promises, tested on the real disk and on one that loses power.

mod daily;
mod world;
