//! The suite that every adapter of the port passes, and a wrapper that is as hostile as the
//! port allows.
//!
//! ```text
//! event_store_conformance!(make)  ──▶ a #[tokio::test] for each line of the list below
//! run_all(make)                   ──▶ all of them in a row: many seeds of eventstoredb_like
//! ```
//!
//! Each test gets an empty store of its own from `make` and holds the port's words against
//! it. Where the port allows several behaviours the test takes them all, and says so at that
//! place. It talks through a [`Client`], which does what every client of the port must:
//! where the store is not available it reads again before it repeats, and resubscribes after
//! what it last considered. Waiting is for a condition, with a bound that only a hanging
//! store reaches, so the suite runs under the real clock and under a paused one.
#![expect(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code that the tests of several crates share: each name is a sentence"
)]

use std::{any::Any, sync::Arc};

use crate::EventStore;

pub mod appending;
mod client;
pub mod durability;
pub mod eventstoredb_like;
pub mod reading;
pub mod subscribing;

pub use client::{Client, Follower, event, stream};

/// An empty store to test, and what is to be dropped after it.
pub struct Subject {
    /// The store.
    pub store: Arc<dyn EventStore>,
    /// The most bytes it takes in one append, where it has such a limit and a test may reach it.
    pub max_append_bytes: Option<usize>,
    keep: Option<Box<dyn Any>>,
}

impl Subject {
    /// A store that needs nothing else.
    #[must_use]
    pub fn new(store: impl EventStore) -> Self {
        Self {
            store: Arc::new(store),
            max_append_bytes: None,
            keep: None,
        }
    }

    /// With something that lives as long: its folder, or the tasks that drive it.
    #[must_use]
    pub fn keeping(mut self, keep: impl Any) -> Self {
        self.keep = Some(Box::new(keep));
        self
    }

    /// With a limit that a test may go over.
    #[must_use]
    pub fn with_max_append_bytes(mut self, max_append_bytes: usize) -> Self {
        self.max_append_bytes = Some(max_append_bytes);
        self
    }

    fn client(&self) -> Client {
        Client::new(Arc::clone(&self.store))
    }
}

/// The list of the suite: calls `callback!{ (arguments) module::test … }`.
#[doc(hidden)]
#[macro_export]
macro_rules! __each_event_store_test {
    ([$($callback:tt)*] $($arguments:tt)*) => {
        $($callback)*! { ($($arguments)*)
            appending::an_append_may_expect_that_there_is_no_stream
            appending::an_append_may_expect_a_revision
            appending::an_append_may_expect_anything
            appending::an_append_without_events_is_refused
            appending::an_append_over_the_limit_is_refused
            appending::revisions_count_from_zero_and_positions_only_grow
            appending::streams_in_one_call_are_independent_and_in_order
            appending::a_repeated_append_is_one_effect
            appending::other_content_under_the_same_revision_is_a_conflict
            appending::an_id_at_a_new_revision_is_written_again
            appending::a_repeat_that_expects_anything_may_be_written_again
            appending::one_appender_wins_each_revision
            appending::appenders_to_many_streams_do_not_disturb_each_other
            appending::a_large_append_is_one_block
            appending::an_event_comes_back_as_it_was_written
            reading::an_unknown_stream_has_no_events
            reading::a_stream_reads_both_ways_between_any_edges
            reading::the_log_reads_forward_in_pages_of_any_size
            reading::the_log_reads_backward_in_pages_of_any_size
            reading::a_filter_chooses_by_stream_or_type
            reading::a_reader_beyond_the_end_is_not_sent_back
            reading::a_read_of_nothing_moves_nothing
            reading::a_stream_and_the_log_tell_the_same
            reading::what_a_reader_of_the_durable_sees_is_durable
            subscribing::a_subscription_catches_up_and_goes_on
            subscribing::a_subscription_misses_and_repeats_nothing_beside_writers
            subscribing::a_subscription_begins_after_its_position
            subscribing::a_subscription_gets_what_its_filter_wants
            subscribing::a_quiet_filter_still_moves_considered
            subscribing::a_caught_up_subscription_says_so
            subscribing::a_durable_subscription_is_never_ahead_of_durable
            subscribing::a_subscription_may_be_dropped_while_it_waits
            subscribing::a_subscription_resumes_after_any_batch
            subscribing::every_subscriber_gets_everything
            durability::what_was_waited_for_is_durable
            durability::durable_only_grows_and_never_passes_appended
            durability::everybody_who_waits_is_woken
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __event_store_tests {
    (($make:expr) $($module:ident::$name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let make = $make;
                $crate::conformance::$module::$name(make().await).await;
            }
        )*
    };
}

/// A `#[tokio::test]` for each test of the suite. The argument is an async closure, or the
/// path of an async function, that makes a [`Subject`](crate::conformance::Subject).
#[macro_export]
macro_rules! event_store_conformance {
    ($make:expr) => {
        $crate::__each_event_store_test! { [$crate::__event_store_tests] $make }
    };
}

macro_rules! run_each {
    (($make:ident) $($module:ident::$name:ident)*) => {
        $( $module::$name($make().await).await; )*
    };
}

/// Runs the whole suite, each test on a store of its own.
pub async fn run_all(make: impl AsyncFn() -> Subject) {
    crate::__each_event_store_test! { [run_each] make }
}
