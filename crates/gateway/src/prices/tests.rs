//! The bundled table, the user's own rows, and sums.

use super::*;
use proptest::prelude::*;

fn own(rows: &str) -> Result<PriceTable, PricesError> {
    PriceTable::bundled().unwrap().with_own(&format!("{{\"rows\": [{rows}]}}"))
}

#[test]
fn the_bundled_table_is_whole_and_names_its_sources() {
    let table = PriceTable::bundled().unwrap();
    let date: jiff::civil::Date = table.version().parse().unwrap();
    assert!(date.year() >= 2026);
    let kinds: Vec<_> = table.sources().map(|(kind, page)| (kind, page.starts_with("https://"))).collect();
    for kind in ["anthropic", "gemini", "ollama", "openai"] {
        assert!(kinds.contains(&(kind, true)), "{kind} has a price page");
    }
    for (kind, model) in [("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-5"), ("gemini", "gemini-2.5-pro")] {
        assert!(table.price(kind, kind, model).is_some(), "{kind}/{model}");
    }
}

#[test]
fn costs_are_those_of_the_price_pages() {
    let table = PriceTable::bundled().unwrap();
    let cost = |kind, model, used: TokenUse, tier| table.price(kind, kind, model).unwrap().cost(&used, tier);
    let used = |input, cached_input, cache_write, output| TokenUse {
        input,
        cached_input,
        cache_write,
        output,
        ..TokenUse::default()
    };
    // 2.50 and 10 dollars per million, cached 1.25.
    assert_eq!(cost("openai", "gpt-4o", used(1_000_000, 0, 0, 0), None), Some(2_500_000));
    assert_eq!(cost("openai", "gpt-4o", used(1_000, 1_000, 0, 100), Some("default")), Some(1_250 + 1_000));
    // 3 and 15 dollars, cache read 0.30, write 3.75, an hour's write 6.
    let mut anthropic = used(10_000, 8_000, 1_000, 10);
    assert_eq!(cost("anthropic", "claude-sonnet-4-5", anthropic, None), Some(3_000 + 2_400 + 3_750 + 150));
    anthropic.cache_write_1h = 1_000;
    assert_eq!(cost("anthropic", "claude-sonnet-4-5", anthropic, None), Some(3_000 + 2_400 + 6_000 + 150));
    // Twice as much for the whole call above 200,000 tokens.
    assert_eq!(cost("gemini", "gemini-2.5-pro", used(200_000, 0, 0, 0), None), Some(250_000));
    assert_eq!(cost("gemini", "models/gemini-2.5-pro", used(200_001, 0, 0, 0), None), Some(500_003));
    // One token of a cheap model still costs the smallest unit.
    assert_eq!(cost("openai", "gpt-4o-mini", used(1, 0, 0, 0), None), Some(1));
    // A service tier with its own price, and one without.
    assert_eq!(cost("openai", "gpt-4o", used(1_000_000, 0, 0, 0), Some("priority")), Some(4_250_000));
    assert_eq!(cost("openai", "gpt-4o", used(1, 0, 0, 0), Some("scale")), None);
}

#[test]
fn unknown_is_unknown() {
    let table = PriceTable::bundled().unwrap();
    for (kind, model) in
        [("openai", "gpt-4o-2031-01-01"), ("openai", "gpt"), ("openai-compatible", "gpt-4o"), ("ollama", "big-cloud")]
    {
        assert!(table.price(kind, kind, model).is_none(), "{kind}/{model}");
    }
    let local = table.price("ollama", "ollama", "qwen3:8b").unwrap();
    assert_eq!(local.cost(&TokenUse { input: 9_999, output: 9_999, ..TokenUse::default() }, None), Some(0));
}

#[test]
fn own_rows_go_first_and_change_the_version() {
    let table = own(r#"{"kind": "openai", "models": ["gpt-4o"], "prices": [{"input": 1000000, "output": 2000000}]},
        {"provider": "deepseek", "models": ["deepseek-*"], "prices": [{"input": 270000, "output": 1100000}]},
        {"provider": "deepseek", "models": ["deepseek-free"], "prices": []}"#)
    .unwrap();
    let input = TokenUse { input: 1_000_000, ..TokenUse::default() };
    let of = |kind, provider, model| table.price(kind, provider, model).and_then(|p| p.cost(&input, None));
    assert_eq!(of("openai", "openai", "gpt-4o"), Some(1_000_000));
    assert_eq!(of("openai", "openai", "gpt-4o-mini"), Some(150_000), "the others stay");
    assert_eq!(of("openai-compatible", "deepseek", "deepseek-chat"), Some(270_000));
    assert_eq!(of("openai-compatible", "deepseek", "deepseek-free"), None);
    assert_eq!(of("openai-compatible", "other", "deepseek-chat"), None);
    let bundled = PriceTable::bundled().unwrap();
    assert!(table.version().starts_with(&format!("{}+own-", bundled.version())));
    let id = table.price("openai", "openai", "gpt-4o").unwrap().id();
    assert!(id.starts_with("own-") && id.ends_with("/openai/gpt-4o"), "{id}");
}

#[test]
fn rows_that_make_no_sense_are_refused_with_the_reason() {
    let price = r#""prices": [{"input": 1, "output": 1}]"#;
    for (row, why) in [
        (format!(r#"{{"models": ["a"], {price}}}"#), "either a kind or a provider"),
        (format!(r#"{{"kind": "openai", "models": [], {price}}}"#), "no model"),
        (format!(r#"{{"kind": "openai", "models": ["a", "a"], {price}}}"#), "two rows"),
        (format!(r#"{{"kind": "openai", "models": ["*a*"], {price}}}"#), "one `*`"),
        (r#"{"kind": "openai", "models": ["a"], "prices": [{"input": 1, "output": 9000000000000}]}"#.into(), "unit"),
        (
            r#"{"kind": "openai", "models": ["a"], "prices": [{"above_input_tokens": 5, "input": 1, "output": 1}]}"#
                .into(),
            "first price",
        ),
        (r#"{"kind": "openai", "models": ["a"], "prices": [{"input": 1, "output": 1, "cached": 1}]}"#.into(), "form"),
        (r#"{"kind": "openai", "models": ["a"], "prices": [{"input": -1, "output": 1}]}"#.into(), "form"),
    ] {
        let error = own(&row).unwrap_err().to_string();
        assert!(error.contains(why), "{row}: {error}");
    }
}

proptest! {
    /// What is reserved covers what the call can cost, whatever is cached, in every row of the table.
    #[test]
    fn the_reserved_cost_covers_the_real_one(
        row in 0_usize..200,
        input in 0_u64..2_000_000,
        output in 0_u64..200_000,
        share in (0_u64..=100, 0_u64..=100, 0_u64..=100),
    ) {
        let table = PriceTable::bundled().unwrap();
        let all: Vec<&Price> = table.layers[0].by_kind.values().flat_map(|m| m.exact.values()).flatten().collect();
        let price = all[row % all.len()];
        let cached_input = input * share.0 / 100;
        let cache_write = (input - cached_input) * share.1 / 100;
        let used = TokenUse { input, cached_input, cache_write, cache_write_1h: cache_write * share.2 / 100, output };
        let (cost, most) = (price.cost(&used, None).unwrap(), price.at_most(input, output, None).unwrap());
        prop_assert!(cost <= most, "{}: {cost} > {most}", price.id());
    }
}
