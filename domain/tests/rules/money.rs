use recourse_domain::{CardToken, Currency, Money, money::ArithmeticError};

use crate::given::{eur, usd};

#[test]
fn amounts_of_one_currency_add_up() {
    assert_eq!(eur(1_999).checked_add(eur(1)), Ok(eur(2_000)));
    assert_eq!(eur(1_999).checked_mul(3), Ok(eur(5_997)));
}

#[test]
fn amounts_of_two_currencies_are_never_added() {
    assert_eq!(
        eur(1).checked_add(usd(1)),
        Err(ArithmeticError::CurrencyMismatch)
    );
}

#[test]
fn an_amount_that_does_not_fit_is_an_error_not_a_wrong_amount() {
    let overflow = Err(ArithmeticError::Overflow);
    assert_eq!(eur(i64::MAX).checked_add(eur(1)), overflow);
    assert_eq!(eur(i64::MIN).checked_add(eur(-1)), overflow);
    assert_eq!(eur(i64::MAX / 2).checked_mul(3), overflow);
}

#[test]
fn an_amount_is_written_with_the_places_of_its_currency() {
    let written = |amount_minor, code| {
        let currency = Currency::parse(code).unwrap();
        Money {
            amount_minor,
            currency,
        }
        .written()
    };
    assert_eq!(written(1_999, "EUR"), "19.99 EUR");
    assert_eq!(written(5, "EUR"), "0.05 EUR");
    assert_eq!(written(-250, "EUR"), "-2.50 EUR");
    assert_eq!(written(1_999, "JPY"), "1999 JPY");
    assert_eq!(written(1_999, "KWD"), "1.999 KWD");
    assert_eq!(written(i64::MIN, "EUR"), "-92233720368547758.08 EUR");
}

#[test]
fn a_currency_is_one_that_exists_and_has_minor_units() {
    for code in ["EUR", "USD", "JPY", "KWD", "CHF", "BGN"] {
        assert_eq!(Currency::parse(code).unwrap().as_str(), code);
    }
    for text in [
        "", "eur", "EU", "EURO", "AAA", "ZZZ", "XXX", "XTS", "XAU", "E€",
    ] {
        assert!(Currency::parse(text).is_err(), "{text}");
    }
    assert!(serde_json::from_str::<Currency>(r#""AAA""#).is_err());
}

#[test]
fn a_card_token_is_not_shown() {
    let token = CardToken::new("tok_visa");
    assert!(!format!("{token:?}").contains("visa"));
    assert_eq!(token.expose(), "tok_visa");
    assert_eq!(serde_json::to_string(&token).unwrap(), r#""tok_visa""#);
}
