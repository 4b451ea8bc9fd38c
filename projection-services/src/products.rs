//! The catalogue: `GET /v1/products[/{sku}]`.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use recourse_domain::{
    Sku,
    product::{Details, Event},
};
use recourse_event_store::{Filter, RecordedEvent};
use recourse_service::{
    Problem,
    contract::{Operation, Routes},
    errors,
    http::{Id, Query, etag},
    page::Limit,
};
use recourse_views::{
    Projection, ProjectionError,
    documents::{Index, Kind, Order},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    events,
    view::{Asked, List, View, lists, shows},
};

/// A product, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    details: Details,
    created_at: DateTime<Utc>,
    revision: u64,
}

/// The view of the catalogue.
#[derive(Debug)]
pub struct Products;

impl Projection for Products {
    const NAME: &'static str = "products";
    const VERSION: u32 = 1;
    const INDEXES: &'static [Index] = &[Index {
        path: "created_at",
        kind: Kind::Time,
    }];
    const NEWEST_FIRST_BY: Option<&'static str> = Some("created_at");

    type Row = Row;

    fn filter() -> Filter {
        Filter::categories(&["product"])
    }

    fn key(event: &RecordedEvent) -> Result<Option<String>, ProjectionError> {
        // Its revision is the product's entity tag, so what changes nothing counts too.
        Ok(Some(event.stream.id().to_owned()))
    }

    fn apply(row: Option<Row>, event: &RecordedEvent) -> Result<Option<Row>, ProjectionError> {
        if events::is_answer_only(event) {
            return Ok(row.map(|row| Row {
                revision: event.revision,
                ..row
            }));
        }
        let details = match &*event.decode::<Event>()? {
            Event::Created(details) | Event::Changed(details) => details.clone(),
        };
        let created_at = match row {
            Some(row) => row.created_at,
            None => events::recorded_at(event)?,
        };
        Ok(Some(Row {
            details,
            created_at,
            revision: event.revision,
        }))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// How many items a page holds at most.
    #[serde(default)]
    limit: Limit,
    /// Where the page begins: `next_cursor` of the one before.
    cursor: Option<String>,
}

pub(crate) fn routes(view: View<Products>) -> Routes {
    let listing = Operation::new("listProducts", "List products")
        .tag("products")
        .answer(lists::<Details>(LIST))
        .fails(errors::LIST);
    let showing = Operation::new("getProduct", "Show a product")
        .tag("products")
        .answer(shows::<Details>("The product", PRODUCT).etag())
        .fails(errors::QUERY);
    Routes::new()
        .get("/v1/products", list, listing)
        .get("/v1/products/{sku}", one, showing)
        .with_state(view)
}

const PRODUCT: &str = r#"{
    "sku": "tea-1",
    "name": "Green tea",
    "price": {"amount_minor": 1999, "currency": "EUR"},
    "active": true
}"#;

const LIST: &str = r#"{
    "items": [{
        "sku": "tea-1",
        "name": "Green tea",
        "price": {"amount_minor": 1999, "currency": "EUR"},
        "active": true
    }]
}"#;

async fn one(
    State(view): State<View<Products>>,
    Id(sku): Id<Sku>,
    asked: Asked,
) -> Result<Response, Problem> {
    let found = view.get(sku.as_str(), &asked).await?;
    let tag = etag(found.row.revision);
    Ok(found.respond(|row| row.details).etag(tag))
}

async fn list(
    State(view): State<View<Products>>,
    Query(parameters): Query<Parameters>,
    asked: Asked,
) -> Result<Response, Problem> {
    let list = List {
        filters: Vec::new(),
        order: Order::NewestFirst,
        limit: parameters.limit,
        cursor: parameters.cursor,
        identity: (),
    };
    view.list(list, &asked, |row| row.details).await
}
