//! The behaviours, chosen by the model's name.
//!
//! A name is words joined by `+` or `.`: at most one says what is answered, the others how. A word of one of the
//! prefixes `claude-`, `gemini-`, `gpt-`, `o3-` means the same without it, so that a gateway can route by prefix.
//!
//! | answers | what |
//! |---|---|
//! | `text` | a sentence with the last user text in it; the results of tools if some came back |
//! | `echo` | as JSON what arrived: system, user, roles, limits, stop sequences |
//! | `tools1`, `tools2` | one or two parallel calls of the tools that are offered; after their results a text |
//! | `reason` | thinking with a signature (and a redacted block), then calls if tools are offered, then text |
//! | `verify-signature` | like `reason`, and 400 unless the thinking of the turns before came back unchanged |
//! | `schema` | JSON that fits the schema of the request; without one, a call of the tool that must be called |
//! | `image` | media type, size and SHA-256 of each image that arrived |
//! | `refuse`, `length`, `stop` | a refusal; an answer cut by the token limit; by the first stop sequence |
//! | `echo-key` | the credentials that arrived |
//! | `big-N` | N MB of text |
//! | `slow-dN-nM-iG` | M pieces of text, the first after N ms, the others G ms apart; each part may be left out |
//!
//! | faults | what |
//! |---|---|
//! | `err-NNN`, `err-NNN-rS` | always this status, with `Retry-After: S` |
//! | `err-NNN-then-ok`, `err-NNN-xK-then-ok` | the first (K) requests with the same body fail, the next one does not |
//! | `err-html` | a proxy's 502 in HTML |
//! | `err-stream` | a stream that ends in the provider's error event |
//! | `hang`, `stall`, `reset` | no answer at all; a stream that stops; a connection that is closed at once |
//! | `cut`, `cut-utf8`, `eof` | a stream that breaks off; inside a character; that ends cleanly without its end |
//!
//! | ways | what |
//! |---|---|
//! | `odd` | CRLF, comments, `data` on two lines, bytes in pieces that split characters, empty deltas, arguments in interleaved fragments, no `[DONE]`. Alone it means text and two calls |
//! | `bytes` | one byte in a chunk |
//! | `ids` | Gemini: function calls have ids |

use std::time::Duration;

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Text,
    Echo,
    Tools(usize),
    /// Text before the calls.
    Mixed,
    Reason,
    Verify,
    Schema,
    Image,
    Refuse,
    Length,
    Stop,
    EchoKey,
    Big(usize),
    Pieces(usize),
}

/// How an answer breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    Cut,
    CutInCharacter,
    EndOfFile,
    Stall,
    ErrorEvent,
}

/// A refusal before any answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    /// How many requests with the same body fail; none: all.
    pub(crate) times: Option<u64>,
}

/// A model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) content: Content,
    pub(crate) failure: Option<Failure>,
    pub(crate) breaks: Option<Break>,
    pub(crate) html: bool,
    pub(crate) hang: bool,
    pub(crate) reset: bool,
    pub(crate) odd: bool,
    pub(crate) bytes: bool,
    pub(crate) ids: bool,
    pub(crate) delay: Duration,
    pub(crate) gap: Duration,
}

/// Names that are listed as models.
pub const LISTED: &[&str] = &[
    "text",
    "echo",
    "tools1",
    "tools2",
    "reason",
    "verify-signature",
    "schema",
    "image",
    "refuse",
    "length",
    "stop",
    "echo-key",
    "odd",
    "cut",
    "cut-utf8",
    "eof",
    "err-400",
    "err-403",
    "err-429",
    "err-500",
    "err-500-then-ok",
    "err-stream",
    "hang",
    "stall",
    "big-1",
    "slow-d20-n20-i10",
    "slow-n2000-i10",
    "tools2+bytes",
];

const PREFIXES: [&str; 5] = ["claude-", "gemini-", "gpt-", "o3-", "models/"];

/// The most text that a model makes.
const MOST_MEGABYTES: usize = 64;
/// The most pieces of a slow model.
const MOST_PIECES: usize = 1_000_000;

impl Plan {
    /// Reads a name; none: there is no such model.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let mut plan = Self {
            content: Content::Text,
            failure: None,
            breaks: None,
            html: false,
            hang: false,
            reset: false,
            odd: false,
            bytes: false,
            ids: false,
            delay: Duration::ZERO,
            gap: Duration::ZERO,
        };
        let mut content = None;
        for word in strip(name).split(['+', '.']) {
            if let Some(answers) = answers(word) {
                if content.replace(answers).is_some() {
                    return None;
                }
            } else if let Some(rest) = word.strip_prefix("slow") {
                let pieces = plan.slow(rest)?;
                if let Some(pieces) = pieces
                    && content.replace(Content::Pieces(pieces)).is_some()
                {
                    return None;
                }
            } else if !plan.way(word) {
                plan.failure = Some(failure(word)?);
            }
        }
        plan.content = content.unwrap_or(if plan.odd { Content::Mixed } else { Content::Text });
        Some(plan)
    }

    fn way(&mut self, word: &str) -> bool {
        match word {
            "cut" => self.breaks = Some(Break::Cut),
            "cut-utf8" => self.breaks = Some(Break::CutInCharacter),
            "eof" => self.breaks = Some(Break::EndOfFile),
            "stall" => self.breaks = Some(Break::Stall),
            "err-stream" => self.breaks = Some(Break::ErrorEvent),
            "err-html" => self.html = true,
            "hang" => self.hang = true,
            "reset" => self.reset = true,
            "odd" => self.odd = true,
            "bytes" => self.bytes = true,
            "ids" => self.ids = true,
            _ => return false,
        }
        true
    }

    /// `-d20-n20-i10`; returns the number of pieces if it is said.
    fn slow(&mut self, rest: &str) -> Option<Option<usize>> {
        let mut pieces = None;
        for part in rest.split('-').skip(1) {
            let number: u64 = part.get(1..)?.parse().ok()?;
            match part.as_bytes().first()? {
                b'd' => self.delay = Duration::from_millis(number),
                b'i' => self.gap = Duration::from_millis(number),
                b'n' => pieces = Some(usize::try_from(number).ok().filter(|n| (1..=MOST_PIECES).contains(n))?),
                _ => return None,
            }
        }
        rest.is_empty().then_some(pieces).or(rest.starts_with('-').then_some(pieces))
    }
}

fn strip(name: &str) -> &str {
    let mut name = name;
    while let Some(rest) = PREFIXES.iter().find_map(|p| name.strip_prefix(p)) {
        name = rest;
    }
    name
}

fn answers(word: &str) -> Option<Content> {
    Some(match word {
        "text" => Content::Text,
        "echo" => Content::Echo,
        "tools1" => Content::Tools(1),
        "tools2" => Content::Tools(2),
        "reason" => Content::Reason,
        "verify-signature" => Content::Verify,
        "schema" => Content::Schema,
        "image" => Content::Image,
        "refuse" => Content::Refuse,
        "length" => Content::Length,
        "stop" => Content::Stop,
        "echo-key" => Content::EchoKey,
        other => Content::Big(other.strip_prefix("big-")?.parse().ok().filter(|n| (1..=MOST_MEGABYTES).contains(n))?),
    })
}

/// `err-429`, `err-429-r2`, `err-500-then-ok`, `err-503-x2-then-ok`.
fn failure(word: &str) -> Option<Failure> {
    let mut rest = word.strip_prefix("err-")?.split('-').peekable();
    let status = rest.next()?.parse().ok().filter(|s| (400..600).contains(s))?;
    let mut failure = Failure { status, retry_after: None, times: None };
    let mut times = 1;
    while let Some(part) = rest.next() {
        match (part.split_at_checked(1)?, rest.peek()) {
            (("t", "hen"), Some(&"ok")) => {
                failure.times = Some(times);
                rest.next();
            }
            (("r", seconds), _) => failure.retry_after = Some(seconds.parse().ok()?),
            (("x", number), _) => times = number.parse().ok()?,
            _ => return None,
        }
    }
    Some(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_is_a_model() {
        for name in LISTED {
            assert!(Plan::of(name).is_some(), "{name}");
        }
        assert_eq!(Plan::of("claude-tools2"), Plan::of("tools2"));
    }

    #[test]
    fn words_are_joined() {
        let plan = Plan::of("tools2+odd+slow-d5-i1").unwrap();
        assert_eq!((plan.content, plan.odd), (Content::Tools(2), true));
        assert_eq!((plan.delay, plan.gap), (Duration::from_millis(5), Duration::from_millis(1)));
        assert_eq!(Plan::of("slow-n7").unwrap().content, Content::Pieces(7));
        let failure = Plan::of("err-503-x2-r1-then-ok").unwrap().failure.unwrap();
        assert_eq!(failure, Failure { status: 503, retry_after: Some(1), times: Some(2) });
    }

    #[test]
    fn other_names_are_no_models() {
        for name in ["", "gpt-4o", "text+echo", "big-0", "big-1000", "err-200", "err-500-then", "slow-x1", "slowly"] {
            assert_eq!(Plan::of(name), None, "{name}");
        }
    }
}
