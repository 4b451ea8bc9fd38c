//! A server, as the commands that read from it and act on it see it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, body::Body, http::Request};
use clap::Args;
use http_body_util::BodyExt;
use recourse_bench::http::{self, Address, Answer, Connection};
use serde::{Deserialize, de::DeserializeOwned};
use tower::ServiceExt;

use crate::{
    arguments::{self, Usage},
    folder,
};

/// Longer than a server lets any request wait.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Which server, for a command's options: `#[command(flatten)]` it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Server {
    /// The server.
    #[arg(long, global = true, value_name = "URL", default_value = DEFAULT_URL, value_parser = arguments::url)]
    pub(crate) url: String,
}

/// What a command that only reads asks, for its options: `#[command(flatten)]` it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Source {
    /// The server; the one of this machine unless there is a data folder.
    #[arg(long, global = true, value_name = "URL", conflicts_with = "data", value_parser = arguments::url)]
    url: Option<String>,
    /// Read this data folder instead of asking a server: beside the server that has it open too,
    /// or without one.
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Where a command that only reads does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// At this URL.
    Server(&'a str),
    /// In this data folder.
    Folder(&'a Path),
}

impl Source {
    /// Where it is. Where neither is given, and the environment or the file names both, the server.
    pub(crate) fn place(&self) -> Place<'_> {
        match (&self.url, &self.data) {
            (None, Some(data)) => Place::Folder(data),
            (url, _) => Place::Server(url.as_deref().unwrap_or(DEFAULT_URL)),
        }
    }

    /// A client of it.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        match self.place() {
            Place::Server(url) => Ok(Client::new(url)?),
            Place::Folder(data) => {
                let queries = folder::queries(data).await;
                let queries =
                    queries.with_context(|| format!("{} cannot be read", data.display()))?;
                Ok(Client {
                    url: data.display().to_string(),
                    way: Way::Folder(queries.into_router()),
                })
            }
        }
    }

    /// A client for what is more than reading: a folder takes no commands.
    ///
    /// # Errors
    /// Where a folder is named.
    pub(crate) fn acting(&self) -> anyhow::Result<Client> {
        match self.place() {
            Place::Server(url) => Ok(Client::new(url)?),
            Place::Folder(_) => {
                let why =
                    "a data folder is only read: leave --data out, and name the server by --url";
                Err(Usage::new(why).into())
            }
        }
    }
}

/// The server that `recourse up` is without further options.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:7171";

impl Server {
    /// A client of it. Nothing is sent yet.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        Client::new(&self.url)
    }
}

/// Why the server did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no answer.
    #[error("{url} does not answer")]
    Http {
        /// The server.
        url: String,
        /// Why.
        source: http::Error,
    },
    /// The folder cannot be asked that.
    #[error("{folder} cannot be asked")]
    Folder {
        /// The folder.
        folder: String,
        /// Why.
        source: axum::Error,
    },
    /// It said no.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// It said something that only another version, or another server, says.
    #[error("the answer of {url} cannot be read")]
    Unreadable {
        /// The server.
        url: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl Error {
    /// The stable code of the refusal, where it is one: `not-found`.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => problem.code.as_deref(),
            _ => None,
        }
    }
}

/// What a server says when it says no: RFC 9457, as far as a person wants it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Problem {
    title: String,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    errors: Vec<FieldError>,
}

#[derive(Clone, Debug, Deserialize)]
struct FieldError {
    pointer: String,
    detail: String,
}

impl std::error::Error for Problem {}

impl std::fmt::Display for Problem {
    /// `title: detail (code)`, and a line for each field that is wrong.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.title)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        if let Some(code) = &self.code {
            write!(f, " ({code})")?;
        }
        for FieldError { pointer, detail } in &self.errors {
            write!(f, "\n  {pointer}: {detail}")?;
        }
        Ok(())
    }
}

/// Headers of a request: `[("if-match", "\"7\"")]`.
pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

/// Asks a server, by one connection that is made when it is first wanted; or a data folder.
pub(crate) struct Client {
    url: String,
    way: Way,
}

enum Way {
    Server(Box<Connection>),
    Folder(Router),
}

impl Client {
    /// Of the server at `http://host:port`.
    pub(crate) fn new(url: &str) -> Result<Self, Error> {
        let address = Address::parse(url).map_err(|source| Error::Http {
            url: url.to_owned(),
            source,
        })?;
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            way: Way::Server(Box::new(Connection::new(address, TIMEOUT))),
        })
    }

    /// What is at an address, `/v1/sagas?limit=1`.
    pub(crate) async fn get<T: DeserializeOwned>(&mut self, target: &str) -> Result<T, Error> {
        let answer = self.send("GET", target, &[], Vec::new()).await?;
        self.read(&answer)
    }

    /// One request and its answer, with headers and status; anything but 2xx is
    /// [`Error::Refused`].
    pub(crate) async fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: Headers<'_>,
        body: Vec<u8>,
    ) -> Result<Answer, Error> {
        let answer = match &mut self.way {
            Way::Server(connection) => {
                let answer = connection.send(method, target, headers, body.into());
                answer.await.map_err(|source| Error::Http {
                    url: self.url.clone(),
                    source,
                })?
            }
            Way::Folder(router) => {
                ask(router, method, target)
                    .await
                    .map_err(|source| Error::Folder {
                        folder: self.url.clone(),
                        source,
                    })?
            }
        };
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(refusal(&self.url, &answer))
    }

    /// The body of an answer.
    pub(crate) fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, Error> {
        serde_json::from_slice(&answer.body).map_err(|source| Error::Unreadable {
            url: self.url.clone(),
            source,
        })
    }
}

/// Asks the queries of a folder. They read nothing but the address.
async fn ask(router: &Router, method: &str, target: &str) -> Result<Answer, axum::Error> {
    let request = Request::builder().method(method).uri(target);
    let request = request.body(Body::empty()).map_err(axum::Error::new)?;
    let Ok(response) = router.clone().oneshot(request).await;
    let (parts, body) = response.into_parts();
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await?.to_bytes(),
    })
}

/// What an answer says that is not what was asked for.
pub(crate) fn refusal(url: &str, answer: &Answer) -> Error {
    Error::Refused(
        serde_json::from_slice(&answer.body).unwrap_or_else(|_| Problem {
            // Something else answers at that address.
            title: format!("{url} answers {}", answer.status),
            detail: None,
            code: None,
            errors: Vec::new(),
        }),
    )
}

/// Text as a part of an address: what would end the part is escaped.
pub(crate) fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_its_code_and_each_field() {
        let problem: Problem = serde_json::from_str(
            r##"{"type":"/errors/invalid-body","title":"The body is not valid","status":422,
                "code":"invalid-body","retryable":false,
                "errors":[{"pointer":"#/lines/0/quantity","detail":"must be at least 1"}]}"##,
        )
        .unwrap();
        assert_eq!(
            problem.to_string(),
            "The body is not valid (invalid-body)\n  #/lines/0/quantity: must be at least 1"
        );
    }

    /// As the commands that read have it.
    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        source: Source,
    }

    fn read(args: &[&str], env: &[(&str, &str)]) -> Source {
        let args = std::iter::once(&"recourse").chain(args);
        let env = |name: &str| {
            let found = env.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.into())
        };
        let line: Line = recourse_service::options::load_from(args.map(Into::into), env).unwrap();
        line.source
    }

    #[test]
    fn what_is_named_by_a_flag_is_read_whatever_the_environment_names() {
        let server = Place::Server("http://h:1");
        let folder = Place::Folder(Path::new("d"));
        let data = ("RECOURSE_DATA", "d");
        let url = ("RECOURSE_URL", "http://h:1");
        assert_eq!(read(&[], &[]).place(), Place::Server(DEFAULT_URL));
        assert_eq!(read(&[], &[data]).place(), folder);
        assert_eq!(read(&[], &[url]).place(), server);
        assert_eq!(read(&["--url", "http://h:1"], &[data]).place(), server);
        assert_eq!(read(&["--data", "d"], &[url]).place(), folder);
        assert_eq!(read(&[], &[data, url]).place(), server);
        assert!(read(&["--url", "http://h:1"], &[data]).acting().is_ok());
        assert!(read(&["--data", "d"], &[url]).acting().is_err());
    }

    #[test]
    fn an_address_that_is_no_url_is_refused_before_anything_is_sent() {
        assert!(Client::new("ftp://x").is_err());
        assert!(Client::new("http://127.0.0.1:7171/").is_ok());
    }
}
