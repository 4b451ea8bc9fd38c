//! What a handler takes, read off its signature.

use axum::{
    extract::State,
    http::{HeaderMap, Uri},
};
use schemars::JsonSchema;

use super::{Operation, Parameter, Place, schema_of};
use crate::{
    errors,
    http::{
        Body, ClientCommand, Id, MaybeBody, MinPosition, NewId, Preconditions, Prefer, Query,
        RequestContext,
    },
};

/// An extractor that says what it reads of a request, and how it refuses.
pub trait Input {
    /// Adds that to an operation. What every request may have is not said again.
    fn describe(operation: &mut Operation) {
        let _ = operation;
    }
}

/// All extractors of a handler: the `T` of axum's `Handler<T, S>`.
pub trait Inputs {
    /// Adds what each of them says.
    fn describe(operation: &mut Operation);
}

impl Inputs for ((),) {
    fn describe(_: &mut Operation) {}
}

macro_rules! inputs {
    ($($input:ident)+) => {
        // The first is axum's mark of whether the last one reads the body.
        impl<M, $($input: Input),+> Inputs for (M, $($input,)+) {
            fn describe(operation: &mut Operation) {
                $($input::describe(operation);)+
            }
        }
    };
}

inputs!(A);
inputs!(A B);
inputs!(A B C);
inputs!(A B C D);
inputs!(A B C D E);
inputs!(A B C D E F);
inputs!(A B C D E F G);
inputs!(A B C D E F G H);

impl<S> Input for State<S> {}
impl Input for RequestContext {}
impl Input for HeaderMap {}
impl Input for Uri {}

impl<T: JsonSchema> Input for Body<T> {
    fn describe(operation: &mut Operation) {
        operation.set_body(schema_of::<T>);
        operation.add_codes(&[
            errors::MALFORMED_JSON,
            errors::INVALID_BODY,
            errors::UNSUPPORTED_MEDIA_TYPE,
        ]);
    }
}

impl<T: JsonSchema> Input for MaybeBody<T> {
    fn describe(operation: &mut Operation) {
        Body::<T>::describe(operation);
        operation.body_is_optional();
    }
}

impl<T: JsonSchema> Input for Query<T> {
    fn describe(operation: &mut Operation) {
        operation.set_query(schema_of::<T>);
        operation.add_codes(&[errors::INVALID_QUERY]);
    }
}

impl<T: JsonSchema> Input for Id<T> {
    fn describe(operation: &mut Operation) {
        operation.set_path(schema_of::<T>);
        operation.add_codes(&[errors::NOT_FOUND]);
    }
}

impl<T: JsonSchema> Input for NewId<T> {
    fn describe(operation: &mut Operation) {
        operation.set_path(schema_of::<T>);
        operation.add_codes(&[errors::INVALID_ID]);
    }
}

impl Input for ClientCommand {
    fn describe(operation: &mut Operation) {
        operation.add_parameter(Parameter {
            place: Place::Header,
            name: "Idempotency-Key",
            description: "What makes a repeat find the first request, whatever crashed between. \
                          The same key with another body is refused, once its command has had an \
                          effect. Where there is none the server adds one, so its own retries are \
                          safe and yours are not.",
            schema: |_| {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": r#"^("[!#-~]{1,128}"|[!#-~]{1,128})$"#,
                })
            },
            example: Some("order-2041"),
        });
        operation.add_codes(&[errors::INVALID_IDEMPOTENCY_KEY]);
    }
}

impl Input for Prefer {
    fn describe(operation: &mut Operation) {
        operation.add_parameter(Parameter {
            place: Place::Header,
            name: "Prefer",
            description: "`wait=S`: how many seconds to wait at most (RFC 7240). The server has a \
                          limit of its own; `Preference-Applied` says what was in force. Anything \
                          else is ignored.",
            schema: |_| schemars::json_schema!({"type": "string"}),
            example: Some("wait=10"),
        });
    }
}

impl Input for MinPosition {
    fn describe(operation: &mut Operation) {
        operation.add_parameter(Parameter {
            place: Place::Header,
            name: "Recourse-Min-Position",
            description: "Answer from what is at least as new as this: the `Recourse-Position` of \
                          an earlier answer.",
            schema: |_| schemars::json_schema!({"type": "string"}),
            example: Some("17-9f3a2c41"),
        });
        operation.add_codes(&[errors::INVALID_POSITION]);
    }
}

impl Input for Preconditions {
    fn describe(operation: &mut Operation) {
        let tags = |_: &mut schemars::SchemaGenerator| schemars::json_schema!({"type": "string"});
        operation.add_parameter(Parameter {
            place: Place::Header,
            name: "If-Match",
            description: "Only if its `ETag` is still this, or one of these; `*`: only if it \
                          exists.",
            schema: tags,
            example: Some("\"3\""),
        });
        operation.add_parameter(Parameter {
            place: Place::Header,
            name: "If-None-Match",
            description: "`*`: only if it does not exist yet.",
            schema: tags,
            example: Some("*"),
        });
        operation.add_codes(&[errors::INVALID_HEADER, errors::PRECONDITION_FAILED]);
    }
}
