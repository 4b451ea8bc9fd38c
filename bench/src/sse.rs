//! A client of Server-Sent Events: one connection that is read as it comes.
//!
//! As the standard has it, <https://html.spec.whatwg.org/multipage/server-sent-events.html>: a
//! block without data dispatches nothing and still moves the last event id. Coming back with
//! that id is the caller's, who knows when to give up.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request,
    body::Incoming,
    client::conn::http1,
    header::{ACCEPT, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::http::{Address, Answer, Error};

/// The most bytes of one line, and of an answer that is no stream.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What a server answers to who wants to watch.
pub enum Opened {
    /// The stream.
    Stream(Box<Stream>),
    /// Something else: a refusal, or 204, which asks not to come again.
    Answer(Answer),
}

/// A stream of events.
pub struct Stream {
    driver: Option<http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>>,
    body: Incoming,
    unread: BytesMut,
    parser: Parser,
    /// Kept, for the driver ends the connection with it.
    _sender: http1::SendRequest<Empty<Bytes>>,
}

/// What a server dispatches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its name; `message` where the server gives none.
    pub event: String,
    /// Its data.
    pub data: String,
    /// The last event id as of this message.
    pub id: String,
}

/// Asks to watch. `last_event_id` is that of the stream that this one goes on from.
///
/// # Errors
/// Where there is no answer; an answer that says no is an answer.
pub async fn open(
    address: &Address,
    path: &str,
    last_event_id: Option<&str>,
) -> Result<Opened, Error> {
    let stream = TcpStream::connect(address.authority())
        .await
        .map_err(Error::Connect)?;
    stream.set_nodelay(true).map_err(Error::Connect)?;
    let (mut sender, mut driver) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Error::Broken)?;
    let mut request = Request::get(path)
        .header(HOST, address.authority())
        .header(ACCEPT, "text/event-stream");
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    let answering = sender.send_request(request.body(Empty::new())?);
    let response = tokio::select! {
        biased;
        response = answering => response.map_err(Error::Broken)?,
        ended = &mut driver => return Err(ended.map_or_else(Error::Broken, |()| gone())),
    };
    let is_stream = response
        .headers()
        .get("content-type")
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    let (parts, body) = response.into_parts();
    if parts.status.is_success() && is_stream {
        return Ok(Opened::Stream(Box::new(Stream {
            driver: Some(driver),
            body,
            unread: BytesMut::new(),
            parser: Parser {
                id: last_event_id.unwrap_or_default().to_owned(),
                last_id: last_event_id.unwrap_or_default().to_owned(),
                ..Parser::default()
            },
            _sender: sender,
        })));
    }
    let body = Limited::new(body, MAX_BYTES).collect();
    let body = tokio::select! {
        biased;
        body = body => body.map_err(Error::Body)?.to_bytes(),
        ended = driver => return Err(ended.map_or_else(Error::Broken, |()| gone())),
    };
    Ok(Opened::Answer(Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }))
}

fn gone() -> Error {
    Error::Connect(io::ErrorKind::ConnectionAborted.into())
}

impl Stream {
    /// The next message; none once the server has ended the stream. May be dropped while it
    /// waits: nothing is lost.
    ///
    /// # Errors
    /// Where the connection broke.
    pub async fn next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line = self.unread.split_to(end + 1);
                let line = line.get(..end).unwrap_or_default();
                if let Some(message) = self.parser.line(line) {
                    return Ok(Some(message));
                }
            }
            if self.unread.len() > MAX_BYTES {
                return Err(Error::Body("a line is too long".into()));
            }
            let Some(frame) = self.frame().await else {
                return Ok(None);
            };
            if let Ok(data) = frame.map_err(Error::Broken)?.into_data() {
                self.unread.extend_from_slice(&data);
            }
        }
    }

    async fn frame(&mut self) -> Option<Result<hyper::body::Frame<Bytes>, hyper::Error>> {
        if let Some(driver) = &mut self.driver {
            tokio::select! {
                biased;
                frame = self.body.frame() => return frame,
                // What came before the end is there still.
                _ = driver => {}
            }
            self.driver = None;
        }
        self.body.frame().await
    }

    /// Where to come back to; empty as long as the server has given no id.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.parser.last_id
    }

    /// How long the server asks to wait before coming back.
    #[must_use]
    pub const fn retry(&self) -> Option<Duration> {
        self.parser.retry
    }
}

#[derive(Default)]
struct Parser {
    event: String,
    data: String,
    /// Of the block that is being read.
    id: String,
    last_id: String,
    retry: Option<Duration>,
}

impl Parser {
    /// Takes a line in; what it dispatches.
    fn line(&mut self, line: &[u8]) -> Option<Message> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return self.dispatch();
        }
        let line = String::from_utf8_lossy(line);
        // A comment is a line whose field is empty.
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Message> {
        self.id.clone_into(&mut self.last_id);
        let mut data = std::mem::take(&mut self.data);
        let event = std::mem::take(&mut self.event);
        // The last line's end is not part of it.
        data.pop()?;
        Some(Message {
            event: if event.is_empty() {
                "message".to_owned()
            } else {
                event
            },
            data,
            id: self.last_id.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Message>, Parser) {
        let mut parser = Parser::default();
        let lines = text.split('\n');
        let messages = lines.filter_map(|line| parser.line(line.as_bytes()));
        (messages.collect(), parser)
    }

    fn message(event: &str, data: &str, id: &str) -> Message {
        Message {
            event: event.to_owned(),
            data: data.to_owned(),
            id: id.to_owned(),
        }
    }

    #[test]
    fn a_stream_is_read_as_the_standard_has_it() {
        let (messages, parser) = read(
            "retry: 250\nid: 1\n\n: a comment\ndata: a\ndata:b\ndata\n\nevent: saga\r\n\
             data: {\"x\": 1}\r\nid: 2\r\n\r\nevent: lost\n\ndata: c\n\nretry: x\nid: 3\n\n",
        );
        assert_eq!(
            messages,
            [
                message("message", "a\nb\n", "1"),
                message("saga", "{\"x\": 1}", "2"),
                message("message", "c", "2"),
            ]
        );
        assert_eq!(parser.last_id, "3", "a block without data moves the id");
        assert_eq!(parser.retry, Some(Duration::from_millis(250)));
    }

    #[test]
    fn a_block_that_is_cut_off_moves_nothing() {
        let (messages, parser) = read("data: a\nid: 1\n\ndata: b\nid: 2");
        assert_eq!(messages, [message("message", "a", "1")]);
        assert_eq!(parser.last_id, "1");
    }
}
