//! Drives the sagas: one file a definition, and the runtime that feeds them answers, cancellations and time.
