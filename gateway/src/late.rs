//! Addresses whose answers are not there yet, or not any more.

use std::sync::{Arc, PoisonError, RwLock};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use recourse_service::{Problem, contract::Routes, errors, http::RequestContext};
use tower::ServiceExt;

use crate::watch::Cut;

/// What answers for routes once it can: what it stands on may come later than the address, go away
/// and come back. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Late(Arc<RwLock<Option<Router>>>);

impl Late {
    /// The addresses of `contract`, answered here: with the routes that are set, which have the
    /// same addresses.
    pub fn routes(&self, contract: Routes) -> Routes {
        let late = self.clone();
        contract.handed_to(move |request: Request| {
            let late = late.clone();
            async move { late.call(request).await }
        })
    }

    /// Answers with these routes from here on.
    pub fn set(&self, routes: Routes) {
        self.replace(Some(routes.into_router()));
    }

    /// Says from here on that what is needed is away.
    pub fn clear(&self) {
        self.replace(None);
    }

    fn replace(&self, router: Option<Router>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = router;
    }

    async fn call(&self, request: Request) -> Response {
        let router = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(router) = router else {
            let detail = "what this address stands on is not there: /readyz says what";
            return Problem::new(errors::DEPENDENCY_UNAVAILABLE)
                .detail(detail)
                .into_response();
        };
        match router.oneshot(anew(request)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// The request as it came in: what the first router has noted in it would be taken for a part of
/// what the second one finds in the path.
fn anew(mut request: Request) -> Request {
    let extensions = request.extensions_mut();
    let (context, cut) = (
        extensions.remove::<RequestContext>(),
        extensions.remove::<Cut>(),
    );
    extensions.clear();
    if let Some(context) = context {
        extensions.insert(context);
    }
    if let Some(cut) = cut {
        extensions.insert(cut);
    }
    request
}
