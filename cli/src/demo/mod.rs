//! `recourse up --demo`: a shop that is open, with customers who buy, and sometimes cannot pay,
//! cancel or send back.
//!
//! ```text
//! seed, number ─▶ plan: an order, and what is done to it ─▶ shop: the gateway, as a client
//!                        ▲                                     │ order 12 placed
//!                        └────────── the next number ──────────┘ order 0 sent back
//! ```
//!
//! What is asked for is a function of the seed and the order's number, under keys that name both.
//! So nothing has to be remembered beside the log: a demo that is started again finds its last
//! order there, repeats that one, which finds itself, and goes on. The same seed on another empty
//! folder sends the same requests for the same orders under the same ids. When they come, and how
//! what follows from them interleaves, is the machine's. Deliveries follow from what is in stock.

mod flow;
mod picture;
mod plan;
mod shop;

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf};

use clap::Args;
use recourse_gateway::Gateway;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::client::escaped;
use plan::Plan;
use shop::Shop;

pub(crate) use flow::Demo;

/// The seed where nobody says one.
const SEED: u32 = 1;

/// The demo, and how much of it.
#[derive(Clone, Copy, Debug, Args)]
#[group(skip)]
pub(crate) struct Options {
    /// Open a shop: a catalogue, stock, and orders that keep coming, of which some fail, are
    /// cancelled or sent back. Refused on a folder that holds other orders.
    #[arg(long)]
    demo: bool,
    /// How many orders a second the demo places: 0.001 to 100.
    #[arg(
        long,
        value_name = "ORDERS_PER_S",
        default_value_t = 2.0,
        value_parser = rate,
        requires = "demo"
    )]
    demo_rate: f64,
    /// Which orders the demo places: the same ones each time. Without it those that the folder
    /// began with.
    #[arg(long, value_name = "NUMBER", requires = "demo")]
    seed: Option<u32>,
    /// The demo places no more orders while the log is as large as this, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 8_192, requires = "demo")]
    demo_max_log_mib: u64,
}

/// How many orders a second there can be.
const RATES: RangeInclusive<f64> = 0.001..=100.0;

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| RATES.contains(rate));
    rate.ok_or_else(|| format!("{} to {} orders a second", RATES.start(), RATES.end()))
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The folder is somebody's.
    #[error(
        "the folder {} holds orders that are not the demo's: the first one is in {first}. Give \
         the demo a folder of its own with --data, or leave --demo out", data.display()
    )]
    OtherOrders {
        /// Which folder.
        data: PathBuf,
        /// The stream of its first order.
        first: String,
    },
    /// The folder is that of another demo.
    #[error(
        "the folder {} holds the demo of seed {found}, not that of seed {wanted}. Leave --seed \
         out to go on with it, or give the other one a folder of its own with --data", data.display()
    )]
    OtherSeed {
        /// Which folder.
        data: PathBuf,
        /// Its seed.
        found: u32,
        /// The seed that was asked for.
        wanted: u32,
    },
    /// The server does not do what it must for this.
    #[error("the demo cannot be begun")]
    Shop(#[from] shop::Error),
}

impl Options {
    /// The demo, where one is wanted. Writes nothing yet.
    ///
    /// # Errors
    /// [`Error::OtherOrders`], [`Error::OtherSeed`]: the folder is not this demo's.
    pub(crate) async fn open(
        self,
        gateway: Gateway,
        data: PathBuf,
        stop: CancellationToken,
    ) -> Result<Option<Demo>, Error> {
        if !self.demo {
            return Ok(None);
        }
        let shop = Shop {
            gateway,
            host: SocketAddr::from(([127, 0, 0, 1], 0)),
            stop,
        };
        let first = first_orders(&shop).await?;
        let seed_of = |placed: &Placed| Some(Plan::read(&placed.metadata.request_id)?.0);
        let found = first.iter().find_map(seed_of);
        if let (None, Some(first)) = (found, first.into_iter().next()) {
            return Err(Error::OtherOrders {
                data,
                first: first.stream,
            });
        }
        let seed = match (found, self.seed) {
            (Some(found), Some(wanted)) if found != wanted => {
                return Err(Error::OtherSeed {
                    data,
                    found,
                    wanted,
                });
            }
            (found, wanted) => found.or(wanted).unwrap_or(SEED),
        };
        Ok(Some(Demo {
            options: self,
            plan: Plan { seed },
            shop,
            data,
        }))
    }
}

#[derive(Deserialize)]
struct Events {
    items: Vec<Placed>,
    next_cursor: Option<String>,
}

/// An order's first event.
#[derive(Deserialize)]
struct Placed {
    stream: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "requestId", default)]
    request_id: String,
}

/// The first orders of the log, of which one is the demo's where the folder is. It need not be the
/// very first: somebody may have been faster once the server was there.
async fn first_orders(shop: &Shop) -> Result<Vec<Placed>, shop::Error> {
    let first: Events = shop.get("/v1/events?types=order.placed&limit=200").await?;
    Ok(first.items)
}

/// The last order that is wanted.
async fn last_order(
    shop: &Shop,
    wanted: impl Fn(&Placed) -> bool,
) -> Result<Option<Placed>, shop::Error> {
    let all = "/v1/events?types=order.placed&limit=20&direction=backward";
    let mut target = all.to_owned();
    loop {
        let page: Events = shop.get(&target).await?;
        if let Some(found) = page.items.into_iter().find(&wanted) {
            return Ok(Some(found));
        }
        let Some(cursor) = page.next_cursor else {
            return Ok(None);
        };
        target = format!("{all}&cursor={}", escaped(&cursor));
    }
}
