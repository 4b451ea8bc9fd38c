//! The indexed fields of a document, read from its text without building the rest.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::documents::{Collection, Error, Index, Kind, Value};

/// The values of a collection's indexes in a document, in the order of the indexes; none where
/// the document has no such field or one of another kind.
pub(crate) fn of_document(
    collection: &Collection,
    id: &str,
    json: &str,
) -> Result<Vec<Option<Value>>, Error> {
    let mut found = vec![None; collection.indexes.len()];
    let wanted = collection
        .indexes
        .iter()
        .enumerate()
        .map(|(place, index)| Wanted {
            place,
            index,
            rest: index.path,
        })
        .collect();
    let mut reader = serde_json::Deserializer::from_str(json);
    let read = Object {
        wanted,
        found: &mut found,
    }
    .deserialize(&mut reader)
    .and_then(|()| reader.end());
    match read {
        Ok(()) => Ok(found),
        // Broken off, or damaged past the last field that is asked for.
        Err(_) if !found.is_empty() && found.iter().all(Option::is_some) => Ok(found),
        Err(error) => Err(Error::Damaged {
            collection: collection.table(),
            id: id.to_owned(),
            what: error.to_string(),
        }),
    }
}

#[derive(Clone, Copy)]
struct Wanted<'a> {
    place: usize,
    index: &'a Index,
    /// What is left of the path from here on.
    rest: &'a str,
}

struct Object<'a> {
    wanted: Vec<Wanted<'a>>,
    found: &'a mut [Option<Value>],
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key(&self.wanted))? {
            // A row that has its indexed fields at its beginning is not read to its end.
            if self.found.iter().all(Option::is_some) && !self.found.is_empty() {
                return Err(A::Error::custom("every field is found"));
            }
            match key {
                Found::Nothing => {
                    map.next_value::<IgnoredAny>()?;
                }
                Found::Value(wanted) => {
                    let value = map.next_value_seed(Scalar(wanted.index.kind))?;
                    if let Some(slot) = self.found.get_mut(wanted.place) {
                        *slot = value;
                    }
                }
                Found::Inner(wanted) => map.next_value_seed(Inner(Object {
                    wanted,
                    found: &mut *self.found,
                }))?,
            }
        }
        Ok(())
    }
}

/// A field on the way to a wanted one: an object, or something that has none.
struct Inner<'a>(Object<'a>);

impl<'de> DeserializeSeed<'de> for Inner<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inner<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.visit_map(map)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

enum Found<'a> {
    Nothing,
    Value(Wanted<'a>),
    Inner(Vec<Wanted<'a>>),
}

struct Key<'k, 'a>(&'k [Wanted<'a>]);

impl<'de, 'a> DeserializeSeed<'de> for Key<'_, 'a> {
    type Value = Found<'a>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found<'a>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Key<'_, 'a> {
    type Value = Found<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Found<'a>, E> {
        let mut inner = Vec::new();
        for wanted in self.0 {
            if wanted.rest == key {
                return Ok(Found::Value(*wanted));
            }
            if let Some(rest) = wanted.rest.strip_prefix(key)
                && let Some(rest) = rest.strip_prefix('.')
            {
                inner.push(Wanted { rest, ..*wanted });
            }
        }
        Ok(if inner.is_empty() {
            Found::Nothing
        } else {
            Found::Inner(inner)
        })
    }
}

struct Scalar(Kind);

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scalar {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Option<Value>, E> {
        Ok(match self.0 {
            Kind::Text => Some(Value::Text(text.to_owned())),
            Kind::Integer => None,
            Kind::Time => {
                let time = text.parse::<DateTime<Utc>>().map_err(E::custom)?;
                Some(Value::from(time))
            }
        })
    }

    fn visit_i64<E>(self, number: i64) -> Result<Option<Value>, E> {
        Ok((self.0 == Kind::Integer).then_some(Value::Integer(number)))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Option<Value>, E> {
        let number =
            i64::try_from(number).map_err(|_| E::custom("an indexed number is over 63 bits"))?;
        self.visit_i64(number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(
        self,
        mut seq: A,
    ) -> Result<Option<Value>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Value>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Collection = Collection {
        name: "sample",
        version: 1,
        generation: 0,
        indexes: &[
            Index {
                path: "status",
                kind: Kind::Text,
            },
            Index {
                path: "payment.amount",
                kind: Kind::Integer,
            },
            Index {
                path: "payment.at",
                kind: Kind::Time,
            },
        ],
        newest_first_by: Some("payment.at"),
    };

    #[test]
    fn fields_are_found_by_their_path() {
        let json = r#"{"lines":[{"status":"no"}],"payment":{"x":{"amount":9},"amount":-7,
            "at":"2026-01-02T03:04:05.5Z"},"st\u0061tus":"a\"b","other":{"amount":1}}"#;
        assert_eq!(
            of_document(&SAMPLE, "1", json).unwrap(),
            [
                Some(Value::Text("a\"b".into())),
                Some(Value::Integer(-7)),
                Some(Value::Integer(1_767_323_045_500_000)),
            ]
        );
    }

    #[test]
    fn what_is_absent_or_of_another_kind_has_no_value() {
        for json in [
            r"{}",
            r#"{"status":null,"payment":[1,2]}"#,
            r#"{"status":{"a":1},"payment":{"amount":"7","at":7}}"#,
            r#"{"status":1.5,"payment":7}"#,
        ] {
            assert_eq!(
                of_document(&SAMPLE, "1", json).unwrap(),
                [None, None, None],
                "{json}"
            );
        }
    }

    #[test]
    fn what_is_not_an_object_is_damaged() {
        for json in ["", "[]", "7", r#"{"status":"#, r"{} x"] {
            assert!(
                matches!(of_document(&SAMPLE, "1", json), Err(Error::Damaged { .. })),
                "{json}"
            );
        }
    }
}
