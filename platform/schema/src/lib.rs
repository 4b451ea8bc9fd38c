//! The schemas of what is stored: made from the Rust types, compared with those committed, and
//! read for what must not be shown.
//!
//! ```text
//! enum of events ─▶ Catalog: a JSON Schema a type ─┬─▶ schemas/<type>.json
//!                                                  ├─▶ compatibility: present against committed
//!                                                  └─▶ Redactor: bytes ─▶ bytes without secrets
//! ```
//!
//! The types are written by hand, with serde and schemars; the schemas follow from them. A schema
//! says three things that JSON Schema has no word for:
//!
//! | keyword | meaning |
//! | --- | --- |
//! | `x-secret: true` | shown to nobody but whoever uses it |
//! | `x-data-of: "f"` | the data of the type that the field `f` beside it names |
//! | `x-extensible: true` | the choices may grow: readers must expect ones that they do not know |
//!
//! The keyword `x-secret` is the only mark that there is: a field is hidden in everything that
//! shows stored data because its type's schema says so, and for no other reason.

mod catalog;
pub mod compatibility;
pub mod files;
mod redact;

pub use catalog::{Catalog, Error, text};
pub use redact::{HIDDEN, Redactor};

/// Marks what is shown to nobody but whoever uses it.
pub const SECRET: &str = "x-secret";

/// Marks data whose type is named by the field beside it that this names.
pub const DATA_OF: &str = "x-data-of";

/// Marks choices that may grow.
pub const EXTENSIBLE: &str = "x-extensible";

/// What a `$ref` of a document of ours names: `#/$defs/<name>`.
fn referred<'a>(root: &'a serde_json::Value, reference: &str) -> Option<&'a serde_json::Value> {
    root.get("$defs")?.get(reference.strip_prefix(DEFS)?)
}

const DEFS: &str = "#/$defs/";
