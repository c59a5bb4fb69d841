//! What models cost: a dated table in the repository, and the user's own figures before it.
//!
//! The table (`data/prices.json`) names its version (a date) and its sources (the providers' price pages). A file of
//! the user's (same form, `rows` alone) goes before it row by row: negotiated prices, OpenAI-compatible endpoints by the
//! provider's configured name. A model without a row has no price: unknown stays unknown, nothing is guessed from a
//! name that looks alike. Each cost carries the version and the row that it was made with, so that it can be made again.
//!
//! Money is in whole micro-dollars; a price is micro-dollars per million tokens. A call is rounded up once, at its end.
//!
//! ```no_run
//! use gateway::prices::{PriceTable, TokenUse};
//!
//! # fn example() -> Result<(), gateway::prices::PricesError> {
//! let own = r#"{"rows": [{"provider": "deepseek", "models": ["deepseek-chat"], "prices": [{"input": 270000, "output": 1100000}]}]}"#;
//! let table = PriceTable::bundled()?.with_own(own)?;
//! let used = TokenUse { input: 1200, cached_input: 1000, output: 80, ..TokenUse::default() };
//! let price = table.price("openai", "openai", "gpt-4o"); // kind, configured name, model
//! let cost = price.and_then(|p| p.cost(&used, None)); // micro-dollars; none: unknown
//! let row = price.map(|p| p.id()); // goes into the record
//! # Ok(()) }
//! ```

mod row;
#[cfg(test)]
mod tests;

pub use row::{Price, Rates, TokenUse};

use row::Row;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// The table of the repository.
const BUNDLED: &str = include_str!("../data/prices.json");
/// The most rows that a table may have.
const MAX_ROWS: usize = 20_000;

/// A table that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    /// It is not of the form.
    #[error("the price table is not of the form in docs/gateway.md")]
    Form(#[from] serde_json::Error),
    /// A row makes no sense.
    #[error("row {row} of the price table ({models}): {why}")]
    Row {
        /// Its position, from 1.
        row: usize,
        /// Its models.
        models: String,
        /// What is wrong.
        why: &'static str,
    },
    /// Too many rows.
    #[error("the price table has more than {MAX_ROWS} rows")]
    TooLarge,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    version: Option<String>,
    #[serde(default, rename = "unit")]
    _unit: Option<String>,
    #[serde(default, rename = "about")]
    _about: Option<String>,
    #[serde(default)]
    sources: BTreeMap<String, String>,
    rows: Vec<Row>,
}

/// Prices by kind of provider (or a provider's configured name) and model.
#[derive(Debug)]
pub struct PriceTable {
    version: String,
    sources: BTreeMap<String, String>,
    /// The user's own layer, then the bundled one.
    layers: Vec<Layer>,
}

/// The rows of one file; none as a price: stated to be unknown.
#[derive(Debug, Default)]
struct Layer {
    by_provider: Names,
    by_kind: Names,
}

/// Owner (a provider or a kind) to its models.
type Names = HashMap<String, Models>;

#[derive(Debug, Default)]
struct Models {
    exact: HashMap<String, Option<Price>>,
    /// Patterns with one `*`, the most specific first.
    patterns: Vec<(String, String, Option<Price>)>,
}

impl PriceTable {
    /// The table of the repository.
    pub fn bundled() -> Result<Self, PricesError> {
        let file: File = serde_json::from_str(BUNDLED)?;
        let version = file.version.unwrap_or_default();
        let layer = Layer::new(file.rows, &version)?;
        Ok(Self { version, sources: file.sources, layers: vec![layer] })
    }

    /// Puts the user's own rows before all others.
    pub fn with_own(mut self, text: &str) -> Result<Self, PricesError> {
        let file: File = serde_json::from_str(text)?;
        let digest = hex::encode(Sha256::digest(text.as_bytes()));
        let own = format!("own-{}", &digest[..12]);
        self.layers.insert(0, Layer::new(file.rows, &own)?);
        self.version = format!("{}+{own}", self.version);
        self.sources.extend(file.sources);
        Ok(self)
    }

    /// The price of a model, or none if it is unknown. `kind` is the provider's kind (`openai`, `anthropic`, …),
    /// `provider` its configured name.
    pub fn price(&self, kind: &str, provider: &str, model: &str) -> Option<&Price> {
        let model = model.strip_prefix("models/").unwrap_or(model);
        for layer in &self.layers {
            for (names, owner) in [(&layer.by_provider, provider), (&layer.by_kind, kind)] {
                if let Some(found) = names.get(owner).and_then(|m| m.find(model)) {
                    return found.as_ref();
                }
            }
        }
        None
    }

    /// The date of the table, and a digest of the user's own rows if there are some.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The price page of each kind.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.iter().map(|(kind, page)| (kind.as_str(), page.as_str()))
    }
}

impl Layer {
    fn new(rows: Vec<Row>, version: &str) -> Result<Self, PricesError> {
        if rows.len() > MAX_ROWS {
            return Err(PricesError::TooLarge);
        }
        let mut layer = Self::default();
        for (at, row) in rows.into_iter().enumerate() {
            let fault = |why| PricesError::Row { row: at + 1, models: row.models.join(", "), why };
            let (names, owner) = match (&row.kind, &row.provider) {
                (Some(kind), None) => (&mut layer.by_kind, kind),
                (None, Some(provider)) => (&mut layer.by_provider, provider),
                _ => return Err(fault("it names either a kind or a provider")),
            };
            let models = names.entry(owner.clone()).or_default();
            for model in &row.models {
                let price = row.price(&format!("{version}/{owner}/{model}")).map_err(fault)?;
                models.insert(model, price).map_err(fault)?;
            }
            if row.models.is_empty() {
                return Err(fault("it names no model"));
            }
        }
        Ok(layer)
    }
}

impl Models {
    fn insert(&mut self, model: &str, price: Option<Price>) -> Result<(), &'static str> {
        match model.split_once('*') {
            None => {
                let before = self.exact.insert(model.to_owned(), price);
                if before.is_some() { Err("a model has two rows") } else { Ok(()) }
            }
            Some((_, tail)) if tail.contains('*') => Err("a pattern has one `*`"),
            Some((head, tail)) => {
                self.patterns.push((head.to_owned(), tail.to_owned(), price));
                self.patterns.sort_by_key(|(head, tail, _)| std::cmp::Reverse(head.len() + tail.len()));
                Ok(())
            }
        }
    }

    fn find(&self, model: &str) -> Option<&Option<Price>> {
        if let Some(found) = self.exact.get(model) {
            return Some(found);
        }
        let fits = |head: &str, tail: &str| {
            model.len() >= head.len() + tail.len() && model.starts_with(head) && model.ends_with(tail)
        };
        self.patterns.iter().find(|(head, tail, _)| fits(head, tail)).map(|(.., price)| price)
    }
}
