use proptest::prelude::*;
use recourse_domain::{
    HoldId, Quantity, Sku,
    stock::{Adjust, Command, Commit, MAX_ON_HAND, Receive, Release, Reserve},
};
use uuid::Uuid;

use crate::books;

fn commands() -> impl Strategy<Value = Command> {
    let sku = || Sku::parse("tea-1").unwrap();
    let hold = || {
        (0..2_u128, 0..4_u32).prop_map(|(saga, line)| HoldId {
            saga: Uuid::from_u128(saga),
            line,
        })
    };
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
        4 => (hold(), few()).prop_map(move |(hold, quantity)| {
            Command::Reserve(Reserve { hold, sku: sku(), quantity })
        }),
        2 => hold().prop_map(|hold| Command::Release(Release { hold })),
        2 => hold().prop_map(|hold| Command::Commit(Commit { hold })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    /// Every command is asked one to three times in a row; the books are checked after each.
    #[test]
    fn stock_is_conserved_and_each_hold_is_made_and_ended_once(
        commands in prop::collection::vec((commands(), 1..4_usize), 1..60)
    ) {
        let mut stock = books::Stock::default();
        for (command, times) in commands {
            for attempt in 0..times {
                let before = (stock.received, stock.committed, stock.open.clone());
                let repeats = attempt > 0 && !matches!(command, Command::Adjust(_));
                let _ = stock.ask(&command);
                if repeats {
                    prop_assert_eq!(
                        before,
                        (stock.received, stock.committed, stock.open.clone()),
                        "a repeat took effect"
                    );
                }
            }
        }
    }
}
