//! Read models: the document port, its adapters, and the projector that fills them from the log.
