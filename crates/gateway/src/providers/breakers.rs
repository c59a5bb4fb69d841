//! A circuit breaker for each of a provider's endpoints: one that answers badly does not stop the others.

use super::kind::Operation;
use crate::resilience::{Breaker, BreakerPolicy, BreakerState};
use llm::Format;
use std::time::Instant;

/// The breakers of a provider.
pub(crate) struct Breakers {
    answers: Breaker,
    /// OpenAI has two endpoints for answers.
    responses: Breaker,
    embeddings: Breaker,
    counts: Breaker,
}

impl Breakers {
    pub(super) fn new(policy: BreakerPolicy) -> Self {
        let new = || Breaker::new(policy);
        Self { answers: new(), responses: new(), embeddings: new(), counts: new() }
    }

    /// The one of the endpoint that does `operation` in `format`.
    pub(crate) fn of(&self, operation: Operation, format: Format) -> &Breaker {
        match (operation, format) {
            (Operation::Generate, Format::Responses) => &self.responses,
            (Operation::Generate, Format::Chat | Format::Messages | Format::Gemini | Format::Ollama) => &self.answers,
            (Operation::Embed | Operation::EmbedOne, _) => &self.embeddings,
            (Operation::CountTokens, _) => &self.counts,
        }
    }

    /// Each with its endpoint's name.
    pub(crate) fn states(&self, now: Instant) -> [(&'static str, BreakerState); 4] {
        let all = [
            ("answers", &self.answers),
            ("responses", &self.responses),
            ("embeddings", &self.embeddings),
            ("counts", &self.counts),
        ];
        all.map(|(name, breaker)| (name, breaker.state(now)))
    }
}
