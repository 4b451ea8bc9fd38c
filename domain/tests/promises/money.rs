use proptest::prelude::*;
use recourse_domain::{
    CardToken, Currency, Money, OrderId, PaymentId, RefundId,
    payment::{Authorize, Capture, Command, Refund, Void},
};
use uuid::Uuid;

use crate::{
    books,
    provider::{Fate, Mood, Provider, fates, moods},
};

#[derive(Clone, Debug)]
enum Act {
    Ask(Command),
    Call(Fate, Mood),
    Late(Mood),
    RepeatAnswer(prop::sample::Index),
}

fn authorize() -> Command {
    Command::Authorize(Authorize {
        payment_id: PaymentId(Uuid::from_u128(1)),
        order_id: OrderId(Uuid::from_u128(2)),
        amount: eur(3_998),
        token: CardToken::new("tok_visa"),
    })
}

fn eur(amount_minor: i64) -> Money {
    Money {
        amount_minor,
        currency: Currency::parse("EUR").unwrap(),
    }
}

/// Of some part, or of the rest, each id asked for one or the other more than once.
fn refunds() -> impl Strategy<Value = Command> {
    let parts = prop_oneof![
        Just(None),
        Just(Some(eur(1_500))),
        Just(Some(eur(2_498))),
        Just(Some(eur(3_998))),
    ];
    (0..4_u128, parts).prop_map(|(id, amount)| {
        Command::Refund(Refund {
            refund: RefundId(Uuid::from_u128(id)),
            amount,
        })
    })
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Ask(authorize())),
        2 => Just(Act::Ask(Command::Capture(Capture {}))),
        1 => Just(Act::Ask(Command::Void(Void {}))),
        2 => refunds().prop_map(Act::Ask),
        6 => (fates(), moods()).prop_map(|(fate, mood)| Act::Call(fate, mood)),
        2 => moods().prop_map(Act::Late),
        2 => any::<prop::sample::Index>().prop_map(Act::RepeatAnswer),
    ]
}

/// Calls what is due until nothing is, as the payments service does.
pub(crate) fn settle(payment: &mut books::Payment, provider: &mut Provider) {
    while let Some(call) = payment.call() {
        let record = provider.call(&call, Fate::Answered, Mood::Applies);
        let events = payment.ask(&record).unwrap();
        assert!(!events.is_empty(), "a definite answer settles its call");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn at_settlement_what_was_authorized_is_captured_or_voided(
        acts in prop::collection::vec(acts(), 1..60)
    ) {
        let mut payment = books::Payment::default();
        let mut provider = Provider::default();
        for act in acts {
            match act {
                Act::Ask(command) => {
                    let _ = payment.ask(&command);
                }
                Act::Call(fate, mood) => {
                    if let Some(call) = payment.call() {
                        let record = provider.call(&call, fate, mood);
                        payment.ask(&record).unwrap();
                    }
                }
                Act::Late(mood) => provider.late(mood),
                Act::RepeatAnswer(index) => {
                    if !provider.answers.is_empty() {
                        let record = index.get(&provider.answers).clone();
                        payment.ask(&record).unwrap();
                    }
                }
            }
            // What we know to have happened has happened; the provider may know more.
            prop_assert!(payment.authorized <= provider.authorized);
            prop_assert!(payment.captured <= provider.captured);
            prop_assert!(payment.voided <= provider.voided);
            prop_assert!(payment.refunded <= provider.refunded);
        }
        settle(&mut payment, &mut provider);
        if payment.state.holds_money() {
            payment.ask(&Command::Void(Void {})).unwrap();
            settle(&mut payment, &mut provider);
        }
        provider.everything_arrives();
        prop_assert_eq!(payment.authorized, payment.captured + payment.voided);
        prop_assert_eq!(
            (payment.authorized, payment.captured, payment.voided, payment.refunded),
            (provider.authorized, provider.captured, provider.voided, provider.refunded),
            "our books and the provider's differ"
        );
        prop_assert_eq!(
            payment.state.refundable().map_or(0, |left| left.amount_minor) == 0
                && payment.captured > 0,
            payment.captured > 0 && payment.refunded == payment.captured
        );
    }
}
