//! How order commands fail. Each code has its page under `docs/errors/`.

use recourse_service::problem::Code;

/// A line names a product that does not exist.
pub const UNKNOWN_PRODUCT: Code = Code::new(
    "unknown-product",
    422,
    "A line names a product that does not exist",
    include_str!("../../../docs/errors/unknown-product.md"),
);

/// A line names a product that cannot be ordered.
pub const PRODUCT_INACTIVE: Code = Code::new(
    "product-inactive",
    422,
    "A line names a product that cannot be ordered",
    include_str!("../../../docs/errors/product-inactive.md"),
);

/// A product is on more than one line.
pub const DUPLICATE_LINE: Code = Code::new(
    "duplicate-line",
    422,
    "A product is on more than one line",
    include_str!("../../../docs/errors/duplicate-line.md"),
);

/// A product is priced in another currency.
pub const CURRENCY_MISMATCH: Code = Code::new(
    "currency-mismatch",
    422,
    "A product is priced in another currency",
    include_str!("../../../docs/errors/currency-mismatch.md"),
);

/// The total is zero.
pub const NOTHING_TO_PAY: Code = Code::new(
    "nothing-to-pay",
    422,
    "The total is zero",
    include_str!("../../../docs/errors/nothing-to-pay.md"),
);

/// The total is too large.
pub const TOTAL_OVERFLOW: Code = Code::new(
    "total-overflow",
    422,
    "The total is too large",
    include_str!("../../../docs/errors/total-overflow.md"),
);

/// The order is past its point of no return.
pub const ORDER_ALREADY_CONFIRMED: Code = Code::new(
    "order-already-confirmed",
    409,
    "The order is past its point of no return",
    include_str!("../../../docs/errors/order-already-confirmed.md"),
);

/// The order has ended.
pub const ORDER_ALREADY_SETTLED: Code = Code::new(
    "order-already-settled",
    409,
    "The order has ended",
    include_str!("../../../docs/errors/order-already-settled.md"),
);

/// A line of a return names a product that is not on the order.
pub const NOT_ORDERED: Code = Code::new(
    "not-ordered",
    422,
    "A line names a product that is not on the order",
    include_str!("../../../docs/errors/not-ordered.md"),
);

/// The order, or so much of it, cannot be returned.
pub const NOT_RETURNABLE: Code = Code::new(
    "not-returnable",
    409,
    "This cannot be returned",
    include_str!("../../../docs/errors/not-returnable.md"),
);

/// All of them.
pub const ERRORS: &[Code] = &[
    UNKNOWN_PRODUCT,
    PRODUCT_INACTIVE,
    DUPLICATE_LINE,
    CURRENCY_MISMATCH,
    NOTHING_TO_PAY,
    TOTAL_OVERFLOW,
    ORDER_ALREADY_CONFIRMED,
    ORDER_ALREADY_SETTLED,
    NOT_ORDERED,
    NOT_RETURNABLE,
];
