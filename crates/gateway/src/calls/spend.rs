//! What a call may spend: reserved before it leaves, settled when it has ended.

use super::{
    begin::View,
    failure::Failure,
    ingress::Ingress,
    who::{Identity, Who},
};
use crate::{
    budget::{Account, Actual, Estimate, OutputBound, Refused, Reservation, estimate_tokens},
    prices::{Price, PriceTable, TokenUse},
    providers::{Operation, ProviderKind, Route, Target},
};
use domain::budget::Budget;
use llm::Usage;
use serde::Deserialize;
use std::sync::Arc;
use store::StoreError;

/// The account on which a call is put; none: nobody counts it.
pub(super) async fn account(who: &Who) -> Result<Option<Arc<Account>>, StoreError> {
    match who {
        Who::Sandbox(sandbox) => sandbox.account().await.map(|a| Some(Arc::clone(a))),
        Who::Caller(caller) => match &caller.identity {
            Identity::Key(key) => caller.shared.key_account(key.id).await.map(Some),
            Identity::Token(_) | Identity::Unknown => Ok(None),
        },
    }
}

/// Reserves what the call may use on the dearest of its targets. Targets without a price are left out where the budget
/// limits money.
pub(super) fn reserve(
    account: &Arc<Account>,
    budget: &Budget,
    prices: Option<&PriceTable>,
    route: &mut Route,
    ask: (Ingress, &View, &[u8]),
) -> Result<Reservation, Refused> {
    let (ingress, view, body) = ask;
    let price_of = |t: &Target| prices.and_then(|p| price(p, t));
    if budget.micro_usd.is_some() && route.targets.iter().any(|t| price_of(t).is_some()) {
        route.targets.retain(|t| price_of(t).is_some());
    }
    let output = match (ingress.operation(), view.max_output) {
        (Operation::CountTokens | Operation::Embed | Operation::EmbedOne, _) => OutputBound::Nothing,
        (Operation::Generate, Some(tokens)) => OutputBound::Asked(tokens),
        (Operation::Generate, None) => OutputBound::Open,
    };
    let input_tokens = estimate_tokens(body);
    let priced = route.targets.iter().filter_map(|t| Some((price_of(t)?, tier(view, t))));
    let most = |(p, tier): &(&Price, Option<&str>)| p.at_most(input_tokens, view.max_output.unwrap_or(1), *tier);
    let (price, service_tier) = priced.max_by_key(most).map_or((None, None), |(p, tier)| (Some(p), tier));
    let estimate = Estimate { input_tokens, output, price, service_tier };
    account.reserve(budget, &estimate, store::now().as_millisecond())
}

/// The service tier as the provider will read it: only some have tiers by the call.
fn tier<'a>(view: &'a View, target: &Target) -> Option<&'a str> {
    match target.provider.kind {
        ProviderKind::Openai | ProviderKind::OpenaiCompatible | ProviderKind::Gemini => view.service_tier.as_deref(),
        ProviderKind::Anthropic | ProviderKind::Ollama => None,
    }
}

/// The service tier that a request asks for.
pub(super) fn service_tier(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Tier {
        service_tier: Option<String>,
    }
    memchr::memmem::find(body, b"\"service_tier\"")?;
    serde_json::from_slice::<Tier>(body).ok()?.service_tier
}

/// The price of a target's model.
pub(super) fn price<'a>(prices: &'a PriceTable, target: &Target) -> Option<&'a Price> {
    prices.price(target.provider.kind.as_str(), &target.provider.name, &target.model)
}

/// What a call cost, with the row of the table that says so.
pub(super) fn cost(
    prices: Option<&PriceTable>,
    (view, target): (&View, &Target),
    usage: &Usage,
) -> Option<(u64, String)> {
    let price = price(prices?, target)?;
    let used = TokenUse {
        input: usage.prompt?,
        cached_input: usage.cached.unwrap_or(0),
        cache_write: usage.cache_write.unwrap_or(0),
        output: usage.completion.unwrap_or(0),
        ..TokenUse::default()
    };
    Some((price.cost(&used, tier(view, target))?, price.id().to_owned()))
}

/// What is put on the account for a call.
pub(super) fn actual(failure: Option<&Failure>, http_ok: Option<bool>, usage: &Usage, cost: Option<u64>) -> Actual {
    let never_sent = failure.is_some_and(Failure::was_never_sent);
    if usage.is_unknown() && (never_sent || http_ok == Some(false)) {
        return Actual::NOTHING;
    }
    let tokens = usage.prompt.map(|p| p.saturating_add(usage.completion.unwrap_or(0)));
    // Of an answer that was cut, what the provider counted so far is not what it will bill.
    match failure {
        Some(f) if !f.is_whole() && usage.completion.is_none() => Actual::default(),
        _ => Actual { tokens, micro_usd: cost },
    }
}

/// A request with a limit of its answer, where it has none.
pub(super) fn with_limit(ingress: Ingress, body: &[u8], tokens: u64) -> Option<Vec<u8>> {
    let field = match ingress {
        Ingress::Chat => "max_completion_tokens",
        Ingress::Responses => "max_output_tokens",
        Ingress::Messages => "max_tokens",
        // Where the limit stands one level down, the reservation has to do.
        Ingress::Gemini | Ingress::CountTokens | Ingress::Embeddings => return None,
    };
    let at = body.iter().position(|b| *b == b'{')? + 1;
    let head = format!("\"{field}\":{tokens},");
    Some([&body[..at], head.as_bytes(), &body[at..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_tier_is_read_where_it_stands() {
        assert_eq!(service_tier(br#"{"model":"m","service_tier":"priority"}"#).as_deref(), Some("priority"));
        assert_eq!(service_tier(br#"{"messages":[{"content":"\"service_tier\""}]}"#), None);
        assert_eq!(service_tier(br#"{"metadata":{"service_tier":"flex"}}"#), None);
        assert_eq!(service_tier(br#"{"model":"m"}"#), None);
    }

    #[test]
    fn a_limit_is_put_in_front_and_the_rest_stays() {
        let out = with_limit(Ingress::Chat, b" {\"model\":\"m\", \"x\":1}", 7).unwrap();
        assert_eq!(out, b" {\"max_completion_tokens\":7,\"model\":\"m\", \"x\":1}");
        assert!(with_limit(Ingress::Embeddings, b"{}", 7).is_none());
    }
}
