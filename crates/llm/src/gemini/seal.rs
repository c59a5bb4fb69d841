//! `thoughtSignature`: bytes, and so base64 for the SDKs, also where another provider's seal travels in it.

use crate::{Format, ir::Seal};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};

/// Before a seal that is all there is of its block.
const REDACTED: &str = "redacted ";

/// Either alphabet with or without padding: SDKs write bytes anew when they send them back.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

/// The text of a signature for a client. Gemini's own goes as it is.
pub(super) fn write(seal: &Seal, redacted: bool) -> String {
    if seal.origin == Format::Gemini {
        return seal.data.clone();
    }
    let mark = if redacted { REDACTED } else { "" };
    STANDARD.encode(format!("{mark}{}", seal.text_for(Format::Gemini)))
}

/// The seal of a signature that a client sends back, and whether it is all there is of its block.
pub(super) fn read(text: &str) -> Option<(Seal, bool)> {
    let alphabet = if text.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let decoded = GeneralPurpose::new(alphabet, LENIENT).decode(text).ok().and_then(|b| String::from_utf8(b).ok());
    if let Some(decoded) = decoded {
        let inner = decoded.strip_prefix(REDACTED);
        let seal = Seal::read(Format::Gemini, inner.unwrap_or(&decoded));
        if let Some(seal) = seal.filter(|s| s.origin != Format::Gemini) {
            return Some((seal, inner.is_some()));
        }
    }
    let data = text.to_owned();
    (!text.is_empty()).then_some((Seal { origin: Format::Gemini, data }, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_seals_survive_an_sdk_that_reads_bytes() {
        for origin in Format::ALL {
            for redacted in [false, true] {
                let seal = Seal { origin, data: "EqQB+/_-?>é==".into() };
                let text = write(&seal, redacted);
                let expected = Some((seal, redacted && origin != Format::Gemini));
                assert_eq!(read(&text), expected);
                let url_safe = text.replace('+', "-").replace('/', "_");
                if origin != Format::Gemini {
                    assert_eq!(read(&url_safe), expected, "{url_safe}");
                    assert_eq!(read(url_safe.trim_end_matches('=')), expected);
                }
            }
        }
        assert_eq!(read(""), None);
    }
}
