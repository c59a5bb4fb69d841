//! A process that is measured: the gateway by itself, or the bare proxy.

use super::{mock::Mock, place, proxy};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a process may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);
const BREATH: Duration = Duration::from_millis(5);
/// The kernel's clock ticks a second, as /proc counts them.
const TICKS: f64 = 100.0;

/// A running process.
pub(crate) struct Subject {
    child: Child,
    pub(crate) address: SocketAddr,
    /// A key for calls.
    pub(crate) key: String,
    /// From its start to its first answer.
    pub(crate) started: Duration,
}

/// A data directory of a gateway, for as many processes after each other as are wanted.
pub(crate) struct Home {
    dir: tempfile::TempDir,
    program: PathBuf,
}

impl Home {
    /// A fresh one with a configuration for the mock.
    pub(crate) fn new(mock: &Mock, durability: &str) -> Result<Self> {
        let dir = crate::place::folder()?;
        let program = e2e::server::binary("TASKFORGE_BIN", "taskforge")?;
        let config = format!(
            "durability = \"{durability}\"\n\n[providers.up]\nkind = \"openai-compatible\"\n\
             base_url = \"http://{0}/v1\"\napi_key_env = \"BENCH_KEY\"\n\n[providers.other]\nkind = \"anthropic\"\n\
             base_url = \"http://{0}\"\napi_key_env = \"BENCH_KEY\"\n",
            mock.address
        );
        fs::write(dir.path().join("gateway.toml"), config)?;
        Ok(Self { dir, program })
    }

    fn env<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("TASKFORGE_DATA_DIR", self.dir.path().join("data")).env("BENCH_KEY", "sk-bench-7f3a9b2c51")
    }

    /// Starts the gateway and makes a key.
    pub(crate) fn start(&self) -> Result<Subject> {
        let address = free_address()?;
        let mut command = place::command(&self.program);
        let config = self.dir.path().join("gateway.toml");
        command.args(["gateway", "--config"]).arg(config).args(["--listen", &address.to_string()]);
        let log = fs::File::options().create(true).append(true).open(self.dir.path().join("gateway.log"))?;
        self.env(&mut command).stdout(log.try_clone()?).stderr(log);
        let begun = Instant::now();
        let child = command.spawn().context("the gateway could not be started")?;
        let mut subject = Subject { child, address, key: String::new(), started: Duration::ZERO };
        subject.listens(begun).with_context(|| self.said())?;
        subject.started = begun.elapsed();
        let made: Value = serde_json::from_slice(&self.run(&["--json", "key", "create", &unique()])?)?;
        subject.key = made["key"].as_str().context("no key was made")?.to_owned();
        Ok(subject)
    }

    /// Runs a command of the program on this data.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let out = self.env(Command::new(&self.program).args(arguments)).stdin(Stdio::null()).output()?;
        ensure!(out.status.success(), "taskforge {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(out.stdout)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("gateway.log")).unwrap_or_default()
    }
}

fn unique() -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    format!("bench-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Subject {
    /// Starts the bare proxy in front of the mock.
    pub(crate) fn proxy(mock: &Mock) -> Result<Self> {
        let address = free_address()?;
        let mut command = place::command(&std::env::current_exe()?);
        command.args([proxy::CHILD, &mock.address.to_string(), &address.to_string()]).stdin(Stdio::null());
        let begun = Instant::now();
        let child = command.spawn().context("the proxy could not be started")?;
        let mut subject = Self { child, address, key: "unused".to_owned(), started: Duration::ZERO };
        subject.listens(begun)?;
        subject.started = begun.elapsed();
        Ok(subject)
    }

    fn listens(&mut self, begun: Instant) -> Result<()> {
        while !answers(self.address) {
            if let Some(status) = self.child.try_wait()? {
                bail!("the process ended: {status}");
            }
            ensure!(begun.elapsed() < PATIENCE, "the process did not listen");
            thread::sleep(BREATH);
        }
        Ok(())
    }

    /// The processor time that it has used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may have spaces; utime and stime are the 14th and 15th field.
        let (_, rest) = stat.rsplit_once(')').context("no name in /proc")?;
        let ticks: f64 = rest.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
        Ok(Duration::from_secs_f64(ticks / TICKS))
    }

    /// Its resident memory in megabytes: what it has, and the most that it had.
    pub(crate) fn memory(&self) -> Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        let megabytes = |name| field(name).map(|kb| kb * 1024.0 / 1e6).context("no memory in /proc");
        Ok((megabytes("VmRSS:")?, megabytes("VmHWM:")?))
    }

    /// Kills it at once.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// Whether an HTTP server answers there; a bound address alone may be one of a process that is still starting.
fn answers(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<usize> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
        stream.read(&mut [0; 64])
    };
    ask().is_ok_and(|read| read > 0)
}

impl Drop for Subject {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
