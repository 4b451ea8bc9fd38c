use recourse_domain::product::{Command, Details, Event, MAX_NAME_CHARS};

use crate::given::{Product, eur, given, given_nothing, sku};

fn tea() -> Details {
    Details {
        sku: sku("tea-1"),
        name: "Tea".into(),
        price: eur(1_999),
        active: true,
    }
}

#[test]
fn a_product_is_created_by_the_first_put() {
    let state = given_nothing::<Product>()
        .when(Command::Put(tea()))
        .then([Event::Created(tea())]);
    assert_eq!(state.details(), Some(&tea()));
}

#[test]
fn a_product_is_changed_by_a_put_that_differs() {
    let dearer = Details {
        price: eur(2_499),
        ..tea()
    };
    let state = given::<Product>([Event::Created(tea())])
        .when(Command::Put(dearer.clone()))
        .then([Event::Changed(dearer.clone())]);
    assert_eq!(state.details(), Some(&dearer));
}

#[test]
fn a_put_that_changes_nothing_writes_nothing() {
    given::<Product>([Event::Created(tea())])
        .when(Command::Put(tea()))
        .then_nothing();
}

#[test]
fn a_name_can_be_read() {
    for name in ["", " ", "a\nb", "a\u{7}", &"é".repeat(MAX_NAME_CHARS + 1)] {
        let put = Details {
            name: name.into(),
            ..tea()
        };
        given_nothing::<Product>()
            .when(Command::Put(put))
            .then_refused("invalid-name");
    }
    let longest = Details {
        name: "é".repeat(MAX_NAME_CHARS),
        ..tea()
    };
    given_nothing::<Product>()
        .when(Command::Put(longest.clone()))
        .then([Event::Created(longest)]);
}

#[test]
fn a_price_may_be_nothing_but_not_less() {
    for (amount, refused) in [(0, false), (-1, true)] {
        let put = Details {
            price: eur(amount),
            ..tea()
        };
        let when = given_nothing::<Product>().when(Command::Put(put.clone()));
        if refused {
            when.then_refused("invalid-price");
        } else {
            when.then([Event::Created(put)]);
        }
    }
}

#[test]
fn a_put_for_another_product_is_refused() {
    let other = Details {
        sku: sku("tea-2"),
        ..tea()
    };
    given::<Product>([Event::Created(tea())])
        .when(Command::Put(other))
        .then_refused("wrong-sku");
}
