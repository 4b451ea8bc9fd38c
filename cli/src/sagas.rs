//! `recourse sagas`: what an operator looks at, and does.

use std::{fmt::Write as _, process::ExitCode};

use clap::{Args, Subcommand, ValueEnum, value_parser};
use recourse_saga::{Part, Status, StepView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    arguments,
    client::{Client, Source, escaped},
    command,
};

/// What an operator looks at, and does.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    source: Source,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// The sagas, newest first.
    List(List),
    /// One saga, step by step.
    Show {
        /// Its id.
        saga: Uuid,
    },
    /// Let it stand still: it records answers and sends nothing.
    Pause(Act),
    /// Let it go on, from a pause or from being parked.
    Resume(Act),
    /// Send again what was refused or is lost; or say what became of what nobody answers.
    Retry {
        /// Only of this step.
        #[arg(long)]
        step: Option<String>,
        /// What became of it, where its payment provider is asked no more: `done` where it took
        /// effect, `left` where it did not and never will.
        #[arg(long, value_enum, requires = "step")]
        result: Option<SkipResult>,
        /// The provider's name for what is done, where it is known.
        #[arg(long, requires = "result")]
        reference: Option<String>,
        #[command(flatten)]
        act: Act,
    },
    /// Leave a step out, or on the way back its undo.
    Skip {
        /// Which step.
        #[arg(long)]
        step: String,
        /// What became of it instead.
        #[arg(long, value_enum, default_value_t = SkipResult::Left)]
        result: SkipResult,
        #[command(flatten)]
        act: Act,
    },
    /// Undo it.
    Compensate(Act),
}

/// What the sagas are listed by.
#[derive(Clone, Debug, Args)]
struct List {
    /// Only those that stand so: `running`, `needs_attention`, …
    #[arg(long, value_parser = status)]
    status: Option<String>,
    /// Only those of this definition.
    #[arg(long)]
    definition: Option<String>,
    /// Only those that began longer ago than this, in ms.
    #[arg(long, value_name = "MS")]
    older_than_ms: Option<u64>,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u32).range(1..=200))]
    limit: u32,
}

/// What every action has.
#[derive(Clone, Debug, Args)]
struct Act {
    /// The saga's id.
    saga: Uuid,
    /// Why, kept with what is done.
    #[arg(long, value_parser = arguments::reason)]
    reason: String,
    /// Only say what it would do.
    #[arg(long)]
    dry_run: bool,
    /// Only where the saga still has this tag, as a dry run prints it; otherwise as it stands now.
    #[arg(long, value_name = "TAG", conflicts_with = "dry_run")]
    if_match: Option<String>,
}

/// What became of a step that is left out, or that nobody answers.
#[derive(Clone, Copy, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum SkipResult {
    /// It was seen to elsewhere; it took effect.
    Done,
    /// It is given up; it did not take effect.
    Left,
}

/// The body of `POST /v1/sagas/{id}/actions`.
#[derive(Serialize)]
struct Body<'a> {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<SkipResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    reason: &'a str,
    dry_run: bool,
}

impl<'a> Body<'a> {
    /// An action on the whole saga.
    fn new(action: &'static str, act: &'a Act) -> Self {
        Self {
            action,
            step: None,
            result: None,
            reference: None,
            reason: &act.reason,
            dry_run: act.dry_run,
        }
    }
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let mut client = match options.what {
        What::List(_) | What::Show { .. } => options.source.client().await?,
        _ => options.source.acting()?,
    };
    let json = options.json;
    match &options.what {
        What::List(list) => show_list(&mut client, list, json).await?,
        What::Show { saga } => show_one(&mut client, *saga, json).await?,
        What::Pause(act) => do_it(&mut client, &Body::new("pause", act), act, json).await?,
        What::Resume(act) => do_it(&mut client, &Body::new("resume", act), act, json).await?,
        What::Compensate(act) => {
            do_it(&mut client, &Body::new("compensate", act), act, json).await?;
        }
        What::Retry {
            step,
            result,
            reference,
            act,
        } => {
            let body = Body {
                step: step.as_deref(),
                result: *result,
                reference: reference.as_deref(),
                ..Body::new("retry", act)
            };
            do_it(&mut client, &body, act, json).await?;
        }
        What::Skip { step, result, act } => {
            let body = Body {
                step: Some(step),
                result: Some(*result),
                ..Body::new("skip", act)
            };
            do_it(&mut client, &body, act, json).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How a saga can stand, as the server calls it.
fn status(text: &str) -> Result<String, String> {
    use serde::de::{IntoDeserializer, value::Error};
    match Status::deserialize(IntoDeserializer::<Error>::into_deserializer(text)) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn target(saga: Uuid) -> String {
    format!("/v1/sagas/{saga}")
}

/// A saga, as far as a line or a page shows it.
#[derive(Deserialize)]
struct Saga {
    saga_id: String,
    definition: String,
    status: Status,
    started_at: String,
    #[serde(default)]
    ended_at: Option<String>,
    #[serde(default)]
    deadline_at: Option<String>,
    #[serde(default)]
    reason: Option<recourse_saga::Reason>,
    #[serde(default)]
    trouble: Option<String>,
    steps: Vec<StepView>,
    remaining: Vec<Part>,
    undo_plan: Vec<Part>,
}

async fn show_list(client: &mut Client, list: &List, json: bool) -> anyhow::Result<()> {
    let mut address = format!("/v1/sagas?limit={}", list.limit);
    for (name, value) in [("status", &list.status), ("definition", &list.definition)] {
        if let Some(value) = value {
            address.push_str(&format!("&{name}={}", escaped(value)));
        }
    }
    if let Some(older_than_ms) = list.older_than_ms {
        address.push_str(&format!("&older_than_ms={older_than_ms}"));
    }
    #[derive(Deserialize)]
    struct Page {
        items: Vec<Saga>,
    }
    let all: Value = client.get(&address).await?;
    let page = Page::deserialize(&all)?;
    let mut text = String::new();
    for saga in &page.items {
        let trouble = saga.trouble.as_deref().unwrap_or_default();
        writeln!(
            text,
            "{}  {:<15} {:<12} {}  {trouble}",
            saga.saga_id,
            saga.status.as_str(),
            saga.definition,
            saga.started_at
        )?;
    }
    command::print(&all, &text, json)
}

async fn show_one(client: &mut Client, saga: Uuid, json: bool) -> anyhow::Result<()> {
    let answer = client.send("GET", &target(saga), &[], Vec::new()).await?;
    let all: Value = client.read(&answer)?;
    command::print(&all, &page(&Saga::deserialize(&all)?, tag(&answer))?, json)
}

fn tag(answer: &recourse_bench::http::Answer) -> Option<&str> {
    answer.headers.get("etag")?.to_str().ok()
}

fn page(saga: &Saga, tag: Option<&str>) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let status = saga.status.as_str();
    writeln!(
        text,
        "saga {} ({}): {status}",
        saga.saga_id, saga.definition
    )?;
    writeln!(text, "  began     {}", saga.started_at)?;
    for (name, at) in [("ended", &saga.ended_at), ("deadline", &saga.deadline_at)] {
        if let Some(at) = at {
            writeln!(text, "  {name:<9} {at}")?;
        }
    }
    if let Some(reason) = &saga.reason {
        writeln!(text, "  went back {}: {}", reason.code, reason.detail)?;
    }
    if let Some(trouble) = &saga.trouble {
        writeln!(text, "  trouble   {trouble}")?;
    }
    for step in &saga.steps {
        write!(text, "  {:<20} {:<8}", step.name, step.status.as_str())?;
        if step.attempts > 1 {
            write!(text, " {} attempts", step.attempts)?;
        }
        if let Some(refused) = &step.refused {
            write!(text, " refused ({}): {}", refused.code, refused.detail)?;
        }
        text.push('\n');
    }
    for (name, parts) in [("remains", &saga.remaining), ("undo plan", &saga.undo_plan)] {
        if !parts.is_empty() {
            let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
            writeln!(text, "  {name:<9} {}", parts.join(", "))?;
        }
    }
    if let Some(tag) = tag {
        writeln!(text, "  tag       {tag}")?;
    }
    Ok(text)
}

async fn do_it(client: &mut Client, body: &Body<'_>, act: &Act, json: bool) -> anyhow::Result<()> {
    let address = target(act.saga);
    let action = body.action;
    let body = serde_json::to_vec(body)?;
    let tag_now = match &act.if_match {
        Some(tag) => Some(quoted(tag)),
        None if act.dry_run => None,
        None => {
            let now = client.send("GET", &address, &[], Vec::new()).await?;
            tag(&now).map(str::to_owned)
        }
    };
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(tag_now.as_deref().map(|tag| ("if-match", tag)));
    let answer = client
        .send("POST", &format!("{address}/actions"), &headers, body)
        .await?;
    #[derive(Deserialize)]
    struct Done {
        status: Status,
        words: Vec<String>,
    }
    let all: Value = client.read(&answer)?;
    let done = Done::deserialize(&all)?;
    let mut text = String::new();
    if act.dry_run {
        writeln!(text, "{action} would do this; nothing is done:")?;
    }
    for line in &done.words {
        writeln!(text, "  {line}")?;
    }
    let is = if act.dry_run { "would be" } else { "is" };
    writeln!(text, "the saga {is} {}", done.status.as_str())?;
    if act.dry_run
        && let Some(tag) = tag(&answer)
    {
        writeln!(
            text,
            "to do just this: --if-match {}",
            tag.trim_matches('"')
        )?;
    }
    command::print(&all, &text, json)
}

/// A tag is quoted in HTTP; in a shell it need not be.
fn quoted(tag: &str) -> String {
    if tag == "*" || tag.starts_with('"') {
        tag.to_owned()
    } else {
        format!("\"{tag}\"")
    }
}
