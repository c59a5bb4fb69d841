//! A data directory, emulated providers, and the program.

use crate::server::{Ended, PATIENCE, ended};
use provider_emulator::Emulator;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// What the providers take for a key.
pub(crate) const KEY: &str = "sk-of-the-provider";

/// A gateway, which may run.
pub(crate) struct Bed {
    pub(crate) dir: TempDir,
    pub(crate) emulator: Emulator,
    pub(crate) http: reqwest::Client,
    /// Further variables of the program.
    pub(crate) env: Vec<(String, String)>,
    files: TempDir,
    child: Option<Child>,
    base: String,
}

/// A collector of traces: its address, and the path and body of each request.
pub(crate) async fn collector() -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
    let (tx, rx) = mpsc::channel(16);
    let take = move |uri: axum::http::Uri, body: axum::body::Bytes| {
        let tx = tx.clone();
        async move {
            tx.send((uri.path().to_owned(), body.to_vec())).await.ok();
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(take);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, rx)
}

/// Two providers and an alias.
pub(crate) fn config(emulator: &Emulator) -> String {
    let (openai, anthropic) = (emulator.url("openai"), emulator.url("anthropic"));
    format!(
        "[providers.openai]\nkind = \"openai\"\nbase_url = \"{openai}/v1\"\napi_key_env = \"PROVIDER_KEY\"\n\n\
         [providers.anthropic]\nkind = \"anthropic\"\nbase_url = \"{anthropic}\"\napi_key_env = \"PROVIDER_KEY\"\n\n\
         [models.fast]\ntargets = [\"openai/text\", \"anthropic/text\"]\n"
    )
}

impl Bed {
    pub(crate) async fn new() -> Self {
        // A second test may have installed the same provider before.
        rustls::crypto::ring::default_provider().install_default().ok();
        let emulator = Emulator::start().await.unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let bed = Self { dir, emulator, http, env: Vec::new(), files, child: None, base: String::new() };
        bed.write_config(&config(&bed.emulator));
        bed
    }

    pub(crate) fn write_config(&self, text: &str) {
        self.write_file("gateway.toml", text);
    }

    pub(crate) fn write_file(&self, name: &str, text: &str) {
        std::fs::write(self.files.path().join(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskforge"));
        command.args(args).env_clear().stdin(Stdio::null()).current_dir(self.files.path());
        command.env("TASKFORGE_DATA_DIR", self.dir.path()).env("PROVIDER_KEY", KEY);
        command.envs(self.env.iter().map(|(n, v)| (n, v)));
        command
    }

    fn gateway(&self, args: &[&str]) -> Command {
        self.command(&[&["gateway", "--config", "gateway.toml"], args].concat())
    }

    /// Starts the gateway on a free port, and comes back when it answers.
    pub(crate) async fn start(&mut self, args: &[&str]) {
        self.launch(args);
        self.answers().await;
    }

    /// Starts the gateway on a free port, and comes back at once.
    pub(crate) fn launch(&mut self, args: &[&str]) {
        let log = File::options().create(true).append(true).open(self.files.path().join("log")).unwrap();
        let mut command = self.gateway(&[&["--listen", "127.0.0.1:0"], args].concat());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.child = Some(child);
    }

    /// Waits until the gateway that was launched has announced itself.
    pub(crate) async fn answers(&mut self) {
        let pid = self.child.as_ref().unwrap().id();
        let announced = |dir: &Path| {
            let text = std::fs::read(dir.join("server.json")).ok()?;
            let told: Value = serde_json::from_slice(&text).ok()?;
            (told["pid"] == json!(pid)).then(|| format!("http://{}", told["address"].as_str().unwrap()))
        };
        let deadline = Instant::now() + PATIENCE;
        self.base = loop {
            if let Some(base) = announced(self.dir.path()) {
                break base;
            }
            let over = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(over.is_none() && Instant::now() < deadline, "{over:?}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
    }

    /// Runs a gateway that ends by itself.
    pub(crate) async fn run_gateway(&self, args: &[&str]) -> Ended {
        self.wait(self.gateway(args)).await
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Ended {
        self.wait(self.command(args)).await
    }

    pub(crate) async fn run_with(&self, args: &[String], env: &[(&str, &str)]) -> Ended {
        let mut command = self.command(&args.iter().map(String::as_str).collect::<Vec<_>>());
        command.envs(env.iter().copied());
        self.wait(command).await
    }

    async fn wait(&self, mut command: Command) -> Ended {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        ended(tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap()).await
    }

    /// Runs a command that must work, and returns its JSON.
    pub(crate) async fn json(&self, args: &[&str]) -> Value {
        let end = self.run(&[args, &["--json"]].concat()).await;
        assert_eq!(end.code, 0, "{args:?}: {end:?}");
        end.json()
    }

    /// Makes a key and returns its secret.
    pub(crate) async fn key(&self, name: &str, args: &[&str]) -> String {
        self.json(&[&["key", "create", name], args].concat()).await["key"].as_str().unwrap().to_owned()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// One model call.
    pub(crate) async fn chat(&self, key: &str, model: &str) -> (StatusCode, Value) {
        let body = json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]});
        let request = self.http.post(self.url("/v1/chat/completions")).bearer_auth(key).json(&body);
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.as_ref().unwrap().id()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Ends it as a crash does.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for its end and returns the exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap().code()
    }

    pub(crate) async fn until(&self, what: &str, condition: impl AsyncFn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self).await {
            assert!(Instant::now() < deadline, "{what}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.files.path().join("log")).unwrap_or_default()
    }

    /// Every byte of the data directory, and the log of the program.
    pub(crate) fn everything_written(&self) -> String {
        fn walk(dir: &Path, all: &mut String) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, all);
                } else {
                    all.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap()));
                }
            }
        }
        let mut all = self.log();
        walk(self.dir.path(), &mut all);
        all
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
