//! `thinking_blocks`: signed reasoning on messages of this format.
//!
//! OpenAI's format has no place for it. The blocks have Anthropic's shape (`thinking` with `signature`,
//! `redacted_thinking` with `data`) and an `index`, by which the SDKs add up the pieces of a stream; signatures of other
//! providers are marked with their origin. A client that keeps unknown fields sends them back as they are.

use crate::{
    Format, TranslateError,
    ir::{Reasoning, Seal},
    read::Object,
    write,
};

/// Reads blocks; pieces with the same index are one block.
pub(super) fn read(blocks: Vec<Object<'_>>) -> Result<Vec<Reasoning>, TranslateError> {
    let mut read: Vec<(Option<u64>, Reasoning, String)> = Vec::new();
    for mut block in blocks {
        let index = block.get("index")?;
        let same = read.last_mut().filter(|(i, ..)| index.is_some() && *i == index);
        let (_, reasoning, seal) = match same {
            Some(last) => last,
            None => read.push_mut((index, Reasoning::default(), String::new())),
        };
        if let Some(text) = block.string("thinking")? {
            match reasoning.texts.last_mut() {
                Some(last) => last.push_str(&text),
                None if text.is_empty() => {}
                None => reasoning.texts.push(text),
            }
        }
        reasoning.redacted |= block.string("type")?.as_deref() == Some("redacted_thinking");
        reasoning.id = block.string("id")?.or(reasoning.id.take());
        for key in ["signature", "data"] {
            seal.push_str(&block.string(key)?.unwrap_or_default());
        }
    }
    let seal = |(_, reasoning, seal): (_, Reasoning, String)| Reasoning {
        seal: Seal::read(Format::Messages, &seal),
        ..reasoning
    };
    Ok(read.into_iter().map(seal).filter(|r| !r.texts.is_empty() || r.seal.is_some()).collect())
}

/// Writes the fields of a block's end; a whole block has its text too.
pub(super) fn write(
    block: &mut write::Object<'_>,
    text: Option<&str>,
    id: Option<&str>,
    seal: Option<&Seal>,
    redacted: bool,
) {
    block.put("type", if redacted { "redacted_thinking" } else { "thinking" });
    if let Some(text) = text.filter(|_| !redacted) {
        block.put("thinking", text);
    }
    block.some("id", &id);
    if let Some(seal) = seal {
        block.put(if redacted { "data" } else { "signature" }, &seal.text_for(Format::Messages));
    }
}
