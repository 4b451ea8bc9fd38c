//! What is promised of one method at one address.

use super::{Answer, SchemaOf};
use crate::problem::Code;

/// What an address takes, answers and refuses.
#[derive(Clone, Debug)]
pub struct Operation {
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    pub(super) tag: &'static str,
    pub(super) parameters: Vec<Parameter>,
    /// One schema whose properties are the parameters of the query.
    pub(super) query: Option<SchemaOf>,
    /// The schema of the last parameter in the path.
    pub(super) path: Option<SchemaOf>,
    pub(super) body: Option<SchemaOf>,
    pub(super) is_body_optional: bool,
    pub(super) body_example: Option<&'static str>,
    pub(super) answers: Vec<Answer>,
    pub(super) codes: Vec<Code>,
    pub(super) always_admitted: bool,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a header.
    Header,
    /// In the query.
    Query,
}

/// A parameter that is one text.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Where it stands.
    pub place: Place,
    /// Its name.
    pub name: &'static str,
    /// What it says, in Markdown.
    pub description: &'static str,
    /// Its schema.
    pub schema: SchemaOf,
    /// One that could be sent.
    pub example: Option<&'static str>,
}

impl Operation {
    /// An operation by its id, which clients that are generated name a function by, and what it
    /// does, in a few words.
    #[must_use]
    pub fn new(id: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            summary,
            description: "",
            tag: "",
            parameters: Vec::new(),
            query: None,
            path: None,
            body: None,
            is_body_optional: false,
            body_example: None,
            answers: Vec::new(),
            codes: Vec::new(),
            always_admitted: false,
        }
    }

    /// What else there is to know, in Markdown.
    #[must_use]
    pub fn describe(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// The group that it is shown in.
    #[must_use]
    pub fn tag(mut self, tag: &'static str) -> Self {
        self.tag = tag;
        self
    }

    /// A body that could be sent, in JSON.
    #[must_use]
    pub fn body_example(mut self, json: &'static str) -> Self {
        self.body_example = Some(json);
        self
    }

    /// A way in which it succeeds.
    #[must_use]
    pub fn answer(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    /// How it may fail, beside what its extractors refuse and what the gateway refuses everywhere.
    #[must_use]
    pub fn fails(mut self, codes: &[Code]) -> Self {
        self.add_codes(codes);
        self
    }

    /// That it is answered however much else there is to do.
    #[must_use]
    pub fn always_admitted(mut self) -> Self {
        self.always_admitted = true;
        self
    }

    /// Adds a parameter: for an extractor to say what it reads.
    pub fn add_parameter(&mut self, parameter: Parameter) {
        if !self.has_parameter(parameter.name) {
            self.parameters.push(parameter);
        }
    }

    /// Adds codes: for an extractor to say how it refuses.
    pub fn add_codes(&mut self, codes: &[Code]) {
        for code in codes {
            if !self.codes.contains(code) {
                self.codes.push(*code);
            }
        }
    }

    /// Says what the query's parameters are: the properties of an object.
    pub fn set_query(&mut self, schema: SchemaOf) {
        self.query = Some(schema);
    }

    /// Says what the last parameter of the path is.
    pub fn set_path(&mut self, schema: SchemaOf) {
        self.path = Some(schema);
    }

    /// Says what the JSON body is.
    pub fn set_body(&mut self, schema: SchemaOf) {
        self.body = Some(schema);
    }

    /// Says that the body may be left out.
    pub fn body_is_optional(&mut self) {
        self.is_body_optional = true;
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// Whether it reads this header or query parameter.
    #[must_use]
    pub fn has_parameter(&self, name: &str) -> bool {
        self.parameters
            .iter()
            .any(|parameter| parameter.name.eq_ignore_ascii_case(name))
    }

    /// How it may fail.
    pub fn codes(&self) -> impl Iterator<Item = Code> + '_ {
        self.codes.iter().copied()
    }
}
