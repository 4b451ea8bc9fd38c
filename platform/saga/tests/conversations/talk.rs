//! A saga of two holds in parallel, a charge, the decision and a delivery, that is talked to.

use std::time::Duration;

use chrono::{DateTime, Utc};
use recourse_bus::Json;
use recourse_event_store::{Position, StreamName, typed};
use recourse_saga::{
    ActError, Action, Answer, By, Definition, Direction, Event, Finding, Ids, Input, Outgoing,
    Reason, Settlement, SkipResult, State, StepStatus, Timer, act, closing, compensatable, pivot,
    react, retriable,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
pub struct Items(pub Vec<String>);

#[derive(Serialize)]
pub enum Command {
    #[serde(rename = "thing.do")]
    Do(String),
}

pub type Commands = Result<Vec<Outgoing>, typed::Error>;

pub fn one(name: &'static str) -> impl Fn(&Items, &Ids) -> Commands {
    move |_, _| {
        let target = StreamName::new("thing", name);
        Ok(vec![Outgoing::new(target, &Command::Do(name.into()))?])
    }
}

/// The same for what is told why.
pub fn told(name: &'static str) -> impl Fn(&Items, &Ids, &Reason) -> Commands {
    move |items, ids, _| one(name)(items, ids)
}

pub fn each(name: &'static str) -> impl Fn(&Items, &Ids) -> Commands {
    move |items, _| {
        items
            .0
            .iter()
            .map(|item| {
                let target = StreamName::new("thing", format!("{name}-{item}"));
                Ok(Outgoing::new(target, &Command::Do(item.clone()))?.item(item))
            })
            .collect()
    }
}

pub fn definition() -> Definition {
    Definition::builder::<Items>("toy", 1)
        .deadline(Duration::from_secs(60))
        .starts(|_| Ok(None))
        .step(compensatable("hold", each("hold"), each("hold")).fans_out())
        .step(compensatable("charge", one("charge"), one("charge")).max_attempts(2))
        .step(
            pivot("decide", one("decide"))
                .max_attempts(2)
                .reversed_by(told("revoke")),
        )
        .step(
            retriable("deliver", one("deliver"))
                .max_attempts(2)
                .reversed_by(told("fetch"))
                .takes_over("charge")
                .settled_by(|_, _, said: &Settlement| {
                    let target = StreamName::new("thing", "deliver");
                    let command = Command::Do(format!("{:?} {}", said.direction, said.took_effect));
                    Ok(vec![Outgoing::new(target, &command)?])
                }),
        )
        .when_undone(closing("tell", |_: &Items, _: &Ids, reason: &Reason| {
            let target = StreamName::new("thing", "tell");
            let command = Command::Do(reason.code.clone());
            Ok(vec![Outgoing::new(target, &command)?])
        }))
        .build()
        .unwrap()
}

pub fn skip(step: &str) -> Action {
    Action::Skip {
        step: step.into(),
        result: SkipResult::Left,
    }
}

/// A saga that is talked to.
pub struct Talk {
    pub definition: Definition,
    pub state: State,
    pub now: DateTime<Utc>,
    pub events: Vec<Event>,
}

impl Talk {
    pub fn started(items: &[&str]) -> Self {
        let mut talk = Self {
            definition: definition(),
            state: State::new(Uuid::from_u128(1)),
            now: DateTime::UNIX_EPOCH,
            events: Vec::new(),
        };
        let items = Items(items.iter().map(ToString::to_string).collect());
        talk.hear(Input::Start {
            input: Json::write(&items).unwrap(),
        });
        talk
    }

    pub fn hear(&mut self, input: Input) -> &mut Self {
        self.events = react(&self.definition, &self.state, input, self.now).unwrap();
        for event in &self.events {
            // As it comes back from the log.
            let (event_type, data) = typed::encode(event).unwrap();
            let read: Event = typed::decode(&event_type, &data).unwrap();
            assert_eq!(&read, event);
            self.state.apply(&read, self.now);
        }
        self
    }

    /// What an operator does, as it is written.
    pub fn act(&mut self, action: &Action) -> &mut Self {
        self.events = self.preview(action).unwrap();
        for event in &self.events {
            let (event_type, data) = typed::encode(event).unwrap();
            let read: Event = typed::decode(&event_type, &data).unwrap();
            assert_eq!(&read, event);
            self.state.apply(&read, self.now);
        }
        self
    }

    /// What an operator would do.
    pub fn preview(&self, action: &Action) -> Result<Vec<Event>, ActError> {
        let by = By {
            actor: "anonymous".into(),
            reason: "the bank says so".into(),
        };
        act(&self.definition, &self.state, action, &by, self.now)
    }

    /// Why an operator cannot do that.
    pub fn not_possible(&self, action: &Action) -> String {
        match self.preview(action) {
            Err(ActError::NotPossible(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    pub fn skip(&mut self, step: &str) -> &mut Self {
        self.act(&skip(step))
    }

    pub fn retry(&mut self) -> &mut Self {
        self.act(&Action::Retry {
            step: None,
            said: None,
        })
    }

    pub fn reversed(&mut self, of: &str) -> &mut Self {
        self.answer(Direction::Reverse, of, Answer::Done)
    }

    /// The id of the last command about `step` and `item`, forward or back.
    pub fn id(&self, direction: Direction, step: &str, item: &str) -> Uuid {
        self.state
            .commands()
            .iter()
            .rfind(|sent| sent.direction == direction && &*sent.step == step && &*sent.item == item)
            .unwrap_or_else(|| panic!("{step} {item} was not sent"))
            .id
    }

    pub fn answer(&mut self, direction: Direction, of: &str, answer: Answer) -> &mut Self {
        let (step, item) = of.split_once(' ').unwrap_or((of, ""));
        let command = self.id(direction, step, item);
        self.hear(Input::Answer {
            command,
            answer,
            position: Position::dense(9),
        })
    }

    pub fn done(&mut self, of: &str) -> &mut Self {
        self.answer(Direction::Do, of, Answer::Done)
    }

    pub fn undone(&mut self, of: &str) -> &mut Self {
        self.answer(Direction::Undo, of, Answer::Done)
    }

    pub fn refused(
        &mut self,
        direction: Direction,
        of: &str,
        code: &str,
        is_final: bool,
    ) -> &mut Self {
        let answer = Answer::Refused {
            code: code.into(),
            detail: "no".into(),
            is_final,
        };
        self.answer(direction, of, answer)
    }

    pub fn overdue(&mut self, direction: Direction, of: &str, finding: Finding) -> &mut Self {
        let (step, item) = of.split_once(' ').unwrap_or((of, ""));
        let command = self.id(direction, step, item);
        self.hear(Input::Overdue { command, finding })
    }

    /// Lets the next timer's time come.
    pub fn wait(&mut self) -> Timer {
        let (at, timer) = self.state.next_due().unwrap();
        self.now = at;
        timer
    }

    /// What the last reaction sends, in words.
    pub fn sends(&self) -> Vec<String> {
        self.events
            .iter()
            .flat_map(Event::commands)
            .map(|sent| {
                let direction = match sent.direction {
                    Direction::Do => "do",
                    Direction::Undo => "undo",
                    Direction::Reverse => "reverse",
                };
                let item = if sent.item.is_empty() { "" } else { " " };
                format!(
                    "{direction} {}{item}{} #{}",
                    sent.step, sent.item, sent.attempt
                )
            })
            .collect()
    }

    pub fn says(&self) -> Vec<&'static str> {
        self.events
            .iter()
            .map(|event| match event {
                Event::Started(_) => "started",
                Event::Answered(_) => "answered",
                Event::TimedOut(_) => "timed-out",
                Event::Overdue(_) => "overdue",
                Event::Resent(_) => "resent",
                Event::CancellationNoted(_) => "cancellation-noted",
                Event::Completed(_) => "completed",
                Event::Compensated(_) => "compensated",
                Event::AttentionNeeded(_) => "attention-needed",
                Event::Parked(_) => "parked",
                Event::Paused(_) => "paused",
                Event::Resumed(_) => "resumed",
                Event::Retried(_) => "retried",
                Event::SkipRequested(_) => "skip-requested",
                Event::StepSkipped(_) => "step-skipped",
                Event::CompensationRequested(_) => "compensation-requested",
            })
            .collect()
    }

    pub fn steps(&self) -> Vec<(String, StepStatus)> {
        self.state
            .steps()
            .into_iter()
            .map(|step| (step.name.to_string(), step.status))
            .collect()
    }

    pub fn status_of(&self, step: &str) -> StepStatus {
        self.steps()
            .into_iter()
            .find(|(name, _)| name == step)
            .unwrap()
            .1
    }

    pub fn plan(&self) -> Vec<String> {
        self.state
            .undo_plan()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    pub fn remaining(&self) -> Vec<String> {
        self.state
            .remaining()
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

pub fn past_the_pivot() -> Talk {
    let mut talk = Talk::started(&["a"]);
    talk.done("hold a").done("charge").done("decide");
    talk
}
