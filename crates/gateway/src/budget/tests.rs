//! No overspend in any interleaving; spans; estimates.

use super::*;
use crate::prices::{Price, PriceTable, TokenUse};
use domain::budget::Budget;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

const NOON: i64 = 1_795_608_000_000; // 2026-11-25T12:00:00Z
const HOUR: i64 = 3_600_000;

fn budget(text: &str) -> Budget {
    text.parse().unwrap()
}

fn account(spent: Amounts) -> Arc<Account> {
    Arc::new(Account::new(Spent { at_ms: NOON, total: spent, day: spent, month: spent }))
}

fn plain(input_tokens: u64, output: u64) -> Estimate<'static> {
    Estimate { input_tokens, output: OutputBound::Asked(output), price: None, service_tier: None }
}

fn unit(refused: Refused) -> (Unit, bool) {
    match refused {
        Refused::OverBudget(o) => (o.unit, true),
        Refused::Held(o) => (o.unit, false),
        Refused::PriceUnknown => panic!("the price is not the matter"),
    }
}

#[test]
fn what_is_reserved_counts_until_it_is_settled() {
    let a = account(Amounts::default());
    let b = budget("2 calls, 1000 tokens");
    let first = a.reserve(&b, &plain(100, 500), NOON).unwrap();
    assert_eq!(unit(a.reserve(&b, &plain(100, 500), NOON).unwrap_err()), (Unit::Tokens, false), "held, not spent");
    first.settle(Actual { tokens: Some(150), micro_usd: None });
    let second = a.reserve(&b, &plain(100, 500), NOON).unwrap();
    assert_eq!(unit(a.reserve(&b, &plain(1, 1), NOON).unwrap_err()), (Unit::Calls, false));
    drop(second);
    assert_eq!(a.spent(Window::Total, NOON), Amounts { tokens: 150, micro_usd: 0, calls: 1 });
    drop(a.reserve(&b, &plain(100, 500), NOON).unwrap());
    assert_eq!(a.spent(Window::Total, NOON).tokens, 150, "nothing of it left");
    let mut lost = a.reserve(&b, &plain(100, 500), NOON).unwrap();
    lost.sent();
    drop(lost);
    assert_eq!(a.spent(Window::Total, NOON).tokens, 750, "a lost one counts in full");
    let refused = a.reserve(&b, &plain(1, 1), NOON).unwrap_err();
    assert_eq!(unit(refused), (Unit::Calls, true));
    assert_eq!(refused.to_string(), "the budget is 2 calls; 2 calls used, and this call needs 1 call");
}

#[test]
fn days_and_months_begin_anew_and_the_total_does_not() {
    let spent = Amounts { calls: 3, ..Amounts::default() };
    let a = account(spent);
    let refused = a.reserve(&budget("3 calls/day"), &plain(1, 1), NOON).unwrap_err();
    let Refused::OverBudget(over) = refused else { panic!("{refused}") };
    assert_eq!(over.resets_ms, Some(NOON + 12 * HOUR));
    let Refused::OverBudget(over) = a.reserve(&budget("3 calls/month"), &plain(1, 1), NOON).unwrap_err() else {
        panic!("over budget")
    };
    assert_eq!(over.resets_ms, Some(NOON + (5 * 24 + 12) * HOUR), "the first of December");
    let late = a.reserve(&budget("9 calls/day"), &plain(1, 1), NOON).unwrap();
    let tomorrow = NOON + 24 * HOUR;
    a.reserve(&budget("1 call/day"), &plain(1, 1), tomorrow).unwrap().settle(Actual::NOTHING);
    late.settle(Actual::NOTHING);
    assert_eq!(a.spent(Window::Day, tomorrow).calls, 1, "yesterday's call is not today's");
    assert_eq!((a.spent(Window::Total, tomorrow).calls, a.spent(Window::Month, tomorrow).calls), (5, 5));
    assert_eq!(a.spent(Window::Day, NOON).calls, 1, "a clock that goes back gives nothing back");
    assert_eq!(a.spent(Window::Month, NOON + 6 * 24 * HOUR).calls, 0);
}

#[test]
fn a_budget_in_money_needs_a_price() {
    let table = PriceTable::bundled().unwrap();
    let a = account(Amounts::default());
    let b = budget("0.02 USD");
    assert_eq!(a.reserve(&b, &plain(1, 1), NOON).err(), Some(Refused::PriceUnknown));
    let price = table.price("openai", "openai", "gpt-4o");
    let estimate = Estimate { price, ..plain(1000, 1000) };
    let first = a.reserve(&b, &estimate, NOON).unwrap();
    assert_eq!(first.held().micro_usd, 2_500 + 10_000);
    assert_eq!(unit(a.reserve(&b, &estimate, NOON).unwrap_err()), (Unit::MicroUsd, false));
    first.settle(Actual { tokens: None, micro_usd: None });
    assert_eq!(a.spent(Window::Total, NOON), Amounts { tokens: 2000, micro_usd: 12_500, calls: 1 });
    assert_eq!(unit(a.reserve(&b, &estimate, NOON).unwrap_err()), (Unit::MicroUsd, true));
    assert!(a.reserve(&b, &Estimate { service_tier: Some("scale"), ..estimate }, NOON).is_err(), "unknown tier");
}

#[test]
fn an_answer_without_a_limit_gets_what_is_left() {
    let a = account(Amounts::default());
    let open = Estimate { output: OutputBound::Open, ..plain(1000, 0) };
    let wide = a.reserve(&budget("100000 tokens"), &open, NOON).unwrap();
    assert_eq!((wide.output_tokens(), wide.limit_to_set()), (OPEN_OUTPUT, None));
    drop(wide);
    let narrow = a.reserve(&budget("5000 tokens"), &open, NOON).unwrap();
    assert_eq!(narrow.limit_to_set(), Some(4000));
    drop(narrow);
    assert!(a.reserve(&budget("2000 tokens"), &open, NOON).is_err(), "less than the least");
    let table = PriceTable::bundled().unwrap();
    let price = table.price("openai", "openai", "gpt-4o");
    let r = a.reserve(&budget("0.1 USD"), &Estimate { price, ..open }, NOON).unwrap();
    assert_eq!(r.output_tokens(), 9_750, "0.1 dollars less 1000 tokens at 2.5, at 10 dollars per million");
    assert_eq!(r.held().micro_usd, 100_000);
    drop(r);
}

#[tokio::test]
async fn an_account_is_loaded_once() {
    let ledger = Ledger::new();
    let scope = Scope::Task(TaskId::from_uuid(uuid::Uuid::nil()));
    let load = |calls| {
        move || async move {
            Ok::<_, std::convert::Infallible>(Spent {
                total: Amounts { calls, ..Amounts::default() },
                ..Spent::default()
            })
        }
    };
    let Ok(first) = ledger.account(scope, load(7)).await;
    let Ok(second) = ledger.account(scope, load(9)).await;
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(first.spent(Window::Total, NOON).calls, 7);
    ledger.tidy();
    assert!(ledger.known(scope).is_some(), "somebody holds it");
    drop((first, second));
    ledger.tidy();
    assert!(ledger.known(scope).is_none());
}

#[test]
fn parallel_calls_cannot_overrun() {
    let a = account(Amounts::default());
    let b = budget("1000 tokens, 500 calls");
    let admitted = AtomicU64::new(0);
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                for _ in 0..200 {
                    if let Ok(r) = a.reserve(&b, &plain(3, 4), NOON) {
                        admitted.fetch_add(1, Ordering::Relaxed);
                        let all = a.spent(Window::Total, NOON).plus(&a.held());
                        assert!(all.tokens <= 1000, "{all}");
                        r.settle(Actual { tokens: Some(7), micro_usd: None });
                    }
                }
            });
        }
    });
    assert_eq!(a.spent(Window::Total, NOON).tokens, 994, "142 calls of 7 tokens fit, and no other");
    assert_eq!(admitted.into_inner(), 142);
}

#[test]
fn files_in_a_request_are_not_counted_as_text() {
    let text = format!(r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#, "Hello there. ".repeat(100));
    let tokens = estimate_tokens(text.as_bytes());
    assert!((400..=500).contains(&tokens), "{tokens}");
    let image = format!(r#"{{"url":"data:image/png;base64,{}"}}"#, "iVBORw0KGgo+/9A=".repeat(10_000));
    let tokens = estimate_tokens(image.as_bytes());
    assert!((1_600..6_000).contains(&tokens), "{tokens}");
    assert_eq!(estimate_tokens(b""), 0);
    let escaped = format!(r#"{{"content":"{}"}}"#, r#"say \"hi\" "#.repeat(500));
    assert!(estimate_tokens(escaped.as_bytes()) > 1_800);
}

/// A step of the model below.
#[derive(Debug, Clone)]
enum Act {
    Reserve { input: u64, output: u64, open: bool },
    Settle { which: usize, share: u64 },
    Lose { which: usize },
    Release { which: usize },
    Pass { hours: i64 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_u64..3_000, 0_u64..3_000, any::<bool>())
            .prop_map(|(input, output, open)| Act::Reserve { input, output, open }),
        2 => (any::<usize>(), 0_u64..=100).prop_map(|(which, share)| Act::Settle { which, share }),
        1 => any::<usize>().prop_map(|which| Act::Lose { which }),
        1 => any::<usize>().prop_map(|which| Act::Release { which }),
        1 => (0_i64..40).prop_map(|hours| Act::Pass { hours }),
    ]
}

proptest! {
    /// For every interleaving: spent and held stay within the budget, and everything is counted once.
    #[test]
    fn no_interleaving_overspends(
        tokens in 1_000_u64..60_000,
        micro_usd in 1_000_u64..200_000,
        calls in 1_u64..20,
        window in prop_oneof![Just(Window::Total), Just(Window::Day), Just(Window::Month)],
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let b = Budget { tokens: Some(tokens), micro_usd: Some(micro_usd), calls: Some(calls), window };
        let table = PriceTable::bundled().unwrap();
        let price: &Price = table.price("openai", "openai", "gpt-4o").unwrap();
        let a = account(Amounts::default());
        let (mut now, mut out, mut total) = (NOON, Vec::<(Reservation, u64)>::new(), Amounts::default());
        for act in acts {
            let pick = |which: usize, out: &mut Vec<(Reservation, u64)>| {
                (!out.is_empty()).then(|| out.swap_remove(which % out.len()))
            };
            match act {
                Act::Reserve { input, output, open } => {
                    let output = if open { OutputBound::Open } else { OutputBound::Asked(output) };
                    let e = Estimate { input_tokens: input, output, price: Some(price), service_tier: None };
                    if let Ok(r) = a.reserve(&b, &e, now) {
                        prop_assert!(open || r.limit_to_set().is_none());
                        out.push((r, input));
                    }
                }
                Act::Settle { which, share } => if let Some((r, input)) = pick(which, &mut out) {
                    let used = TokenUse { input, output: r.output_tokens() * share / 100, ..TokenUse::default() };
                    let (sum, cost) = (used.input + used.output, price.cost(&used, None).unwrap());
                    total = total.plus(&Amounts { tokens: sum, micro_usd: cost, calls: 1 });
                    r.settle(Actual { tokens: Some(sum), micro_usd: Some(cost) });
                },
                Act::Lose { which } => if let Some((mut r, _)) = pick(which, &mut out) {
                    r.sent();
                    total = total.plus(&r.held());
                    drop(r);
                },
                Act::Release { which } => if let Some((r, _)) = pick(which, &mut out) { drop(r) },
                Act::Pass { hours } => now += hours * HOUR,
            }
            let spent = a.spent(window, now);
            let span = a.spent_and_held(window);
            prop_assert_eq!(span.0, spent);
            prop_assert_eq!(b.lacking(&spent.plus(&span.1), &Amounts::default()), None, "over the budget");
            let held = out.iter().fold(Amounts::default(), |sum, (r, _)| sum.plus(&r.held()));
            prop_assert_eq!(a.held(), held);
            prop_assert_eq!(a.spent(Window::Total, now), total);
        }
    }
}
