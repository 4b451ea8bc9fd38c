//! `recourse watch`: what happens to sagas, as it happens.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    process::ExitCode,
    time::Duration,
};

use chrono::{DateTime, Utc};
use clap::Args;
use recourse_bench::{
    http::{Address, Answer},
    sse::{self, Message, Opened, Stream},
};
use serde::Deserialize;
use uuid::Uuid;

use crate::{arguments, client, output};

/// A server that says nothing for so long, not even that there is nothing, is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// How long to wait before coming back, where the server does not say.
const RETRY: Duration = Duration::from_secs(1);

/// How many sagas are remembered, to tell what changed.
const MAX_REMEMBERED: usize = 10_000;

/// Tell what happens to sagas, as it happens: all of them, or one step by step.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The saga; without one, all of them.
    #[arg(value_name = "SAGA")]
    saga: Option<Uuid>,
    #[command(flatten)]
    server: client::Server,
    /// Where to begin: a position, `start` or `end`. One saga is told from its start, all of
    /// them from now on.
    #[arg(long, value_name = "POSITION", value_parser = arguments::place)]
    from: Option<String>,
    /// Print JSON, a line a change.
    #[arg(long)]
    json: bool,
}

/// A saga, as far as it is told.
#[derive(Clone, Debug, Deserialize)]
struct Saga {
    saga_id: Uuid,
    definition: String,
    status: String,
    /// Of the change; only where all sagas are watched.
    #[serde(default)]
    at: Option<DateTime<Utc>>,
    #[serde(default)]
    started_at: Option<DateTime<Utc>>,
    #[serde(default)]
    ended_at: Option<DateTime<Utc>>,
    #[serde(default)]
    deadline_at: Option<DateTime<Utc>>,
    #[serde(default)]
    reason: Option<Reason>,
    #[serde(default)]
    trouble: Option<String>,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, Deserialize)]
struct Reason {
    code: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Step {
    name: String,
    status: String,
    #[serde(default)]
    attempts: u32,
    #[serde(default)]
    started_at: Option<DateTime<Utc>>,
    #[serde(default)]
    answered_at: Option<DateTime<Utc>>,
    #[serde(default)]
    refused: Option<Reason>,
}

/// Watches until the saga has ended; all of them until nobody reads the output.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let url = &options.server.url;
    let unreachable = |source| client::Error::Http {
        url: url.clone(),
        source,
    };
    let address = Address::parse(url).map_err(unreachable)?;
    let path = path(&options);
    let mut teller = Teller {
        one: options.saga.is_some(),
        json: options.json,
        known: BTreeMap::new(),
    };
    let mut last_id = String::new();
    let mut retry = RETRY;
    let mut is_known = false;
    loop {
        let id = Some(&*last_id).filter(|id| !id.is_empty());
        let lost = match sse::open(&address, &path, id).await {
            Ok(Opened::Stream(mut stream)) => {
                is_known = true;
                let ended = follow(&mut stream, &mut teller).await?;
                stream.last_event_id().clone_into(&mut last_id);
                retry = stream.retry().unwrap_or(retry);
                match ended {
                    Ended::Saga => return Ok(ExitCode::SUCCESS),
                    Ended::Connection(why) => why,
                }
            }
            // There is nothing more to come back for.
            Ok(Opened::Answer(answer)) if answer.status == 204 => return Ok(ExitCode::SUCCESS),
            Ok(Opened::Answer(answer)) if is_known && is_busy(&answer) => {
                format!("the server answers {}", answer.status)
            }
            Ok(Opened::Answer(answer)) => return Err(client::refusal(url, &answer).into()),
            Err(error) if !is_known => return Err(unreachable(error).into()),
            Err(error) => error.to_string(),
        };
        teller.aside(&format!("{lost}; coming back in {} ms", retry.as_millis()));
        tokio::time::sleep(retry).await;
    }
}

fn path(options: &Options) -> String {
    let mut path = match options.saga {
        Some(saga) => format!("/v1/sagas/{saga}/watch"),
        None => "/v1/sagas/watch".to_owned(),
    };
    let default = if options.saga.is_some() {
        "start"
    } else {
        "end"
    };
    let from = options.from.as_deref().unwrap_or(default);
    path.push_str("?from=");
    path.push_str(&client::escaped(from));
    path
}

fn is_busy(answer: &Answer) -> bool {
    matches!(answer.status.as_u16(), 429 | 502 | 503 | 504)
}

enum Ended {
    Saga,
    Connection(String),
}

async fn follow(stream: &mut Stream, teller: &mut Teller) -> anyhow::Result<Ended> {
    loop {
        let message = match tokio::time::timeout(SILENCE, stream.next()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return Ok(Ended::Connection("the server ended the stream".into())),
            Ok(Err(error)) => return Ok(Ended::Connection(error.to_string())),
            Err(_) => return Ok(Ended::Connection("the server says nothing".into())),
        };
        if message.event == "end" {
            return Ok(Ended::Saga);
        }
        teller.tell(&message)?;
    }
}

/// Prints what is new.
struct Teller {
    /// That one saga is watched, whose id need not be repeated.
    one: bool,
    json: bool,
    known: BTreeMap<Uuid, Saga>,
}

impl Teller {
    fn tell(&mut self, message: &Message) -> anyhow::Result<()> {
        if message.event == "reset" {
            self.aside("the server's log is another one than before; going on from its end");
            self.known.clear();
            return Ok(());
        }
        if self.json {
            return output::line(&message.data);
        }
        let saga: Saga = serde_json::from_str(&message.data)?;
        for line in self.news(saga) {
            output::line(&line)?;
        }
        Ok(())
    }

    /// What a person who follows along wants to know; on standard error, for it is no data.
    fn aside(&self, text: &str) {
        let mut out = std::io::stderr().lock();
        if !self.json || out.is_terminal() {
            // Nothing can be told where there is nowhere to tell it.
            let _ = writeln!(out, "{text}");
        }
    }

    /// A line for each thing that has changed.
    fn news(&mut self, saga: Saga) -> Vec<String> {
        let mut lines = Vec::new();
        let before = self.known.remove(&saga.saga_id);
        let mut line = |at: Option<DateTime<Utc>>, what: String| {
            let time = saga
                .at
                .or(at)
                .map_or_else(String::new, |at| at.format("%H:%M:%S%.3f").to_string());
            let mut line = format!("{time:12}  ");
            if !self.one {
                let _ = write!(line, "{}  {}  ", saga.saga_id, saga.definition);
            }
            line.push_str(&what);
            lines.push(line);
        };
        if self.one && before.is_none() {
            let mut what = format!("saga {} {}", saga.definition, saga.saga_id);
            if let Some(deadline) = saga.deadline_at {
                let _ = write!(what, ", until {}", deadline.format("%H:%M:%S"));
            }
            line(saga.started_at, what);
        }
        for (index, step) in saga.steps.iter().enumerate() {
            let old = before.as_ref().and_then(|before| before.steps.get(index));
            let old = old.map(|old| (&*old.status, old.attempts));
            if old.unwrap_or(("pending", 0)) != (&*step.status, step.attempts) {
                line(step.at(), step.text());
            }
        }
        let old = before.as_ref();
        let is_new = old.is_none_or(|old| old.status != saga.status || old.trouble != saga.trouble);
        if is_new && (old.is_some() || saga.status != "running") {
            let mut what = saga.status.replace('_', " ");
            if let Some(why) = &saga.trouble {
                let _ = write!(what, ": {why}");
            } else if let Some(reason) = &saga.reason {
                let _ = write!(what, ": {}", reason.code);
            }
            line(saga.ended_at, what);
        }
        if saga.ended_at.is_none() {
            if self.known.len() >= MAX_REMEMBERED {
                self.known.clear();
            }
            self.known.insert(saga.saga_id, saga);
        }
        lines
    }
}

impl Step {
    /// When it came to its status, where that is known.
    fn at(&self) -> Option<DateTime<Utc>> {
        match &*self.status {
            "running" => self.started_at,
            _ => self.answered_at,
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{:20} {}", self.name, self.status);
        if let Some(refused) = self.refused.as_ref().filter(|_| self.status == "refused") {
            let _ = write!(text, ": {}", refused.code);
        }
        if self.attempts > 1 {
            let _ = write!(text, ", attempt {}", self.attempts);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "00000000-0000-0000-0000-000000000001";

    fn saga(status: &str, steps: &[(&str, &str)]) -> Saga {
        let steps: Vec<_> = steps
            .iter()
            .map(|(name, status)| {
                json!({
                    "name": name, "status": status, "attempts": 1,
                    "started_at": "2026-01-01T10:00:00.25Z",
                    "answered_at": "2026-01-01T10:00:00.5Z",
                    "refused": {"code": "payment-declined"},
                })
            })
            .collect();
        serde_json::from_value(json!({
            "saga_id": ID, "definition": "fulfilment", "status": status, "steps": steps,
            "started_at": "2026-01-01T10:00:00Z", "deadline_at": "2026-01-01T10:01:00Z",
        }))
        .unwrap()
    }

    #[test]
    fn one_saga_is_told_step_by_step_and_only_what_changed() {
        let mut teller = Teller {
            one: true,
            json: false,
            known: BTreeMap::new(),
        };
        let mut lines = teller.news(saga("running", &[("pay", "running"), ("ship", "pending")]));
        lines.extend(teller.news(saga("running", &[("pay", "running"), ("ship", "pending")])));
        lines.extend(teller.news(saga(
            "compensating",
            &[("pay", "refused"), ("ship", "pending")],
        )));
        // The attempts of a step that is pending are none; here they are one.
        lines.retain(|line| !line.contains("ship"));
        assert_eq!(
            lines,
            [
                &*format!("10:00:00.000  saga fulfilment {ID}, until 10:01:00"),
                "10:00:00.250  pay                  running",
                "10:00:00.500  pay                  refused: payment-declined",
                "              compensating",
            ]
        );
    }

    #[test]
    fn of_many_sagas_each_line_says_which() {
        let mut teller = Teller {
            one: false,
            json: false,
            known: BTreeMap::new(),
        };
        let lines = teller.news(saga("completed", &[("pay", "done")]));
        assert_eq!(
            lines,
            [
                format!("10:00:00.500  {ID}  fulfilment  pay                  done"),
                format!("              {ID}  fulfilment  completed"),
            ]
        );
    }
}
