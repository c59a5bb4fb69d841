//! Words and counts that whole and streamed answers share.

use crate::{Usage, ir::Finish, write};
use serde::Deserialize;

/// Anthropic's word for the reason of an end.
pub(super) fn parse_stop(reason: &str, sequence: Option<String>) -> Finish {
    match reason {
        "end_turn" => Finish::Stop,
        "stop_sequence" => Finish::StopSequence(sequence),
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "pause_turn" => Finish::Pause,
        "refusal" => Finish::Refusal,
        other => Finish::Other(other.to_owned()),
    }
}

/// What the parts of an answer tell about its end, where its provider just says that it stopped.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Holds {
    pub(super) tools: bool,
    pub(super) refusal: bool,
}

/// The reason of an end in Anthropic's words, and the sequence that caused it.
pub(super) fn render_stop(finish: &Finish, holds: Holds) -> (&str, Option<&str>) {
    match finish {
        Finish::Stop if holds.refusal => ("refusal", None),
        Finish::Stop if holds.tools => ("tool_use", None),
        Finish::StopSequence(Some(sequence)) => ("stop_sequence", Some(sequence)),
        Finish::Stop | Finish::StopSequence(None) | Finish::Other(_) => ("end_turn", None),
        Finish::Length => ("max_tokens", None),
        Finish::ToolCalls => ("tool_use", None),
        Finish::ContentFilter | Finish::Refusal => ("refusal", None),
        Finish::Pause => ("pause_turn", None),
    }
}

/// Counts as Anthropic sends them: each may come or not, at the beginning and at the end of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Counts {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl Counts {
    /// Later counts replace earlier ones.
    pub(super) fn merge(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
    }

    /// The counts with the cached tokens as a part of the input.
    pub(super) fn usage(&self) -> Usage {
        let (written, read) = (self.cache_creation_input_tokens, self.cache_read_input_tokens);
        let beside = written.unwrap_or(0).saturating_add(read.unwrap_or(0));
        Usage {
            prompt: self.input_tokens.map(|i| i.saturating_add(beside)),
            completion: self.output_tokens,
            cached: read,
            cache_write: written,
            reasoning: None,
        }
    }
}

/// Puts counts as a client of Anthropic's expects them: the input without cached tokens.
pub(super) fn put_usage(object: &mut write::Object<'_>, usage: &Usage) {
    let (read, written) = (usage.cached.unwrap_or(0), usage.cache_write.unwrap_or(0));
    let mut out = object.object("usage");
    out.put("input_tokens", &usage.prompt.unwrap_or(0).saturating_sub(read).saturating_sub(written));
    out.put("cache_creation_input_tokens", &written);
    out.put("cache_read_input_tokens", &read);
    out.put("output_tokens", &usage.completion.unwrap_or(0));
}

/// An id in the form of Anthropic's answers: the provider's if it has that form, and the call's own otherwise.
pub(super) fn message_id(provider: Option<&str>, call: &str) -> String {
    provider.filter(|i| i.starts_with("msg_")).map_or_else(|| format!("msg_{call}"), str::to_owned)
}
