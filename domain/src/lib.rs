//! The business rules: product, stock, order, payment. Pure.
