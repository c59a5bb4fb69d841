//! Thinking: the blocks of an answer, and how a request asks for it.
//!
//! Models before Claude 4.6 think by a budget in tokens; later ones decide themselves, guided by an effort, and the
//! newest refuse a budget. A name that tells no version is taken for an older model.

use crate::{
    Format, Losses,
    ir::{Effort, Reasoning, ReasoningConfig, Seal},
    write,
};

/// The smallest budget that Anthropic takes.
const MIN_BUDGET: u64 = 1024;
/// The first version that thinks by effort.
const ADAPTIVE_SINCE: (u32, u32) = (4, 6);
/// The first version with the effort between high and max.
const XHIGH_SINCE: (u32, u32) = (4, 7);
/// What is left for the answer where the client names a budget and no limit.
const ANSWER_TOKENS: u64 = 8192;

/// A block for a client. Without a signature it has an empty one, as a field that the shape requires.
pub(super) fn render(reasoning: &Reasoning, out: &mut write::Array<'_>) {
    let Reasoning { texts, id: _, seal, redacted } = reasoning;
    let data = seal.as_ref().map(|s| s.text_for(Format::Messages)).unwrap_or_default();
    let mut block = out.object();
    if *redacted {
        block.put("type", "redacted_thinking");
        block.put("data", &data);
    } else {
        block.put("type", "thinking");
        block.put("thinking", &texts.join("\n\n"));
        block.put("signature", &data);
    }
}

/// The signature of a block that Anthropic can be given back; none if another provider or nobody signed it.
pub(super) fn signature(reasoning: &Reasoning) -> Option<&Seal> {
    reasoning.seal.as_ref().filter(|s| s.origin == Format::Messages)
}

/// How a request asks for thinking.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    mode: Option<Mode>,
    display: Option<&'static str>,
    /// The effort, which stands outside the thinking.
    pub(super) effort: Option<&'static str>,
    /// The most tokens of the answer, if anything says so.
    pub(super) max_tokens: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Disabled,
    Adaptive,
    Budget(u64),
}

impl Plan {
    /// The plan for a model.
    pub(super) fn of(config: Option<&ReasoningConfig>, max: Option<u64>, model: &str, losses: &mut Losses) -> Self {
        let mut plan = Self { max_tokens: max, ..Self::default() };
        let Some(config) = config else { return plan };
        let version = version(model);
        let is_adaptive = version.is_some_and(|v| v >= ADAPTIVE_SINCE);
        if config.is_off() {
            plan.mode = Some(Mode::Disabled);
            // An effort guides the answer too, also of a model that does not think.
            plan.effort = config.effort.filter(|e| is_adaptive && *e != Effort::None).map(|e| word(e, version));
            return plan;
        }
        let asked = config.enabled == Some(true) || config.effort.is_some() || config.budget_tokens.is_some();
        if asked && is_adaptive {
            plan.mode = Some(Mode::Adaptive);
            plan.effort = config.effort().map(|e| word(e, version));
            losses.add_if(config.budget_tokens.is_some(), "reasoning budget", "this model thinks by effort");
            plan.display = match (config.visible, &config.summary) {
                (Some(false), _) => Some("omitted"),
                (Some(true), _) | (None, Some(_)) => Some("summarized"),
                (None, None) => None,
            };
        } else if asked {
            plan.by_budget(config.budget().unwrap_or(ANSWER_TOKENS), losses);
        }
        losses.add_if(
            config.summary.as_deref().is_some_and(|s| s != "auto"),
            "reasoning.summary",
            "Anthropic's summaries come in one length",
        );
        plan
    }

    /// A budget below the limit of the answer, of which it is a part.
    fn by_budget(&mut self, asked: u64, losses: &mut Losses) {
        let budget = asked.max(MIN_BUDGET);
        match self.max_tokens {
            None => {
                self.max_tokens = Some(budget.saturating_add(ANSWER_TOKENS));
                self.mode = Some(Mode::Budget(budget));
            }
            Some(max) if budget < max => self.mode = Some(Mode::Budget(budget)),
            Some(max) if max > MIN_BUDGET => {
                // Half is left for the answer itself.
                let budget = (max / 2).max(MIN_BUDGET);
                losses.add("reasoning", format!("{budget} tokens of thinking fit below the limit of {max}"));
                self.mode = Some(Mode::Budget(budget));
            }
            Some(max) => {
                losses.add(
                    "reasoning",
                    format!("no thinking fits below the limit of {max} tokens; Anthropic needs 1024"),
                );
            }
        }
    }

    /// Gives thinking up where Anthropic refuses it: with a call that is forced, and, by a budget, within a turn whose
    /// calls have none before them.
    pub(super) fn fit(&mut self, is_forced: bool, has_unsigned_calls: bool, losses: &mut Losses) {
        let why = match self.mode {
            Some(Mode::Adaptive | Mode::Budget(_)) if is_forced => {
                "Anthropic's models do not think where a call of a tool is forced"
            }
            Some(Mode::Budget(_)) if has_unsigned_calls => {
                "the calls of this turn have no thinking of Anthropic's before them, and without it goes none behind"
            }
            _ => return,
        };
        losses.add("reasoning", why);
        (self.mode, self.display) = (None, None);
    }

    /// Whether the model is asked to think.
    pub(super) fn is_on(&self) -> bool {
        matches!(self.mode, Some(Mode::Adaptive | Mode::Budget(_)))
    }

    /// Puts it into a request.
    pub(super) fn put(&self, top: &mut write::Object<'_>) {
        let Some(mode) = &self.mode else { return };
        let mut thinking = top.object("thinking");
        match mode {
            Mode::Disabled => thinking.put("type", "disabled"),
            Mode::Adaptive => thinking.put("type", "adaptive"),
            Mode::Budget(tokens) => {
                thinking.put("type", "enabled");
                thinking.put("budget_tokens", tokens);
            }
        }
        thinking.some("display", &self.display);
    }
}

fn word(effort: Effort, version: Option<(u32, u32)>) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh if version.is_some_and(|v| v >= XHIGH_SINCE) => "xhigh",
        Effort::Xhigh | Effort::Max => "max",
    }
}

/// The version in a name such as `claude-sonnet-4-6`, `claude-3-7-sonnet-20250219` or `claude-opus-5`: the first
/// number of one or two digits, and the next if it follows at once.
fn version(model: &str) -> Option<(u32, u32)> {
    let model = model.rsplit('/').next().unwrap_or(model);
    let words: Vec<&str> = model.strip_prefix("claude")?.split(['-', '.', '@', ':']).collect();
    let number = |at: usize| words.get(at).filter(|w| (1..=2).contains(&w.len())).and_then(|w| w.parse().ok());
    let at = (0..words.len()).find(|at| number(*at).is_some())?;
    Some((number(at)?, number(at + 1).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_names() {
        for (name, expected) in [
            ("claude-sonnet-4-5-20250929", Some((4, 5))),
            ("claude-opus-4-6", Some((4, 6))),
            ("claude-opus-5-5", Some((5, 5))),
            ("claude-opus-5", Some((5, 0))),
            ("claude-3-7-sonnet-20250219", Some((3, 7))),
            ("claude-3-opus-latest", Some((3, 0))),
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("m", None),
        ] {
            assert_eq!(version(name), expected, "{name}");
        }
    }

    #[test]
    fn a_budget_stays_below_the_limit() {
        let config = |budget| ReasoningConfig { budget_tokens: Some(budget), ..ReasoningConfig::default() };
        let plan = |budget, max| Plan::of(Some(&config(budget)), max, "claude-sonnet-4-5", &mut Losses::default());
        assert_eq!(plan(500, None).mode, Some(Mode::Budget(1024)));
        assert_eq!(plan(2000, None).max_tokens, Some(2000 + ANSWER_TOKENS));
        assert_eq!(plan(2000, Some(4000)).mode, Some(Mode::Budget(2000)));
        assert_eq!(plan(9000, Some(4000)).mode, Some(Mode::Budget(2000)));
        assert_eq!(plan(9000, Some(1025)).mode, Some(Mode::Budget(1024)));
        assert_eq!(plan(9000, Some(1000)).mode, None);
        assert_eq!(plan(0, Some(1000)).mode, Some(Mode::Disabled));
    }

    #[test]
    fn thinking_gives_way_where_it_is_refused() {
        let config = ReasoningConfig { effort: Some(Effort::High), ..ReasoningConfig::default() };
        let fitted = |model, is_forced, has_unsigned_calls| {
            let mut losses = Losses::default();
            let mut plan = Plan::of(Some(&config), None, model, &mut losses);
            plan.fit(is_forced, has_unsigned_calls, &mut losses);
            (plan.is_on(), losses.into_vec().len())
        };
        assert_eq!(fitted("claude-sonnet-4-5", false, false), (true, 0));
        assert_eq!(fitted("claude-sonnet-4-5", true, false), (false, 1));
        assert_eq!(fitted("claude-sonnet-4-5", false, true), (false, 1));
        assert_eq!(fitted("claude-opus-5-5", true, false), (false, 1));
        assert_eq!(fitted("claude-opus-5-5", false, true), (true, 0), "later models need none before calls");
    }

    #[test]
    fn later_models_think_by_effort() {
        let config = ReasoningConfig { effort: Some(Effort::Xhigh), ..ReasoningConfig::default() };
        let plan = |model| Plan::of(Some(&config), None, model, &mut Losses::default());
        assert_eq!((plan("claude-opus-4-6").mode, plan("claude-opus-4-6").effort), (Some(Mode::Adaptive), Some("max")));
        assert_eq!(plan("claude-opus-5-5").effort, Some("xhigh"));
        assert_eq!(plan("claude-opus-4-5").mode, Some(Mode::Budget(32_768)));
    }
}
