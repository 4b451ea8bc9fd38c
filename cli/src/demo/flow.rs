//! The demo at work: one number after the other, each with all that is due then.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use super::{
    Options, Placed, last_order,
    picture::Picture,
    plan,
    plan::{After, CATALOGUE, OPENING, Operated, Order, Plan, SCARCE, SCARCE_STOCK},
    shop::{self, Shop},
};
use crate::output;

const MIB: u64 = 1024 * 1024;
/// How much of each product there is at first.
const FIRST_DELIVERY: u32 = 400;
/// With less than this of a product, more comes.
const LOW_STOCK: u64 = 150;
const DELIVERY: u32 = 300;
/// Every so many orders the stock of one product is looked at.
const LOOK_EVERY: u64 = 4;
/// Every so many orders the room for the log is.
const ROOM_EVERY: u64 = 50;
/// How often it is while there is none.
const ROOM_AGAIN: Duration = Duration::from_secs(30);
/// How long the flow waits for an order to settle whose goods are to go back.
const SETTLED_WITHIN: &str = "wait=5";

/// An order as its request is answered.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Receipt {
    pub(super) order_id: Uuid,
    pub(super) saga_id: Uuid,
    status: String,
    #[serde(skip)]
    is_replayed: bool,
    /// Where the answer stands in the log.
    #[serde(skip)]
    position: Option<String>,
}

/// An order as it is shown.
#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    returns: Vec<IgnoredAny>,
}

/// How a saga stands.
#[derive(Deserialize)]
struct Stands {
    status: String,
}

/// The demo of a folder.
pub(crate) struct Demo {
    pub(super) options: Options,
    pub(super) plan: Plan,
    pub(super) shop: Shop,
    pub(super) data: PathBuf,
}

impl Demo {
    /// Buys until asked to stop, in a server that is at this address. What is under way then is
    /// answered first. What the shop refuses is told and passed over: the demo is no reason for
    /// a server to end.
    pub(crate) async fn run(self, address: SocketAddr) {
        match self.open_shop(address).await {
            Ok(next) => self.keep_buying(next).await,
            Err(shop::Error::Stopped) => {}
            Err(error) => tracing::error!(error = text(&error), "the demo cannot go on"),
        }
    }

    /// Fills the shop and places the first orders, all of which may be there already; the number
    /// of the next one.
    async fn open_shop(&self, address: SocketAddr) -> Result<u64, shop::Error> {
        let last = last_order(&self.shop, |placed| {
            matches!(self.number_of(placed), Some(Some(_)))
        });
        let last = last.await?.and_then(|placed| self.number_of(&placed)?);
        for product in CATALOGUE.iter().chain([&SCARCE]) {
            let target = format!("/v1/products/{}", product.sku);
            let only_new = [("if-none-match", "*")];
            let body = product.body();
            let put = self.shop.send("PUT", &target, &only_new, Some(&body));
            match put.await {
                // Somebody may have changed it since.
                Ok(_) => {}
                Err(shop::Error::Refused { code, .. }) if code == "precondition-failed" => {}
                Err(error) => return Err(error),
            }
            let quantity = if product.sku == SCARCE.sku {
                SCARCE_STOCK
            } else {
                FIRST_DELIVERY
            };
            self.deliver(product.sku, quantity, "first").await?;
        }
        let mut opening = Vec::new();
        // What follows from these was done before the first one after them was placed.
        let is_done = last.is_some_and(|last| last >= OPENING);
        for number in 0..OPENING {
            let placed = if is_done {
                self.place(&self.plan.order(number), &[]).await
            } else {
                self.step(number).await
            };
            match placed {
                Ok(placed) => opening.push(Some(placed)),
                Err(shop::Error::Stopped) => return Err(shop::Error::Stopped),
                Err(error) => {
                    tracing::warn!(
                        number,
                        error = text(&error),
                        "the demo passes an order over"
                    );
                    opening.push(None);
                }
            }
        }
        let picture = Picture {
            address,
            data: &self.data,
            seed: self.plan.seed,
            orders_per_s: self.options.demo_rate,
            opening: &opening,
        };
        let picture = picture.text();
        if let Err(error) = output::text(&picture) {
            tracing::debug!(%error, "nobody reads what the demo says");
        }
        // The last one again: what follows from it may not have been done.
        Ok(last.unwrap_or(0).max(OPENING))
    }

    /// The number of an order that the demo of this seed placed, where this version has it.
    fn number_of(&self, placed: &Placed) -> Option<Option<u64>> {
        let (seed, number) = Plan::read(&placed.metadata.request_id)?;
        (seed == self.plan.seed).then_some(number)
    }

    async fn keep_buying(&self, first: u64) {
        let mut pace = self.pace();
        for number in first.. {
            let mut is_new = true;
            match self.step(number).await {
                Ok(placed) => is_new = !placed.is_replayed,
                Err(shop::Error::Stopped) => return,
                Err(error) => {
                    tracing::warn!(
                        number,
                        error = text(&error),
                        "the demo passes an order over"
                    );
                }
            }
            match self.look_after(number).await {
                Ok(()) => {}
                Err(shop::Error::Stopped) => return,
                Err(error) => tracing::warn!(error = text(&error), "the shop is not looked after"),
            }
            // What was done before needs no room in time.
            if is_new {
                tokio::select! {
                    biased;
                    () = self.shop.stop.cancelled() => return,
                    _ = pace.tick() => {}
                }
            }
        }
    }

    fn pace(&self) -> Interval {
        let mut pace = tokio::time::interval(Duration::from_secs_f64(1.0 / self.options.demo_rate));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pace
    }

    /// Places an order, does at once what is done to it at once, then what is due for earlier
    /// ones.
    async fn step(&self, number: u64) -> Result<Receipt, shop::Error> {
        let order = self.plan.order(number);
        let placed = self.place(&order, &[]).await?;
        if order.after == After::Cancelled {
            let target = format!("/v1/orders/{}/cancellation", placed.order_id);
            let body = json!({"reason": "ordered by mistake"});
            let key = format!("{}-cancel", order.key);
            let cancelled = self.shop.post(&target, &key, &[], &body).await;
            unless_too_late(cancelled)?;
        }
        for earlier in self.plan.due(number) {
            self.follow_up(&self.plan.order(earlier)).await?;
        }
        Ok(placed)
    }

    /// Places an order, or finds it.
    async fn place(&self, order: &Order, headers: &[(&str, &str)]) -> Result<Receipt, shop::Error> {
        let shop = &self.shop;
        let answer = shop
            .post("/v1/orders", &order.key, headers, &order.body())
            .await?;
        let mut placed: Receipt = answer.read()?;
        placed.is_replayed = answer.is_replayed();
        placed.position = answer.header("recourse-position").map(str::to_owned);
        Ok(placed)
    }

    async fn follow_up(&self, order: &Order) -> Result<(), shop::Error> {
        match &order.after {
            After::Nothing | After::Cancelled => Ok(()),
            After::Returned(lines) => {
                let placed = self.place(order, &[("prefer", SETTLED_WITHIN)]).await?;
                if placed.status != "completed" {
                    return Ok(());
                }
                let target = format!("/v1/orders/{}", placed.order_id);
                // Its key may be forgotten by now, and the goods would go back once more. The view
                // may be behind the answer.
                let position = placed.position.as_deref();
                let after = position.map(|position| ("recourse-min-position", position));
                let shown = self.shop.send("GET", &target, after.as_slice(), None);
                let shown: Shown = shown.await?.read()?;
                if !shown.returns.is_empty() {
                    return Ok(());
                }
                let target = format!("{target}/returns");
                let body =
                    json!({"lines": plan::lines(lines), "reason": "not what it looked like"});
                let key = format!("{}-return", order.key);
                unless_too_late(self.shop.post(&target, &key, &[], &body).await)
            }
            After::Operated(how) => {
                let placed = self.place(order, &[]).await?;
                self.operate(&order.key, placed.saga_id, *how).await
            }
        }
    }

    /// What an operator does with a saga that cannot go on, where that is how it is.
    async fn operate(&self, key: &str, saga: Uuid, how: Operated) -> Result<(), shop::Error> {
        let target = format!("/v1/sagas/{saga}");
        let shown = self.shop.send("GET", &target, &[], None).await?;
        let state: Stands = shown.read()?;
        let Some(tag) = shown
            .header("etag")
            .filter(|_| state.status == "needs_attention")
        else {
            return Ok(());
        };
        let body = match how {
            Operated::Compensated => {
                json!({"action": "compensate", "reason": "the card was closed"})
            }
            Operated::WrittenOff => json!({
                "action": "skip", "step": "capture-payment", "reason": "goodwill: the goods are a gift",
            }),
        };
        let key = format!("{key}-operate");
        let target = format!("{target}/actions");
        unless_too_late(
            self.shop
                .post(&target, &key, &[("if-match", tag)], &body)
                .await,
        )
    }

    async fn deliver(&self, sku: &str, quantity: u32, name: &str) -> Result<(), shop::Error> {
        let reference = format!("demo-{}-{name}", self.plan.seed);
        let body = json!({"quantity": quantity, "reference": reference});
        let target = format!("/v1/stock/{sku}/receipts");
        self.shop.post(&target, &reference, &[], &body).await?;
        Ok(())
    }

    /// Has more delivered of what is low, and stands still while there is no room.
    async fn look_after(&self, number: u64) -> Result<(), shop::Error> {
        if number.is_multiple_of(LOOK_EVERY) {
            self.restock(number).await?;
        }
        if !number.is_multiple_of(ROOM_EVERY) {
            return Ok(());
        }
        let mut told = false;
        while let Some(why) = self.no_room().await? {
            if !told {
                tracing::warn!(why, "the demo places no orders for now");
                told = true;
            }
            tokio::select! {
                biased;
                () = self.shop.stop.cancelled() => return Err(shop::Error::Stopped),
                () = tokio::time::sleep(ROOM_AGAIN) => {}
            }
        }
        Ok(())
    }

    async fn restock(&self, number: u64) -> Result<(), shop::Error> {
        #[derive(Deserialize)]
        struct Stock {
            available: u64,
        }
        let product = (number / LOOK_EVERY)
            .checked_rem(CATALOGUE.len() as u64)
            .and_then(|place| CATALOGUE.get(usize::try_from(place).ok()?));
        let Some(product) = product else {
            return Ok(());
        };
        let stock: Stock = self.shop.get(&format!("/v1/stock/{}", product.sku)).await?;
        if stock.available < LOW_STOCK {
            self.deliver(product.sku, DELIVERY, &number.to_string())
                .await?;
        }
        Ok(())
    }

    /// Why there is no room for more, where there is none.
    async fn no_room(&self) -> Result<Option<String>, shop::Error> {
        #[derive(Deserialize)]
        struct Storage {
            log: Log,
            disk: Disk,
        }
        #[derive(Deserialize)]
        struct Log {
            bytes: u64,
        }
        #[derive(Deserialize)]
        struct Disk {
            level: String,
        }
        let storage: Storage = self.shop.get("/v1/storage").await?;
        let most = self.options.demo_max_log_mib;
        if storage.log.bytes >= most.saturating_mul(MIB) {
            return Ok(Some(format!(
                "the log has reached --demo-max-log-mib {most}"
            )));
        }
        Ok((storage.disk.level != "ok").then(|| "the disk is low".to_owned()))
    }
}

/// Somebody else, or the saga, was faster: nothing is left to be done.
fn unless_too_late<T>(done: Result<T, shop::Error>) -> Result<(), shop::Error> {
    match done {
        Ok(_) => Ok(()),
        Err(shop::Error::Refused { status, .. }) if matches!(status.as_u16(), 409 | 412) => Ok(()),
        Err(error) => Err(error),
    }
}

/// An error down to its first cause.
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
