//! The form of a custom tool's input, which OpenAI's two formats write differently: `{"type":"grammar","grammar":
//! {"syntax":…,"definition":…}}` in Chat, flat in Responses. The internal form is the one of Responses.

use crate::{TranslateError, ir::Json, read::Object, write};

/// From Chat's form.
pub(super) fn from_chat(format: Option<Object<'_>>) -> Result<Option<Json>, TranslateError> {
    let Some(mut format) = format else { return Ok(None) };
    let kind: String = format.need("type")?;
    let mut out = Vec::new();
    let mut o = write::Object::new(&mut out);
    o.put("type", &kind);
    if let Some(mut grammar) = format.object("grammar")? {
        for key in ["syntax", "definition"] {
            o.some(key, &grammar.string(key)?);
        }
    }
    drop(o);
    Ok(std::str::from_utf8(&out).ok().and_then(Json::parse))
}

/// Into Chat's form.
pub(super) fn write_chat(o: &mut write::Object<'_>, format: &Json) -> Result<(), TranslateError> {
    let mut flat = Object::of(crate::Format::Responses, "format", format.raw())?;
    let kind: String = flat.need("type")?;
    let mut out = o.object("format");
    out.put("type", &kind);
    if kind == "grammar" {
        let mut grammar = out.object("grammar");
        for key in ["syntax", "definition"] {
            grammar.some(key, &flat.string(key)?);
        }
    }
    Ok(())
}
