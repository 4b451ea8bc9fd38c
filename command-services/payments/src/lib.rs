//! The payments command service.
