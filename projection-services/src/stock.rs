//! What is on hand: `GET /v1/stock[/{sku}]`.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use recourse_domain::{Sku, stock::Event};
use recourse_event_store::{Filter, RecordedEvent};
use recourse_service::{
    Problem,
    contract::{Operation, Routes},
    errors,
    http::{Id, Query},
    page::Limit,
};
use recourse_views::{
    Projection, ProjectionError,
    documents::{self, Comparison, Index, Kind, Order},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    events,
    view::{Asked, List, View, lists, shows},
};

/// The stock of a product, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stock {
    /// Whose stock.
    sku: Sku,
    /// Pieces on the shelf.
    on_hand: i64,
    /// Of them, promised to orders under way.
    reserved: i64,
    /// Of them, free.
    available: i64,
    /// All that ever left for orders.
    committed: i64,
    /// All that ever came in.
    received: i64,
    /// The sum of all corrections.
    adjusted: i64,
    /// All that ever came back from orders.
    restocked: i64,
}

/// The stock of a product, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    #[serde(flatten)]
    stock: Stock,
    since: DateTime<Utc>,
}

/// The view of what is on hand.
#[derive(Debug)]
pub struct Stocks;

impl Projection for Stocks {
    const NAME: &'static str = "stock";
    const VERSION: u32 = 1;
    const INDEXES: &'static [Index] = &[
        Index {
            path: "since",
            kind: Kind::Time,
        },
        Index {
            path: "available",
            kind: Kind::Integer,
        },
    ];
    const NEWEST_FIRST_BY: Option<&'static str> = Some("since");

    type Row = Row;

    fn filter() -> Filter {
        Filter::categories(&["stock"])
    }

    fn key(event: &RecordedEvent) -> Result<Option<String>, ProjectionError> {
        Ok((!events::is_answer_only(event)).then(|| event.stream.id().to_owned()))
    }

    fn apply(row: Option<Row>, event: &RecordedEvent) -> Result<Option<Row>, ProjectionError> {
        let mut row = match row {
            Some(row) => row,
            None => Row {
                stock: Stock::none_of(event)?,
                since: events::recorded_at(event)?,
            },
        };
        row.stock
            .take(&*event.decode::<Event>()?)
            .ok_or_else(|| events::out_of_place("more than can be counted"))?;
        Ok(Some(row))
    }
}

impl Stock {
    fn none_of(event: &RecordedEvent) -> Result<Self, ProjectionError> {
        let sku = Sku::parse(event.stream.id())
            .map_err(|_| events::out_of_place("its stream is not that of a SKU"))?;
        Ok(Self {
            sku,
            on_hand: 0,
            reserved: 0,
            available: 0,
            committed: 0,
            received: 0,
            adjusted: 0,
            restocked: 0,
        })
    }

    /// None where a number would leave its range.
    fn take(&mut self, event: &Event) -> Option<()> {
        let add = |number: &mut i64, delta: i64| {
            *number = number.checked_add(delta)?;
            Some(())
        };
        match event {
            Event::Received(received) => {
                let quantity = i64::from(received.quantity.get());
                add(&mut self.received, quantity)?;
                add(&mut self.on_hand, quantity)?;
            }
            Event::Adjusted(adjusted) => {
                add(&mut self.adjusted, adjusted.delta)?;
                add(&mut self.on_hand, adjusted.delta)?;
            }
            Event::Reserved(held) => add(&mut self.reserved, i64::from(held.quantity.get()))?,
            Event::Released(held) => add(&mut self.reserved, -i64::from(held.quantity.get()))?,
            Event::Committed(held) => {
                let quantity = i64::from(held.quantity.get());
                add(&mut self.reserved, -quantity)?;
                add(&mut self.on_hand, -quantity)?;
                add(&mut self.committed, quantity)?;
            }
            Event::Restocked(held) => {
                let quantity = i64::from(held.quantity.get());
                add(&mut self.restocked, quantity)?;
                add(&mut self.on_hand, quantity)?;
            }
            Event::RepeatAnswered(_) => {}
        }
        self.available = self.on_hand.checked_sub(self.reserved)?;
        Some(())
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
    /// Only where fewer pieces than this are free.
    available_below: Option<i64>,
}

pub(crate) fn routes(view: View<Stocks>) -> Routes {
    let listing = Operation::new("listStock", "List what is on hand")
        .tag("stock")
        .answer(lists::<Stock>(LIST))
        .fails(errors::LIST);
    let showing = Operation::new("getStock", "Show what is on hand of a product")
        .tag("stock")
        .answer(shows::<Stock>("The stock", STOCK))
        .fails(errors::QUERY);
    Routes::new()
        .get("/v1/stock", list, listing)
        .get("/v1/stock/{sku}", one, showing)
        .with_state(view)
}

const STOCK: &str = r#"{
    "sku": "tea-1", "on_hand": 98, "reserved": 0, "available": 98,
    "committed": 2, "received": 100, "adjusted": 0, "restocked": 0
}"#;

const LIST: &str = r#"{
    "items": [{
        "sku": "tea-1", "on_hand": 98, "reserved": 0, "available": 98,
        "committed": 2, "received": 100, "adjusted": 0, "restocked": 0
    }]
}"#;

async fn one(
    State(view): State<View<Stocks>>,
    Id(sku): Id<Sku>,
    asked: Asked,
) -> Result<Response, Problem> {
    let found = view.get(sku.as_str(), &asked).await?;
    Ok(found.respond(|row| row.stock).into_response())
}

async fn list(
    State(view): State<View<Stocks>>,
    Query(parameters): Query<Parameters>,
    asked: Asked,
) -> Result<Response, Problem> {
    let below = parameters.available_below;
    let list = List {
        filters: below
            .map(|below| documents::Filter {
                path: "available",
                comparison: Comparison::Below,
                value: below.into(),
            })
            .into_iter()
            .collect(),
        order: Order::NewestFirst,
        limit: parameters.limit,
        cursor: parameters.cursor,
        identity: below,
    };
    view.list(list, &asked, |row| row.stock).await
}
