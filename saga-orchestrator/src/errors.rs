//! How operators' actions fail. Each code has its page under `docs/errors/`.

use recourse_service::problem::Code;

/// The saga does not stand so that this could be done.
pub const ACTION_NOT_POSSIBLE: Code = Code::new(
    "action-not-possible",
    409,
    "The saga does not stand so that this could be done",
    include_str!("../../docs/errors/action-not-possible.md"),
);

/// All of them.
pub const ERRORS: &[Code] = &[ACTION_NOT_POSSIBLE];
