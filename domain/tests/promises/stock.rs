use proptest::prelude::*;
use recourse_domain::{
    HoldId, Quantity, Sku,
    stock::{Adjust, Command, Commit, MAX_ON_HAND, Receive, Release, Reserve, Restock},
};
use uuid::Uuid;

use crate::books;

#[derive(Clone, Debug)]
enum Act {
    Ask(Command),
    /// A saga undoes the commit of a hold that it made, whatever became of it.
    UndoCommit(HoldId),
}

fn hold() -> impl Strategy<Value = HoldId> {
    (0..2_u128, 0..4_u32).prop_map(|(saga, line)| HoldId {
        saga: Uuid::from_u128(saga),
        line,
    })
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => commands().prop_map(Act::Ask),
        1 => hold().prop_map(Act::UndoCommit),
    ]
}

/// How many a hold is given, ever.
fn held(hold: HoldId) -> Quantity {
    Quantity::new(hold.line + 1).unwrap()
}

fn commands() -> impl Strategy<Value = Command> {
    let sku = || Sku::parse("tea-1").unwrap();
    let few = || (1..6_u32).prop_map(|number| Quantity::new(number).unwrap());
    let many = prop_oneof![
        4 => few(),
        1 => Just(Quantity::new(Quantity::MAX).unwrap()),
    ];
    let delta = prop_oneof![
        8 => -6..6_i64,
        1 => Just(i64::MIN),
        1 => Just(i64::MAX),
        1 => Just(MAX_ON_HAND as i64 - 3),
    ];
    prop_oneof![
        2 => (many, 0..4_u32).prop_map(move |(quantity, reference)| {
            Command::Receive(Receive { sku: sku(), quantity, reference: reference.to_string() })
        }),
        2 => delta.prop_map(move |delta| {
            Command::Adjust(Adjust { sku: sku(), delta, reason: "counted".into() })
        }),
        4 => (hold(), few(), any::<bool>()).prop_map(move |(hold, other, is_other)| {
            let quantity = if is_other { other } else { held(hold) };
            Command::Reserve(Reserve { hold, sku: sku(), quantity })
        }),
        2 => hold().prop_map(|hold| Command::Release(Release { hold })),
        2 => hold().prop_map(|hold| Command::Commit(Commit { hold })),
        // A return's lines, of sagas that hold nothing.
        1 => (2..4_u128, 0..3_u32).prop_map(move |(saga, line)| {
            Command::Restock(Restock {
                hold: HoldId { saga: Uuid::from_u128(saga), line },
                sku: sku(),
                quantity: Quantity::new(line + 1).unwrap(),
            })
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    /// Every command is asked one to three times in a row; the books are checked after each.
    #[test]
    fn stock_is_conserved_and_each_hold_is_made_and_ended_once(
        acts in prop::collection::vec((acts(), 1..4_usize), 1..60)
    ) {
        let mut stock = books::Stock::default();
        for (act, times) in acts {
            let command = match act {
                Act::Ask(command) => command,
                Act::UndoCommit(hold) if stock.made.contains_key(&hold) => {
                    Command::Restock(Restock {
                        hold,
                        sku: Sku::parse("tea-1").unwrap(),
                        quantity: stock
                            .out
                            .get(&hold)
                            .map_or(held(hold), |out| Quantity::new(*out as u32).unwrap()),
                    })
                }
                Act::UndoCommit(_) => continue,
            };
            for attempt in 0..times {
                let now = |stock: &books::Stock| {
                    (stock.received, stock.committed, stock.restocked, stock.open.clone())
                };
                let before = now(&stock);
                let repeats = attempt > 0 && !matches!(command, Command::Adjust(_));
                let _ = stock.ask(&command);
                if repeats {
                    prop_assert_eq!(before, now(&stock), "a repeat took effect");
                }
            }
        }
    }
}
