//! Requests there and back, streams of any shape, and reasoning that a client dropped.

use crate::snapshots::meta;
use llm::{Answer, Format, StreamReader, StreamTranslator, translate_request, translate_response};
use proptest::prelude::*;
use serde_json::{Value, json};

fn nothing(_: &str) -> Option<Vec<u8>> {
    None
}

fn translated(from: Format, to: Format, body: &[u8]) -> Value {
    let done = translate_request(from, to, body, "gpt-5.2", &nothing).unwrap_or_else(|e| panic!("{from} to {to}: {e}"));
    serde_json::from_slice(&done.body).unwrap()
}

/// There and back, against the same request in the form that we write ourselves.
fn there_and_back(home: Format, away: Format, request: &Value) {
    let body = request.to_string().into_bytes();
    let expected = translated(home, home, &body);
    let there = translated(home, away, &body).to_string().into_bytes();
    assert_eq!(translated(away, home, &there), expected, "{home} by {away}");
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just("Grüße, 東京 🚀\n\"\\".to_owned()), "[a-z ]{1,12}", "\\PC{1,8}"]
}

fn user_part() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(|t| json!({"type": "text", "text": t})),
        "[a-z]{1,8}".prop_map(
            |p| json!({"type": "image_url", "image_url": {"url": format!("https://example.com/{p}"), "detail": "low"}})
        ),
        "[A-Za-z0-9+/]{4}".prop_map(|d| {
            json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{d}"), "detail": "auto"}})
        }),
        "[A-Za-z0-9+/]{4}".prop_map(|d| {
            json!({"type": "file", "file": {"filename": "a.pdf", "file_data": format!("data:application/pdf;base64,{d}")}})
        }),
    ]
}

fn arguments() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{}".to_owned()),
        Just("{ \"b\": 1.50, \"a\" : [ ] }".to_owned()),
        text().prop_map(|t| json!({"x": t}).to_string()),
    ]
}

/// A turn of the user and the answer to it, with the results of its tool calls.
fn turn() -> impl Strategy<Value = Vec<Value>> {
    let user = prop::collection::vec(user_part(), 1..3);
    let calls = prop::collection::vec((arguments(), text()), 0..3);
    (user, prop::option::of(text()), calls, 0..1_000_000_u32).prop_map(|(user, said, calls, n)| {
        let mut turn = vec![json!({"role": "user", "content": user})];
        if said.is_none() && calls.is_empty() {
            return turn;
        }
        let mut assistant = json!({"role": "assistant", "content": said});
        let id = |i: usize| format!("call_{n}_{i}");
        if !calls.is_empty() {
            let list = calls.iter().enumerate().map(|(i, (arguments, _))| {
                json!({"id": id(i), "type": "function", "function": {"name": "f", "arguments": arguments}})
            });
            assistant["tool_calls"] = list.collect();
        }
        turn.push(assistant);
        turn.extend(
            calls
                .iter()
                .enumerate()
                .map(|(i, (_, result))| json!({"role": "tool", "tool_call_id": id(i), "content": result})),
        );
        turn
    })
}

prop_compose! {
    fn request()(
        system in prop::option::of(text()),
        turns in prop::collection::vec(turn(), 1..4),
        choice in prop::option::of(prop_oneof![
            Just(json!("auto")), Just(json!("none")), Just(json!("required")),
            Just(json!({"type": "function", "function": {"name": "f"}})),
        ]),
        parallel in prop::option::of(any::<bool>()),
        schema in prop::option::of(any::<bool>()),
        limit in prop::option::of(1..100_000_u64),
        temperature in prop::option::of(0..20_u32),
        effort in prop::option::of(prop_oneof![Just("low"), Just("medium"), Just("high")]),
        stream in any::<bool>(),
    ) -> Value {
        let mut messages: Vec<Value> = system.map(|s| json!({"role": "system", "content": s})).into_iter().collect();
        messages.extend(turns.into_iter().flatten());
        let mut r = json!({
            "model": "m", "messages": messages, "store": false,
            "tools": [{"type": "function", "function": {
                "name": "f", "description": "does", "parameters": {"type": "object", "properties": {}}, "strict": true,
            }}],
        });
        let mut set = |key: &str, value: Option<Value>| if let Some(v) = value { r[key] = v };
        set("tool_choice", choice);
        set("parallel_tool_calls", parallel.map(Value::from));
        set("response_format", schema.map(|strict| json!({"type": "json_schema", "json_schema": {
            "name": "n", "schema": {"type": "object"}, "strict": strict,
        }})));
        set("max_completion_tokens", limit.map(Value::from));
        set("temperature", temperature.map(|t| Value::from(f64::from(t) / 10.0)));
        set("reasoning_effort", effort.map(Value::from));
        set("stream", stream.then_some(Value::Bool(true)));
        r
    }
}

/// A choice of deltas of a Chat stream, odd ones included.
fn chunk() -> impl Strategy<Value = String> {
    let delta = prop_oneof![
        text().prop_map(|t| json!({"content": t})),
        text().prop_map(|t| json!({"reasoning_content": t})),
        text().prop_map(|t| json!({"refusal": t})),
        Just(json!({})),
        Just(json!({"content": ""})),
        (0..3_u32, any::<bool>(), arguments()).prop_map(|(i, with_id, a)| {
            let mut call = json!({"index": i, "function": {"name": "f", "arguments": a}});
            if with_id {
                call["id"] = json!(format!("id{i}"));
            }
            json!({"tool_calls": [call]})
        }),
        (0..3_u32, text()).prop_map(|(i, a)| json!({"tool_calls": [{"index": i, "function": {"arguments": a}}]})),
    ];
    let end = prop_oneof![Just("\n\n"), Just("\r\n\r\n"), Just("\n: note\n\n")];
    (delta, end).prop_map(|(d, end)| format!("data: {}{end}", json!({"choices": [{"index": 0, "delta": d}]})))
}

fn reread(format: Format, bytes: &[u8]) -> Answer {
    let mut reader = StreamReader::new(format).unwrap();
    reader.feed(bytes);
    reader.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_by_responses_comes_back(request in request()) {
        there_and_back(Format::Chat, Format::Responses, &request);
        // And once more from the other side.
        let body = request.to_string().into_bytes();
        there_and_back(Format::Responses, Format::Chat, &translated(Format::Chat, Format::Responses, &body));
    }

    #[test]
    fn any_stream_in_any_pieces_is_told_in_full(
        chunks in prop::collection::vec(chunk(), 0..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ends in any::<bool>(),
    ) {
        let mut stream = chunks.concat();
        if ends {
            stream.push_str("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
        }
        let bytes = stream.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        for client in [Format::Chat, Format::Responses] {
            let run = |pieces: &[&[u8]]| {
                let mut translator = StreamTranslator::new(Format::Chat, client, meta()).unwrap();
                let mut out = Vec::new();
                pieces.iter().for_each(|p| translator.feed(p, &mut out));
                translator.finish(&mut out);
                (out, translator.into_answer())
            };
            let (whole, answer) = run(&[bytes]);
            let mut pieces = Vec::new();
            let mut from = 0;
            for at in &cuts {
                pieces.push(&bytes[from..*at]);
                from = *at;
            }
            pieces.push(&bytes[from..]);
            prop_assert_eq!(&run(&pieces).0, &whole);
            let back = reread(client, &whole);
            prop_assert_eq!(&back.text, &answer.text);
            prop_assert_eq!(&back.tool_calls, &answer.tool_calls);
            prop_assert_eq!(&back.refusal, &answer.refusal);
            prop_assert_eq!(back.is_complete(), ends);
            prop_assert_eq!(back.error.is_some(), !ends);
        }
    }
}

/// A turn with signed reasoning and a tool call; the client sends back the call and nothing that it does not know.
#[test]
fn signatures_survive_a_client_that_drops_unknown_fields() {
    let answer = json!({
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-5.2",
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
             "encrypted_content": "gAAAA"},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"},
        ],
    });
    let done = translate_response(Format::Responses, Format::Chat, answer.to_string().as_bytes(), &meta()).unwrap();
    let body: Value = serde_json::from_slice(&done.body).unwrap();
    let message = &body["choices"][0]["message"];
    assert_eq!(message["thinking_blocks"][0]["signature"], "responses#tf#gAAAA");

    let bare = json!({"role": "assistant", "content": message["content"], "tool_calls": message["tool_calls"]});
    let with_text =
        json!({"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": message["tool_calls"]});
    for (said, carry) in [(bare, true), (with_text, true), (message.clone(), false)] {
        let request = json!({"model": "m", "messages": [
            {"role": "user", "content": "x"}, said, {"role": "tool", "tool_call_id": "call_1", "content": "ok"},
        ]});
        let kept = |id: &str| done.carries.iter().find(|(k, _)| carry && k == id).map(|(_, v)| v.clone());
        let next = translate_request(Format::Chat, Format::Responses, request.to_string().as_bytes(), "gpt-5.2", &kept)
            .unwrap();
        let next: Value = serde_json::from_slice(&next.body).unwrap();
        assert_eq!(
            next["input"][1],
            json!({
                "type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
                "encrypted_content": "gAAAA",
            })
        );
        assert_eq!(next["input"][2]["type"], "function_call");
    }
}

/// An answer repeats what its request said.
#[test]
fn a_response_repeats_its_request() {
    let request = json!({"model": "m", "input": "x", "instructions": "Be kind.", "temperature": 0.5,
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}], "metadata": {"a": "b"}});
    let done =
        translate_request(Format::Responses, Format::Chat, request.to_string().as_bytes(), "m", &nothing).unwrap();
    let answer = json!({"id": "1", "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]});
    let meta = llm::StreamMeta { echo: done.echo, ..meta() };
    let done = translate_response(Format::Chat, Format::Responses, answer.to_string().as_bytes(), &meta).unwrap();
    let body: Value = serde_json::from_slice(&done.body).unwrap();
    for field in ["instructions", "temperature", "tools", "metadata"] {
        assert_eq!(body[field], request[field], "{field}");
    }
}
