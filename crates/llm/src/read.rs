//! Reading JSON objects field by field.
//!
//! An object keeps its fields as borrowed text until they are taken, so that nothing is parsed twice into trees, the
//! order of keys inside a field stays, and what nobody took can be reported. A key may stand there once.

use crate::{Format, Losses, TranslateError, ir::Json};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
};
use serde_json::{Number, value::RawValue};
use std::{borrow::Cow, fmt};

/// The most fields of one object.
const MAX_FIELDS: usize = 1_000;

/// The fields of an object, as text.
pub(crate) struct Object<'a> {
    format: Format,
    path: String,
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

type Result<T> = std::result::Result<T, TranslateError>;

impl<'a> Object<'a> {
    /// The object that a body holds.
    pub(crate) fn of_body(format: Format, body: &'a [u8]) -> Result<Self> {
        let bad = |why: String| TranslateError::Malformed { format, what: "the body".into(), why };
        let text = std::str::from_utf8(body).map_err(|e| bad(e.to_string()))?;
        let fields = serde_json::from_str::<Fields<'a>>(text).map_err(|e| bad(e.to_string()))?.0;
        Ok(Self { format, path: String::new(), fields })
    }

    /// The object that stands at `path`.
    pub(crate) fn of(format: Format, path: impl Into<String>, raw: &'a RawValue) -> Result<Self> {
        let path = path.into();
        match serde_json::from_str::<Fields<'a>>(raw.get()) {
            Ok(fields) => Ok(Self { format, path, fields: fields.0 }),
            Err(e) => Err(TranslateError::Malformed { format, what: quoted(&path), why: e.to_string() }),
        }
    }

    /// The path of a field.
    pub(crate) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// An error about a field.
    pub(crate) fn bad(&self, key: &str, why: impl fmt::Display) -> TranslateError {
        TranslateError::Malformed { format: self.format, what: quoted(&self.at(key)), why: why.to_string() }
    }

    /// A refusal of a field.
    pub(crate) fn unsupported(&self, key: &str, why: impl Into<String>) -> TranslateError {
        TranslateError::unsupported(self.at(key), why)
    }

    /// Takes a field that is not null.
    pub(crate) fn take(&mut self, key: &str) -> Option<&'a RawValue> {
        let at = self.fields.iter().position(|(k, _)| k == key)?;
        let (_, raw) = self.fields.remove(at);
        (raw.get() != "null").then_some(raw)
    }

    /// Whether there is a field that is not null.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.fields.iter().any(|(k, v)| k == key && v.get() != "null")
    }

    /// Takes a field as a type.
    pub(crate) fn get<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        let Some(raw) = self.take(key) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|e| self.bad(key, e))
    }

    /// Takes a field that must be there.
    pub(crate) fn need<T: DeserializeOwned>(&mut self, key: &str) -> Result<T> {
        self.get(key)?.ok_or_else(|| self.bad(key, "it is missing"))
    }

    /// Takes a text.
    pub(crate) fn string(&mut self, key: &str) -> Result<Option<String>> {
        self.get(key)
    }

    /// Takes a number as it is written.
    pub(crate) fn number(&mut self, key: &str) -> Result<Option<Number>> {
        self.get(key)
    }

    /// Takes a value as its text.
    pub(crate) fn json(&mut self, key: &str) -> Option<Json> {
        self.take(key).map(Json::from)
    }

    /// Takes an object.
    pub(crate) fn object(&mut self, key: &str) -> Result<Option<Object<'a>>> {
        self.take(key).map(|raw| Object::of(self.format, self.at(key), raw)).transpose()
    }

    /// Takes an array, with the path of each of its values.
    pub(crate) fn array(&mut self, key: &str) -> Result<Option<Vec<Item<'a>>>> {
        let Some(raw) = self.take(key) else { return Ok(None) };
        items(self.format, &self.at(key), raw).map(Some)
    }

    /// Takes an array of objects.
    pub(crate) fn objects(&mut self, key: &str) -> Result<Option<Vec<Object<'a>>>> {
        let Some(items) = self.array(key)? else { return Ok(None) };
        items.into_iter().map(Item::object).collect::<Result<Vec<_>>>().map(Some)
    }

    /// Takes fields that mean nothing outside their format and change nothing.
    pub(crate) fn ignore(&mut self, keys: &[&str]) {
        self.fields.retain(|(k, _)| !keys.contains(&&**k));
    }

    /// Reports the fields that nobody took.
    pub(crate) fn rest(self, losses: &mut Losses) {
        for (key, raw) in &self.fields {
            if raw.get() != "null" {
                losses.add(self.at(key), "the field has no counterpart and was left out");
            }
        }
    }
}

/// A value of an array.
pub(crate) struct Item<'a> {
    pub(crate) format: Format,
    pub(crate) path: String,
    pub(crate) raw: &'a RawValue,
}

impl<'a> Item<'a> {
    /// The value as an object.
    pub(crate) fn object(self) -> Result<Object<'a>> {
        Object::of(self.format, self.path, self.raw)
    }
}

/// The values of an array.
pub(crate) fn items<'a>(format: Format, path: &str, raw: &'a RawValue) -> Result<Vec<Item<'a>>> {
    let values: Vec<&'a RawValue> = serde_json::from_str(raw.get()).map_err(|e| TranslateError::Malformed {
        format,
        what: quoted(path),
        why: e.to_string(),
    })?;
    Ok(values.into_iter().enumerate().map(|(i, raw)| Item { format, path: format!("{path}[{i}]"), raw }).collect())
}

/// A text, if the value is one.
pub(crate) fn text_of(raw: &RawValue) -> Option<String> {
    raw.get().starts_with('"').then(|| serde_json::from_str(raw.get()).ok())?
}

fn quoted(path: &str) -> String {
    format!("`{path}`")
}

struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Fields<'de>, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    if fields.iter().any(|(k, _)| *k == key.0) {
                        return Err(A::Error::custom(format_args!("the field `{}` stands there twice", key.0)));
                    }
                    if fields.len() == MAX_FIELDS {
                        return Err(A::Error::custom("an object has too many fields"));
                    }
                    fields.push((key.0, value));
                }
                Ok(Fields(fields))
            }
        }
        d.deserialize_map(V)
    }
}

#[derive(PartialEq)]
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }
            fn visit_borrowed_str<E>(self, s: &'de str) -> std::result::Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(s)))
            }
            fn visit_str<E>(self, s: &str) -> std::result::Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(s.to_owned())))
            }
        }
        d.deserialize_identifier(V)
    }
}
