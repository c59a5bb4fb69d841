//! Who may reach what: the API from a sandbox, the API without a token, and where the provider's key is seen.

use anyhow::{Context, Result};
use e2e::{
    Client, Settings, World,
    agents::{openclaw, program},
    docker, socket, world,
    world::CANARY,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Every method and path of the OpenAPI document, with plausible values for its parameters.
async fn operations(world: &World) -> Result<Vec<(Method, String)>> {
    let document: Value = world.client.get("/api/openapi.json").await?;
    assert_eq!(document["openapi"].as_str().map(|v| v.starts_with("3.1")), Some(true));
    let paths = document["paths"].as_object().context("no paths")?;
    let mut all = Vec::new();
    for (path, item) in paths {
        for method in item.as_object().context("no operations")?.keys() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            let concrete: Vec<_> = path.split('/').map(|p| if p.starts_with('{') { "1" } else { p }).collect();
            all.push((method, concrete.join("/")));
        }
    }
    assert!(all.len() > 35, "{all:?}");
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_reaches_no_route_of_the_api() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&program(&["listen"])).await?;
        w.event(&task, "it works", |e| e.kind == "agent.progress").await?;
        let gateway = w.data().join("run").join(&task).join("gateway.sock");
        let token = format!("Bearer {}", w.client.token.as_deref().unwrap_or_default());
        for (method, path) in operations(w)
            .await?
            .into_iter()
            .chain([(Method::GET, "/docs".to_owned()), (Method::GET, "/sign-in".to_owned())])
        {
            for headers in [&[][..], &[("authorization", token.as_str())][..]] {
                let (status, body) = socket::send(&gateway, method.as_str(), &path, headers, "").await?;
                assert_eq!(status, 404, "{method} {path}: {body}");
            }
        }
        let (status, body) = socket::send(&gateway, "GET", "/v1/models", &[], "").await?;
        assert!(
            status == 200 && body.contains("openai/echo") && !body.contains("openai/demo"),
            "only its own model: {body}"
        );
        assert_eq!(w.client.message(&task, "that is all", false).await?.status, 201);
        w.completed(&task).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_needs_a_token() -> Result<()> {
    world(Settings::default(), async |w| {
        let mut nobody = w.client.clone();
        for token in [None, Some("tf_".to_owned() + &"0".repeat(64)), Some(CANARY.to_owned())] {
            nobody.token = token;
            for (method, path) in operations(w).await? {
                let reply = nobody.send(method.clone(), &path, Some(&json!({}))).await?;
                let open = path == "/api/sign-in";
                assert!(reply.status == 401 || (open && reply.status != 200), "{method} {path}: {reply:?}");
                assert!(open || reply.body["error"]["hint"].to_string().contains("taskforge token show"), "{reply:?}");
            }
            let bare = nobody.send(Method::GET, "/healthz", None).await?;
            assert!(matches!(bare.status, 200 | 503));
        }
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(w.data().join("token"))?.permissions());
        assert_eq!(mode & 0o777, 0o600);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_is_sealed() -> Result<()> {
    world(Settings::default(), async |w| {
        let task =
            w.run(&program(&["probe", "/api/tasks", "/api/openapi.json", "/healthz", "/v1/models", "/_seen"])).await?;
        let done = w.completed(&task).await?;
        let seen: Value = serde_json::from_str(&w.delivered(&task, "probe.json").await?)?;
        assert_eq!(
            seen["routes"],
            json!({"/api/tasks": 404, "/api/openapi.json": 404, "/healthz": 200, "/v1/models": 200, "/_seen": 404})
        );
        for refused in ["network", "root_fs", "run_dir", "setuid"] {
            assert!(seen[refused].as_str().is_some_and(|s| s.starts_with("refused")), "{refused}: {seen}");
        }
        assert_eq!((&seen["uid"], &seen["other_interfaces"]), (&json!(61_000), &json!("[]")));
        let posture = done.runs[0].iterations[0].posture.clone().context("no posture was measured")?;
        assert_eq!(posture["network"], json!("none"));
        assert_eq!(
            (&posture["read_only_root"], &posture["no_new_privileges"], &posture["privileged"]),
            (&json!(true), &json!(true), &json!(false))
        );
        assert_eq!((&posture["cap_drop"], &posture["cap_add"]), (&json!(["ALL"]), &json!([])));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_providers_key_is_seen_nowhere() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&openclaw("follow", "exec: env > env.txt; cat /proc/*/environ > all.txt 2>/dev/null; true\nrequest: pip:six (I need it)\nsubmit: done | env.txt, all.txt")).await?;
        let shown = w.pending(&task, 1).await?.remove(0);
        w.approve_shown(&shown).await?;
        let container = w.container(&task).await?;
        let inspect = docker::inspect(&container).await?.to_string();
        w.completed(&task).await?;
        let logs: Value = w.client.get(&format!("/api/tasks/{task}/logs")).await?;
        let image = w.client.task(&task).await?.task.image.context("no image")?;
        let history = docker::docker(&["history", "--no-trunc", &image]).await?;
        let info: Value = w.client.get("/api/system/info").await?;
        let health: Value = w.client.get("/api/system/health").await?;
        let files = [w.delivered(&task, "env.txt").await?, w.delivered(&task, "all.txt").await?];
        for (place, text) in [("inspect", inspect), ("logs", logs.to_string()), ("history", history), ("info", info.to_string()),
            ("health", health.to_string()), ("env", files.concat())] {
            assert!(!text.contains(CANARY), "the key is in {place}");
        }
        for call in w.client.calls(&task).await? {
            let detail: Value = w.client.get(&format!("/api/llm/calls/{}", call.id)).await?;
            assert!(!detail.to_string().contains(CANARY), "the key is in a recorded call");
        }
        w.stop().await?;
        assert_eq!(holders(w.dir(), CANARY)?, Vec::<String>::new());
        let token = w.client.token.clone().context("no token")?;
        assert_eq!(holders(w.dir(), &token)?, ["data/token"], "the first token lies in its own file and nowhere else");
        w.up().await
    })
    .await
}

/// Files below `dir` that hold `secret`.
fn holders(dir: &Path, secret: &str) -> Result<Vec<String>> {
    let mut open = vec![dir.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else if entry.file_type()?.is_file() {
                let bytes = fs::read(entry.path())?;
                if bytes.windows(secret.len()).any(|w| w == secret.as_bytes()) {
                    found.push(entry.path().strip_prefix(dir)?.to_string_lossy().into_owned());
                }
            }
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_a_clear_error() -> Result<()> {
    world(Settings::default(), async |world| {
        let c: &Client = &world.client;
        let path = format!("/api/tasks/task_{}", "0".repeat(32));
        for (method, path, body, status, code) in [
            (Method::POST, "/api/tasks".to_owned(), Some(json!({"name": 1})), 400, "invalid_json"),
            (
                Method::POST,
                "/api/tasks".to_owned(),
                Some(json!({"name": "a", "description": "b", "llm_model": "openai/pip", "root": true})),
                400,
                "invalid_json",
            ),
            (Method::GET, "/api/tasks/nonsense".to_owned(), None, 400, "invalid_id"),
            (Method::GET, path.clone(), None, 404, "not_found"),
            (Method::POST, format!("{path}/start"), None, 404, "not_found"),
            (Method::GET, "/api/nothing".to_owned(), None, 404, "unknown_route"),
            (Method::DELETE, "/api/tasks".to_owned(), None, 405, "method_not_allowed"),
        ] {
            let reply = c.send(method.clone(), &path, body.as_ref()).await?;
            assert_eq!((reply.status, reply.code()), (status, code), "{method} {path}: {reply:?}");
            assert!(reply.body["error"]["request_id"].as_str().is_some_and(|r| !r.is_empty()));
        }
        let listed: Value = c.get("/api/tasks").await?;
        assert_eq!(listed["items"], json!([]));
        Ok(())
    })
    .await
}
