//! Events and commands as Rust enums.
//!
//! An enum of newtype variants, each renamed to its type (`#[serde(rename =
//! "order.placed.v1")]`), *is* the list of what a stream may hold. [`encode`] takes such a
//! value apart into the type and the JSON of its content, [`decode`] puts them together
//! again. So the domain needs nothing but serde, and the type stands where the store wants
//! it instead of inside the data.

use bytes::Bytes;
use serde::{
    Serialize,
    de::{self, DeserializeOwned, IntoDeserializer, value::StrDeserializer},
};

/// Why a typed value could not be taken apart or put together.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No variant has this type.
    #[error("the type `{0}` is not known here")]
    UnknownType(String),
    /// The content is not what the type says.
    #[error("the data of a `{event_type}` cannot be read")]
    Malformed {
        /// The type whose content it should have been.
        event_type: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The value is not an enum of newtype variants.
    #[error("only a newtype variant of an enum has a type and data")]
    NotTyped,
}

/// The type of a value, and the JSON of its content.
///
/// # Errors
/// [`Error::NotTyped`] where the value is not a newtype variant or cannot be written as JSON.
pub fn encode<T: Serialize>(value: &T) -> Result<(String, Bytes), Error> {
    // serde writes a newtype variant as {"<variant>":<content>}; no type of ours has a
    // character that JSON escapes, which the round trip in `decode` would show.
    let json = Bytes::from(serde_json::to_vec(value).map_err(|_| Error::NotTyped)?);
    let name_end = json
        .strip_prefix(b"{\"")
        .and_then(|rest| rest.iter().position(|byte| *byte == b'"'))
        .ok_or(Error::NotTyped)?
        + 2;
    let (name, rest) = json.split_at(name_end);
    if !rest.starts_with(b"\":") || !rest.ends_with(b"}") {
        return Err(Error::NotTyped);
    }
    let name = name.strip_prefix(b"{\"").ok_or(Error::NotTyped)?;
    let name = std::str::from_utf8(name).map_err(|_| Error::NotTyped)?;
    Ok((name.to_owned(), json.slice(name_end + 2..json.len() - 1)))
}

/// Puts a value together from its type and the JSON of its content.
///
/// # Errors
/// [`Error::UnknownType`] where no variant has the type, [`Error::Malformed`] where the
/// content is not that variant's.
pub fn decode<T: DeserializeOwned>(event_type: &str, data: &[u8]) -> Result<T, Error> {
    let mut known = false;
    T::deserialize(Typed {
        event_type,
        data,
        known: &mut known,
    })
    .map_err(|source| {
        let event_type = event_type.to_owned();
        if known {
            Error::Malformed { event_type, source }
        } else {
            Error::UnknownType(event_type)
        }
    })
}

struct Typed<'a> {
    event_type: &'a str,
    data: &'a [u8],
    known: &'a mut bool,
}

impl<'de> de::Deserializer<'de> for Typed<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map struct enum
        identifier ignored_any
    }
}

impl<'de> de::EnumAccess<'de> for Typed<'de> {
    type Error = serde_json::Error;
    type Variant = Content<'de>;

    fn variant_seed<V: de::DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Self::Error> {
        let name: StrDeserializer<'_, Self::Error> = self.event_type.into_deserializer();
        let variant = seed.deserialize(name)?;
        *self.known = true;
        Ok((variant, Content(self.data)))
    }
}

struct Content<'a>(&'a [u8]);

impl<'de> de::VariantAccess<'de> for Content<'de> {
    type Error = serde_json::Error;

    fn newtype_variant_seed<T: de::DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, Self::Error> {
        let mut json = serde_json::Deserializer::from_slice(self.0);
        let value = seed.deserialize(&mut json)?;
        json.end()?;
        Ok(value)
    }

    fn unit_variant(self) -> Result<(), Self::Error> {
        Err(de::Error::custom("a unit variant has no data"))
    }

    fn tuple_variant<V: de::Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("a tuple variant has no data"))
    }

    fn struct_variant<V: de::Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("a struct variant has no type"))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Placed {
        quantity: u32,
        note: String,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Event {
        #[serde(rename = "order.placed.v1")]
        Placed(Placed),
        #[serde(rename = "order.closed.v1")]
        Closed(()),
        Bare,
    }

    #[test]
    fn a_value_comes_back_from_its_type_and_data() {
        let event = Event::Placed(Placed {
            quantity: 2,
            note: "a \"}\" b".into(),
        });
        let (event_type, data) = encode(&event).unwrap();
        assert_eq!(event_type, "order.placed.v1");
        assert_eq!(&data[..], br#"{"quantity":2,"note":"a \"}\" b"}"#);
        assert_eq!(decode::<Event>(&event_type, &data).unwrap(), event);
    }

    #[test]
    fn an_unknown_type_and_malformed_data_are_told_apart() {
        assert!(matches!(
            decode::<Event>("order.lost.v1", b"{}"),
            Err(Error::UnknownType(name)) if name == "order.lost.v1"
        ));
        for data in [&b"{}"[..], b"", b"[]", br#"{"quantity":2,"note":""} x"#] {
            assert!(matches!(
                decode::<Event>("order.placed.v1", data),
                Err(Error::Malformed { .. })
            ));
        }
    }

    #[test]
    fn what_has_no_data_has_no_type() {
        assert!(matches!(encode(&Event::Bare), Err(Error::NotTyped)));
        assert!(matches!(encode(&7), Err(Error::NotTyped)));
    }
}
