//! What every handler shares.

use crate::{ApiError, ApiResult, Services, wire};
use std::{
    ops::Deref,
    sync::Arc,
    time::{Duration, Instant},
};
use store::Store;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Event streams that may be open at once.
pub const MAX_STREAMS: usize = 256;
/// How long a health report is given out again: `/healthz` needs no token, so it must cost nothing.
const HEALTH_TTL: Duration = Duration::from_secs(2);

/// What the API offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Surface {
    /// Everything.
    #[default]
    Server,
    /// The model gateway by itself: no tasks, requests, policies and images.
    Gateway,
}

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Host names that the server answers for, besides those of the loopback interface.
    pub allowed_hosts: Vec<String>,
    /// The version that is shown.
    pub version: String,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// What is offered.
    pub surface: Surface,
    /// Whether `/metrics` needs no token.
    pub metrics_public: bool,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            request_timeout: Duration::from_secs(120),
            surface: Surface::default(),
            metrics_public: false,
        }
    }
}

/// The shared state. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

/// The parts of [`Api`].
pub struct Inner {
    /// The store.
    pub store: Store,
    /// The other parts.
    pub services: Services,
    /// The settings.
    pub config: ApiConfig,
    /// Ends the open streams when the server stops.
    pub stop: CancellationToken,
    streams: Arc<Semaphore>,
    health: Mutex<Option<(Instant, wire::Health)>>,
}

impl Deref for Api {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Api {
    /// Puts the parts together. Cancelling `stop` ends the open streams.
    pub fn new(store: Store, services: Services, config: ApiConfig, stop: CancellationToken) -> Self {
        let streams = Arc::new(Semaphore::new(MAX_STREAMS));
        Self(Arc::new(Inner { store, services, config, stop, streams, health: Mutex::new(None) }))
    }

    pub(crate) fn stream_permit(&self) -> ApiResult<OwnedSemaphorePermit> {
        Semaphore::try_acquire_owned(Arc::clone(&self.streams)).map_err(|e| {
            ApiError::new(crate::Code::TooManyStreams, format!("{MAX_STREAMS} event streams are open already"))
                .because(e)
        })
    }

    /// How the parts are, at most two seconds old.
    pub(crate) async fn health(&self) -> wire::Health {
        let mut cached = self.health.lock().await;
        if let Some((at, health)) = cached.as_ref()
            && at.elapsed() < HEALTH_TTL
        {
            return health.clone();
        }
        let checks = match (self.services.health)(()).await {
            Ok(checks) => checks,
            Err(e) => vec![wire::HealthCheck {
                name: "server".into(),
                ok: false,
                required: true,
                detail: e.message,
                hint: Some(e.hint),
            }],
        };
        let health = wire::Health { ok: checks.iter().all(|c| c.ok || !c.required), checks };
        *cached = Some((Instant::now(), health.clone()));
        health
    }
}
