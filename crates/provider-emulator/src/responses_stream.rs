//! OpenAI Responses: the events of a stream, numbered.

use crate::{
    answer::{Answer, Asked, Finish, split},
    delivery::Event,
    model::Plan,
    responses::{output, response},
};
use serde_json::{Value, json};

/// Collects events and numbers them.
#[derive(Default)]
struct Stream {
    events: Vec<Event>,
}

impl Stream {
    fn push(&mut self, name: &str, mut data: Value) {
        data["type"] = json!(name);
        data["sequence_number"] = json!(self.events.len());
        self.events.push(Event::named(name, &data));
    }
}

/// The answer as the events of a stream.
pub(crate) fn events(asked: &Asked, answer: &Answer, plan: &Plan) -> Vec<Event> {
    let mut stream = Stream::default();
    let begun = response(asked, answer, false);
    stream.push("response.created", json!({"response": begun}));
    stream.push("response.in_progress", json!({"response": begun}));
    for (n, item) in output(asked, answer).into_iter().enumerate() {
        match item["type"].as_str() {
            Some("message") => message(&mut stream, answer, plan, n, &item),
            Some("reasoning") => reasoning(&mut stream, answer, n, &item),
            _ => call(&mut stream, plan, n, &item),
        }
        stream.push("response.output_item.done", json!({"output_index": n, "item": item}));
    }
    let end = if answer.finish == Finish::Length { "response.incomplete" } else { "response.completed" };
    stream.push(end, json!({"response": response(asked, answer, true)}));
    stream.events
}

fn message(stream: &mut Stream, answer: &Answer, plan: &Plan, n: usize, item: &Value) {
    let mut empty = item.clone();
    empty["status"] = json!("in_progress");
    empty["content"] = json!([]);
    stream.push("response.output_item.added", json!({"output_index": n, "item": empty}));
    let part = &item["content"][0];
    let key = if part["type"] == "refusal" { "refusal" } else { "text" };
    let mut first = part.clone();
    first[key] = json!("");
    let place = |more: Value| {
        let mut data = json!({"item_id": item["id"], "output_index": n, "content_index": 0});
        if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
            data.extend(more);
        }
        data
    };
    stream.push("response.content_part.added", place(json!({"part": first})));
    let name = if key == "text" { "response.output_text" } else { "response.refusal" };
    let text = part[key].as_str().unwrap_or_default();
    let empty = plan.odd.then_some("");
    for piece in empty.into_iter().chain(answer.split(text)) {
        let delta = if key == "text" { json!({"delta": piece, "logprobs": []}) } else { json!({"delta": piece}) };
        stream.push(&format!("{name}.delta"), place(delta));
    }
    let done = if key == "text" { json!({"text": text, "logprobs": []}) } else { json!({"refusal": text}) };
    stream.push(&format!("{name}.done"), place(done));
    stream.push("response.content_part.done", place(json!({"part": part})));
}

fn reasoning(stream: &mut Stream, answer: &Answer, n: usize, item: &Value) {
    let mut empty = item.clone();
    empty["summary"] = json!([]);
    stream.push("response.output_item.added", json!({"output_index": n, "item": empty}));
    let text = item["summary"][0]["text"].as_str().unwrap_or_default();
    let place = |key: &str, value: Value| {
        let mut data = json!({"item_id": item["id"], "output_index": n, "summary_index": 0});
        data[key] = value;
        data
    };
    let part = |text: &str| json!({"type": "summary_text", "text": text});
    stream.push("response.reasoning_summary_part.added", place("part", part("")));
    for piece in answer.split(text) {
        stream.push("response.reasoning_summary_text.delta", place("delta", json!(piece)));
    }
    stream.push("response.reasoning_summary_text.done", place("text", json!(text)));
    stream.push("response.reasoning_summary_part.done", place("part", part(text)));
}

fn call(stream: &mut Stream, plan: &Plan, n: usize, item: &Value) {
    let mut empty = item.clone();
    empty["status"] = json!("in_progress");
    empty["arguments"] = json!("");
    stream.push("response.output_item.added", json!({"output_index": n, "item": empty}));
    let arguments = item["arguments"].as_str().unwrap_or_default();
    for piece in split(arguments, if plan.odd { 3 } else { 9 }) {
        let data = json!({"item_id": item["id"], "output_index": n, "delta": piece});
        stream.push("response.function_call_arguments.delta", data);
    }
    let data = json!({"item_id": item["id"], "output_index": n, "name": item["name"], "arguments": arguments});
    stream.push("response.function_call_arguments.done", data);
}
