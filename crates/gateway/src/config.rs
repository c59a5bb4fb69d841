//! Settings of the gateway. Every bound has its name here.

use crate::resilience::{BreakerPolicy, RetryPolicy};
use domain::request::DEFAULT_REQUEST_TTL_S;
use std::{path::PathBuf, time::Duration};
use store::Durability;

/// Settings of the gateway.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that holds one folder per task, each with its socket.
    pub run_root: PathBuf,
    /// How durable the record of a model call must be before the call leaves.
    pub call_durability: Durability,
    /// How long connecting to an upstream may take.
    pub connect_timeout: Duration,
    /// How long an upstream may take to answer with its first byte.
    pub first_byte_timeout: Duration,
    /// How long an upstream may be silent within an answer.
    pub idle_timeout: Duration,
    /// How long a sandbox may take to accept a piece of an answer.
    pub client_stall_timeout: Duration,
    /// How long a request of an agent waits for a person.
    pub request_ttl: Duration,
    /// How long `request_packages` waits for its packages to be resolved before it answers.
    pub resolve_wait: Duration,
    /// The largest request body.
    pub max_request_bytes: usize,
    /// When a failed attempt is made again.
    pub retry: RetryPolicy,
    /// When a provider that fails is left alone.
    pub breaker: BreakerPolicy,
    /// How long a call may wait for a provider that has as many as it may have.
    pub queue_timeout: Duration,
    /// The largest answer of an upstream.
    pub max_response_bytes: usize,
    /// Bodies of one sandbox, or of all callers over TCP, that are held in memory at once, in bytes.
    pub max_held_bytes: usize,
    /// Connections of one sandbox at once.
    pub max_connections: usize,
}

impl Config {
    /// The defaults, with sockets below `run_root`.
    pub fn new(run_root: PathBuf) -> Self {
        Self {
            run_root,
            call_durability: Durability::Process,
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(300),
            client_stall_timeout: Duration::from_secs(600),
            request_ttl: Duration::from_secs(DEFAULT_REQUEST_TTL_S),
            resolve_wait: Duration::from_secs(120),
            retry: RetryPolicy::default(),
            breaker: BreakerPolicy::default(),
            queue_timeout: Duration::from_secs(30),
            max_request_bytes: 64 << 20,
            max_response_bytes: 64 << 20,
            max_held_bytes: 256 << 20,
            max_connections: 512,
        }
    }
}
