//! What a call may use, before the provider has counted.

use crate::prices::Price;
use domain::budget::Amounts;

/// Tokens of an answer that names no limit, where the model's own is unknown or larger.
pub const OPEN_OUTPUT: u64 = 32_768;
/// The least room for an answer that names no limit; with less the call is refused.
pub const MIN_OPEN_OUTPUT: u64 = 1_024;
/// Bytes of text per token: fewer than English needs, about what code and other scripts do.
const BYTES_PER_TOKEN: u64 = 3;
/// A JSON string of base64 from this length on is a file.
const FILE_BYTES: usize = 1_024;
/// Tokens of an image or file, and more by its size.
const FILE_TOKENS: u64 = 1_600;
const BYTES_PER_FILE_TOKEN: u64 = 64;

/// The longest answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputBound {
    /// The request's own limit (`max_tokens` and its kin).
    Asked(u64),
    /// The request names none: the model's, at most [`OPEN_OUTPUT`], less where the budget has less room.
    Open,
    /// There is no answer in tokens (embeddings, token counts).
    Nothing,
}

/// What a call may use.
#[derive(Debug, Clone, Copy)]
pub struct Estimate<'a> {
    /// Tokens of the request: see [`estimate_tokens`].
    pub input_tokens: u64,
    /// The longest answer.
    pub output: OutputBound,
    /// The model's price; none: unknown.
    pub price: Option<&'a Price>,
    /// The service tier that the request asks for.
    pub service_tier: Option<&'a str>,
}

impl Estimate<'_> {
    /// The answer's length to reserve, and the least that would do.
    pub(super) fn output_range(&self) -> (u64, u64) {
        match self.output {
            OutputBound::Asked(tokens) => (tokens, tokens),
            OutputBound::Nothing => (0, 0),
            OutputBound::Open => {
                let most = self.price.and_then(Price::max_output_tokens).unwrap_or(OPEN_OUTPUT).min(OPEN_OUTPUT);
                (most, most.min(MIN_OPEN_OUTPUT))
            }
        }
    }

    /// What the call uses with an answer of this length; none: its price is unknown.
    pub(super) fn amounts(&self, output: u64) -> (Amounts, bool) {
        let cost = self.price.and_then(|p| p.at_most(self.input_tokens, output, self.service_tier));
        let tokens = self.input_tokens.saturating_add(output);
        (Amounts { tokens, micro_usd: cost.unwrap_or(0), calls: 1 }, cost.is_some())
    }
}

/// What a call used. What is not known counts as it was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actual {
    /// Tokens of request and answer together, by the provider.
    pub tokens: Option<u64>,
    /// Its cost.
    pub micro_usd: Option<u64>,
}

impl Actual {
    /// The provider answered with an error: a call, and nothing billed.
    pub const NOTHING: Self = Self { tokens: Some(0), micro_usd: Some(0) };
}

/// Tokens of a request by the length of its body: text by its bytes, files in base64 by a rule of their own. It is an
/// estimate; what the provider counts may be more.
pub fn estimate_tokens(body: &[u8]) -> u64 {
    let (mut text, mut files, mut at) = (0_u64, 0_u64, 0_usize);
    // Strings are found by their quotes. An escaped quote only splits a text, and base64 has none.
    while let Some(piece) = body.get(at..).filter(|rest| !rest.is_empty()) {
        let length = memchr::memchr(b'"', piece).unwrap_or(piece.len());
        let piece = piece.get(..length).unwrap_or_default();
        if length >= FILE_BYTES && is_base64(piece) {
            files = files.saturating_add(FILE_TOKENS + length as u64 / BYTES_PER_FILE_TOKEN);
        } else {
            text = text.saturating_add(length as u64 + 1);
        }
        at += length + 1;
    }
    text.div_ceil(BYTES_PER_TOKEN).saturating_add(files)
}

/// Base64, with or without the head of a data URL. Text of that length has a space or another mark in it.
fn is_base64(piece: &[u8]) -> bool {
    let data = match memchr::memchr(b',', piece.get(..200).unwrap_or(piece)) {
        Some(comma) if piece.starts_with(b"data:") => piece.get(comma + 1..).unwrap_or_default(),
        _ => piece,
    };
    data.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_'))
}
