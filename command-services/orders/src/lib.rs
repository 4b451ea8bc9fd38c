//! The orders command service.
