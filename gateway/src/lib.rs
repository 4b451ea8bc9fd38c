//! The single way in: routing, limits, conventions, and the log as HTTP.
