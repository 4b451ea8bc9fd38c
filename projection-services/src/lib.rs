//! The read models: orders, sagas, stock, products; and the queries on them.
