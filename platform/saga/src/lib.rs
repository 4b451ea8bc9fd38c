//! The saga engine: definitions as data, a pure reaction, and the harness that explores it.
