//! The inventory command service.
