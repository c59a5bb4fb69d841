//! What an answer repeats of its request.

use crate::{Format, ir::Json, read::Object, write};
use std::sync::Arc;

/// The fields of a Responses request that each answer to it repeats. Empty for other formats, which repeat nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Echo(Option<Arc<Vec<(&'static str, Json)>>>);

/// The fields and what an answer says of one that the request did not have.
const FIELDS: &[(&str, &str)] = &[
    ("background", "false"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("prompt_cache_key", "null"),
    ("reasoning", "{\"effort\":null,\"summary\":null}"),
    ("safety_identifier", "null"),
    ("store", "true"),
    ("temperature", "1.0"),
    ("text", "{\"format\":{\"type\":\"text\"},\"verbosity\":\"medium\"}"),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "1.0"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
];

impl Echo {
    /// Reads the fields of a request that was read before.
    pub(crate) fn of_request(body: &[u8]) -> Self {
        let Ok(mut o) = Object::of_body(Format::Responses, body) else { return Self::default() };
        // In one line, as it stands in the events of a stream.
        let compact = |json: Json| Json::parse(&json.compact()).unwrap_or(json);
        let read = FIELDS.iter().filter_map(|(name, _)| Some((*name, compact(o.json(name)?)))).collect();
        Self(Some(Arc::new(read)))
    }

    /// Writes the fields.
    pub(super) fn write(&self, o: &mut write::Object<'_>) {
        let known = self.0.as_deref().map_or(&[][..], Vec::as_slice);
        for (name, default) in FIELDS {
            let text = known.iter().find(|(n, _)| n == name).map_or(*default, |(_, json)| json.get());
            o.raw(name, text);
        }
    }
}
