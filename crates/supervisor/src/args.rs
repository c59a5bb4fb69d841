//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

/// Shown for `--help` and after a mistake.
pub(crate) const HELP: &str = "\
usage: taskforge-supervisor --listen ADDR:PORT --socket PATH [options] -- PROGRAM [ARGUMENT...]
  --listen ADDR:PORT      where the agent finds the gateway
  --socket PATH           the gateway's Unix socket
  --gateway-timeout S     how long the gateway may be away before the exit with code 75 (600)
  --max-connections N     connections at once; further ones wait (256)
  --rlimit-fsize BYTES    largest file of the agent
  --rlimit-nproc N        processes of the agent's user
  --rlimit-core BYTES     largest core dump (0)
  --version               print the version";

/// How long the gateway may be away.
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(600);
/// Connections at once.
const MAX_CONNECTIONS: usize = 256;
/// The most connections that can be asked for.
const CONNECTIONS_CEILING: usize = 4096;

/// A checked command line.
pub(crate) struct Args {
    pub(crate) listen: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) gateway_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) rlimit_fsize: Option<u64>,
    pub(crate) rlimit_nproc: Option<u64>,
    pub(crate) rlimit_core: u64,
    pub(crate) command: Vec<OsString>,
}

/// What the command line asks for.
pub(crate) enum Parsed {
    /// To work.
    Run(Args),
    /// To print a text.
    Print(String),
}

impl Args {
    pub(crate) fn parse(mut from: impl Iterator<Item = OsString>) -> Result<Parsed, String> {
        let (mut listen, mut socket, mut fsize, mut nproc) = (None, None, None, None);
        let (mut core, mut timeout, mut connections) = (0, GATEWAY_TIMEOUT, MAX_CONNECTIONS);
        let command = loop {
            let Some(flag) = from.next() else { break Vec::new() };
            let flag = flag.into_string().map_err(|f| format!("{f:?} is not an option"))?;
            match flag.as_str() {
                "--" => break from.collect(),
                "--help" | "-h" => return Ok(Parsed::Print(HELP.to_owned())),
                "--version" => return Ok(Parsed::Print(env!("CARGO_PKG_VERSION").to_owned())),
                _ => {}
            }
            let value = from.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--listen" => listen = Some(parse(&flag, &value)?),
                "--socket" => socket = Some(PathBuf::from(value)),
                "--gateway-timeout" => timeout = Duration::from_secs(parse(&flag, &value)?),
                "--max-connections" => connections = parse(&flag, &value)?,
                "--rlimit-fsize" => fsize = Some(parse(&flag, &value)?),
                "--rlimit-nproc" => nproc = Some(parse(&flag, &value)?),
                "--rlimit-core" => core = parse(&flag, &value)?,
                _ => return Err(format!("{flag} is not an option")),
            }
        };
        if command.is_empty() {
            return Err("there is no program after --".to_owned());
        }
        if !(1..=CONNECTIONS_CEILING).contains(&connections) {
            return Err(format!("--max-connections must be from 1 to {CONNECTIONS_CEILING}"));
        }
        Ok(Parsed::Run(Self {
            listen: listen.ok_or("--listen is missing")?,
            socket: socket.ok_or("--socket is missing")?,
            gateway_timeout: timeout,
            max_connections: connections,
            rlimit_fsize: fsize,
            rlimit_nproc: nproc,
            rlimit_core: core,
            command,
        }))
    }
}

fn parse<T: std::str::FromStr>(flag: &str, value: &OsString) -> Result<T, String> {
    value.to_str().and_then(|v| v.parse().ok()).ok_or_else(|| format!("{value:?} is not a value for {flag}"))
}
