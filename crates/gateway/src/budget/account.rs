//! The account of one scope: a pure state machine behind a short lock; the time is an argument.

use super::{Actual, Estimate, OverBudget, Refused, Spent};
use domain::budget::{Amounts, Budget, Unit, Window};
use jiff::{Timestamp, civil, tz::TimeZone};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const DAY_MS: i64 = 24 * 3600 * 1000;
const MONTHS_PER_YEAR: i64 = 12;

/// What is counted in one span of time.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    /// Which day or month; zero for good.
    index: i64,
    spent: Amounts,
    held: Amounts,
}

/// What a scope has used and what its calls under way hold.
#[derive(Debug)]
pub struct Account {
    /// Total, day, month.
    spans: Mutex<[Span; 3]>,
}

/// What a call may use. Dropped before the call is [sent](Reservation::sent) it is given back; dropped after that it
/// counts in full, since the call may have arrived.
#[derive(Debug)]
#[must_use = "it holds only as long as it lives"]
pub struct Reservation {
    account: Arc<Account>,
    indices: [i64; 3],
    held: Amounts,
    output_tokens: u64,
    shortened: bool,
    state: State,
}

/// What a dropped reservation means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Held,
    Sent,
    Closed,
}

const fn place(window: Window) -> usize {
    match window {
        Window::Total => 0,
        Window::Day => 1,
        Window::Month => 2,
    }
}

fn indices(now_ms: i64) -> [i64; 3] {
    [0, now_ms.div_euclid(DAY_MS), month(now_ms)]
}

fn month(now_ms: i64) -> i64 {
    let date = Timestamp::from_millisecond(now_ms).unwrap_or_default().to_zoned(TimeZone::UTC).date();
    i64::from(date.year()) * MONTHS_PER_YEAR + i64::from(date.month()) - 1
}

/// When a span ends, Unix milliseconds.
fn ends_ms(window: Window, index: i64) -> Option<i64> {
    match window {
        Window::Total => None,
        Window::Day => Some((index + 1) * DAY_MS),
        Window::Month => {
            let next = index + 1;
            let year = i16::try_from(next.div_euclid(MONTHS_PER_YEAR)).ok()?;
            let month = i8::try_from(next.rem_euclid(MONTHS_PER_YEAR) + 1).ok()?;
            let first = civil::Date::new(year, month, 1).ok()?;
            Some(first.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
        }
    }
}

impl Account {
    /// An account with what the store knows.
    pub fn new(spent: Spent) -> Self {
        let [total, day, month] = indices(spent.at_ms);
        let span = |index, spent| Span { index, spent, held: Amounts::default() };
        Self { spans: Mutex::new([span(total, spent.total), span(day, spent.day), span(month, spent.month)]) }
    }

    /// Reserves what a call may use, within the budget.
    pub fn reserve(
        self: &Arc<Self>,
        budget: &Budget,
        estimate: &Estimate<'_>,
        now_ms: i64,
    ) -> Result<Reservation, Refused> {
        let (most, least) = estimate.output_range();
        if budget.micro_usd.is_some() && !estimate.amounts(0).1 {
            return Err(Refused::PriceUnknown);
        }
        let mut spans = self.lock();
        roll(&mut spans, now_ms);
        let span = spans[place(budget.window)];
        let used = span.spent.plus(&span.held);
        let (need, _) = estimate.amounts(least);
        if let Some(unit) = budget.lacking(&used, &need) {
            // Without the calls under way, would there be room?
            let lacks_anyway = budget.lacking(&span.spent, &need);
            let unit = lacks_anyway.unwrap_or(unit);
            let over = OverBudget {
                unit,
                window: budget.window,
                limit: budget.limit(unit).unwrap_or_default(),
                spent: span.spent,
                held: span.held,
                need,
                resets_ms: ends_ms(budget.window, span.index),
            };
            return Err(if lacks_anyway.is_some() { Refused::OverBudget(over) } else { Refused::Held(over) });
        }
        let output_tokens = longest(budget, estimate, &used, least, most);
        let (held, _) = estimate.amounts(output_tokens);
        for span in spans.iter_mut() {
            span.held = span.held.plus(&held);
        }
        Ok(Reservation {
            account: Arc::clone(self),
            indices: spans.map(|s| s.index),
            held,
            output_tokens,
            shortened: output_tokens < most,
            state: State::Held,
        })
    }

    /// What is spent in a span, by now.
    pub fn spent(&self, window: Window, now_ms: i64) -> Amounts {
        let mut spans = self.lock();
        roll(&mut spans, now_ms);
        spans[place(window)].spent
    }

    /// What calls under way hold.
    pub fn held(&self) -> Amounts {
        self.lock()[0].held
    }

    fn lock(&self) -> MutexGuard<'_, [Span; 3]> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, indices: [i64; 3], held: &Amounts, spent: &Amounts) {
        let mut spans = self.lock();
        for (span, index) in spans.iter_mut().zip(indices) {
            // What was reserved in a span that is over belongs to that span.
            if span.index == index {
                span.held = span.held.minus(held);
                span.spent = span.spent.plus(spent);
            }
        }
    }
}

/// Begins the spans of today and of this month. A clock that goes back gives nothing back.
fn roll(spans: &mut [Span; 3], now_ms: i64) {
    for (span, index) in spans.iter_mut().zip(indices(now_ms)) {
        if index > span.index {
            *span = Span { index, ..Span::default() };
        }
    }
}

/// The longest answer that fits, between the bounds; the shorter one is known to fit.
fn longest(budget: &Budget, estimate: &Estimate<'_>, used: &Amounts, least: u64, most: u64) -> u64 {
    let fits = |output| budget.lacking(used, &estimate.amounts(output).0).is_none();
    if least == most || fits(most) {
        return most;
    }
    let (mut low, mut high) = (least, most);
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    low
}

impl Reservation {
    /// What is held: goes into the begun record, so that a crash does not lose it.
    pub const fn held(&self) -> Amounts {
        self.held
    }

    /// The longest answer that was reserved.
    pub const fn output_tokens(&self) -> u64 {
        self.output_tokens
    }

    /// The answer's limit to set in the request, where it names none and the budget has less room than the model
    /// would take. Without it the answer could go on beyond the budget.
    pub fn limit_to_set(&self) -> Option<u64> {
        self.shortened.then_some(self.output_tokens)
    }

    /// The call is over: what it used replaces what was held. Returns what is charged; it goes into the ended record.
    pub fn settle(mut self, actual: Actual) -> Amounts {
        let spent = Amounts {
            tokens: actual.tokens.unwrap_or(self.held.tokens),
            micro_usd: actual.micro_usd.unwrap_or(self.held.micro_usd),
            calls: self.held.calls,
        };
        self.finish(&spent);
        spent
    }

    /// The record of the call's beginning is written and it leaves now: from here on it counts.
    pub fn sent(&mut self) {
        if self.state == State::Held {
            self.state = State::Sent;
        }
    }

    fn finish(&mut self, spent: &Amounts) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.account.close(self.indices, &self.held, spent);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let spent = if self.state == State::Sent { self.held } else { Amounts::default() };
        self.finish(&spent);
    }
}

#[cfg(test)]
impl Account {
    /// Spent and held of a span, as they are.
    pub(super) fn spent_and_held(&self, window: Window) -> (Amounts, Amounts) {
        let span = self.lock()[place(window)];
        (span.spent, span.held)
    }
}

impl OverBudget {
    /// `tokens`, `micro_usd` or `calls`.
    pub const fn unit_name(&self) -> &'static str {
        match self.unit {
            Unit::Tokens => "tokens",
            Unit::MicroUsd => "micro_usd",
            Unit::Calls => "calls",
        }
    }
}
