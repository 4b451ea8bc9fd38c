//! Timers fire once everything that was answered by then is read, and look before they act.

use std::time::Duration;

use recourse_event_store::{Append, LogId, Metadata, NewEvent};
use recourse_saga::{Answer, AttentionNeeded, Definition, Event, Reason, Status};
use recourse_service::clock::Clock;
use uuid::Uuid;

use crate::{
    engines::{Rows, When},
    world::{LOG, World, append, quiet},
};

const HOUR: Duration = Duration::from_secs(3_600);
const TIMEOUT: Duration = Duration::from_secs(11);

fn refused_for_now() -> Answer {
    Answer::Refused {
        code: "busy".to_owned(),
        detail: "later".to_owned(),
        is_final: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_before_the_pivot_that_nobody_answers_turns_the_saga_back() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    tokio::time::sleep(TIMEOUT).await;
    let state = world.state(saga).await;
    assert_eq!(state.turned_back().unwrap().code, Reason::TIMEOUT);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_cancelled_while_the_orchestrator_slept_an_hour_did_not_time_out() {
    let world = World::new();
    let kept = Rows::default();
    let running = world.start(&kept).await;
    let saga = world.place(1).await;
    quiet().await;
    running.stop().await.unwrap();
    world.append(world.cancelling(1)).await;
    tokio::time::sleep(HOUR).await;
    let running = world.start(&kept).await;
    let state = world.state(saga).await;
    assert_eq!(state.turned_back().unwrap().code, Reason::CANCELLED);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_while_the_orchestrator_slept_an_hour_is_not_past_its_deadline() {
    let mut world = World::new();
    // So that it is the deadline which comes first, and nothing is looked up.
    world.timing.step_timeout_ms = 120_000;
    let kept = Rows::default();
    let running = world.start(&kept).await;
    let saga = world.place(1).await;
    let last = world.play_up_to(saga, "complete-order").await;
    running.stop().await.unwrap();
    world.answer(saga, &last, &Answer::Done).await;
    tokio::time::sleep(HOUR).await;
    let running = world.start(&kept).await;
    let story = world.story(saga).await;
    assert_eq!(story.last().unwrap(), "completed");
    assert!(!story.contains(&"attention-needed".to_owned()), "{story:?}");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_fires_while_the_inputs_do_not_come() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    quiet().await;
    running.bus.hold();
    // Something that is not read yet: what it says may be the answer.
    world.place(2).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.story(saga).await, ["started"]);
    running.bus.release();
    quiet().await;
    assert_eq!(world.story(saga).await[..2], ["started", "timed-out"]);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn past_its_deadline_a_saga_needs_attention_and_an_answer_clears_it() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    let capture = world.play_up_to(saga, "capture-payment").await;
    world.take(saga, &capture).await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(world.state(saga).await.status(), Status::NeedsAttention);
    world.answer(saga, &capture, &Answer::Done).await;
    quiet().await;
    assert_eq!(world.state(saga).await.status(), Status::Running);
    world.play_to_the_end(saga).await;
    assert_eq!(world.state(saga).await.status(), Status::Completed);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_command_after_the_pivot_that_is_lost_is_sent_again() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    let capture = world.play_up_to(saga, "capture-payment").await;
    world.pass_over(saga, &capture).await;
    tokio::time::sleep(TIMEOUT).await;
    let open = world.open(saga).await;
    assert_eq!((open.len(), open[0].attempt), (1, 2), "{open:?}");
    assert_ne!(open[0].id, capture.id);
    world.play_to_the_end(saga).await;
    assert_eq!(world.state(saga).await.status(), Status::Completed);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_command_after_the_pivot_whose_outcome_is_open_is_waited_for_and_not_sent_again() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    let capture = world.play_up_to(saga, "capture-payment").await;
    world.take(saga, &capture).await;
    tokio::time::sleep(TIMEOUT).await;
    assert_eq!(world.story(saga).await.last().unwrap(), "overdue");
    let open = world.open(saga).await;
    assert_eq!((open.len(), open[0].id), (1, capture.id));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_look_finds_is_taken_once() {
    let world = World::new();
    let running = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    let capture = world.play_up_to(saga, "capture-payment").await;
    let answer = world.answering(saga, &capture, &Answer::Done).await;
    world.store.be_first(When::LookUp, answer);
    let before = world.story(saga).await.len();
    tokio::time::sleep(TIMEOUT).await;
    // The look found it; then the bus brought it too.
    assert_eq!(world.story(saga).await[before..], ["answered"]);
    world.play_to_the_end(saga).await;
    assert_eq!(world.state(saga).await.status(), Status::Completed);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_for_now_is_sent_again_after_its_pause_also_by_the_next_process() {
    let world = World::new();
    let kept = Rows::default();
    let running = world.start(&kept).await;
    let saga = world.place(1).await;
    let capture = world.play_up_to(saga, "capture-payment").await;
    world.answer(saga, &capture, &refused_for_now()).await;
    quiet().await;
    assert!(world.open(saga).await.is_empty());
    running.kill().await;
    let running = world.start(&kept).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let open = world.open(saga).await;
    assert_eq!((open.len(), open[0].attempt), (1, 2));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn more_timers_than_one_round_takes_all_fire() {
    let mut world = World::new();
    world.options.max_timers = 2;
    let running = world.start(&Rows::default()).await;
    for number in 0..7 {
        world.place(number).await;
    }
    tokio::time::sleep(TIMEOUT).await;
    for number in 0..7 {
        let saga = world.saga_of(number).await;
        assert!(world.state(saga).await.turned_back().is_some());
    }
    running.stop().await.unwrap();
}

/// What another orchestrator writes into a saga's stream.
pub(super) fn writing(saga: Uuid, events: Vec<Event>, world: &World) -> Append {
    let stream = Definition::stream(saga);
    let log: LogId = LOG;
    let encode = |(index, event)| {
        let metadata = Metadata::new(saga, Uuid::from_u128(5), world.clock.now(), log);
        NewEvent::encode(event, metadata, &stream, index).unwrap()
    };
    let events = events.into_iter().enumerate().map(encode).collect();
    append(stream.clone(), events)
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_another_orchestrator_saw_to_does_not_fire_by_what_the_saga_was() {
    let mut world = World::new();
    world.timing.step_timeout_ms = 120_000;
    let running = world.start(&Rows::default()).await;
    let saga = world.place(1).await;
    let capture = world.play_up_to(saga, "capture-payment").await;
    // Just before this one says that the deadline has passed, another has said so, has heard
    // the answer, and the saga has until a new deadline.
    let attention = Event::AttentionNeeded(AttentionNeeded {
        why: "past its deadline".to_owned(),
    });
    let answered = Event::Answered(recourse_saga::Answered {
        command: capture.id,
        step: capture.step.clone(),
        item: capture.item.clone(),
        direction: capture.direction,
        answer: Answer::Done,
        position: recourse_event_store::Position::dense(1),
        counts_as_done: false,
        is_moot: false,
        closes: vec![],
        resend_at: None,
        deadline_at: Some(world.later(HOUR)),
        commands: Vec::new(),
    });
    let others = writing(saga, vec![attention, answered], &world);
    world.store.be_first(When::Append, others);
    let before = world.story(saga).await.len();
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(
        world.story(saga).await[before..],
        ["attention-needed", "answered"]
    );
    running.stop().await.unwrap();
}
