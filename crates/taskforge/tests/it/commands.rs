//! Exit codes, output, help.

use crate::server::{Server, ended};
use domain::task::RunOutcome;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_what_happened() {
    let s = Server::start().await;
    let task = s.task().await.to_string();
    for (args, code, word) in [
        (vec!["task", "list"], 0, ""),
        (vec!["task", "show", "task_00000000000000000000000000000001"], 1, "there is no task"),
        (vec!["task", "create", "--description", "x", "--model", "other"], 1, "nobody offers"),
        (vec!["task", "bogus"], 2, "bogus"),
        (vec!["task", "list", "--server", "http://127.0.0.1:1"], 3, "taskforge up"),
        (vec!["task", "list", "--data-dir", "/nonexistent"], 3, "taskforge up"),
        (vec!["task", "start", &task], 5, "a task is started once"),
        (vec!["health"], 1, ""),
    ] {
        let end = s.run(&args).await;
        assert_eq!(end.code, code, "{args:?}: {end:?}");
        assert!(end.stderr.contains(word), "{args:?}: {end:?}");
    }
    let refused = ended(s.command(&["task", "list", "--json"]).env("TASKFORGE_TOKEN", "tf_no").spawn().unwrap()).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (4, ""));
    let error: serde_json::Value = serde_json::from_str(&refused.stderr).unwrap();
    assert_eq!((&error["error"]["code"], &error["error"]["exit_code"]), (&json!("unauthenticated"), &json!(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_help_with_examples_where_it_has_arguments() {
    let s = Server::start().await;
    for command in [
        "",
        "up",
        "run",
        "task",
        "approvals",
        "audit",
        "image",
        "token",
        "gateway",
        "key",
        "provider",
        "llm",
        "completions",
    ] {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let end = s.run(&args).await;
        assert!(end.code == 0 && end.stdout.contains("Example"), "{command}: {end:?}");
    }
    assert!(s.run(&["--help"]).await.stdout.contains("Exit codes:"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(s.run(&["completions", shell]).await.stdout.contains("approvals"), "{shell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_through_its_commands() {
    let s = Server::start().await;
    let task = s.task().await;
    let id = task.to_string();
    assert_eq!(s.json(&["task", "pause", &id]).await["desired"], "pause");
    assert_eq!(s.json(&["task", "resume", &id]).await["desired"], "run");
    assert_eq!(s.json(&["task", "message", &id, "hurry", "--now"]).await["now"], true);
    s.finish(task, RunOutcome::Submitted, &[("out/report.md", b"# total 42\n"), ("chart.png", b"\x89PNG")]).await;
    let watched = s.run(&["task", "watch", &id]).await;
    assert_eq!(watched.code, 0, "{watched:?}");
    assert!(watched.stdout.contains("task is completed"), "{watched:?}");

    let shown = s.run(&["task", "show", &id]).await.stdout;
    assert!(shown.contains("agent│ done\\u{202e}") && !shown.contains('\u{202e}'), "{shown}");
    let to = s.dir.path().join("result");
    let got = s.json(&["task", "files", &id, "--output", to.to_str().unwrap()]).await;
    assert_eq!(got["downloaded"], json!(["chart.png", "out/report.md"]));
    assert_eq!(std::fs::read(to.join("out/report.md")).unwrap(), b"# total 42\n");
    assert_eq!(s.json(&["task", "continue", &id, "more"]).await["status"], "starting");
    assert_eq!(s.json(&["task", "cancel", &id]).await["desired"], "cancel");
    assert_eq!(s.json(&["task", "list", "--status", "starting"]).await["items"][0]["id"], json!(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_file_tree_stays_in_the_folder() {
    let s = Server::start().await;
    for bad in ["../escaped", "/tmp/escaped", "a/../../escaped"] {
        let task = s.task().await;
        s.finish(task, RunOutcome::Submitted, &[(bad, b"x")]).await;
        let to = s.dir.path().join("result");
        let end = s.run(&["task", "files", &task.to_string(), "--output", to.to_str().unwrap()]).await;
        assert_eq!(end.code, 1, "{bad}: {end:?}");
        assert!(!s.dir.path().join("escaped").exists(), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_shown_once_and_revoked() {
    let s = Server::start().await;
    let own = s.run(&["token", "show"]).await.stdout;
    let secret = s.run(&["token", "create", "ben"]).await.stdout;
    assert!(secret.starts_with("tf_") && secret != own);
    let as_ben = || s.command(&["token", "list"]).env("TASKFORGE_TOKEN", secret.trim()).spawn().unwrap();
    let list = ended(as_ben()).await;
    assert!(list.code == 0 && list.stdout.contains("ben") && !list.stdout.contains(secret.trim()), "{list:?}");
    assert_eq!(s.run(&["token", "revoke", "ben"]).await.code, 0);
    assert_eq!(ended(as_ben()).await.code, 4);
    assert_eq!(s.run(&["token", "revoke", "owner"]).await.code, 5);
    assert!(s.run(&["token", "link"]).await.stdout.contains("/sign-in#"));
}

/// A file of the repository.
fn repository(path: &str) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_and_every_setting_is_documented() {
    let s = Server::start().await;
    let help = s.run(&["--help"]).await.stdout;
    let commands = help.split("Commands:").nth(1).unwrap().split("\n\nOptions:").next().unwrap();
    let page = repository("docs/cli.md");
    let names: Vec<&str> = commands.lines().filter_map(|l| l.strip_prefix("  ")?.split(' ').next()).collect();
    assert!(names.len() > 15 && names.contains(&"gateway"), "{names:?}");
    for name in names.into_iter().filter(|n| !n.is_empty() && *n != "help") {
        assert!(page.contains(&format!("`{name}")), "docs/cli.md does not name {name}");
    }
    let settings = repository("docs/configuration.md");
    for source in ["config.rs", "config/environment.rs", "cli/mod.rs", "cli/gateway.rs", "main.rs"] {
        let text = repository(&format!("crates/taskforge/src/{source}"));
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for name in code.split('"').filter(|t| t.len() > 6 && t.contains('_')) {
            let plain = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            if plain && !name.ends_with('_') && !name.starts_with('_') {
                assert!(settings.contains(name), "docs/configuration.md does not name {name} of {source}");
            }
        }
    }
}
