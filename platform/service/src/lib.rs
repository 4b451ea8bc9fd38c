//! What every service shares: options, clock, telemetry, shutdown, problem documents and HTTP conventions.
