//! Budgets of tasks.

use domain::budget as d;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How much may be used of models; what is left out is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Tokens, of requests and answers together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, example = 2_000_000)]
    pub tokens: Option<u64>,
    /// Money, in millionths of a dollar; needs a known price of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, example = 5_000_000)]
    pub micro_usd: Option<u64>,
    /// Calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, example = 200)]
    pub calls: Option<u64>,
    /// Over which span, in UTC.
    #[serde(default)]
    pub window: BudgetWindow,
}

/// The span of a budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetWindow {
    /// For good.
    #[default]
    Total,
    /// A calendar day.
    Day,
    /// A calendar month.
    Month,
}

/// How much was used or is needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Amounts {
    /// Tokens, of requests and answers together.
    pub tokens: u64,
    /// Money, in millionths of a dollar, as far as prices are known.
    pub micro_usd: u64,
    /// Calls.
    pub calls: u64,
}

impl From<d::Budget> for Budget {
    fn from(b: d::Budget) -> Self {
        let d::Budget { tokens, micro_usd, calls, window } = b;
        let window = match window {
            d::Window::Total => BudgetWindow::Total,
            d::Window::Day => BudgetWindow::Day,
            d::Window::Month => BudgetWindow::Month,
        };
        Self { tokens, micro_usd, calls, window }
    }
}

impl From<Budget> for d::Budget {
    fn from(b: Budget) -> Self {
        let Budget { tokens, micro_usd, calls, window } = b;
        let window = match window {
            BudgetWindow::Total => d::Window::Total,
            BudgetWindow::Day => d::Window::Day,
            BudgetWindow::Month => d::Window::Month,
        };
        Self { tokens, micro_usd, calls, window }
    }
}

impl From<d::Amounts> for Amounts {
    fn from(a: d::Amounts) -> Self {
        let d::Amounts { tokens, micro_usd, calls } = a;
        Self { tokens, micro_usd, calls }
    }
}

impl From<Amounts> for d::Amounts {
    fn from(a: Amounts) -> Self {
        let Amounts { tokens, micro_usd, calls } = a;
        Self { tokens, micro_usd, calls }
    }
}
