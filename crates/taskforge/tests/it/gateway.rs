//! The gateway by itself, as a program in front of emulated providers.

mod bed;

use bed::{Bed, KEY, config};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_quickly_and_answers_a_key_that_was_made_before() {
    let mut bed = Bed::new().await;
    let made = bed.json(&["key", "create", "anna"]).await;
    let key = made["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("tfk_"), "{made}");
    let began = Instant::now();
    bed.start(&[]).await;
    // A test build on a busy machine: the program's own figure is in the benchmarks.
    assert!(began.elapsed() < Duration::from_secs(10));
    let (status, answer) = bed.chat(&key, "fast").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(answer["choices"][0]["message"]["content"].as_str().is_some_and(|t| !t.is_empty()));
    let seen = bed.emulator.seen("limit=1").to_string();
    assert!(seen.contains("chat/completions"), "{seen}");

    let (status, refused) = bed.chat("tfk_wrong", "fast").await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::UNAUTHORIZED, &json!("invalid_api_key")));
    assert_eq!(bed.http.get(bed.url("/healthz")).send().await.unwrap().text().await.unwrap(), "ok");
    let metrics = bed.http.get(bed.url("/metrics")).send().await.unwrap();
    assert_eq!(metrics.status(), StatusCode::UNAUTHORIZED, "metrics need a token unless the file says so");

    assert_eq!(bed.run(&["down"]).await.code, 0);
    assert_eq!(bed.ended().await, Some(0), "{}", bed.log());
    assert!(!bed.dir.path().join("server.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_while_the_gateway_starts_on_a_fresh_directory() {
    // Which of the two is first differs from try to try.
    for pause_ms in [0, 20, 60, 150] {
        let mut bed = Bed::new().await;
        bed.launch(&[]);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let made = bed.run(&["key", "create", "anna"]).await;
        assert_eq!(made.code, 0, "{made:?}: {}", bed.log());
        bed.answers().await;
        let (status, answer) = bed.chat(made.stdout.trim(), "fast").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_listed_shown_counted_and_exported_with_and_without_it() {
    let mut bed = Bed::new().await;
    let key = bed.key("ci", &["--models", "openai/*"]).await;
    bed.start(&[]).await;
    bed.chat(&key, "openai/text").await;
    let (status, refused) = bed.chat(&key, "anthropic/text").await;
    assert_eq!(status, StatusCode::FORBIDDEN, "out of the key's scope: {refused}");
    let said = bed.run(&["llm", "chat", "fast", "hello"]).await;
    assert!(said.code == 0 && said.stdout.contains("hello"), "{said:?}");

    for running in [true, false] {
        if !running {
            bed.kill().await;
        }
        let lines = bed.run(&["llm", "calls", "--json"]).await.stdout;
        let calls: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let told: Vec<_> = calls.iter().map(|c| (c["state"].as_str().unwrap(), c["token"].as_str())).collect();
        assert_eq!(told, [("ended", None), ("refused", None), ("ended", Some("owner"))], "{lines}");
        assert_eq!(calls[0]["key_name"], "ci");
        assert_eq!(bed.run(&["llm", "calls", "--count"]).await.stdout, "3\n");
        assert_eq!(bed.run(&["llm", "calls", "--count", "--key", "ci", "--status", "ended"]).await.stdout, "1\n");
        assert_eq!(bed.run(&["llm", "calls", "--count", "--since", "1h", "--text", "SCOPE"]).await.stdout, "0\n");

        let id = calls[0]["id"].as_str().unwrap();
        let detail = bed.json(&["llm", "show", id]).await;
        assert!(detail["request"].as_str().unwrap().contains("openai/text"), "{detail}");
        assert_eq!(detail["tries"][0]["state"], "ended");
        let sent = bed.run(&["llm", "show", id, "--body", "sent"]).await.stdout;
        let sent: Value = serde_json::from_str(&sent).unwrap();
        assert_eq!(sent["model"], "text", "as the provider names it");
        let export = bed.run(&["llm", "export", "--status", "ended"]).await.stdout;
        assert_eq!(export.lines().count(), 2);
        assert!(!export.contains(KEY) && !export.contains(&key), "no credential is exported");
        let verified = bed.json(&["audit", "verify"]).await;
        assert_eq!(verified["valid"], true, "{verified}");
    }
    let shown = bed.json(&["key", "show", "ci"]).await;
    assert_eq!((&shown["usage"]["calls"], &shown["usage"]["refused"]), (&json!(1), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn erased_bodies_are_in_no_answer_and_the_log_stays_valid() {
    let mut bed = Bed::new().await;
    let key = bed.key("ci", &[]).await;
    bed.start(&[]).await;
    let ask = async |bed: &Bed, text: &str| {
        let body = json!({"model": "openai/text", "messages": [{"role": "user", "content": text}]});
        let sent = bed.http.post(bed.url("/v1/chat/completions")).bearer_auth(&key).json(&body).send().await.unwrap();
        assert_eq!(sent.status(), StatusCode::OK);
    };
    ask(&bed, "the first marker").await;
    assert_eq!(bed.run(&["llm", "chat", "fast", "the token's words"]).await.code, 0);
    let export = bed.run(&["llm", "export"]).await.stdout;
    assert!(export.contains("the first marker") && export.contains("the token's words"));

    let unsure = bed.run(&["llm", "erase", "--key", "ci", "ticket 4711"]).await;
    assert!(unsure.code != 0 && unsure.stderr.contains("--yes"), "{unsure:?}");
    let both = bed.run(&["llm", "erase", "--yes", "--key", "ci", "--token", "owner", "x"]).await;
    assert!(both.code == 2 && both.stderr.contains("--token"), "{both:?}");
    let none = bed.run(&["llm", "erase", "--yes", "--key", "nobody", "x"]).await;
    assert!(none.code == 1 && none.stderr.contains("there is no key nobody"), "{none:?}");
    let erased = bed.json(&["llm", "erase", "--yes", "--key", "ci", "ticket 4711"]).await;
    assert!(erased["bodies"].as_u64().unwrap() >= 2, "{erased}");
    ask(&bed, "the second marker").await;

    for running in [true, false] {
        if !running {
            bed.kill().await;
        }
        let export = bed.run(&["llm", "export"]).await;
        assert!(export.code == 0 && !export.stdout.contains("the first marker"), "{export:?}");
        assert!(export.stdout.contains("the second marker") && export.stdout.contains("the token's words"));
        let calls: Vec<Value> = export.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let told: Vec<_> = calls.iter().map(|c| (c["erased"].as_bool().unwrap(), c["request"].is_null())).collect();
        assert_eq!(told, [(true, true), (false, false), (false, false)]);
        assert!(calls[0]["response"].is_null() && calls[0]["normalised"].is_null(), "{}", calls[0]);
        let id = calls[0]["id"].as_str().unwrap();
        let shown = bed.run(&["llm", "show", id]).await;
        assert!(shown.code == 0 && shown.stdout.contains("bodies  erased"), "{shown:?}");
        let body = bed.run(&["llm", "show", id, "--body", "request"]).await;
        assert!(body.code == 1 && body.stderr.contains("was erased"), "{body:?}");
        let verified = bed.json(&["audit", "verify"]).await;
        assert_eq!(verified["valid"], true, "{verified}");
        let entry = bed.run(&["audit", "show", &erased["entry"].to_string(), "--json"]).await;
        for part in ["body.erased", "ticket 4711", "owner"] {
            assert!(entry.stdout.contains(part), "{entry:?}");
        }
        assert!(!bed.everything_written().contains("marker"), "bodies lie encrypted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_saved_sealed_used_at_once_and_removed() {
    let mut bed = Bed::new().await;
    let key = bed.key("anna", &[]).await;
    bed.start(&[]).await;
    let url = bed.emulator.url("ollama");
    let add = |more: &'static [&'static str]| {
        let args = ["provider", "add", "lab", "--kind", "ollama", "--url", &url, "--key-env", "LAB_KEY"];
        [&args[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let added = bed.run_with(&add(&["--json"]), &[("LAB_KEY", "lab-secret-key")]).await;
    assert_eq!(added.code, 0, "{added:?}");
    assert!(added.json()["fingerprint"].as_str().unwrap().starts_with("sha256:"), "{added:?}");
    assert!(!added.stdout.contains("lab-secret"), "{added:?}");
    assert_eq!(bed.chat(&key, "lab/text").await.0, StatusCode::OK, "it is used without a restart");
    assert_eq!(bed.json(&["provider", "test", "lab"]).await["ok"], true);

    let again = bed.run_with(&add(&[]), &[("LAB_KEY", "other-key")]).await;
    assert!(again.code == 5 && again.stderr.contains("--replace"), "{again:?}");
    let fixed = bed.run(&["provider", "remove", "openai"]).await;
    assert!(fixed.code == 5 && fixed.stderr.contains("configuration file"), "{fixed:?}");
    let moved = ["provider", "add", "lab", "--kind", "ollama", "--url", "http://127.0.0.1:1", "--replace"];
    let moved = bed.run(&moved).await;
    assert!(moved.code == 1 && moved.stderr.contains("do not stay"), "the key goes nowhere else: {moved:?}");
    for (value, code) in [("sha256:0123456789ab", "masked_secret"), ("lab-***", "masked_secret")] {
        let masked = bed.run_with(&add(&["--replace", "--json"]), &[("LAB_KEY", value)]).await;
        assert!(masked.code == 1 && masked.stderr.contains(code), "{masked:?}");
    }
    let metadata = ["provider", "add", "x", "--kind", "openai", "--url", "http://169.254.169.254/v1"];
    let metadata = bed.run(&metadata).await;
    assert!(metadata.code == 1 && metadata.stderr.contains("link-local"), "{metadata:?}");

    bed.kill().await;
    assert!(!bed.everything_written().contains("lab-secret-key"), "sealed at rest, and in no log");
    bed.start(&[]).await;
    assert_eq!(bed.chat(&key, "lab/text").await.0, StatusCode::OK, "opened again after a restart");
    assert_eq!(bed.run(&["provider", "remove", "lab"]).await.code, 0);
    assert_eq!(bed.chat(&key, "lab/text").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_read_again_without_a_restart() {
    let mut bed = Bed::new().await;
    let key = bed.key("anna", &[]).await;
    bed.start(&[]).await;
    assert_eq!(bed.chat(&key, "slow").await.0, StatusCode::NOT_FOUND);
    let more = format!("{}\n[models.slow]\ntargets = [\"anthropic/text\"]\n", config(&bed.emulator));
    bed.write_config(&more);
    let now = bed.json(&["gateway", "reload"]).await;
    assert_eq!(now["aliases"][1]["name"], "slow", "{now}");
    assert_eq!(bed.chat(&key, "slow").await.0, StatusCode::OK);

    bed.write_config("[providers.openai]\nkind = \"openai\"\nbase_ur = \"x\"\n");
    let wrong = bed.run(&["gateway", "reload"]).await;
    assert!(wrong.code == 1 && wrong.stderr.contains("gateway.toml:3: unknown field `base_ur`"), "{wrong:?}");
    assert_eq!(bed.chat(&key, "slow").await.0, StatusCode::OK, "what was in use still is");

    bed.write_config(&config(&bed.emulator));
    bed.signal(rustix::process::Signal::HUP);
    bed.until("the alias is gone", async |bed| bed.chat(&key, "slow").await.0 == StatusCode::NOT_FOUND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_start_says_why_and_leaves_nothing() {
    let mut bed = Bed::new().await;
    bed.write_config("[providers.openai]\nkind = \"openai\"\napi_key_env = \"NOT_SET\"\n");
    let end = bed.run_gateway(&[]).await;
    assert!(end.code == 1 && end.stderr.contains("gateway.toml:3: the environment variable NOT_SET"), "{end:?}");
    assert!(!bed.dir.path().join("state.db").exists(), "nothing was made");
    bed.write_config(&config(&bed.emulator));
    let end = bed.run_gateway(&["--listen", "nowhere"]).await;
    assert!(end.code == 1 && end.stderr.contains("cannot listen on"), "{end:?}");
    bed.start(&[]).await;
    let end = bed.run_gateway(&["--listen", "127.0.0.1:0"]).await;
    assert!(end.code == 1 && end.stderr.contains("another server"), "{end:?}");
    let restart = bed.run(&["restart"]).await;
    assert!(restart.code == 5 && restart.stderr.contains("gateway"), "{restart:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_documents_are_there() {
    let mut bed = Bed::new().await;
    bed.write_config(&format!("metrics_public = true\n{}", config(&bed.emulator)));
    let key = bed.key("anna", &[]).await;
    bed.start(&[]).await;
    bed.chat(&key, "fast").await;
    let metrics = bed.http.get(bed.url("/metrics")).send().await.unwrap().text().await.unwrap();
    for line in
        ["taskforge_build_info{version=", "taskforge_keys_in_force 1", "taskforge_log_entries", "provider=\"openai\""]
    {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let token = bed.run(&["token", "show"]).await.stdout;
    let get = |path: &str| bed.http.get(bed.url(path)).bearer_auth(token.trim()).send();
    assert_eq!(get("/docs/").await.unwrap().status(), StatusCode::OK);
    let document: Value = get("/api/openapi.json").await.unwrap().json().await.unwrap();
    assert!(document["paths"]["/api/llm/providers"].is_object() && document["paths"]["/api/tasks"].is_null());
    let doctor = bed.run(&["doctor"]).await;
    assert!(doctor.stdout.contains("provider:anthropic") && !doctor.stdout.contains("docker"), "{doctor:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_a_span_of_each_call_and_no_content() {
    let (collector, mut got) = bed::collector().await;
    let mut bed = Bed::new().await;
    bed.env.push(("OTEL_EXPORTER_OTLP_ENDPOINT".into(), collector));
    let key = bed.key("anna", &[]).await;
    bed.start(&[]).await;
    let body = json!({"model": "fast", "messages": [{"role": "user", "content": "a private question"}]});
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = bed.http.post(bed.url("/v1/chat/completions")).bearer_auth(&key).json(&body);
    assert_eq!(request.header("traceparent", parent).send().await.unwrap().status(), StatusCode::OK);
    let (path, span) = tokio::time::timeout(crate::server::PATIENCE, got.recv()).await.unwrap().unwrap();
    assert_eq!(path, "/v1/traces");
    let holds = |what: &[u8]| span.windows(what.len()).any(|w| w == what);
    for name in ["gen_ai.operation.name", "gen_ai.usage.input_tokens", "taskforge.call.id", "chat text", "taskforge"] {
        assert!(holds(name.as_bytes()), "{name}");
    }
    assert!(holds(&hex::decode("0af7651916cd43dd8448eb211c80319c").unwrap()), "it is part of the client's trace");
    assert!(!holds(b"private question") && !holds(b"You said"), "no content");
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_of_the_operator_go_into_the_record() {
    let mut bed = Bed::new().await;
    let rows = json!({"rows": [{"provider": "openai", "models": ["text"], "prices": [{"input": 1_000_000, "output": 2_000_000}]}]});
    bed.write_file("prices.json", &rows.to_string());
    bed.write_config(&format!("{}\n[prices]\nfile = \"prices.json\"\n", config(&bed.emulator)));
    let key = bed.key("anna", &[]).await;
    bed.start(&[]).await;
    let (_, answer) = bed.chat(&key, "openai/text").await;
    let count = |name: &str| answer["usage"][name].as_i64().unwrap();
    let calls = bed.run(&["llm", "calls", "--json"]).await.stdout;
    let call: Value = serde_json::from_str(calls.trim()).unwrap();
    let expected = count("prompt_tokens") + 2 * count("completion_tokens");
    assert_eq!(call["cost_micro_usd"], json!(expected), "{call}");
    bed.write_file("prices.json", "{\"rows\": 1}");
    let wrong = bed.run(&["gateway", "reload"]).await;
    assert!(wrong.code == 1 && wrong.stderr.contains("prices.json"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_backed_up_restored_and_cleaned_away_without_docker() {
    let mut bed = Bed::new().await;
    bed.env.push(("DOCKER_HOST".into(), "unix:///nonexistent.sock".into()));
    let key = bed.key("anna", &[]).await;
    bed.start(&[]).await;
    bed.chat(&key, "fast").await;
    assert_eq!(bed.run(&["down"]).await.code, 0);
    bed.ended().await;
    let backup = bed.run(&["backup", "b.tar"]).await;
    assert_eq!(backup.code, 0, "{backup:?}");
    let asked = bed.run(&["clean"]).await;
    assert!(asked.code == 2 && asked.stderr.contains("--yes") && bed.dir.path().exists(), "{asked:?}");
    let cleaned = bed.run(&["clean", "--yes"]).await;
    assert!(cleaned.code == 0 && !bed.dir.path().exists(), "{cleaned:?}");
    let restored = bed.run(&["restore", "b.tar"]).await;
    assert_eq!(restored.code, 0, "{restored:?}");
    assert_eq!(bed.run(&["llm", "calls", "--count"]).await.stdout, "1\n");
    assert_eq!(bed.json(&["audit", "verify"]).await["valid"], true);
    bed.start(&[]).await;
    assert_eq!(bed.chat(&key, "fast").await.0, StatusCode::OK);
}
