//! The top level of a request: the fields that matter, each once and in its own spelling.

use super::wire::Tool;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{fmt, marker::PhantomData};

/// How a format calls the fields that formats call differently.
pub(super) struct Names {
    pub(super) messages: &'static str,
    /// The first that is there counts.
    pub(super) max_tokens: &'static [&'static str],
}

/// The fields that matter; `M` is what is read of the messages.
pub(super) struct Top<'a, M> {
    pub(super) model: Option<&'a RawValue>,
    pub(super) stream: bool,
    pub(super) stream_options: Option<&'a RawValue>,
    pub(super) messages: Option<M>,
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) max_tokens: Option<u64>,
    pub(super) n: Option<u64>,
}

/// Reads the top level of a request.
pub(super) fn read_top<'a, M: Deserialize<'a>>(names: &'static Names, text: &'a str) -> serde_json::Result<Top<'a, M>> {
    let mut json = serde_json::Deserializer::from_str(text);
    let top = json.deserialize_map(TopVisitor { names, messages: PhantomData })?;
    json.end()?;
    Ok(top)
}

#[derive(Clone, Copy)]
pub(super) enum Field {
    Model,
    Stream,
    StreamOptions,
    Messages,
    Tools,
    MaxTokens(usize),
    N,
    Other,
}

impl<'de> DeserializeSeed<'de> for &'static Names {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Field, D::Error> {
        d.deserialize_identifier(FieldVisitor(self))
    }
}

struct FieldVisitor(&'static Names);

impl Visitor<'_> for FieldVisitor {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: serde::de::Error>(self, s: &str) -> Result<Field, E> {
        let known = [
            ("model", Field::Model),
            ("stream", Field::Stream),
            ("stream_options", Field::StreamOptions),
            (self.0.messages, Field::Messages),
            ("tools", Field::Tools),
            ("n", Field::N),
        ];
        let limits = self.0.max_tokens.iter().enumerate().map(|(i, name)| (*name, Field::MaxTokens(i)));
        for (name, field) in known.into_iter().chain(limits) {
            if s == name {
                return Ok(field);
            }
            // Some upstreams take a field in any case, and the last one wins there.
            if s.len() >= name.len() && s.to_lowercase().replace('\u{17f}', "s") == name {
                return Err(E::custom(format_args!("the field {s:?} must be spelled `{name}`")));
            }
        }
        Ok(Field::Other)
    }
}

struct TopVisitor<M> {
    names: &'static Names,
    messages: PhantomData<M>,
}

impl<'de, M: Deserialize<'de>> Visitor<'de> for TopVisitor<M> {
    type Value = Top<'de, M>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top<'de, M>, A::Error> {
        let mut model = None;
        let mut stream: Option<Option<bool>> = None;
        let mut stream_options: Option<&'de RawValue> = None;
        let mut messages: Option<M> = None;
        let mut tools: Option<Option<Vec<Tool<'de>>>> = None;
        let mut limits: [Option<Option<u64>>; 2] = [None, None];
        let mut n: Option<Option<u64>> = None;
        while let Some(field) = map.next_key_seed(self.names)? {
            match field {
                Field::Model => once(&mut model, "model", map.next_value()?)?,
                Field::Stream => once(&mut stream, "stream", map.next_value()?)?,
                Field::StreamOptions => once(&mut stream_options, "stream_options", map.next_value()?)?,
                Field::Messages => once(&mut messages, self.names.messages, map.next_value()?)?,
                Field::Tools => once(&mut tools, "tools", map.next_value()?)?,
                Field::N => once(&mut n, "n", map.next_value()?)?,
                Field::MaxTokens(i) => {
                    let name = self.names.max_tokens.get(i).copied().unwrap_or_default();
                    let slot = limits.get_mut(i).ok_or_else(|| A::Error::custom("too many limits"))?;
                    once(slot, name, map.next_value()?)?;
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Top {
            model,
            stream: stream.flatten().unwrap_or(false),
            stream_options,
            messages,
            tools: tools.flatten().unwrap_or_default(),
            max_tokens: limits.into_iter().flatten().flatten().next(),
            n: n.flatten(),
        })
    }
}

fn once<T, E: serde::de::Error>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(name)),
    }
}
