//! Names of models: what leads where.

use crate::{
    fake::{Fake, json_answer},
    world::{World, nobody, provider},
};
use gateway::{Config, ProviderConfig, ProviderKind, Registry, ResolveError};
use serde_json::{Value, json};

fn of(providers: Vec<ProviderConfig>) -> Registry {
    Registry::new(providers, Vec::new(), &Config::new("/nowhere".into())).unwrap()
}

fn list(names: &[&str]) -> impl FnMut(&crate::fake::Seen) -> axum::http::Response<axum::body::Body> + Send + 'static {
    let models: Vec<_> = names.iter().map(|n| json!({"id":n,"name":n})).collect();
    move |seen| match seen.path.as_str() {
        "/v1/models" => json_answer(200, &json!({"data":models})),
        "/api/tags" => json_answer(200, &json!({"models":models})),
        _ => json_answer(404, &Value::Null),
    }
}

#[tokio::test]
async fn a_sandbox_sees_the_models_of_its_policy() {
    let w = World::new(nobody).await;
    let (_, body) = w.ask("GET", "/v1/models", "").await;
    let list: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(list["data"], json!([{"id":"up/m","object":"model","created":0,"owned_by":"up"}]));
    assert!(w.fake.seen().is_empty());
}

#[tokio::test]
async fn a_name_leads_to_exactly_one_model_or_to_a_clear_error() {
    let (a, b) =
        (Fake::start(list(&["gpt-4o", "same", "v/x"])).await, Fake::start(list(&["qwen3:latest", "same"])).await);
    let registry = of(vec![
        provider("openai", ProviderKind::Openai, a.url()),
        provider("ollama", ProviderKind::Ollama, format!("http://{}/v1/", b.address)),
    ]);
    let resolve = |name: &'static str| {
        let registry = registry.clone();
        async move { registry.resolve(name).await.map(|m| m.to_string()) }
    };
    for (name, model) in [
        ("openai/gpt-4o", "openai/gpt-4o"),
        ("gpt-4o", "openai/gpt-4o"),
        ("v/x", "openai/v/x"),
        ("qwen3", "ollama/qwen3:latest"),
        ("ollama/qwen3", "ollama/qwen3:latest"),
    ] {
        assert_eq!(resolve(name).await.as_deref(), Ok(model), "{name}");
    }
    let candidates = vec!["openai/same".to_owned(), "ollama/same".to_owned()];
    assert_eq!(resolve("same").await, Err(ResolveError::Ambiguous { name: "same".into(), candidates }));
    let error = resolve("gpt-4").await.unwrap_err();
    assert!(error.to_string().contains("openai/gpt-4o"), "{error}");
    assert!(matches!(resolve("ollama/llama").await, Err(ResolveError::Unknown { .. })));
    assert_eq!(a.seen().len(), 1, "the list is kept");
    assert_eq!(registry.models().await.len(), 5);
    let health = registry.health().await;
    assert_eq!(health.iter().map(|h| h.models).collect::<Vec<_>>(), [Some(3), Some(2)]);
}

#[tokio::test]
async fn an_upstream_that_is_away_is_named_and_one_without_a_list_is_trusted() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", gone.local_addr().unwrap());
    drop(gone);
    let plain = Fake::start(nobody).await;
    plain.answer(|_| json_answer(404, &Value::Null));
    let registry = of(vec![
        provider("away", ProviderKind::OpenaiCompatible, url),
        provider("plain", ProviderKind::OpenaiCompatible, plain.url()),
    ]);
    assert_eq!(registry.resolve("plain/anything").await.unwrap().to_string(), "plain/anything");
    for name in ["away/m", "m"] {
        let error = registry.resolve(name).await.unwrap_err();
        assert!(matches!(&error, ResolveError::Unreachable { provider, .. } if provider == "away"), "{error}");
    }
    let health = registry.health().await;
    assert!(health[0].error.is_some() && health[0].hint.is_some());
    let none = of(Vec::new());
    assert_eq!(none.resolve("m").await, Err(ResolveError::NoProviders));
}

#[tokio::test]
async fn the_alias_of_the_host_is_loopback_where_it_does_not_resolve() {
    let fake = Fake::start(list(&["m"])).await;
    let url = format!("http://host.docker.internal:{}/v1", fake.address.port());
    let alias = provider("up", ProviderKind::OpenaiCompatible, url);
    let registry = of(vec![alias]);
    assert_eq!(registry.resolve("m").await.unwrap().to_string(), "up/m");
}
