//! What there is to look at, once the first orders are placed.

use std::{fmt::Write as _, net::SocketAddr, path::Path};

use super::flow::Receipt;
use crate::client::DEFAULT_URL;

/// What there is to look at, and where.
pub(super) struct Picture<'a> {
    pub(super) address: SocketAddr,
    pub(super) data: &'a Path,
    pub(super) seed: u32,
    pub(super) orders_per_s: f64,
    /// The opening's orders by their numbers; none where one could not be placed.
    pub(super) opening: &'a [Option<Receipt>],
}

impl Picture<'_> {
    /// What to run, with the ids of the first orders.
    pub(super) fn text(&self) -> String {
        let url = format!("http://{}", self.address);
        let server = if url == DEFAULT_URL {
            String::new()
        } else {
            format!(" --url {url}")
        };
        let mut text = format!(
            "The demo of seed {} is open: {} orders a second, every way they can go.\n\n",
            self.seed, self.orders_per_s
        );
        let mut line = |what: &str, how: String| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {what:<30}{how}");
        };
        line("the console", format!("{url}/"));
        line(
            "every saga, as it happens",
            format!("recourse watch{server}"),
        );
        line("the whole contract", format!("{url}/docs"));
        let order = |number: usize| self.opening.get(number).and_then(Option::as_ref);
        if let Some(Receipt { order_id, .. }) = order(0) {
            line(
                "an order that went well",
                format!("curl {url}/v1/orders/{order_id}"),
            );
        }
        if let Some(Receipt { order_id, .. }) = order(2) {
            line(
                "a declined card, undone",
                format!("curl {url}/v1/orders/{order_id}"),
            );
        }
        if let Some(Receipt { order_id, .. }) = order(1) {
            line(
                "goods sent back",
                format!("curl {url}/v1/orders/{order_id}"),
            );
        }
        line(
            "sagas that need an operator",
            format!("curl '{url}/v1/sagas?status=needs_attention'"),
        );
        if let Some(Receipt { saga_id, .. }) = order(10) {
            line(
                "the first, until it is undone",
                format!("recourse sagas show {saga_id}{server}"),
            );
        }
        line("the money", format!("curl {url}/v1/ledger/accounts"));
        line("how the log grows", format!("curl {url}/v1/storage"));
        line(
            "that every promise holds",
            format!("recourse verify --data {}", self.data.display()),
        );
        text.push_str(
            "\nThe same --seed on an empty folder places the same orders under the same ids.\n",
        );
        text
    }
}
