//! Addresses with their handlers and their operations.

use axum::{Router, handler::Handler, http::Method, routing};

use super::{Inputs, Operation};

/// An operation at its address.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The method.
    pub method: Method,
    /// The path, as axum writes it, which is also how `OpenAPI` does: `/v1/orders/{id}`.
    pub path: &'static str,
    /// What is promised.
    pub operation: Operation,
}

impl std::ops::Deref for Bound {
    type Target = Operation;

    fn deref(&self) -> &Operation {
        &self.operation
    }
}

/// Routes, each with what is promised of it.
#[derive(Clone, Debug)]
pub struct Routes<S = ()> {
    router: Router<S>,
    operations: Vec<Bound>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            router: Router::new(),
            operations: Vec::new(),
        }
    }

    /// Answers GET.
    ///
    /// # Panics
    /// Where the path is malformed or taken, as `axum::Router::route` does.
    #[must_use]
    pub fn get<H, T>(self, path: &'static str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, S>,
        T: Inputs + 'static,
    {
        self.bind::<T>(Method::GET, path, routing::get(handler), operation)
    }

    /// Answers POST.
    ///
    /// # Panics
    /// As [`Self::get`].
    #[must_use]
    pub fn post<H, T>(self, path: &'static str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, S>,
        T: Inputs + 'static,
    {
        self.bind::<T>(Method::POST, path, routing::post(handler), operation)
    }

    /// Answers PUT.
    ///
    /// # Panics
    /// As [`Self::get`].
    #[must_use]
    pub fn put<H, T>(self, path: &'static str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, S>,
        T: Inputs + 'static,
    {
        self.bind::<T>(Method::PUT, path, routing::put(handler), operation)
    }

    fn bind<T: Inputs>(
        mut self,
        method: Method,
        path: &'static str,
        route: routing::MethodRouter<S>,
        mut operation: Operation,
    ) -> Self {
        T::describe(&mut operation);
        self.router = self.router.route(path, route);
        self.operations.push(Bound {
            method,
            path,
            operation,
        });
        self
    }

    /// Gives the handlers what they work with.
    #[must_use]
    pub fn with_state<S2: Clone + Send + Sync + 'static>(self, state: S) -> Routes<S2> {
        Routes {
            router: self.router.with_state(state),
            operations: self.operations,
        }
    }

    /// Adds the routes of another.
    ///
    /// # Panics
    /// Where both have the same address, as `axum::Router::merge` does.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.operations.extend(other.operations);
        self
    }

    /// What is promised of each route, in the order in which they were bound.
    #[must_use]
    pub fn operations(&self) -> &[Bound] {
        &self.operations
    }

    /// What answers.
    pub fn into_router(self) -> Router<S> {
        self.router
    }
}
