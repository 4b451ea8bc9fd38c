//! Addresses with their handlers and their operations.

use axum::{
    Router,
    handler::Handler,
    http::Method,
    routing::{self, MethodFilter},
};

use super::{Inputs, Operation};
use crate::errors;

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

    /// The same addresses with the same promises, answered by whoever `handler` hands a request
    /// on to, who may be away.
    #[must_use]
    pub fn handed_to<H, T>(self, handler: H) -> Routes
    where
        H: Handler<T, ()>,
        T: 'static,
    {
        let mut handed = Routes::new();
        for mut bound in self.operations {
            // An address takes what some function of this module binds.
            let Ok(method) = MethodFilter::try_from(bound.method.clone()) else {
                continue;
            };
            let route = routing::on(method, handler.clone());
            handed.router = handed.router.route(bound.path, route);
            bound.operation.add_codes(&[errors::DEPENDENCY_UNAVAILABLE]);
            handed.operations.push(bound);
        }
        handed
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::Request, http::StatusCode};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn routes_that_are_handed_on_keep_their_addresses_and_promises() {
        let of = |id| Operation::new(id, "");
        let routes = Routes::<()>::new()
            .get("/things/{id}", || async { "here" }, of("get"))
            .put("/things/{id}", || async { "here" }, of("put"))
            .post("/things", || async { "here" }, of("post"));
        let elsewhere = |request: Request| async move {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            (StatusCode::ACCEPTED, format!("{method} {path}"))
        };
        let handed = routes.handed_to(elsewhere);
        let ids: Vec<_> = handed.operations().iter().map(|bound| bound.id()).collect();
        assert_eq!(ids, ["get", "put", "post"]);
        for bound in handed.operations() {
            assert!(
                bound
                    .codes()
                    .any(|code| code == errors::DEPENDENCY_UNAVAILABLE)
            );
        }
        let router = handed.into_router();
        for (method, path, status) in [
            ("GET", "/things/7", 202),
            ("PUT", "/things/7", 202),
            ("POST", "/things", 202),
            ("POST", "/things/7", 405),
            ("GET", "/others", 404),
        ] {
            let request = Request::builder().method(method).uri(path);
            let request = request.body(Body::empty()).unwrap();
            let answer = router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{method} {path}");
        }
    }
}
