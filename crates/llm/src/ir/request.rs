//! A request to a model.

use super::{Content, Json, Message, Opaque};
use serde_json::Number;

/// A request to a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// The model as the source names it; a renderer is told the name to use.
    pub model: String,
    /// The conversation, system and developer messages included.
    pub messages: Vec<Message>,
    /// Tools on offer.
    pub tools: Vec<Tool>,
    /// Which tool the model is to use.
    pub tool_choice: Option<ToolChoice>,
    /// Whether the model may call several tools at once.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    pub response_format: Option<ResponseFormat>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The most tokens of the answer, reasoning included.
    pub max_output_tokens: Option<u64>,
    /// How many answers.
    pub n: Option<u64>,
    /// Probabilities of the tokens of the answer.
    pub logprobs: Option<Logprobs>,
    /// How the model is to reason.
    pub reasoning: Option<ReasoningConfig>,
    /// How much the model is to say (`low`, `medium`, `high`).
    pub verbosity: Option<String>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether a streamed answer is to end with token counts; formats that always do so set it.
    pub include_usage: bool,
    /// For whom the call is made.
    pub identity: Identity,
    /// Hints to the provider's prompt cache that belong to the whole request.
    pub cache: CacheHint,
    /// The provider's class of service.
    pub service_tier: Option<String>,
    /// Whether the provider is to keep the answer.
    pub store: Option<bool>,
}

impl Request {
    /// The name of the tool that a call named.
    pub fn tool_of(&self, call_id: &str) -> Option<&str> {
        let parts = self.messages.iter().rev().flat_map(|m| &m.parts);
        parts
            .filter_map(|p| match &p.content {
                Content::ToolCall(c) if c.id == call_id => Some(c.name.as_str()),
                _ => None,
            })
            .next()
    }
}

/// A tool on offer.
#[derive(Debug, Clone, PartialEq)]
pub enum Tool {
    /// A function with arguments by a JSON schema.
    Function(Function),
    /// A tool that takes free text (OpenAI).
    Custom {
        /// Its name.
        name: String,
        /// What it does.
        description: Option<String>,
        /// The form of its input, such as a grammar.
        format: Option<Json>,
    },
    /// A tool that runs at its provider; other formats refuse it.
    Opaque(Opaque),
}

/// A function.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON schema of its arguments.
    pub parameters: Option<Json>,
    /// Whether arguments are forced to follow the schema.
    pub strict: Option<bool>,
    /// The prompt up to and with this tool is to be cached.
    pub cache: Option<super::CacheMark>,
}

/// Which tool the model is to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named {
        /// The tool.
        name: String,
        /// It is a custom tool.
        custom: bool,
    },
    /// One of these (OpenAI's `allowed_tools`, Gemini's `allowedFunctionNames`).
    Allowed {
        /// At least one of them.
        required: bool,
        /// The functions.
        names: Vec<String>,
    },
}

/// The form of the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ResponseFormat {
    /// Text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON by a schema.
    JsonSchema {
        /// A name; formats without one get `response` when they are parsed.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Json,
        /// Whether the answer is forced to follow the schema.
        strict: Option<bool>,
    },
}

/// How tokens are drawn. Numbers are kept as they were written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling {
    /// Temperature.
    pub temperature: Option<Number>,
    /// Nucleus.
    pub top_p: Option<Number>,
    /// The most likely k.
    pub top_k: Option<u64>,
    /// Against what was said often.
    pub frequency_penalty: Option<Number>,
    /// Against what was said.
    pub presence_penalty: Option<Number>,
    /// Seed.
    pub seed: Option<i64>,
    /// By token of the model's own vocabulary.
    pub logit_bias: Option<Json>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
}

/// Probabilities of the tokens of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logprobs {
    /// How many alternatives of each token.
    pub top: Option<u64>,
}

/// How the model is to reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReasoningConfig {
    /// Whether it is to reason at all; none: as its effort or budget says, or as the model likes.
    pub enabled: Option<bool>,
    /// In words.
    pub effort: Option<Effort>,
    /// In tokens.
    pub budget_tokens: Option<u64>,
    /// How the reasoning is shown, in OpenAI's words (`auto`, `concise`, `detailed`).
    pub summary: Option<String>,
    /// Whether the reasoning is shown; none: as the format does by default.
    pub visible: Option<bool>,
}

impl ReasoningConfig {
    /// Whether reasoning is switched off.
    pub fn is_off(&self) -> bool {
        self.enabled == Some(false) || self.effort == Some(Effort::None) || self.budget_tokens == Some(0)
    }

    /// The effort, also where the source gave a budget.
    pub fn effort(&self) -> Option<Effort> {
        self.effort.or_else(|| {
            Some(match self.budget_tokens? {
                0 => Effort::None,
                1..=2048 => Effort::Low,
                2049..=8192 => Effort::Medium,
                _ => Effort::High,
            })
        })
    }

    /// The budget in tokens, also where the source gave an effort.
    pub fn budget(&self) -> Option<u64> {
        self.budget_tokens.or_else(|| {
            Some(match self.effort? {
                Effort::None => 0,
                Effort::Minimal => 1024,
                Effort::Low => 2048,
                Effort::Medium => 8192,
                Effort::High => 16_384,
                Effort::Xhigh | Effort::Max => 32_768,
            })
        })
    }
}

/// How much the model is to reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// Hardly.
    Minimal,
    /// A little.
    Low,
    /// As usual.
    Medium,
    /// Much.
    High,
    /// More.
    Xhigh,
    /// All it can.
    Max,
}

impl Effort {
    /// Every effort.
    pub const ALL: [Self; 7] = [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::Xhigh, Self::Max];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// The effort of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.as_str() == word)
    }
}

/// For whom the call is made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Identity {
    /// The end user.
    pub user: Option<String>,
    /// The end user for abuse detection (OpenAI).
    pub safety_identifier: Option<String>,
    /// Labels on the call.
    pub metadata: Option<Json>,
}

/// Hints to the provider's prompt cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheHint {
    /// Calls with the same key share a cache (OpenAI).
    pub key: Option<String>,
    /// How long (OpenAI).
    pub retention: Option<String>,
    /// Name of a cache made before (Gemini's `cachedContent`).
    pub content: Option<String>,
}
