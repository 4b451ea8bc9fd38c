//! The accounts, and what each event moves between them.
//!
//! ```text
//! authorization  holds-open        +A   authorizations  -A
//! void           holds-voided      +A   holds-open      -A
//! capture        holds-captured    +A   holds-open      -A
//!                provider-clearing +A   revenue         -A
//! refund         refunds           +R   provider-clearing -R
//!
//! what an operator had left out, of what there was then:
//! capture        write-offs        +M   revenue         -M   the rest of the order's total
//!                holds-abandoned   +O   holds-open      -O   where the hold could not be let go
//! void           holds-abandoned   +O   holds-open      -O   what is held still
//! refund         refunds           +K   write-offs      -K   what is kept still
//! ```
//!
//! Where the operator said that it was done elsewhere, `settled-elsewhere` stands for `write-offs`
//! and `holds-voided` for `holds-abandoned`. So what is on `revenue` less what is on `refunds` is
//! what the goods that clients keep cost, whoever paid for them.
//!
//! Above zero is a debit, below zero a credit. The accounts of authorizations and holds are off the
//! balance sheet: they say that what was authorized is captured, voided, abandoned or still open.
//! The others are money.

use recourse_domain::{Money, payment::Event};
use recourse_views::books::Posting;

/// Everything that was ever authorized, as a credit.
pub(super) const AUTHORIZATIONS: &str = "authorizations";
/// What is authorized and neither captured nor let go.
pub(super) const HOLDS_OPEN: &str = "holds-open";
/// What is authorized, and was left where it is by an operator.
pub(super) const HOLDS_ABANDONED: &str = "holds-abandoned";
/// What was authorized and is captured.
pub(super) const HOLDS_CAPTURED: &str = "holds-captured";
/// What was authorized and is let go.
pub(super) const HOLDS_VOIDED: &str = "holds-voided";
/// What the provider has for us: captured and not refunded.
pub(super) const PROVIDER_CLEARING: &str = "provider-clearing";
/// What was sold, as a credit.
pub(super) const REVENUE: &str = "revenue";
/// What was given back.
pub(super) const REFUNDS: &str = "refunds";

/// What an operator says was paid, or given back, past us.
pub(super) const SETTLED_ELSEWHERE: &str = "settled-elsewhere";
/// What an operator gave up: goods that nobody pays for, less money that nobody gives back.
pub(super) const WRITE_OFFS: &str = "write-offs";

/// All accounts, in the order of the alphabet.
pub(super) const ACCOUNTS: &[&str] = &[
    AUTHORIZATIONS,
    HOLDS_ABANDONED,
    HOLDS_CAPTURED,
    HOLDS_OPEN,
    HOLDS_VOIDED,
    PROVIDER_CLEARING,
    REFUNDS,
    REVENUE,
    SETTLED_ELSEWHERE,
    WRITE_OFFS,
];

/// What an event of a payment moves; nothing where no money moves. None where an amount has no
/// counterpart: there is no debit of the smallest number.
pub(super) fn postings(event: &Event) -> Option<Vec<Posting>> {
    match event {
        Event::Authorized(done) => transfer(done.amount, AUTHORIZATIONS, HOLDS_OPEN),
        Event::Voided(done) => transfer(done.amount, HOLDS_OPEN, HOLDS_VOIDED),
        Event::Captured(done) => {
            let mut postings = transfer(done.amount, HOLDS_OPEN, HOLDS_CAPTURED)?;
            postings.extend(transfer(done.amount, REVENUE, PROVIDER_CLEARING)?);
            Some(postings)
        }
        Event::Refunded(done) => transfer(done.amount, PROVIDER_CLEARING, REFUNDS),
        Event::AuthorizationRequested(_)
        | Event::Declined(_)
        | Event::CaptureRequested(_)
        | Event::CaptureRefused(_)
        | Event::VoidRequested(_)
        | Event::VoidRefused(_)
        | Event::RefundRequested(_)
        | Event::RefundRefused(_)
        | Event::Joined(_)
        | Event::Unknown(_)
        | Event::RepeatAnswered(_) => Some(Vec::new()),
    }
}

/// An amount, from one account to another. Nothing moves nothing.
pub(super) fn transfer(amount: Money, from: &str, to: &str) -> Option<Vec<Posting>> {
    if amount.amount_minor == 0 {
        return Some(Vec::new());
    }
    let posting = |account: &str, amount_minor| Posting {
        account: account.to_owned(),
        currency: amount.currency.to_string(),
        amount_minor,
    };
    Some(vec![
        posting(from, amount.amount_minor.checked_neg()?),
        posting(to, amount.amount_minor),
    ])
}
