//! One row of the table, and what a call costs by it.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Prices are per this many tokens.
const PER: u128 = 1_000_000;
/// The highest price that is taken for one: a million dollars per million tokens.
const MAX_PRICE: u64 = 1_000_000_000_000;
/// Names under which providers serve at the list price.
const LIST_PRICE_TIERS: [&str; 5] = ["", "default", "auto", "standard", "standard_only"];

/// Micro-dollars per million tokens, from a length of the request on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// They hold, for the whole call, when its request has more tokens than this.
    #[serde(default)]
    pub above_input_tokens: u64,
    /// Tokens of the request.
    pub input: u64,
    /// Tokens of the answer, reasoning included.
    pub output: u64,
    /// Tokens of the request that came from a cache; none: no discount is published, the input price.
    #[serde(default)]
    pub cached_input: Option<u64>,
    /// Tokens of the request written into a cache; none: no surcharge is published, the input price.
    #[serde(default)]
    pub cache_write: Option<u64>,
    /// The same for a cache that lives an hour; none: the price of a cache write.
    #[serde(default)]
    pub cache_write_1h: Option<u64>,
}

/// The tokens of a call, as the provider counted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenUse {
    /// Of the request, cached and cache-written ones included.
    pub input: u64,
    /// Of the request, read from a cache.
    pub cached_input: u64,
    /// Of the request, written into a cache (an hour's included).
    pub cache_write: u64,
    /// Of those written, into a cache that lives an hour.
    pub cache_write_1h: u64,
    /// Of the answer, reasoning included.
    pub output: u64,
}

/// The price of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    id: String,
    /// By length of the request, shortest first; never empty.
    steps: Vec<Rates>,
    service_tiers: BTreeMap<String, Vec<Rates>>,
    max_output_tokens: Option<u64>,
}

impl Rates {
    fn all(&self) -> impl Iterator<Item = u64> {
        self.inputs().chain([self.output])
    }

    fn inputs(&self) -> impl Iterator<Item = u64> {
        [Some(self.input), self.cached_input, self.cache_write, self.cache_write_1h].into_iter().flatten()
    }
}

impl Price {
    /// The table's version and the row, as it goes into a record: `2026-10-21/openai/gpt-4o`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The longest answer that the provider publishes for the model.
    pub const fn max_output_tokens(&self) -> Option<u64> {
        self.max_output_tokens
    }

    /// What a call cost, in micro-dollars, rounded up. None: the service tier that served it has no known price.
    pub fn cost(&self, used: &TokenUse, service_tier: Option<&str>) -> Option<u64> {
        let steps = self.tier(service_tier)?;
        let r = steps.iter().rev().find(|r| used.input > r.above_input_tokens).or(steps.first())?;
        let hour = used.cache_write_1h.min(used.cache_write);
        let write_rate = r.cache_write.unwrap_or(r.input);
        let parts = [
            (used.input.saturating_sub(used.cached_input).saturating_sub(used.cache_write), r.input),
            (used.cached_input, r.cached_input.unwrap_or(r.input)),
            (used.cache_write - hour, write_rate),
            (hour, r.cache_write_1h.unwrap_or(write_rate)),
            (used.output, r.output),
        ];
        Some(micro(parts.iter().map(|(tokens, rate)| u128::from(*tokens) * u128::from(*rate)).sum()))
    }

    /// At most this much for a call of so many tokens, whatever is cached: the figure to reserve before the provider
    /// has counted. The request's length is an estimate, so a step that starts below twice of it counts as reached.
    pub fn at_most(&self, input: u64, output: u64, service_tier: Option<&str>) -> Option<u64> {
        let (input_rate, output_rate) = self.dearest(input, service_tier)?;
        Some(micro(u128::from(input) * u128::from(input_rate) + u128::from(output) * u128::from(output_rate)))
    }

    /// The highest rates (request, answer) that a request of about this length can meet.
    pub(crate) fn dearest(&self, input: u64, service_tier: Option<&str>) -> Option<(u64, u64)> {
        let reached = |r: &&Rates| r.above_input_tokens == 0 || r.above_input_tokens < input.saturating_mul(2);
        let steps = || self.tier(service_tier).into_iter().flatten().filter(reached);
        Some((steps().flat_map(Rates::inputs).max()?, steps().map(|r| r.output).max()?))
    }

    fn tier(&self, name: Option<&str>) -> Option<&Vec<Rates>> {
        let name = name.unwrap_or_default();
        if LIST_PRICE_TIERS.contains(&name) { Some(&self.steps) } else { self.service_tiers.get(name) }
    }
}

/// Rounds up to whole micro-dollars.
fn micro(product: u128) -> u64 {
    u64::try_from(product.div_ceil(PER)).unwrap_or(u64::MAX)
}

/// A row as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    #[serde(default)]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) provider: Option<String>,
    pub(super) models: Vec<String>,
    /// Empty: stated to be unknown, against a less specific row that has a price.
    prices: Vec<Rates>,
    #[serde(default)]
    service_tiers: BTreeMap<String, Vec<Rates>>,
    #[serde(default)]
    max_output_tokens: Option<u64>,
}

impl Row {
    /// The price of one of its models; none: stated to be unknown.
    pub(super) fn price(&self, id: &str) -> Result<Option<Price>, &'static str> {
        if self.prices.is_empty() && self.service_tiers.is_empty() {
            return Ok(None);
        }
        for steps in std::iter::once(&self.prices).chain(self.service_tiers.values()) {
            if steps.first().is_none_or(|r| r.above_input_tokens > 0) {
                return Err("its first price has no `above_input_tokens`, and each service tier has one");
            }
            if !steps.is_sorted_by(|a, b| a.above_input_tokens < b.above_input_tokens) {
                return Err("its prices are not in order of `above_input_tokens`");
            }
            if steps.iter().flat_map(Rates::all).any(|rate| rate > MAX_PRICE) {
                return Err("a price is above a million dollars; the unit is micro-dollars per million tokens");
            }
        }
        Ok(Some(Price {
            id: id.to_owned(),
            steps: self.prices.clone(),
            service_tiers: self.service_tiers.clone(),
            max_output_tokens: self.max_output_tokens,
        }))
    }
}
