//! The catalog command service.
