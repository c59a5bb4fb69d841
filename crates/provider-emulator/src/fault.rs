//! A refusal, and how each provider says it.

use crate::{
    delivery::Event,
    provider::Provider,
    shape::{Bad, Step, Wrong},
};
use serde_json::{Value, json};

/// What kind of refusal it is; the providers name these kinds differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Invalid,
    Auth,
    Permission,
    NotFound,
    TooLarge,
    Rate,
    Overloaded,
    Server,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    pub(crate) status: u16,
    pub(crate) kind: Kind,
    pub(crate) message: String,
    /// OpenAI's `code` and `param`.
    pub(crate) code: Option<&'static str>,
    pub(crate) param: Option<String>,
    /// Gemini's violated field.
    pub(crate) violation: Option<Box<(String, String)>>,
    pub(crate) retry_after: Option<u64>,
}

impl Fault {
    pub(crate) fn new(status: u16, kind: Kind, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), code: None, param: None, violation: None, retry_after: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, Kind::Invalid, message)
    }

    pub(crate) fn coded(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    pub(crate) fn about(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// A refusal with nothing but a status.
    pub(crate) fn of_status(status: u16, retry_after: Option<u64>) -> Self {
        let (kind, message) = match status {
            401 => (Kind::Auth, "Incorrect API key provided."),
            403 => (Kind::Permission, "This key may not use this model."),
            404 => (Kind::NotFound, "The resource was not found."),
            413 => (Kind::TooLarge, "The request is too large."),
            429 => (Kind::Rate, "Rate limit reached for requests."),
            503 | 529 => (Kind::Overloaded, "The model is overloaded. Please try again later."),
            500.. => (Kind::Server, "The server had an error while processing your request."),
            _ => (Kind::Invalid, "The request was refused."),
        };
        let code = (status == 429).then_some("rate_limit_exceeded");
        Self { retry_after, code, ..Self::new(status, kind, message) }
    }

    pub(crate) fn no_model(provider: Provider, model: &str) -> Self {
        let message = match provider {
            Provider::OpenAi | Provider::Compatible => {
                format!("The model `{model}` does not exist or you do not have access to it.")
            }
            Provider::Anthropic => format!("model: {model}"),
            Provider::Gemini => format!(
                "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call \
                 ModelService.ListModels to see the list of available models and their supported methods."
            ),
            Provider::Ollama => format!("model '{model}' not found"),
        };
        Self::new(404, Kind::NotFound, message).coded("model_not_found")
    }

    pub(crate) fn no_key(provider: Provider, brought: bool) -> Self {
        let (status, message) = match (provider, brought) {
            (Provider::OpenAi | Provider::Compatible, false) => {
                (401, "You didn't provide an API key. You need to provide your API key in an Authorization header.")
            }
            (Provider::OpenAi | Provider::Compatible, true) => (401, "Incorrect API key provided: wr***ng."),
            (Provider::Anthropic, false) => (401, "x-api-key header is required"),
            (Provider::Anthropic, true) => (401, "invalid x-api-key"),
            (Provider::Gemini, false) => {
                (403, "Method doesn't allow unregistered callers (callers without established identity).")
            }
            (Provider::Gemini, true) => (400, "API key not valid. Please pass a valid API key."),
            (Provider::Ollama, _) => (401, "unauthorized"),
        };
        let kind = if status == 403 { Kind::Permission } else { Kind::Auth };
        Self::new(status, kind, message).coded("invalid_api_key")
    }

    /// A field that this provider refuses.
    pub(crate) fn field(provider: Provider, bad: &Bad) -> Self {
        match provider {
            Provider::OpenAi | Provider::Compatible => openai_field(bad),
            Provider::Anthropic => Self::invalid(format!("{}: {}", bad.dotted(), anthropic_words(&bad.wrong))),
            Provider::Gemini => gemini_field(bad),
            Provider::Ollama => Self::invalid(ollama_words(bad)),
        }
    }

    /// The body in the provider's shape.
    pub(crate) fn body(&self, provider: Provider, request: u64) -> Value {
        match provider {
            Provider::OpenAi | Provider::Compatible => json!({"error": self.openai()}),
            Provider::Anthropic => {
                json!({"type": "error", "error": self.anthropic(), "request_id": request_id(request)})
            }
            Provider::Gemini => json!({"error": self.gemini()}),
            Provider::Ollama => json!({"error": self.message}),
        }
    }

    /// The event that tells of it in the middle of a stream.
    pub(crate) fn event(&self, provider: Provider, responses: bool, sequence: usize) -> Event {
        if responses {
            let data = json!({"type": "error", "code": self.code.unwrap_or("server_error"), "message": self.message,
                "param": self.param, "sequence_number": sequence});
            return Event::named("error", &data);
        }
        match provider {
            Provider::Anthropic => Event::named("error", &json!({"type": "error", "error": self.anthropic()})),
            _ => Event::bare(&self.body(provider, 0)),
        }
    }

    fn openai(&self) -> Value {
        let kind = match self.kind {
            Kind::Rate => "requests",
            Kind::Server | Kind::Overloaded => "server_error",
            Kind::Invalid | Kind::Auth | Kind::Permission | Kind::NotFound | Kind::TooLarge => "invalid_request_error",
        };
        json!({"message": self.message, "type": kind, "param": self.param, "code": self.code})
    }

    fn anthropic(&self) -> Value {
        let kind = match self.kind {
            Kind::Invalid => "invalid_request_error",
            Kind::Auth => "authentication_error",
            Kind::Permission => "permission_error",
            Kind::NotFound => "not_found_error",
            Kind::TooLarge => "request_too_large",
            Kind::Rate => "rate_limit_error",
            Kind::Overloaded => "overloaded_error",
            Kind::Server => "api_error",
        };
        json!({"type": kind, "message": self.message})
    }

    fn gemini(&self) -> Value {
        let status = match self.kind {
            Kind::Invalid | Kind::TooLarge => "INVALID_ARGUMENT",
            Kind::Auth if self.status == 400 => "INVALID_ARGUMENT",
            Kind::Auth => "UNAUTHENTICATED",
            Kind::Permission => "PERMISSION_DENIED",
            Kind::NotFound => "NOT_FOUND",
            Kind::Rate => "RESOURCE_EXHAUSTED",
            Kind::Overloaded => "UNAVAILABLE",
            Kind::Server => "INTERNAL",
        };
        let mut error = json!({"code": self.status, "message": self.message, "status": status});
        let mut details = Vec::new();
        if let Some((field, description)) = self.violation.as_deref() {
            details.push(json!({"@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": field, "description": description}]}));
        }
        if self.kind == Kind::Auth {
            details.push(json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
                "domain": "googleapis.com", "metadata": {"service": "generativelanguage.googleapis.com"}}));
        }
        if let Some(seconds) = self.retry_after {
            details.push(
                json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")}),
            );
        }
        if !details.is_empty() {
            error["details"] = Value::Array(details);
        }
        error
    }
}

/// The id under which a provider knows a request.
pub(crate) fn request_id(request: u64) -> String {
    format!("req_{request:024x}")
}

fn openai_field(bad: &Bad) -> Fault {
    let name = bad.bracketed();
    let nested = bad.path.len() > 1;
    let (message, code) = match &bad.wrong {
        Wrong::Unknown if nested => (format!("Unknown parameter: '{name}'."), Some("unknown_parameter")),
        Wrong::Unknown => (format!("Unrecognized request argument supplied: {name}"), None),
        Wrong::Missing => (format!("Missing required parameter: '{name}'."), Some("missing_required_parameter")),
        Wrong::Type(kind) => (
            format!("Invalid type for '{name}': expected {kind}, but got something else instead."),
            Some("invalid_type"),
        ),
        Wrong::Value(sentence) => (sentence.clone(), Some("invalid_value")),
    };
    let param = (nested || code.is_some()).then_some(name);
    Fault { code, param, ..Fault::invalid(message) }
}

fn anthropic_words(wrong: &Wrong) -> String {
    match wrong {
        Wrong::Unknown => "Extra inputs are not permitted".to_owned(),
        Wrong::Missing => "Field required".to_owned(),
        Wrong::Type("a string") => "Input should be a valid string".to_owned(),
        Wrong::Type("an integer") => "Input should be a valid integer".to_owned(),
        Wrong::Type("an array") => "Input should be a valid list".to_owned(),
        Wrong::Type("an object") => "Input should be a valid dictionary".to_owned(),
        Wrong::Type(kind) => format!("Input should be {kind}"),
        Wrong::Value(sentence) => sentence.clone(),
    }
}

fn gemini_field(bad: &Bad) -> Fault {
    let place = |bad: &Bad| {
        let steps = bad.path.iter().map(|step| match step {
            Step::Key(key) => Step::Key(snake(key)),
            Step::Index(i) => Step::Index(*i),
        });
        Bad { path: steps.collect(), wrong: bad.wrong.clone() }.bracketed()
    };
    let (field, message) = match &bad.wrong {
        Wrong::Unknown => {
            let parent = place(&bad.parent());
            let at = if parent.is_empty() { String::new() } else { format!(" at '{parent}'") };
            (parent, format!("Invalid JSON payload received. Unknown name \"{}\"{at}: Cannot find field.", bad.field()))
        }
        Wrong::Missing => (place(bad), format!("* GenerateContentRequest.{0}: {0} is not specified", place(bad))),
        Wrong::Type(kind) => (place(bad), format!("Invalid value at '{}', expected {kind}", place(bad))),
        Wrong::Value(sentence) => (place(bad), sentence.clone()),
    };
    Fault { violation: Some(Box::new((field, message.clone()))), ..Fault::invalid(message) }
}

fn ollama_words(bad: &Bad) -> String {
    match &bad.wrong {
        Wrong::Unknown | Wrong::Missing => format!("{} is required", bad.field()),
        Wrong::Type(kind) => {
            let keys: Vec<_> = bad.path.iter().filter(|s| matches!(s, Step::Key(_))).cloned().collect();
            let name = Bad { path: keys, wrong: Wrong::Missing }.dotted();
            format!("json: cannot unmarshal into Go struct field ChatRequest.{name}: expected {kind}")
        }
        Wrong::Value(sentence) => sentence.clone(),
    }
}

/// `generationConfig` as `generation_config`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
