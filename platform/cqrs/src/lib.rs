//! Aggregates: load, decide, append, retry on conflict; every saga command answered exactly once.
