//! Callers with a key: what they may use, and what they are told.

use crate::outside::{KEY, Outside, chat, error_code};
use gateway::{AliasConfig, ProviderConfig, ProviderKind, Registry};
use hyper::StatusCode;
use serde_json::{Value, json};
use store::CallStatus;

#[tokio::test]
async fn without_a_valid_key_nothing_leaves_and_it_is_recorded() {
    let w = Outside::new().await;
    for (path, shape) in [("/v1/chat/completions", "error"), ("/v1/messages", "type")] {
        for key in ["", "tfk_wrong", KEY] {
            let (status, body) = w.ask_as(key, path, &chat("openai/text", false)).await;
            let error: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            assert!(!error[shape].is_null(), "{error}");
        }
    }
    let (status, _) = w.get("tfk_wrong", "/v1/models", &[]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(w.seen().is_empty());
    let calls = w.calls().await;
    assert_eq!(calls.len(), 6);
    assert!(
        calls.iter().all(|c| c.status == CallStatus::Refused && c.error_code.as_deref() == Some("invalid_api_key"))
    );
}

#[tokio::test]
async fn a_key_may_use_what_it_is_scoped_to_and_nothing_else() {
    let aliases = vec![
        AliasConfig { name: "fast".into(), targets: vec!["anthropic/text".into()] },
        AliasConfig { name: "mixed".into(), targets: vec!["gemini/text".into(), "openai/text".into()] },
    ];
    let w = Outside::with(|_| {}, |p| p, aliases).await;
    let key = w.new_key("ci", Some(&["openai/*", "fast"]), None).await;
    for (model, provider) in [("openai/text", "openai"), ("fast", "anthropic"), ("mixed", "openai")] {
        let (status, body) = w.ask_as(&key, "/v1/chat/completions", &chat(model, false)).await;
        assert_eq!(status, StatusCode::OK, "{model}: {body:?}");
        assert_eq!(w.newest_call(CallStatus::Done).await.provider.as_deref(), Some(provider));
    }
    // As a server does in the background.
    w.gateway.registry().models().await;
    let before = w.seen().len();
    for model in ["anthropic/text", "gemini/text", "ollama/text"] {
        let (status, body) = w.ask_as(&key, "/v1/chat/completions", &chat(model, false)).await;
        assert_eq!((status, error_code(&body).as_str()), (StatusCode::FORBIDDEN, "model_not_allowed"), "{model}");
        assert!(w.newest_call(CallStatus::Refused).await.key.is_some());
    }
    let (status, body) = w.ask_as(&key, "/v1/chat/completions", &chat("openai/txet", false)).await;
    assert_eq!((status, error_code(&body).as_str()), (StatusCode::NOT_FOUND, "model_not_found"));
    let text = String::from_utf8_lossy(&body).into_owned();
    assert!(text.contains("openai/text") && !text.contains("anthropic/"), "near ones, of its scope only: {text}");
    // Lists lack valid names, so it was the provider that said no.
    assert_eq!(w.seen().len(), before + 1);

    let (_, list) = w.get(&key, "/v1/models", &[]).await;
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"fast") && ids.contains(&"openai/text") && !ids.contains(&"mixed"), "{ids:?}");
    assert!(ids.iter().all(|i| *i == "fast" || i.starts_with("openai/")), "{ids:?}");
    let (status, _) = w.get(&key, "/v1/models/anthropic%2Ftext", &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn models_are_listed_in_the_shape_of_the_client() {
    let w = Outside::new().await;
    let (_, openai) = w.get(&w.key, "/v1/models", &[]).await;
    assert_eq!(openai["object"], "list");
    let (_, seed) = w.get(&w.key, "/api/llm/v1/models", &[]).await;
    assert_eq!(seed, openai);
    let (_, anthropic) = w.get(&w.key, "/v1/models", &[("anthropic-version", "2023-06-01")]).await;
    assert_eq!((anthropic["has_more"].as_bool(), &anthropic["data"][0]["type"]), (Some(false), &json!("model")));
    let (status, one) = w.get(&w.key, "/v1/models/openai/text", &[]).await;
    assert_eq!((status, &one["id"], &one["owned_by"]), (StatusCode::OK, &json!("openai/text"), &json!("openai")));
    let (_, one) = w.get(&w.key, "/v1/models/openai%2Ftext", &[("anthropic-version", "2023-06-01")]).await;
    assert_eq!((&one["id"], &one["type"]), (&json!("openai/text"), &json!("model")));
}

#[tokio::test]
async fn what_happens_is_counted() {
    let w = Outside::new().await;
    w.ask("/v1/chat/completions", &chat("openai/text", false)).await;
    w.ask("/v1/chat/completions", &chat("openai/err-500-then-ok", true)).await;
    w.ask_as("tfk_wrong", "/v1/chat/completions", &chat("openai/text", false)).await;
    let text = w.gateway.metrics_text();
    for line in [
        "taskforge_llm_calls_total{provider=\"openai\",model=\"text\",status=\"done\"} 1",
        "taskforge_llm_retries_total 1",
        "taskforge_llm_refused_total{code=\"invalid_api_key\"} 1",
        "taskforge_llm_open_streams 0",
        "taskforge_llm_breaker_state{provider=\"openai\",endpoint=\"responses\"} 0",
        "taskforge_llm_call_seconds_count{provider=\"openai\",model=\"text\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(text.contains("kind=\"prompt\"} 2"), "{text}");
}

#[tokio::test]
async fn the_seeds_prefixes_lead_to_their_providers() {
    // The emulators list their models. Names that a list lacks go out all the same, as lists lack aliases and snapshots:
    // but for Ollama's, which is whole.
    let w = Outside::new().await;
    w.gateway.registry().models().await;
    for (path, model, seen) in [
        ("/api/llm/v1/chat/completions", "claude-txet", "/anthropic/v1/messages"),
        ("/v1/chat/completions", "openai-compatible/txet", "/compatible/v1/chat/completions"),
        ("/v1/chat/completions", "openai/txet", "/openai/v1/chat/completions"),
    ] {
        let before = w.seen().len();
        let (status, body) = w.ask(path, &chat(model, false)).await;
        let text = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(status, StatusCode::NOT_FOUND, "{model}: {text}");
        assert_eq!(text.contains("near ones: ") && text.contains("/text"), model.ends_with("/txet"), "{model}: {text}");
        assert_eq!(w.seen().len(), before + 1, "{model}");
        assert_eq!(w.seen()[before]["path"], seen, "{model}");
        assert_eq!(w.newest_call(CallStatus::Failed).await.http_status, Some(404));
    }
    let before = w.seen().len();
    let (status, body) = w.ask("/v1/chat/completions", &chat("ollama/txet", false)).await;
    assert_eq!((status, error_code(&body).as_str()), (StatusCode::NOT_FOUND, "model_not_found"));
    assert_eq!(w.seen().len(), before);
    // Without lists the beginning of a name decides.
    let gone = |kind: ProviderKind| ProviderConfig::new(kind.as_str(), kind, "http://127.0.0.1:9");
    let kinds = [ProviderKind::Openai, ProviderKind::Anthropic, ProviderKind::Gemini, ProviderKind::Ollama];
    w.gateway.registry().replace(kinds.map(gone).to_vec(), Vec::new()).unwrap();
    for (model, provider) in [
        ("claude-x", "anthropic"),
        ("gemini-x", "gemini"),
        ("gpt-x", "openai"),
        ("o3-x", "openai"),
        ("qwen3", "ollama"),
    ] {
        let (status, _) = w.ask("/v1/chat/completions", &chat(model, false)).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert_eq!(w.newest_call(CallStatus::Failed).await.provider.as_deref(), Some(provider), "{model}");
    }
}

#[tokio::test]
async fn a_configuration_is_replaced_while_calls_run() {
    let w = Outside::new().await;
    let slow = chat("openai/slow-d200", false);
    let (running, replaced) = tokio::join!(w.ask("/v1/chat/completions", &slow), async {
        crate::world::eventually("the call is under way", || async { (!w.seen().is_empty()).then_some(()) }).await;
        w.gateway.registry().replace(Vec::new(), Vec::new())
    });
    replaced.unwrap();
    assert_eq!(running.0, StatusCode::OK, "it ends as it began");
    let (status, body) = w.ask("/v1/chat/completions", &chat("openai/text", false)).await;
    assert_eq!((status, error_code(&body).as_str()), (StatusCode::BAD_GATEWAY, "no_providers"));
    let bad = vec![ProviderConfig::new("x", ProviderKind::Openai, "http://169.254.169.254/v1")];
    let error = w.gateway.registry().replace(bad.clone(), Vec::new()).unwrap_err().to_string();
    assert!(error.contains("link-local"), "{error}");
    let allowed = bad.into_iter().map(|mut p| {
        p.allow_link_local = true;
        p
    });
    w.gateway.registry().replace(allowed.collect(), Vec::new()).unwrap();
    let alias = AliasConfig { name: "a".into(), targets: vec!["nowhere/m".into()] };
    let error = w.gateway.registry().replace(Vec::new(), vec![alias]).unwrap_err().to_string();
    assert!(error.contains("nowhere/m"), "{error}");
}

#[tokio::test]
async fn a_name_that_leads_to_a_metadata_address_is_not_connected_to() {
    // No resolver says so here, so the check is shown on an address that is spelled otherwise.
    let config = gateway::Config::new("/nowhere".into());
    for url in ["http://[::ffff:169.254.169.254]/v1", "http://metadata.google.internal/v1"] {
        let provider = ProviderConfig::new("x", ProviderKind::Openai, url);
        assert!(Registry::new(vec![provider], Vec::new(), &config).is_err(), "{url}");
    }
    let provider = ProviderConfig::new("x", ProviderKind::Openai, "http://2852039166/v1");
    let registry = Registry::new(vec![provider], Vec::new(), &config).unwrap();
    let health = registry.test("x").await.unwrap();
    assert!(health.error.as_deref().is_some_and(|e| e.contains("metadata")), "{health:?}");
}

#[tokio::test]
async fn keys_of_providers_come_back_to_nobody() {
    let w = Outside::new().await;
    for kind in ProviderKind::ALL {
        for stream in [false, true] {
            let response = w.send(&w.key, "/v1/chat/completions", &chat(&format!("{kind}/echo-key"), stream)).await;
            let mut got = Vec::new();
            let mut body = response.into_body();
            while let Some(Ok(frame)) = http_body_util::BodyExt::frame(&mut body).await {
                got.extend_from_slice(frame.data_ref().map_or(&[], |d| d));
            }
            let text = String::from_utf8_lossy(&got);
            assert!(!text.contains(KEY), "{kind}, stream: {stream}: {text}");
            // What was sent is seen by the provider alone.
            let call = w.calls().await.pop().unwrap();
            if let Some(response) = &call.response {
                assert!(!w.store.body_text(response).await.unwrap().contains(KEY), "{kind}");
            }
            assert!(!serde_json::to_string(&call).unwrap().contains(KEY));
        }
    }
}
