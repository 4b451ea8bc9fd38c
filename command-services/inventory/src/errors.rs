//! How stock commands fail. Each code has its page under `docs/errors/`.

use recourse_service::problem::Code;

/// No product has this SKU.
pub const UNKNOWN_SKU: Code = Code::new(
    "unknown-sku",
    404,
    "No product has this SKU",
    include_str!("../../../docs/errors/unknown-sku.md"),
);

/// The reference belongs to another receipt.
pub const REFERENCE_REUSED: Code = Code::new(
    "reference-reused",
    409,
    "The reference belongs to another receipt",
    include_str!("../../../docs/errors/reference-reused.md"),
);

/// The stock would fall below what is reserved.
pub const STOCK_WOULD_BE_NEGATIVE: Code = Code::new(
    "stock-would-be-negative",
    409,
    "The stock would fall below what is reserved",
    include_str!("../../../docs/errors/stock-would-be-negative.md"),
);

/// More than can be counted.
pub const QUANTITY_OVERFLOW: Code = Code::new(
    "quantity-overflow",
    409,
    "More than can be counted",
    include_str!("../../../docs/errors/quantity-overflow.md"),
);

/// All of them.
pub const ERRORS: &[Code] = &[
    UNKNOWN_SKU,
    REFERENCE_REUSED,
    STOCK_WOULD_BE_NEGATIVE,
    QUANTITY_OVERFLOW,
];

/// How a receipt may fail.
pub(crate) const RECEIVING: &[Code] = &[UNKNOWN_SKU, REFERENCE_REUSED, QUANTITY_OVERFLOW];

/// How an adjustment may fail.
pub(crate) const ADJUSTING: &[Code] = &[UNKNOWN_SKU, STOCK_WOULD_BE_NEGATIVE, QUANTITY_OVERFLOW];
