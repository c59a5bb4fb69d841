//! An estimate of a prompt's tokens, for reservations before a call.

use crate::Format;

/// A run of text without a blank that is longer is data (base64) and not prose.
const DATA_BYTES: usize = 2048;
/// What a picture or a page counts at most providers, roughly.
const DATA_TOKENS: u64 = 1500;

/// How many tokens the prompt of a request has, roughly and rather too many: tokenizers differ between models, and this
/// one reads bytes. What is charged is what the provider counts. The formats make no difference: their texts are JSON
/// strings.
pub fn count_tokens_estimate(_format: Format, body: &[u8]) -> u64 {
    // A message has a few tokens of its own, which its keys and braces make up for.
    let (mut tokens, mut run) = (0_u64, 0_usize);
    let mut add = |run: usize| {
        tokens += if run > DATA_BYTES { DATA_TOKENS } else { run.div_ceil(3) as u64 };
    };
    for b in body {
        match b {
            b' ' | b'"' | b'\n' | b'\\' => add(std::mem::take(&mut run)),
            _ => run += 1,
        }
    }
    add(run);
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_counts_and_pictures_do_not_explode() {
        let prose = "The quick brown fox jumps over the lazy dog. ".repeat(100);
        let tokens = count_tokens_estimate(Format::Chat, prose.as_bytes());
        assert!((1000..3000).contains(&tokens), "{tokens}");
        let picture = format!("{{\"url\":\"data:image/png;base64,{}\"}}", "iVBORw0KGgo".repeat(100_000));
        let tokens = count_tokens_estimate(Format::Chat, picture.as_bytes());
        assert!((1500..1600).contains(&tokens), "{tokens}");
    }
}
