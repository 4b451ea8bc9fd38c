//! The load generator and the checker of the promises.
