//! How rebuilds of views fail. Each code has its page under `docs/errors/`.

use recourse_service::problem::Code;

/// The view is being rebuilt already.
pub const REBUILD_OPEN: Code = Code::new(
    "rebuild-open",
    409,
    "The view is being rebuilt already",
    include_str!("../../docs/errors/rebuild-open.md"),
);

/// The other generation is not as far as the live one.
pub const REBUILD_NOT_READY: Code = Code::new(
    "rebuild-not-ready",
    409,
    "The other generation is not as far as the live one",
    include_str!("../../docs/errors/rebuild-not-ready.md"),
)
.retryable();

/// The rebuild does not stand so that this could be done.
pub const REBUILD_NOT_POSSIBLE: Code = Code::new(
    "rebuild-not-possible",
    409,
    "The rebuild does not stand so that this could be done",
    include_str!("../../docs/errors/rebuild-not-possible.md"),
);

/// All of them.
pub const ERRORS: &[Code] = &[REBUILD_OPEN, REBUILD_NOT_READY, REBUILD_NOT_POSSIBLE];
