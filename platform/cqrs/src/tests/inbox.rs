//! What the bus may be told, and when.

use recourse_bus::{Deliveries, Delivery};

use super::*;
use crate::inbox::Inbox;

/// Commands whose numbers are also the positions of the saga's events that carry them.
fn deliver(inbox: &mut Inbox, numbers: &[u64], considered: u64) {
    let messages = numbers.iter().map(|number| {
        let Request::Saga(saga) = saga(&tally("a"), *number, add(1)) else {
            unreachable!()
        };
        let metadata = Metadata::new(Uuid::nil(), Uuid::nil(), at(0), LOG);
        let event = NewEvent::encode(Event::Added(1), metadata, &saga.saga, 0).unwrap();
        Delivery {
            command: saga.command,
            mark: saga.mark,
            event: Arc::new(event.record(Position::dense(*number), saga.saga, *number)),
        }
    });
    let deliveries = Deliveries {
        messages: messages.collect(),
        considered: Position::dense(considered),
        at_end: true,
    };
    inbox.take(deliveries).unwrap();
}

fn effects(positions: &[Option<u64>]) -> Vec<Option<Position>> {
    positions
        .iter()
        .map(|position| position.map(Position::dense))
        .collect()
}

fn queued(inbox: &Inbox) -> Vec<u64> {
    inbox
        .first(usize::MAX)
        .map(|command| command.mark.position.commit)
        .collect()
}

fn due(inbox: &mut Inbox, durable: u64) -> Option<u64> {
    let due = inbox.due(Position::dense(durable));
    due.map(|position| position.commit)
}

#[test]
fn what_is_considered_must_be_durable_itself() {
    let mut inbox = Inbox::default();
    deliver(&mut inbox, &[], 9);
    assert_eq!(due(&mut inbox, 8), None);
    assert_eq!(due(&mut inbox, 9), Some(9));
    assert_eq!(due(&mut inbox, 9), None);
}

#[test]
fn nothing_is_due_before_the_last_command_is_done_and_its_effect_durable() {
    let mut inbox = Inbox::default();
    deliver(&mut inbox, &[1, 2], 3);
    assert!(!inbox.settle(effects(&[Some(10)])));
    assert_eq!(due(&mut inbox, 99), None);
    assert!(!inbox.settle(effects(&[Some(8)])));
    // The first one's effect is behind the second one's.
    assert_eq!(due(&mut inbox, 9), None);
    assert_eq!(due(&mut inbox, 10), Some(3));
}

#[test]
fn what_has_to_be_repeated_stays_ahead_and_holds_back_what_was_done_after_it() {
    let mut inbox = Inbox::default();
    deliver(&mut inbox, &[1], 1);
    deliver(&mut inbox, &[2], 2);
    deliver(&mut inbox, &[3], 3);
    deliver(&mut inbox, &[4], 4);
    assert!(inbox.settle(effects(&[Some(10), None, Some(11)])));
    assert_eq!(queued(&inbox), [2, 4]);
    assert_eq!(due(&mut inbox, 99), Some(1));
    assert!(!inbox.settle(effects(&[Some(12)])));
    assert_eq!(due(&mut inbox, 11), None);
    assert_eq!(due(&mut inbox, 12), Some(3));
    assert_eq!(queued(&inbox), [4]);
}

#[test]
fn commits_that_wait_are_bounded_and_the_last_one_is_kept() {
    let mut inbox = Inbox::default();
    for considered in 1..=1_000 {
        deliver(&mut inbox, &[], considered);
    }
    assert_eq!(due(&mut inbox, 100), Some(100));
    assert_eq!(due(&mut inbox, 999), Some(255));
    assert_eq!(due(&mut inbox, 1_000), Some(1_000));
}
