//! Gemini: answers of `generateContent` and `streamGenerateContent`.

use crate::{
    answer::{Answer, Asked, CACHED, Finish, INPUT, OUTPUT, Part, call_id},
    delivery::Event,
    model::Plan,
    provider::Provider,
    signature::sign,
};
use serde_json::{Value, json};

fn part(part: &Part, plan: &Plan) -> Option<Value> {
    Some(match part {
        Part::Text(text) => json!({"text": text}),
        Part::Thinking { text, .. } => json!({"text": text, "thought": true}),
        Part::Redacted(_) | Part::Refusal(_) => return None,
        Part::Call { id, name, arguments, signature } => {
            let mut call = json!({"name": name, "args": arguments});
            if plan.ids {
                call["id"] = json!(call_id(Provider::Gemini, id));
            }
            let mut part = json!({"functionCall": call});
            if let Some(signature) = signature {
                part["thoughtSignature"] = json!(signature);
            }
            part
        }
    })
}

fn finish(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Stop | Finish::Sequence(_) | Finish::Calls => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::Refusal => "SAFETY",
    }
}

fn response(asked: &Asked, answer: &Answer, parts: Vec<Value>, ended: bool) -> Value {
    let mut candidate = json!({"index": 0});
    if !parts.is_empty() || answer.finish != Finish::Refusal {
        candidate["content"] = json!({"role": "model", "parts": parts});
    }
    if ended {
        candidate["finishReason"] = json!(finish(answer));
    }
    if ended && answer.finish == Finish::Refusal {
        candidate["safetyRatings"] =
            json!([{"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": true}]);
    }
    json!({"candidates": [candidate], "modelVersion": asked.model, "responseId": format!("r{:x}", answer.serial)})
}

fn usage(answer: &Answer) -> Value {
    let mut usage = json!({"promptTokenCount": INPUT, "cachedContentTokenCount": CACHED, "candidatesTokenCount": OUTPUT,
        "totalTokenCount": INPUT + answer.output(),
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": INPUT}]});
    if answer.thought > 0 {
        usage["thoughtsTokenCount"] = json!(answer.thought);
    }
    usage
}

/// The answer in one piece.
pub(crate) fn whole(asked: &Asked, answer: &Answer, plan: &Plan) -> Value {
    let mut parts: Vec<Value> = answer.parts.iter().filter_map(|p| part(p, plan)).collect();
    sign_text(answer, parts.last_mut());
    let mut whole = response(asked, answer, parts, true);
    whole["usageMetadata"] = usage(answer);
    whole
}

/// A thought that ends in a text is signed at its last part; to send it back is advised, not required.
fn sign_text(answer: &Answer, last: Option<&mut Value>) {
    let thinks = answer.parts.iter().any(|p| matches!(p, Part::Thinking { .. }));
    if let Some(last) = last.filter(|l| thinks && l.get("text").is_some()) {
        last["thoughtSignature"] = json!(sign(answer.serial, &["text"]));
    }
}

/// The answer as the events of a stream: each is a response with the next parts.
pub(crate) fn events(asked: &Asked, answer: &Answer, plan: &Plan) -> Vec<Event> {
    let mut groups: Vec<Vec<Value>> = Vec::new();
    for one in &answer.parts {
        match one {
            Part::Text(text) => groups.extend(answer.split(text).into_iter().map(|piece| vec![json!({"text": piece})])),
            Part::Thinking { text, .. } => {
                groups
                    .extend(answer.split(text).into_iter().map(|piece| vec![json!({"text": piece, "thought": true})]));
            }
            Part::Redacted(_) | Part::Refusal(_) | Part::Call { .. } => groups.extend(part(one, plan).map(|p| vec![p])),
        }
    }
    if plan.odd {
        groups.insert(0, vec![json!({"text": ""})]);
    }
    sign_text(answer, groups.last_mut().and_then(|g| g.last_mut()));
    let last = groups.len();
    let mut events: Vec<Event> = Vec::with_capacity(last + 1);
    for group in groups {
        let mut chunk = response(asked, answer, group, false);
        if !plan.odd {
            chunk["usageMetadata"] = json!({"promptTokenCount": INPUT, "totalTokenCount": INPUT});
        }
        events.push(Event::bare(&chunk));
    }
    let mut end = response(asked, answer, vec![json!({"text": ""})], true);
    if answer.finish == Finish::Refusal {
        end = response(asked, answer, Vec::new(), true);
    }
    end["usageMetadata"] = usage(answer);
    events.push(Event::bare(&end));
    events
}
