//! What the demo asks for: a function of a seed and an order's number, so that whoever repeats
//! the seed sends the same requests under the same keys, and gets the same ids.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use uuid::Uuid;

/// Which requests a seed stands for. A plan that asks for something else gets another version:
/// its keys must not be those of the old one.
const VERSION: u32 = 1;

/// Of every customer's id.
const CUSTOMERS: Uuid = Uuid::from_u128(0x3e0c_91d7_5b2a_5f64_8a17_c0de_4d1e_72b9);
/// How many people buy.
const MAX_CUSTOMERS: u32 = 40;

/// The first orders come at once: one of each kind, so that there is something to look at.
pub(super) const OPENING: u64 = 14;
/// So many orders after it was placed, an order's goods go back.
const RETURNED_AFTER: u64 = 12;
/// After the opening's, the first order whose capture is refused.
const SECOND_REFUSED_CAPTURE: u64 = 40;
/// Every so many orders, one more.
const REFUSED_CAPTURE_EVERY: u64 = 400;
/// Of so many sagas that an operator ends, one is ended by giving the goods away.
const WRITTEN_OFF_EVERY: u64 = 4;
/// A product of the catalogue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub(super) sku: &'static str,
    pub(super) name: &'static str,
    pub(super) price_minor: i64,
}

const fn product(sku: &'static str, name: &'static str, price_minor: i64) -> Product {
    Product {
        sku,
        name,
        price_minor,
    }
}

/// What is always there.
pub(super) const CATALOGUE: [Product; 8] = [
    product("tea-sencha", "Sencha, 100 g", 1_290),
    product("tea-assam", "Assam, 250 g", 1_490),
    product("tea-oolong", "Oolong, 50 g", 2_150),
    product("cup-porcelain", "Porcelain cup", 1_850),
    product("pot-cast-iron", "Cast-iron teapot", 6_900),
    product("kettle-steel", "Steel kettle", 8_450),
    product("whisk-bamboo", "Bamboo whisk", 1_675),
    product("filter-cotton", "Cotton filter", 890),
];

/// What there is too little of for anybody who wants some.
pub(super) const SCARCE: Product = product("tea-first-flush", "First flush, 50 g", 3_400);
/// How much there is of it, and how much is ordered.
pub(super) const SCARCE_STOCK: u32 = 2;
const SCARCE_WANTED: u32 = 3;

/// The currency of all prices.
const CURRENCY: &str = "EUR";

impl Product {
    /// The body of its `PUT`.
    pub(super) fn body(&self) -> Value {
        json!({
            "name": self.name,
            "price": {"amount_minor": self.price_minor, "currency": CURRENCY},
            "active": true,
        })
    }
}

/// One line of an order or of a return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    sku: &'static str,
    quantity: u32,
}

/// What is done to an order after it was placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing.
    Nothing,
    /// It is cancelled at once.
    Cancelled,
    /// These goods go back.
    Returned(Vec<Line>),
    /// An operator ends its saga.
    Operated(Operated),
}

/// How an operator ends a saga whose capture was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operated {
    /// It is undone, and the goods are back.
    Compensated,
    /// The capture is left out: the goods are given away, and the ledger says what that cost.
    WrittenOff,
}

/// One order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// The key of its request, and the beginning of the keys of what follows.
    pub(super) key: String,
    customer: Uuid,
    lines: Vec<Line>,
    token: String,
    pub(super) after: After,
}

impl Order {
    /// The body of its request.
    pub(super) fn body(&self) -> Value {
        json!({
            "customer_id": self.customer,
            "currency": CURRENCY,
            "lines": lines(&self.lines),
            "payment": {"method": "card", "token": self.token},
        })
    }
}

/// Lines as a body has them.
pub(super) fn lines(lines: &[Line]) -> Vec<Value> {
    lines
        .iter()
        .map(|line| json!({"sku": line.sku, "quantity": line.quantity}))
        .collect()
}

/// The demo of one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) seed: u32,
}

impl Plan {
    /// The key of an order's request: `demo-v1-s7-12`.
    fn key(self, number: u64) -> String {
        format!("demo-v{VERSION}-s{}-{number}", self.seed)
    }

    /// The seed and, where this version of the demo has placed it, the number of the order that
    /// was placed by the request with this id. Nothing where it was not the demo's.
    pub(super) fn read(request_id: &str) -> Option<(u32, Option<u64>)> {
        let (version, rest) = request_id.strip_prefix("demo-v")?.split_once("-s")?;
        let (seed, number) = rest.split_once('-')?;
        let (version, number): (u32, u64) = (version.parse().ok()?, number.parse().ok()?);
        Some((seed.parse().ok()?, (version == VERSION).then_some(number)))
    }

    /// The `number`th order.
    pub(super) fn order(self, number: u64) -> Order {
        let mut draw = ChaCha8Rng::seed_from_u64(u64::from(self.seed) ^ number.rotate_left(32));
        let who: u32 = draw.random_range(0..MAX_CUSTOMERS);
        let name = [self.seed.to_be_bytes(), who.to_be_bytes()].concat();
        let bought = basket(&mut draw);
        let (lines, token, after) = match number {
            0..OPENING => opening(number, bought),
            _ if is_refused_capture(number) => refused_capture(number, bought),
            _ => drawn(&mut draw, bought),
        };
        Order {
            key: self.key(number),
            customer: Uuid::new_v5(&CUSTOMERS, &name),
            lines,
            token,
            after,
        }
    }

    /// The earlier orders whose turn it is once this one is placed. An order of the opening has
    /// its turn when all of it is placed.
    pub(super) fn due(self, number: u64) -> Vec<u64> {
        let mut due: Vec<u64> = Vec::new();
        if number.checked_add(1) == Some(OPENING) {
            due.extend(0..OPENING);
        } else if let Some(earlier) = number.checked_sub(RETURNED_AFTER)
            && earlier >= OPENING
        {
            due.push(earlier);
        }
        due.retain(|earlier| matches!(self.order(*earlier).after, After::Returned(_)));
        // So there is always one that waits for an operator, and never many.
        due.extend(refused_capture_before(number));
        due
    }
}

fn is_refused_capture(number: u64) -> bool {
    number == 10 || refused_capture_before(number).is_some()
}

/// The refused capture before this one, where this is one and there is one before.
fn refused_capture_before(number: u64) -> Option<u64> {
    let since = number.checked_sub(SECOND_REFUSED_CAPTURE)?;
    if since == 0 {
        return Some(10);
    }
    if since % REFUSED_CAPTURE_EVERY == 0 {
        return number.checked_sub(REFUSED_CAPTURE_EVERY);
    }
    None
}

type Drawn = (Vec<Line>, String, After);

fn refused_capture(number: u64, bought: Vec<Line>) -> Drawn {
    let how = match number.saturating_sub(SECOND_REFUSED_CAPTURE) / REFUSED_CAPTURE_EVERY {
        nth if number > OPENING && nth % WRITTEN_OFF_EVERY == 0 => Operated::WrittenOff,
        _ => Operated::Compensated,
    };
    (bought, "tok_capture_refused".into(), After::Operated(how))
}

/// Each token once, and each way to fail.
fn opening(number: u64, bought: Vec<Line>) -> Drawn {
    let whole = After::Returned(bought.clone());
    let (token, after) = match number {
        1 => ("tok_visa", whole),
        2 => ("tok_declined", After::Nothing),
        3 => ("tok_insufficient_funds", After::Nothing),
        4 => ("tok_lost_reply", After::Nothing),
        5 => ("tok_never_arrived", After::Nothing),
        6 => ("tok_late_arrival", After::Nothing),
        7 => ("tok_flaky_2", After::Nothing),
        8 => ("tok_slow_1500", After::Cancelled),
        9 => ("tok_slow_800", After::Nothing),
        10 => return refused_capture(number, bought),
        11 => return sold_out(bought),
        12 => ("tok_visa", After::Returned(part(&bought))),
        13 => ("tok_refund_refused", whole),
        _ => ("tok_visa", After::Nothing),
    };
    (bought, token.to_owned(), after)
}

/// One of the flow: three of four simply succeed.
fn drawn(draw: &mut ChaCha8Rng, bought: Vec<Line>) -> Drawn {
    let whole = After::Returned(bought.clone());
    let (token, after) = match draw.random_range(0..100_u8) {
        0..8 => ("tok_declined".to_owned(), After::Nothing),
        8..12 => ("tok_insufficient_funds".to_owned(), After::Nothing),
        12..15 => ("tok_lost_reply".to_owned(), After::Nothing),
        15..18 => ("tok_never_arrived".to_owned(), After::Nothing),
        18..20 => ("tok_late_arrival".to_owned(), After::Nothing),
        20..23 => {
            let fails = draw.random_range(1..=3_u8);
            (format!("tok_flaky_{fails}"), After::Nothing)
        }
        23..26 => {
            let ms = draw.random_range(100..900_u32);
            (format!("tok_slow_{ms}"), After::Nothing)
        }
        26..29 => ("tok_slow_1500".to_owned(), After::Cancelled),
        29..32 => return sold_out(bought),
        32..33 => ("tok_refund_refused".to_owned(), whole),
        33..39 => ("tok_visa".to_owned(), whole),
        39..43 => ("tok_visa".to_owned(), After::Returned(part(&bought))),
        _ => ("tok_visa".to_owned(), After::Nothing),
    };
    (bought, token, after)
}

/// One to three products, one to three of each.
fn basket(draw: &mut ChaCha8Rng) -> Vec<Line> {
    let products = draw.random_range(1..=3_usize);
    let first = draw.random_range(0..CATALOGUE.len());
    CATALOGUE
        .iter()
        .cycle()
        .skip(first)
        .step_by(3)
        .take(products)
        .map(|product| Line {
            sku: product.sku,
            quantity: draw.random_range(1..=3),
        })
        .collect()
}

/// What there is, and more than there is of something else.
fn sold_out(mut bought: Vec<Line>) -> Drawn {
    bought.push(Line {
        sku: SCARCE.sku,
        quantity: SCARCE_WANTED,
    });
    (bought, "tok_visa".to_owned(), After::Nothing)
}

/// One piece of the first line.
fn part(bought: &[Line]) -> Vec<Line> {
    let one = |line: &Line| Line {
        quantity: 1,
        ..*line
    };
    bought.iter().take(1).map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const PLAN: Plan = Plan { seed: 7 };

    #[test]
    fn a_number_is_always_the_same_order_and_another_seed_draws_others() {
        let orders = |seed| (0..500).map(move |number| Plan { seed }.order(number));
        assert!(orders(7).eq(orders(7)));
        let differing = orders(7).zip(orders(8)).filter(|(a, b)| {
            assert_ne!(a.key, b.key);
            a.lines != b.lines
        });
        assert!(differing.count() > 400);
    }

    #[test]
    fn the_opening_has_every_token_and_everything_that_is_done_to_orders() {
        let opening: Vec<_> = (0..OPENING).map(|number| PLAN.order(number)).collect();
        let tokens: BTreeSet<_> = opening
            .iter()
            .map(|order| order.token.trim_end_matches(|c: char| c.is_ascii_digit()))
            .collect();
        let every = [
            "tok_visa",
            "tok_declined",
            "tok_insufficient_funds",
            "tok_lost_reply",
            "tok_never_arrived",
            "tok_late_arrival",
            "tok_flaky_",
            "tok_slow_",
            "tok_capture_refused",
            "tok_refund_refused",
        ];
        assert_eq!(tokens, BTreeSet::from(every));
        let flow: BTreeSet<_> = (OPENING..5_000).map(|n| PLAN.order(n).token).collect();
        for token in every {
            assert!(flow.iter().any(|drawn| drawn.starts_with(token)), "{token}");
        }
        assert!(opening.iter().any(|order| order.after == After::Cancelled));
        assert!(
            opening.iter().any(|order| order.lines.len() == 1
                || order.lines.iter().any(|line| line.sku == SCARCE.sku))
        );
    }

    #[test]
    fn each_return_and_each_refused_capture_has_its_turn_once_and_after_its_order() {
        let mut turns: BTreeMap<u64, u64> = BTreeMap::new();
        for number in 0..2_000 {
            for earlier in PLAN.due(number) {
                // That of the order itself comes after it.
                assert!(earlier <= number, "{earlier} at {number}");
                assert_eq!(turns.insert(earlier, number), None, "{earlier}");
            }
        }
        let mut operated = Vec::new();
        for number in 0..1_600 {
            match PLAN.order(number).after {
                After::Returned(_) => assert!(turns.contains_key(&number), "{number}"),
                After::Operated(how) => {
                    assert!(turns.contains_key(&number), "{number}");
                    operated.push((number, how));
                }
                After::Nothing | After::Cancelled => assert!(!turns.contains_key(&number)),
            }
        }
        let numbers: Vec<_> = operated.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [10, 40, 440, 840, 1240]);
        assert!(operated.contains(&(10, Operated::Compensated)));
        assert!(operated.contains(&(40, Operated::WrittenOff)));
        assert!(operated.contains(&(440, Operated::Compensated)));
    }

    #[test]
    fn no_product_is_ordered_twice_in_an_order_and_nobody_sends_back_more_than_they_have() {
        for number in 0..2_000 {
            let order = PLAN.order(number);
            let skus: BTreeSet<_> = order.lines.iter().map(|line| line.sku).collect();
            assert_eq!(skus.len(), order.lines.len(), "{number}");
            if let After::Returned(back) = order.after {
                assert!(!back.is_empty());
                for line in back {
                    let had = order.lines.iter().find(|had| had.sku == line.sku);
                    assert!(had.is_some_and(|had| had.quantity >= line.quantity));
                }
            }
        }
    }

    #[test]
    fn a_key_says_which_order_it_is_and_that_of_another_version_only_the_seed() {
        assert_eq!(Plan::read(&PLAN.order(12).key), Some((7, Some(12))));
        assert_eq!(Plan::read("demo-v0-s7-12"), Some((7, None)));
        for other in ["demo-7-12", "demo-v1-s7-", "demo-v1-s7-x", "mine", ""] {
            assert_eq!(Plan::read(other), None, "{other}");
        }
    }
}
