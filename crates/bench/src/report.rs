//! What was measured, in `target/bench.json` and docs/benchmarks.md.
//!
//! A run of some benchmarks replaces their rows and keeps the others.

use crate::{facts::Facts, stats::Sample};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::{fmt::Write, fs, path::Path};

/// Between these lines of the page stands what a run writes.
const MARKS: [&str; 2] = ["<!-- measured: begin -->", "<!-- measured: end -->"];

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// `<benchmark>.<what>`.
    pub(crate) name: String,
    /// The median.
    pub(crate) value: f64,
    /// Of value and baseline.
    pub(crate) unit: String,
    /// The same without TaskForge, measured in the same run in turns; none: there is nothing to compare with.
    pub(crate) baseline: Option<f64>,
    /// Value by baseline.
    pub(crate) ratio: Option<f64>,
    /// What is aimed at, in words.
    pub(crate) goal: Option<String>,
    /// Whether it was reached; none: there is no goal.
    pub(crate) met: Option<bool>,
    /// The least and the greatest value of the run's rounds.
    pub(crate) spread: Option<[f64; 2]>,
}

impl Record {
    /// A figure alone.
    pub(crate) fn new(name: impl Into<String>, unit: &str, value: f64) -> Self {
        let (name, unit) = (name.into(), unit.to_owned());
        Self { name, value, unit, baseline: None, ratio: None, goal: None, met: None, spread: None }
    }

    /// The median of some rounds, with its spread.
    pub(crate) fn of(name: impl Into<String>, unit: &str, rounds: &Sample) -> Self {
        Self { spread: Some(rounds.spread()), ..Self::new(name, unit, rounds.median()) }
    }

    /// Compares with a baseline.
    pub(crate) fn against(mut self, baseline: f64) -> Self {
        self.baseline = Some(baseline);
        self.ratio = (baseline > 0.0).then_some(self.value / baseline);
        self
    }

    /// Aims at a ratio.
    pub(crate) fn at_most_times(mut self, limit: f64) -> Self {
        self.goal = Some(format!("ratio <= {limit}"));
        self.met = self.ratio.map(|r| r <= limit);
        self
    }

    /// Aims at a value.
    pub(crate) fn at_most(mut self, limit: f64) -> Self {
        self.goal = Some(format!("<= {limit} {}", self.unit));
        self.met = Some(self.value <= limit);
        self
    }

    /// Aims at a value or more.
    pub(crate) fn at_least(mut self, limit: f64) -> Self {
        self.goal = Some(format!(">= {limit} {}", self.unit));
        self.met = Some(self.value >= limit);
        self
    }

    /// Aims at a difference from the baseline.
    pub(crate) fn at_most_more(mut self, limit: f64) -> Self {
        self.goal = Some(format!("<= baseline + {limit} {}", self.unit));
        self.met = self.baseline.map(|b| self.value - b <= limit);
        self
    }

    /// One line for a terminal.
    pub(crate) fn line(&self) -> String {
        let or_dash = |x: Option<String>| x.unwrap_or_else(|| "-".to_owned());
        format!(
            "{:44} {:>11} {:12} baseline {:>11} ratio {:>7} {} {}",
            self.name,
            figure(self.value),
            self.unit,
            or_dash(self.baseline.map(figure)),
            or_dash(self.ratio.map(|r| format!("{r:.2}"))),
            self.goal.as_deref().unwrap_or_default(),
            verdict(self.met),
        )
    }
}

fn verdict(met: Option<bool>) -> &'static str {
    match met {
        None => "",
        Some(true) => "met",
        Some(false) => "missed",
    }
}

/// Three digits that count.
fn figure(x: f64) -> String {
    match x.abs() {
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        a if a >= 0.1 || a == 0.0 => format!("{x:.2}"),
        _ => format!("{x:.4}"),
    }
}

/// Writes both files. `ran` are the benchmarks whose rows are replaced.
pub(crate) fn write(json: &Path, page: &Path, ran: &[&str], fresh: Vec<Record>) -> Result<()> {
    let old: Vec<Record> = fs::read(json).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
    let of = |r: &Record, name: &str| r.name.split('.').next() == Some(name);
    let mut rows: Vec<Record> = old.into_iter().filter(|r| !ran.iter().any(|name| of(r, name))).collect();
    rows.extend(fresh);
    rows.sort_by_key(|r| crate::NAMES.iter().position(|name| of(r, name)));
    let text = serde_json::to_string_pretty(&rows)? + "\n";
    fs::write(json, text).with_context(|| format!("cannot write {}", json.display()))?;
    fill(page, &rows)
}

fn fill(page: &Path, rows: &[Record]) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let [begin, end] = MARKS;
    let (head, rest) = text.split_once(begin).context("the page has lost its marks")?;
    let (_, tail) = rest.split_once(end).context("the page has lost its marks")?;
    let filled = format!("{head}{begin}\n{}\n{}{end}{tail}", Facts::read().sentence(), table(rows));
    fs::write(page, filled).with_context(|| format!("cannot write {}", page.display()))
}

fn table(rows: &[Record]) -> String {
    let mut out = String::from(
        "\n| benchmark | median | spread | baseline | ratio | goal | met |\n|---|---:|---:|---:|---:|---|---|\n",
    );
    for r in rows {
        let spread = r.spread.map(|[low, high]| format!("{} – {}", figure(low), figure(high))).unwrap_or_default();
        let baseline = r.baseline.map(figure).unwrap_or_default();
        let ratio = r.ratio.map(|x| format!("{x:.2}")).unwrap_or_default();
        let goal = r.goal.as_deref().unwrap_or_default().replace("<=", "≤").replace(">=", "≥");
        let met = r.met.map(|m| if m { "yes" } else { "**no**" }).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ok = writeln!(
            out,
            "| `{}` | {} {} | {spread} | {baseline} | {ratio} | {goal} | {met} |",
            r.name,
            figure(r.value),
            r.unit
        );
    }
    out.push('\n');
    out
}
