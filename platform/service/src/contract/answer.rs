//! A way in which an operation succeeds.

use super::{SchemaOf, schema_of};

/// A status with what comes with it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) description: &'static str,
    pub(super) media_type: Option<&'static str>,
    pub(super) further_media_types: Vec<&'static str>,
    pub(super) schema: Option<SchemaOf>,
    pub(super) example: Option<&'static str>,
    pub(super) headers: Vec<Header>,
}

/// A header of an answer.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) is_always_there: bool,
}

impl Answer {
    fn new(status: u16, description: &'static str, media_type: Option<&'static str>) -> Self {
        Self {
            status,
            description,
            media_type,
            further_media_types: Vec::new(),
            schema: None,
            example: None,
            headers: Vec::new(),
        }
    }

    /// JSON of this type.
    #[must_use]
    pub fn json<T: schemars::JsonSchema>(status: u16, description: &'static str) -> Self {
        Self {
            schema: Some(schema_of::<T>),
            ..Self::new(status, description, Some("application/json"))
        }
    }

    /// Text of some media type.
    #[must_use]
    pub fn text(status: u16, description: &'static str, media_type: &'static str) -> Self {
        Self::new(status, description, Some(media_type))
    }

    /// Server-Sent Events: an endless text, each of whose `data:` is JSON of this type.
    #[must_use]
    pub fn events(status: u16, description: &'static str) -> Self {
        Self::text(status, description, "text/event-stream")
    }

    /// The same text in a further media type, for whoever asks for it.
    #[must_use]
    pub fn or_media_type(mut self, media_type: &'static str) -> Self {
        self.further_media_types.push(media_type);
        self
    }

    /// No body.
    #[must_use]
    pub fn empty(status: u16, description: &'static str) -> Self {
        Self::new(status, description, None)
    }

    /// What it could be, in JSON; of a text, the text.
    #[must_use]
    pub fn example(mut self, example: &'static str) -> Self {
        self.example = Some(example);
        self
    }

    /// A header that is always there.
    #[must_use]
    pub fn header(mut self, name: &'static str, description: &'static str) -> Self {
        self.headers.push(Header {
            name,
            description,
            is_always_there: true,
        });
        self
    }

    /// A header that is there sometimes; the description says when.
    #[must_use]
    pub fn may_have(mut self, name: &'static str, description: &'static str) -> Self {
        self.headers.push(Header {
            name,
            description,
            is_always_there: false,
        });
        self
    }

    /// `Recourse-Position`.
    #[must_use]
    pub fn position(self) -> Self {
        self.header(
            "Recourse-Position",
            "Where in the log this answer stands: give it back as `Recourse-Min-Position` to read \
             what you wrote",
        )
    }

    /// `ETag`.
    #[must_use]
    pub fn etag(self) -> Self {
        self.header(
            "ETag",
            "The revision of what is shown: give it back in `If-Match`",
        )
    }

    /// `Location`.
    #[must_use]
    pub fn location(self) -> Self {
        self.header("Location", "Where it can be read")
    }

    /// `Idempotency-Replayed`.
    #[must_use]
    pub fn replayed(self) -> Self {
        self.may_have(
            "Idempotency-Replayed",
            "`true` where this key was seen before, and nothing was done again",
        )
    }

    /// `Preference-Applied`.
    #[must_use]
    pub fn preference_applied(self) -> Self {
        self.may_have(
            "Preference-Applied",
            "The wait that was in force, where `Prefer` asked for one",
        )
    }

    /// `Link`.
    #[must_use]
    pub fn link(self) -> Self {
        self.may_have("Link", "The next page, `rel=\"next\"`, where there is one")
    }
}
