//! What operators do reaches the saga, whatever happens to whoever drives it.

use std::time::Duration;

use recourse_event_store::{EventStore, memory};
use recourse_saga::{Answer, AttentionNeeded, Event, Status};
use serde_json::json;
use uuid::Uuid;

use crate::{
    engines::{Rows, Watched, When},
    time::writing,
    world::{LOG, World, ask, quiet},
};

const HOUR: Duration = Duration::from_secs(3_600);

/// Parks a saga by an answer to what it never sent.
async fn park(world: &World, saga: Uuid) {
    let mut never_sent = world.open(saga).await.remove(0);
    never_sent.id = Uuid::from_u128(404);
    world.answer(saga, &never_sent, &Answer::Done).await;
    quiet().await;
    assert_eq!(world.state(saga).await.status(), Status::Parked);
}

#[tokio::test(start_paused = true)]
async fn a_paused_saga_stands_still_for_as_long_as_it_is() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    quiet().await;
    let deadline = world.state(saga).await.deadline_at().unwrap();
    assert_eq!(running.act(saga, "pause").await, 200);
    world.play(saga).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.story(saga).await, ["started", "paused", "answered"]);
    assert_eq!(running.act(saga, "resume").await, 200);
    quiet().await;
    let state = world.state(saga).await;
    assert!((state.deadline_at().unwrap() - deadline).num_seconds() >= 3_600);
    world.play_to_the_end(saga).await;
    assert_eq!(world.state(saga).await.status(), Status::Completed);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_parked_saga_that_is_resumed_reads_the_answers_it_has_missed() {
    let world = World::new();
    let kept = Rows::default();
    let running = world.start(&kept).await;
    let saga = world.place(1).await;
    quiet().await;
    park(&world, saga).await;
    // The answer comes while it is parked, and long after it is no news any more.
    world.play(saga).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(running.act(saga, "resume").await, 200);
    quiet().await;
    assert_eq!(
        world.story(saga).await,
        ["started", "parked", "resumed", "answered"]
    );
    world.play_to_the_end(saga).await;
    assert_eq!(world.state(saga).await.status(), Status::Completed);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_parked_saga_that_is_resumed_hears_that_it_was_cancelled() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    quiet().await;
    park(&world, saga).await;
    world.append(world.cancelling(1)).await;
    quiet().await;
    assert_eq!(running.act(saga, "resume").await, 200);
    quiet().await;
    let state = world.state(saga).await;
    assert_eq!(state.turned_back().unwrap().code, "cancelled");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_crash_right_after_a_saga_is_resumed_loses_nothing_that_it_missed() {
    let world = World::new();
    let kept = Rows::default();
    let running = world.start(&kept).await;
    let saga = world.place(1).await;
    quiet().await;
    park(&world, saga).await;
    world.play(saga).await;
    // Its rows have passed the answer by.
    tokio::time::sleep(HOUR).await;
    let routes = running.routes.clone();
    running.kill().await;
    // Who drives it is gone when the action is written, and nobody hears of it.
    assert_eq!(crate::world::act(routes, saga, "resume").await, 200);
    let running = world.start(&kept).await;
    quiet().await;
    assert_eq!(
        world.story(saga).await,
        ["started", "parked", "resumed", "answered"]
    );
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_action_through_another_process_is_found_in_the_log() {
    let world = World::new();
    let first = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    quiet().await;
    assert_eq!(first.act(saga, "pause").await, 200);
    world.play(saga).await;
    quiet().await;
    // Another resumes it and dies before it has driven anything.
    let second = world.start(&Rows::default()).await;
    let routes = second.routes.clone();
    second.kill().await;
    assert_eq!(crate::world::act(routes, saga, "resume").await, 200);
    // The first hears an answer to what it never saw sent.
    world.play_to_the_end(saga).await;
    assert_eq!(world.state(saga).await.status(), Status::Completed);
    // It looks at the saga again before it says that something is wrong with it.
    let refused = world.store.refused.lock().unwrap().clone();
    assert!(!refused.contains(&"saga.parked.v1".into()), "{refused:?}");
    first.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_looked_up_for_one_saga_costs_another_of_its_batch_nothing() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let mut sagas = [world.place(1).await, world.place(2).await];
    // They are fed in this order.
    sagas.sort();
    let [other, parked] = sagas;
    quiet().await;
    park(&world, parked).await;
    assert_eq!(running.act(parked, "resume").await, 200);
    quiet().await;
    // Both are answered at once, and of both somebody else has written first. So both are loaded
    // anew, and for the one that was parked what it may have missed is looked up, in vain.
    let mut answers = Vec::new();
    for saga in sagas {
        let sent = world.open(saga).await.remove(0);
        answers.push(world.answering(saga, &sent, &Answer::Done).await);
        let why = "somebody else says so".to_owned();
        let attention = Event::AttentionNeeded(AttentionNeeded { why });
        let first = writing(saga, vec![attention], &world);
        world.store.be_first(When::Append, first);
    }
    let looked_at = world.open(parked).await.remove(0).target;
    *world.store.failing_read_of.lock().unwrap() = Some(looked_at);
    world.append_all(answers).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.store.failing_read_of.lock().unwrap().is_none());
    for saga in [other, parked] {
        world.play_to_the_end(saga).await;
        assert_eq!(world.state(saga).await.status(), Status::Completed);
    }
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_plan_ends_with_the_act_after_everything_is_undone() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    quiet().await;
    world.play(saga).await;
    quiet().await;
    let body = r#"{"action": "compensate", "reason": "it must", "dry_run": true}"#;
    let routes = running.routes.clone();
    let (status, _, plan) = ask(routes, saga, "preview", body.to_owned()).await;
    assert_eq!(status, 200, "{plan}");
    let last = |name: &str| plan[name].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last("then"), json!({"step": "reject-order"}));
    assert_eq!(last("words"), json!("then reject-order"));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_repeated_action_is_answered_as_it_was_however_the_saga_went_on() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    quiet().await;
    let body = r#"{"action": "retry", "reason": "it must"}"#;
    let retry = || ask(running.routes.clone(), saga, "once", body.to_owned());
    let first = retry().await;
    assert_eq!(first.0, 200, "{first:?}");
    world.play_to_the_end(saga).await;
    assert!(world.state(saga).await.is_ended());
    assert_eq!(retry().await, first);
    running.stop().await.unwrap();
}

/// Power is lost so many milliseconds after an action, of which so much is durable.
async fn lose_power_around(action: &str, before: usize, after: u64, share: u64) {
    let mut world = World::on(memory::Store::with_manual_sync(LOG));
    world.options.save_interval_ms = 2;
    let kept = Rows::default();
    let running = world.start(&kept).await;
    let saga = world.place(1).await;
    for _ in 0..before {
        quiet().await;
        world.play(saga).await;
    }
    quiet().await;
    world.store.inner.sync();
    let routes = running.routes.clone();
    let mut asking = tokio::task::JoinSet::new();
    let name = action.to_owned();
    asking.spawn(async move { crate::world::act(routes, saga, &name).await });
    for _ in 0..after {
        quiet().await;
        world.play(saga).await;
    }
    let durable = world.store.durable().commit;
    let appended = world.head().await.commit;
    world
        .store
        .sync_up_to(durable + (appended - durable) * share / 3);
    quiet().await;
    let told = asking.try_join_next().map(|status| status.unwrap());
    let left = world.store.inner.crash();
    running.kill().await;
    world.store = Watched::new(left);
    let kept_actions = world.story(saga).await;
    if told == Some(200) {
        let word = match action {
            "pause" => "paused",
            "retry" => "retried",
            "skip" => "skip-requested",
            _ => "compensation-requested",
        };
        assert!(
            kept_actions.iter().any(|event| event == word),
            "{action} was told and is lost: {kept_actions:?}"
        );
    }
    let running = world.start(&kept).await;
    for _ in 0..40 {
        world.play(saga).await;
        if world.state(saga).await.is_paused() {
            let routes = running.routes.clone();
            asking.spawn(async move { crate::world::act(routes, saga, "resume").await });
        }
        world.store.inner.sync();
        quiet().await;
    }
    let state = world.state(saga).await;
    assert!(
        state.is_ended(),
        "{action} after {before} rounds, {after} ms, {share}/3 durable: {:?}",
        world.story(saga).await
    );
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn power_lost_around_any_action_leaves_a_saga_that_settles() {
    for action in ["pause", "retry", "skip", "compensate"] {
        for before in 0..6 {
            for after in [0, 1, 2] {
                for share in 0..=3 {
                    lose_power_around(action, before, after, share).await;
                }
            }
        }
    }
}
