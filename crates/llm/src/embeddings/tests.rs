//! Embeddings in the published shapes.

use super::*;

fn parse(body: &str) -> EmbeddingsRequest {
    EmbeddingsRequest::parse(body.as_bytes()).unwrap()
}

fn translated(body: &str, to: Format) -> (Method, String) {
    let t = parse(body).translate(to, body.as_bytes(), "m").unwrap();
    (t.method, String::from_utf8(t.body).unwrap())
}

#[test]
fn a_compatible_server_gets_the_same_bytes_with_its_model() {
    let body = r#"{ "input":[[1,2],[3]] , "model" : "a" ,"x":1.0}"#;
    assert_eq!(
        translated(body, Format::Chat),
        (Method::OpenAi, r#"{ "input":[[1,2],[3]] , "model" : "m" ,"x":1.0}"#.into())
    );
    assert_eq!(parse(body).inputs, 2);
}

#[test]
fn gemini_and_ollama_get_their_shapes() {
    let one = r#"{"model":"a","input":"é\n","dimensions":8}"#;
    let content = r#"{"model":"models/m","content":{"parts":[{"text":"é\n"}]},"outputDimensionality":8}"#;
    assert_eq!(translated(one, Format::Gemini), (Method::GeminiOne, content.into()));
    let two = r#"{"model":"a","input":["x","y"]}"#;
    let batch = concat!(
        r#"{"requests":[{"model":"models/m","content":{"parts":[{"text":"x"}]}},"#,
        r#"{"model":"models/m","content":{"parts":[{"text":"y"}]}}]}"#
    );
    assert_eq!(translated(two, Format::Gemini), (Method::GeminiBatch, batch.into()));
    assert_eq!(translated(two, Format::Ollama), (Method::Ollama, r#"{"model":"m","input":["x","y"]}"#.into()));
}

#[test]
fn what_cannot_be_carried_is_refused_or_reported() {
    let refused = |body: &str, to| parse(body).translate(to, body.as_bytes(), "m").unwrap_err().to_string();
    assert!(refused(r#"{"model":"a","input":[1,2]}"#, Format::Gemini).contains("input"));
    assert!(refused(r#"{"model":"a","input":"x"}"#, Format::Messages).contains("no embeddings"));
    let body = r#"{"model":"a","input":"x","user":"u","truncate":false}"#;
    let t = parse(body).translate(Format::Ollama, body.as_bytes(), "m").unwrap();
    assert_eq!(t.losses.len(), 2);
    for bad in [
        r#"{"input":"x"}"#,
        r#"{"model":"","input":"x"}"#,
        r#"{"model":"a"}"#,
        r#"{"model":"a","input":[]}"#,
        r#"{"model":"a","input":{"x":1}}"#,
        r#"{"model":"a","input":"x","encoding_format":"int8"}"#,
        r#"{"model":"a","model":"b","input":"x"}"#,
    ] {
        assert!(EmbeddingsRequest::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let many = format!(r#"{{"model":"a","input":[{}"x"]}}"#, r#""x","#.repeat(MAX_INPUTS));
    assert!(EmbeddingsRequest::parse(many.as_bytes()).unwrap_err().to_string().contains("2049"));
}

#[test]
fn vectors_come_back_as_floats_or_as_base64() {
    let answer = br#"{"model":"m","embeddings":[[0.5,-1.0],[1.25,2.0]],"total_duration":1,"prompt_eval_count":4}"#;
    let floats = parse(r#"{"model":"a","input":["x","y"]}"#).translate_answer(Method::Ollama, answer, "a").unwrap();
    assert_eq!(
        String::from_utf8(floats.body).unwrap(),
        concat!(
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-1.0]},"#,
            r#"{"object":"embedding","index":1,"embedding":[1.25,2.0]}],"model":"a","#,
            r#""usage":{"prompt_tokens":4,"total_tokens":4}}"#
        )
    );
    let request = parse(r#"{"model":"a","input":"x","encoding_format":"base64"}"#);
    let gemini = br#"{"embedding":{"values":[0.5,-1.0]}}"#;
    let body = request.translate_answer(Method::GeminiOne, gemini, "a").unwrap();
    assert_eq!(body.prompt_tokens, None);
    // 0.5 and -1 as IEEE 754 single, little-endian: 0000003f 000080bf.
    assert!(String::from_utf8(body.body).unwrap().contains(r#""embedding":"AAAAPwAAgL8=""#));
    let error = request.translate_answer(Method::Ollama, answer, "a").unwrap_err();
    assert!(error.to_string().contains("2 vectors for 1 inputs"), "{error}");
}
