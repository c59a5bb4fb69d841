//! A provider's signature over its reasoning.

use crate::Format;
use serde::{Deserialize, Serialize};

/// An opaque text that its provider wants back byte for byte: a signature, redacted or encrypted reasoning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The format whose provider made it; no other can read it.
    pub origin: Format,
    /// The text as the provider sent it.
    pub data: String,
}

/// Between the name of the origin and the data, where a seal travels in another format's field. No vendor's base64
/// holds it.
const MARK: &str = "#tf#";

impl Seal {
    /// The text for a signature field of `format`: as it is in its own format, and marked with its origin in another,
    /// so that it can be told apart when the client sends it back.
    pub fn text_for(&self, format: Format) -> String {
        if self.origin == format { self.data.clone() } else { format!("{}{MARK}{}", self.origin, self.data) }
    }

    /// A seal from a signature field of `format`; none if it is empty.
    pub fn read(format: Format, text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let marked = text.split_once(MARK).and_then(|(name, data)| {
            let origin = Format::ALL.into_iter().find(|f| f.as_str() == name)?;
            Some(Self { origin, data: data.to_owned() })
        });
        Some(marked.unwrap_or_else(|| Self { origin: format, data: text.to_owned() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_finds_its_way_home_through_any_format() {
        for origin in Format::ALL {
            for via in Format::ALL {
                let seal = Seal { origin, data: "AbC+/=_-".into() };
                assert_eq!(Seal::read(via, &seal.text_for(via)), Some(seal.clone()));
            }
        }
        assert_eq!(Seal::read(Format::Messages, ""), None);
    }
}
