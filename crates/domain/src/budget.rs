//! Budgets: how much a task or a caller's key may use of models, in a window of time.
//!
//! A text such as `5 USD/month` or `200000 tokens, 1000 calls per day` is a budget; money is in millionths of a dollar.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Millionths of a dollar in a dollar.
pub const MICRO_USD: u64 = 1_000_000;

/// The span over which use is added up, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// For good.
    #[default]
    Total,
    /// A calendar day.
    Day,
    /// A calendar month.
    Month,
}

/// What may be used; what is not set is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Tokens, of requests and answers together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Money, in millionths of a dollar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_usd: Option<u64>,
    /// Calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Over which span.
    #[serde(default)]
    pub window: Window,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Tokens, of requests and answers together.
    Tokens,
    /// Money, in millionths of a dollar.
    MicroUsd,
    /// Calls.
    Calls,
}

impl Unit {
    /// Every unit.
    pub const ALL: [Self; 3] = [Self::MicroUsd, Self::Tokens, Self::Calls];

    /// An amount of it for people: `1.5 USD`, `200 tokens`, `1 call`.
    pub fn show(self, amount: u64) -> String {
        let plural = if amount == 1 { "" } else { "s" };
        match self {
            Self::Tokens => format!("{amount} token{plural}"),
            Self::MicroUsd => format!("{} USD", dollars(amount)),
            Self::Calls => format!("{amount} call{plural}"),
        }
    }
}

/// How much was used, is reserved or is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amounts {
    /// Tokens, of requests and answers together.
    pub tokens: u64,
    /// Money, in millionths of a dollar, as far as prices are known.
    pub micro_usd: u64,
    /// Calls.
    pub calls: u64,
}

impl Amounts {
    /// The amount of a unit.
    pub const fn get(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Tokens => self.tokens,
            Unit::MicroUsd => self.micro_usd,
            Unit::Calls => self.calls,
        }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            micro_usd: self.micro_usd.saturating_add(other.micro_usd),
            calls: self.calls.saturating_add(other.calls),
        }
    }

    /// This without the other; never less than nothing.
    #[must_use]
    pub const fn minus(&self, other: &Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            micro_usd: self.micro_usd.saturating_sub(other.micro_usd),
            calls: self.calls.saturating_sub(other.calls),
        }
    }
}

/// What was used in each span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// The time whose day and month are meant, Unix milliseconds.
    pub at_ms: i64,
    /// For good.
    pub total: Amounts,
    /// In the UTC day.
    pub day: Amounts,
    /// In the UTC month.
    pub month: Amounts,
}

impl fmt::Display for Amounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = Unit::ALL.iter().map(|u| u.show(self.get(*u))).collect();
        f.write_str(&all.join(", "))
    }
}

/// A text that is not a budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part:?} is not a budget: {why}; write for example `5 USD/month`, `200000 tokens` or `1000 calls/day`")]
pub struct BudgetError {
    part: String,
    why: &'static str,
}

impl Budget {
    /// Whether nothing is limited.
    pub const fn is_unlimited(&self) -> bool {
        self.tokens.is_none() && self.micro_usd.is_none() && self.calls.is_none()
    }

    /// Says what is out of bounds, or nothing: a budget limits something, and each limit is a positive number.
    pub fn check(&self) -> Result<(), String> {
        if self.is_unlimited() {
            return Err("it limits nothing; set tokens, micro_usd or calls".to_owned());
        }
        for unit in Unit::ALL {
            if let Some(limit) = self.limit(unit)
                && (limit == 0 || i64::try_from(limit).is_err())
            {
                return Err(format!("{limit} is not between 1 and {}", i64::MAX));
            }
        }
        Ok(())
    }

    /// The limit of a unit, if it has one.
    pub const fn limit(&self, unit: Unit) -> Option<u64> {
        match unit {
            Unit::Tokens => self.tokens,
            Unit::MicroUsd => self.micro_usd,
            Unit::Calls => self.calls,
        }
    }

    /// The unit that leaves no room for `need` beside what is used; none: there is room.
    pub fn lacking(&self, used: &Amounts, need: &Amounts) -> Option<Unit> {
        let fits = |u: Unit| self.limit(u).is_none_or(|l| used.get(u).saturating_add(need.get(u)) <= l);
        Unit::ALL.into_iter().find(|u| !fits(*u))
    }

    /// This budget and `portion` once more, in each unit that is limited, and at least room for `need`.
    #[must_use]
    pub fn raised(&self, portion: &Self, used: &Amounts, need: &Amounts) -> Self {
        let raise = |u: Unit| {
            let limit = self.limit(u)?;
            let room = used.get(u).saturating_add(need.get(u));
            Some(limit.saturating_add(portion.limit(u).unwrap_or(0)).max(room))
        };
        Self {
            tokens: raise(Unit::Tokens),
            micro_usd: raise(Unit::MicroUsd),
            calls: raise(Unit::Calls),
            window: self.window,
        }
    }
}

impl FromStr for Budget {
    type Err = BudgetError;

    fn from_str(text: &str) -> Result<Self, BudgetError> {
        let mut budget = Self::default();
        let mut window = None;
        for part in text.split([',', '+']).map(str::trim) {
            let error = |why| BudgetError { part: part.chars().take(80).collect(), why };
            let lower = part.to_ascii_lowercase();
            let (amount, span) = match lower.split_once('/').or_else(|| lower.split_once(" per ")) {
                Some((amount, span)) => (amount.trim(), Some(span.trim())),
                None => (lower.trim(), None),
            };
            let span = match span {
                None | Some("total") => None,
                Some("day" | "d") => Some(Window::Day),
                Some("month" | "m") => Some(Window::Month),
                Some(_) => return Err(error("the span is day, month or total")),
            };
            match (window, span) {
                (Some(Some(first)), Some(second)) if first != second => return Err(error("one budget has one span")),
                (Some(Some(_)), _) => {}
                (_, found) => window = Some(found),
            }
            limit(&mut budget, amount).map_err(error)?;
        }
        budget.window = window.flatten().unwrap_or_default();
        Ok(budget)
    }
}

/// Reads an amount with its unit into the budget.
fn limit(budget: &mut Budget, text: &str) -> Result<(), &'static str> {
    let (digits, unit) = match text.strip_prefix('$') {
        Some(rest) => (rest, "usd"),
        None => text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len())),
    };
    let digits = digits.trim().replace('_', "");
    let place = match unit.trim() {
        "usd" | "dollars" | "dollar" => {
            return set(&mut budget.micro_usd, money(&digits)?);
        }
        "tokens" | "token" => &mut budget.tokens,
        "calls" | "call" => &mut budget.calls,
        _ => return Err("the unit is USD, tokens or calls"),
    };
    let amount = digits.parse().map_err(|_| "the amount is a whole number")?;
    set(place, amount)
}

fn set(place: &mut Option<u64>, amount: u64) -> Result<(), &'static str> {
    if amount == 0 {
        return Err("an amount is more than nothing");
    }
    if i64::try_from(amount).is_err() {
        return Err("the amount is too large");
    }
    if place.replace(amount).is_some() {
        return Err("a unit stands once");
    }
    Ok(())
}

/// Dollars with up to six digits after the point, without passing through a float.
fn money(digits: &str) -> Result<u64, &'static str> {
    const WRONG: &str = "the amount is dollars with at most six digits after the point";
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if part.len() > 6 || (whole.is_empty() && part.is_empty()) {
        return Err(WRONG);
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| WRONG)? };
    let part: u64 = format!("{part:0<6}").parse().map_err(|_| WRONG)?;
    whole.checked_mul(MICRO_USD).and_then(|w| w.checked_add(part)).ok_or(WRONG)
}

/// Millionths of a dollar as dollars: `1.5`, `0.000012`.
pub fn dollars(micro: u64) -> String {
    let text = format!("{}.{:06}", micro / MICRO_USD, micro % MICRO_USD);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unlimited() {
            return f.write_str("unlimited");
        }
        let span = match self.window {
            Window::Total => "",
            Window::Day => "/day",
            Window::Month => "/month",
        };
        let money = self.micro_usd.map(|m| format!("{} USD{span}", dollars(m)));
        let tokens = self.tokens.map(|t| format!("{t} tokens{span}"));
        let calls = self.calls.map(|c| format!("{c} calls{span}"));
        let all: Vec<String> = [money, tokens, calls].into_iter().flatten().collect();
        f.write_str(&all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_budgets_and_come_back() {
        for (text, shown) in [
            ("5 USD/month", "5 USD/month"),
            ("$0.50 per day", "0.5 USD/day"),
            ("200_000 tokens", "200000 tokens"),
            ("1.000001usd/month, 1000 calls/month", "1.000001 USD/month, 1000 calls/month"),
            ("3 calls, 10 tokens/day", "10 tokens/day, 3 calls/day"),
        ] {
            let budget: Budget = text.parse().unwrap();
            assert_eq!(budget.to_string(), shown);
            assert_eq!(shown.parse::<Budget>().unwrap(), budget);
        }
        let budget: Budget = "5 USD/month".parse().unwrap();
        assert_eq!((budget.micro_usd, budget.window), (Some(5_000_000), Window::Month));
    }

    #[test]
    fn a_raised_budget_holds_the_same_again_and_the_next_call() {
        let first: Budget = "10 calls, 1000 tokens".parse().unwrap();
        let used = Amounts { calls: 10, tokens: 900, micro_usd: 5 };
        let need = Amounts { calls: 1, tokens: 5000, micro_usd: 1 };
        assert_eq!(first.lacking(&used, &need), Some(Unit::Tokens));
        assert_eq!(first.lacking(&used, &Amounts { calls: 1, ..Amounts::default() }), Some(Unit::Calls));
        let second = first.raised(&first, &used, &need);
        assert_eq!(second, "20 calls, 5900 tokens".parse().unwrap());
        assert_eq!(second.lacking(&used, &need), None);
        assert_eq!(second.raised(&first, &used, &need).calls, Some(30), "by the first portion, not by doubling");
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        for (text, why) in [
            ("", "unit"),
            ("5", "unit"),
            ("five USD", "unit"),
            ("0 calls", "more than nothing"),
            ("1.5 tokens", "whole"),
            ("1.0000001 USD", "six digits"),
            ("5 USD/week", "span"),
            ("5 USD/day, 9 calls/month", "one span"),
            ("5 USD, 6 USD", "once"),
            ("99999999999999999999 calls", "whole"),
        ] {
            let error = text.parse::<Budget>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
