//! Two processes that have the service: which of them calls the provider.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use recourse_bus::{MemoryTurns, Turn, Turns, TurnsError};
use tokio::sync::Notify;

use crate::world::{World, authorize, capture, quiet};

/// Whose turn it is, as the test says.
#[derive(Default)]
struct Office {
    says: Mutex<Says>,
    changed: Notify,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Says {
    #[default]
    Yours,
    Anothers,
    Nothing,
}

impl Office {
    fn says(&self, says: Says) {
        *self.says.lock().unwrap() = says;
        self.changed.notify_waiters();
    }

    async fn until(&self, is: impl Fn(Says) -> bool) -> Says {
        loop {
            let changed = self.changed.notified();
            let says = *self.says.lock().unwrap();
            if is(says) {
                return says;
            }
            changed.await;
        }
    }
}

struct Place(Arc<Office>);

#[async_trait]
impl Turns for Place {
    async fn take(&self, _: &str) -> Result<Box<dyn Turn>, TurnsError> {
        match self.0.until(|says| says != Says::Anothers).await {
            Says::Nothing => Err(TurnsError("nobody answers".to_owned())),
            _ => Ok(Box::new(Self(Arc::clone(&self.0)))),
        }
    }
}

#[async_trait]
impl Turn for Place {
    async fn lost(&mut self) -> String {
        self.0.until(|says| says != Says::Yours).await;
        "it was taken away".to_owned()
    }

    async fn release(self: Box<Self>) {}
}

#[tokio::test(start_paused = true)]
async fn of_two_processes_one_calls_and_the_other_goes_on_where_it_is_killed() {
    let mut world = World::new();
    world.turns = Some(Arc::new(MemoryTurns::default()));
    let calling = world.start().await;
    let other = world.start().await;
    let lost = world.send(1, authorize(1, "tok_lost_reply")).await;
    let slow = world.send(2, authorize(2, "tok_slow_2000")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.answer(1, lost).await.as_deref(), Some("done"));
    let keys = |world: &World| -> Vec<_> {
        let sent = world.provider.sent();
        sent.iter().map(|its| its.key).collect()
    };
    // The first was asked for twice, as its answer was lost.
    assert_eq!(keys(&world).len(), 3);
    assert_eq!(world.answer(2, slow).await, None);
    calling.kill().await;
    assert_eq!(world.answered(2, slow).await, "done");
    let sent = keys(&world);
    assert_eq!(sent.len(), 4, "what is settled is not asked again");
    assert_eq!(sent[1], sent[3], "under the same key");
    let captured = world.send(2, capture()).await;
    assert_eq!(world.answered(2, captured).await, "done");
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn while_nobody_can_say_whose_turn_it_is_the_one_who_called_goes_on() {
    let mut world = World::new();
    let office = Arc::new(Office::default());
    world.turns = Some(Arc::new(Place(Arc::clone(&office))));
    let running = world.start().await;
    let first = world.send(1, authorize(1, "tok_visa")).await;
    assert_eq!(world.answered(1, first).await, "done");
    office.says(Says::Nothing);
    quiet().await;
    let second = world.send(2, authorize(2, "tok_visa")).await;
    assert_eq!(world.answered(2, second).await, "done");

    // Once another one has it, it is left to that one.
    office.says(Says::Anothers);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let third = world.send(3, authorize(3, "tok_visa")).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.answer(3, third).await, None);
    office.says(Says::Yours);
    assert_eq!(world.answered(3, third).await, "done");
    assert_eq!(world.provider.sent().len(), 3, "each was asked for once");
    running.stop().await;
}
