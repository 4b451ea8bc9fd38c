//! The recourse binary.

fn main() {}
