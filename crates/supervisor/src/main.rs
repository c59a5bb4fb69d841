//! `taskforge-supervisor`: process 1 of a sandbox.
//!
//! It is the only trusted program inside, it comes read-only from the host and never from the image, and it knows
//! nothing but two addresses and a command line:
//!
//! 1. [`harden`]: hide its own memory and environment from the agent, which has the same user; set limits.
//! 2. [`gateway`]: wait until the gateway behind the Unix socket answers.
//! 3. [`agent`]: start the agent in its own process group, with the output passed through.
//! 4. [`relay`]: one thread, one epoll: connections to the listening address are copied to the socket; signals are
//!    passed on to the agent; every child that ends is reaped. A new connection is held while the socket is away, so
//!    that the agent does not notice a restart of the server.
//! 5. When the agent has ended, everything left is killed and the agent's exit code becomes our own: 128+n for a
//!    signal, [`GATEWAY_AWAY`] when the gateway was away for too long ("resume me").
//!
//! It decides nothing: deadlines, limits and kills are the host's.

#![deny(unsafe_code)]

mod agent;
mod args;
mod buffer;
mod gateway;
mod harden;
mod relay;
mod sys;

use std::{net::TcpListener, process::ExitCode};

/// Exit code: the gateway was away for longer than the agent can be held, start me again later.
const GATEWAY_AWAY: u8 = 75;
/// Exit code: the command line of the supervisor is wrong.
const USAGE: u8 = 64;
/// Exit code: the supervisor itself cannot work here.
const INTERNAL: u8 = 70;

fn main() -> ExitCode {
    let args = match args::Args::parse(std::env::args_os().skip(1)) {
        Ok(args::Parsed::Run(args)) => args,
        Ok(args::Parsed::Print(text)) => {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("taskforge-supervisor: {problem}\n{}", args::HELP);
            return ExitCode::from(USAGE);
        }
    };
    match run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            eprintln!("taskforge-supervisor: {problem}");
            ExitCode::from(INTERNAL)
        }
    }
}

fn run(args: &args::Args) -> Result<u8, String> {
    harden::harden(args)?;
    let signals = sys::Signals::take().map_err(|e| format!("cannot take signals: {e}"))?;
    // Listening comes first, so that the agent never finds the address closed.
    let listener = TcpListener::bind(args.listen).map_err(|e| format!("cannot listen on {}: {e}", args.listen))?;
    match gateway::wait_until_it_answers(args, &signals)? {
        gateway::Wait::Answers => {}
        gateway::Wait::Away => return Ok(GATEWAY_AWAY),
        gateway::Wait::Signal(signal) => return Ok(agent::code_of_signal(signal)),
    }
    let mut agent = match agent::Agent::start(&args.command) {
        Ok(agent) => agent,
        Err((code, problem)) => {
            eprintln!("taskforge-supervisor: {problem}");
            return Ok(code);
        }
    };
    let code = relay::Relay::new(args, listener, &signals)?.run(&mut agent);
    agent::kill_everything_left();
    code
}
