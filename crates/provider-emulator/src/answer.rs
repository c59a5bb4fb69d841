//! A request and its answer without a provider's shape: what was asked, and what this model says to it.

use crate::{
    fault::Fault,
    model::{Content, Plan},
    provider::Provider,
    sample::sample,
    signature::sign,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Tokens of every request and answer; the providers count them in different sums.
pub(crate) const INPUT: u64 = 25;
/// Of the input: read from the cache.
pub(crate) const CACHED: u64 = 8;
/// Of the input: written to the cache. Only Anthropic tells.
pub(crate) const CACHE_WRITE: u64 = 5;
/// Tokens that are not thought.
pub(crate) const OUTPUT: u64 = 12;
/// Tokens that are thought, by models that think.
pub(crate) const THOUGHT: u64 = 7;

/// The longest part of a user's text that an answer repeats.
const REPEATED: usize = 200;

/// A tool that is offered.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) schema: Value,
}

/// Which tools may be called.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Choice {
    #[default]
    Auto,
    None,
    Any,
    Named(String),
}

/// An image that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) media: String,
    /// Its bytes, or the address that stands for them.
    pub(crate) content: Result<Vec<u8>, String>,
}

impl Image {
    /// From base64.
    pub(crate) fn encoded(media: &str, data: &str) -> Option<Self> {
        Some(Self { media: media.to_owned(), content: Ok(STANDARD.decode(data).ok()?) })
    }

    /// From a `data:` URL or another address.
    pub(crate) fn at(url: &str) -> Option<Self> {
        let Some(inline) = url.strip_prefix("data:") else {
            let known = url.starts_with("https://") || url.starts_with("http://") || url.starts_with("gs://");
            return known.then(|| Self { media: "url".to_owned(), content: Err(url.to_owned()) });
        };
        let (media, data) = inline.split_once(";base64,")?;
        Self::encoded(media, data)
    }

    fn line(&self) -> String {
        match &self.content {
            Ok(bytes) => format!("{} {} bytes sha256:{}", self.media, bytes.len(), hex::encode(Sha256::digest(bytes))),
            Err(url) => format!("url {url}"),
        }
    }
}

/// What was asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// Chat Completions: usage at the end of a stream.
    pub(crate) include_usage: bool,
    pub(crate) tools: Vec<Tool>,
    pub(crate) choice: Choice,
    /// Parallel calls are not wanted.
    pub(crate) one_call: bool,
    /// Results that came back since the last turn of the model, by the call's id or name.
    pub(crate) results: Vec<(String, String)>,
    pub(crate) images: Vec<Image>,
    pub(crate) schema: Option<Value>,
    pub(crate) system: String,
    pub(crate) user: String,
    /// Roles in their order.
    pub(crate) roles: Vec<String>,
    pub(crate) limit: Option<u64>,
    pub(crate) stop: Vec<String>,
    /// Sampling and other settings, as they arrived.
    pub(crate) settings: Value,
    /// Token probabilities are wanted.
    pub(crate) logprobs: bool,
    /// Markers for the prompt cache.
    pub(crate) cache_markers: usize,
    /// Why the thinking of earlier turns is not what this emulator gave out.
    pub(crate) spoilt: Option<String>,
    /// Responses: reasoning is to be given out encrypted.
    pub(crate) encrypted: bool,
    /// The credentials that came with it.
    pub(crate) credentials: Vec<String>,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    Text(String),
    Thinking { text: String, signature: String },
    Redacted(String),
    Call { id: String, name: String, arguments: Value, signature: Option<String> },
    Refusal(String),
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    Sequence(String),
    Calls,
    Length,
    Refusal,
}

/// What is said.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The request's number; ids come from it.
    pub(crate) serial: u64,
    pub(crate) parts: Vec<Part>,
    pub(crate) finish: Finish,
    pub(crate) thought: u64,
    /// In how many pieces a text is streamed; none: by length.
    pub(crate) pieces: Option<usize>,
}

impl Answer {
    /// Output tokens with those that were thought.
    pub(crate) fn output(&self) -> u64 {
        OUTPUT + self.thought
    }

    /// A text in the pieces of a stream.
    pub(crate) fn split<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let characters = text.chars().count();
        let each = match self.pieces {
            Some(pieces) => characters.div_ceil(pieces.max(1)),
            // Long texts come in pieces of a kilobyte, short ones in a few.
            None if characters > 1 << 16 => 1024,
            None => 7,
        };
        split(text, each)
    }
}

/// A text in pieces of so many characters.
pub(crate) fn split(text: &str, each: usize) -> Vec<&str> {
    let ends: Vec<usize> =
        text.char_indices().map(|(i, _)| i).step_by(each.max(1)).skip(1).chain([text.len()]).collect();
    let mut start = 0;
    let mut out = Vec::with_capacity(ends.len());
    for end in ends {
        out.push(text.get(start..end).unwrap_or_default());
        start = end;
    }
    out
}

/// What this model says.
pub(crate) fn compose(provider: Provider, asked: &Asked, plan: &Plan, serial: u64) -> Result<Answer, Fault> {
    let say = |text: String| vec![Part::Text(text)];
    let mut finish = Finish::Stop;
    let mut pieces = None;
    let parts = match plan.content {
        Content::Text => say(sentence(asked)),
        Content::Echo => say(echo(asked)),
        Content::Tools(n) => calls_or_text(asked, n, serial),
        Content::Mixed => {
            let mut parts = say("Grüße — 你好 🚀, I shall look. ".to_owned());
            parts.extend(calls(asked, 2, serial));
            if parts.len() == 1 { say(sentence(asked)) } else { parts }
        }
        Content::Reason => reason(provider, asked, serial),
        Content::Verify => match &asked.spoilt {
            Some(why) => return Err(Fault::invalid(why)),
            None => reason(provider, asked, serial),
        },
        Content::Schema => structured(asked, serial),
        Content::Image => say(images(asked)),
        Content::Refuse => {
            finish = Finish::Refusal;
            vec![Part::Refusal("I cannot help with that.".to_owned())]
        }
        Content::Length => {
            finish = Finish::Length;
            say("This answer is cut by the limit of".to_owned())
        }
        Content::Stop => {
            finish = asked.stop.first().map_or(Finish::Stop, |s| Finish::Sequence(s.clone()));
            say("one two ".to_owned())
        }
        Content::EchoKey => say(format!("The key is {}.", asked.credentials.join(" and "))),
        Content::Big(megabytes) => say("0123456789abcdef".repeat(megabytes << 16)),
        Content::Pieces(n) => {
            pieces = Some(n);
            say("word ".repeat(n))
        }
    };
    if parts.iter().any(|p| matches!(p, Part::Call { .. })) {
        finish = Finish::Calls;
    }
    let thought = if parts.iter().any(|p| matches!(p, Part::Thinking { .. })) { THOUGHT } else { 0 };
    Ok(Answer { serial, parts, finish, thought, pieces })
}

fn sentence(asked: &Asked) -> String {
    if asked.results.is_empty() {
        let user: String = asked.user.chars().take(REPEATED).collect();
        return format!("Grüße — 你好 🚀. You said: {user}");
    }
    let results: Vec<String> = asked.results.iter().map(|(id, text)| format!("{id}={text}")).collect();
    format!("The tools said: {}", results.join("; "))
}

fn echo(asked: &Asked) -> String {
    let images: Vec<_> = asked.images.iter().map(Image::line).collect();
    let tools: Vec<_> = asked.tools.iter().map(|t| json!({"name": t.name, "schema": t.schema})).collect();
    let choice = match &asked.choice {
        Choice::Auto => "auto",
        Choice::None => "none",
        Choice::Any => "any",
        Choice::Named(name) => name,
    };
    json!({"system": asked.system, "user": asked.user, "roles": asked.roles, "results": asked.results, "images": images,
        "limit": asked.limit, "stop": asked.stop, "tools": tools, "choice": choice, "one_call": asked.one_call,
        "schema": asked.schema, "settings": asked.settings, "cache_markers": asked.cache_markers})
    .to_string()
}

/// What fits the schema; where a tool must be called or is the only one, a call
/// of it: some clients ask for an object in this way.
fn structured(asked: &Asked, serial: u64) -> Vec<Part> {
    if let Some(schema) = &asked.schema {
        return vec![Part::Text(sample(schema, 0).to_string())];
    }
    if matches!(asked.choice, Choice::Any | Choice::Named(_)) || asked.tools.len() == 1 {
        return calls_or_text(asked, 1, serial);
    }
    vec![Part::Text("no schema arrived".to_owned())]
}

fn images(asked: &Asked) -> String {
    if asked.images.is_empty() {
        return "no image arrived".to_owned();
    }
    asked.images.iter().map(Image::line).collect::<Vec<_>>().join("; ")
}

fn calls_or_text(asked: &Asked, n: usize, serial: u64) -> Vec<Part> {
    let calls = calls(asked, n, serial);
    if calls.is_empty() { vec![Part::Text(sentence(asked))] } else { calls }
}

/// Calls of the tools that are offered, unless their results are already here.
fn calls(asked: &Asked, n: usize, serial: u64) -> Vec<Part> {
    if asked.tools.is_empty() || !asked.results.is_empty() || asked.choice == Choice::None {
        return Vec::new();
    }
    let n = if asked.one_call { 1 } else { n };
    let call = |which: usize| {
        let tool = match &asked.choice {
            Choice::Named(name) => asked.tools.iter().find(|t| t.name == *name)?,
            Choice::Auto | Choice::None | Choice::Any => asked.tools.get(which % asked.tools.len())?,
        };
        let (id, name) = (format!("{serial:x}_{which}"), tool.name.clone());
        Some(Part::Call { id, name, arguments: sample(&tool.schema, which), signature: None })
    };
    (0..n).filter_map(call).collect()
}

/// Thinking, then calls or a text. What a signature covers depends on what the provider binds it to.
fn reason(provider: Provider, asked: &Asked, serial: u64) -> Vec<Part> {
    let mut answer = calls_or_text(asked, 2, serial);
    let ids: Vec<String> = answer
        .iter()
        .filter_map(|p| if let Part::Call { id, .. } = p { Some(call_id(provider, id)) } else { None })
        .collect();
    let text = format!("Let me think — 考える — about step {serial}. ");
    let mut covered: Vec<&str> = vec![&text];
    covered.extend(ids.iter().map(String::as_str));
    let signature = sign(serial, &covered);
    let mut parts = vec![Part::Thinking { text: text.clone(), signature }];
    match provider {
        Provider::Anthropic => {
            let mut covered = vec!["redacted"];
            covered.extend(ids.iter().map(String::as_str));
            parts.push(Part::Redacted(sign(serial, &covered)));
        }
        Provider::Gemini => {
            if let Some(Part::Call { name, arguments, signature, .. }) = answer.first_mut() {
                *signature = Some(sign(serial, &[name, &arguments.to_string()]));
            }
        }
        Provider::OpenAi | Provider::Compatible | Provider::Ollama => {}
    }
    parts.extend(answer);
    parts
}

/// The id of a call as the provider writes it.
pub(crate) fn call_id(provider: Provider, id: &str) -> String {
    match provider {
        Provider::Anthropic => format!("toolu_{id}"),
        Provider::OpenAi | Provider::Compatible | Provider::Ollama | Provider::Gemini => format!("call_{id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_text() {
        assert_eq!(split("äöüß", 3), ["äöü", "ß"]);
        assert_eq!(split("", 3), [""]);
        let answer = Answer { serial: 1, parts: vec![], finish: Finish::Stop, thought: 0, pieces: Some(4) };
        assert_eq!(answer.split("aaaabbbb"), ["aa", "aa", "bb", "bb"]);
    }

    #[test]
    fn two_calls_take_two_tools() {
        let tool = |name: &str| Tool { name: name.to_owned(), schema: json!({}) };
        let mut asked = Asked { tools: vec![tool("a"), tool("b")], ..Asked::default() };
        let plan = Plan::of("tools2").unwrap();
        let answer = compose(Provider::OpenAi, &asked, &plan, 3).unwrap();
        assert_eq!((answer.parts.len(), answer.finish), (2, Finish::Calls));
        asked.results.push(("call_3_0".to_owned(), "5".to_owned()));
        let answer = compose(Provider::OpenAi, &asked, &plan, 4).unwrap();
        assert_eq!(answer.parts, [Part::Text("The tools said: call_3_0=5".to_owned())]);
    }
}
