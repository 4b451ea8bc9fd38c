//! What can happen to an order, in words.

use std::{fmt, sync::Arc};

use recourse_domain::payment::Operation;
use recourse_saga::{Answer, Direction};
use uuid::Uuid;

use crate::{
    participants::LoggedAnswer,
    provider::{Fate, Verdict},
    world::{Target, World},
};

/// What can happen.
#[derive(Clone, Debug)]
pub enum Action {
    Begin([bool; 2]),
    /// Whether the first line ever went out.
    BeginReturn(bool),
    Deliver(Target),
    DeliverAgain(Target, usize),
    Lose(Target),
    Read(LoggedAnswer, String),
    ReadAgain(LoggedAnswer, String),
    Cancel,
    ReadCancellation,
    Call(Operation, Fate),
    LateArrives(Uuid),
    GiveUp(Operation),
    Overdue(Uuid, String),
    Look(Uuid, String),
    Resend(Uuid, String),
    Deadline,
    TimePasses,
    SendBack,
    Operate(Operator),
}

/// What an operator does.
#[derive(Clone, Debug)]
pub enum Operator {
    Pause,
    Resume,
    Retry,
    Skip(Arc<str>),
    Compensate,
    /// Of this step, whether it took effect.
    Say(&'static str, bool),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin([true, true]) => write!(f, "an order of two lines, both in stock"),
            Self::Begin([false, false]) => write!(f, "an order of two lines, none in stock"),
            Self::Begin([first, _]) => {
                let which = if *first { "second" } else { "first" };
                write!(f, "an order of two lines, the {which} out of stock")
            }
            Self::BeginReturn(true) => write!(f, "a return of three of four pieces"),
            Self::BeginReturn(false) => {
                write!(
                    f,
                    "a return of three of four pieces, one of which never went out"
                )
            }
            Self::Deliver(target) => write!(f, "{} takes its next command", target.words()),
            Self::DeliverAgain(target, at) => {
                write!(
                    f,
                    "{} gets its command no. {} again",
                    target.words(),
                    at + 1
                )
            }
            Self::Lose(target) => write!(f, "{} never gets its next command", target.words()),
            Self::Read(answer, of) => write!(f, "the saga reads {of}: {}", words(&answer.answer)),
            Self::ReadAgain(answer, of) => {
                write!(f, "the saga reads {of} again: {}", words(&answer.answer))
            }
            Self::Cancel => f.write_str("the client cancels"),
            Self::ReadCancellation => f.write_str("the saga reads the cancellation"),
            Self::Call(operation, fate) => {
                let what = match fate {
                    Fate::Answered(verdict) => verdict_words(*verdict).to_owned(),
                    Fate::LostReply(verdict) => {
                        format!("{}, the reply is lost", verdict_words(*verdict))
                    }
                    Fate::NeverArrived => "never arrives".to_owned(),
                    Fate::Late => "is under way and late".to_owned(),
                    Fate::Crash(verdict) => {
                        format!("{}, the service crashes", verdict_words(*verdict))
                    }
                };
                write!(f, "the provider's {}: {what}", operation.as_str())
            }
            Self::GiveUp(operation) => {
                write!(
                    f,
                    "the key of the provider's {} is too old",
                    operation.as_str()
                )
            }
            Self::LateArrives(_) => f.write_str("the late request arrives"),
            Self::Overdue(_, of) => write!(f, "{of} is overdue"),
            Self::Look(_, of) => write!(f, "what became of {of} is looked up"),
            Self::Resend(_, of) => write!(f, "the wait to send {of} again is over"),
            Self::Deadline => f.write_str("the deadline passes"),
            Self::TimePasses => f.write_str("time passes"),
            Self::SendBack => f.write_str("the client sends a piece back"),
            Self::Operate(operator) => match operator {
                Operator::Pause => f.write_str("an operator pauses the saga"),
                Operator::Resume => f.write_str("an operator resumes the saga"),
                Operator::Retry => f.write_str("an operator has it retried"),
                Operator::Skip(step) => write!(f, "an operator has {step} skipped"),
                Operator::Say(step, true) => write!(f, "an operator says that {step} took effect"),
                Operator::Say(step, false) => write!(f, "an operator says that {step} did not"),
                Operator::Compensate => f.write_str("an operator has it undone"),
            },
        }
    }
}

pub fn words(answer: &Answer) -> &str {
    match answer {
        Answer::Done => "done",
        Answer::Refused { code, .. } => code,
    }
}

fn verdict_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Applied => "applied",
        Verdict::RefusedForNow => "refused for now",
        Verdict::RefusedForGood => "refused for good",
    }
}

/// A command by its step.
pub fn name(world: &World, command: Uuid) -> String {
    world.saga.command(command).map_or_else(
        || "a command".to_owned(),
        |sent| {
            let undo = match sent.direction {
                Direction::Do => "",
                Direction::Undo => "undo of ",
                Direction::Reverse => "reversal of ",
            };
            let item = if sent.item.is_empty() { "" } else { " " };
            let attempt = if sent.attempt > 1 {
                format!(" (attempt {})", sent.attempt)
            } else {
                String::new()
            };
            format!("{undo}{}{item}{}{attempt}", sent.step, sent.item)
        },
    )
}
