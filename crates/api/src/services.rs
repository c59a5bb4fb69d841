//! What the API needs from other parts, given at construction: it calls neither Docker nor the engine by itself.

use crate::{ApiError, wire};
use futures::future::BoxFuture;
use std::sync::Arc;

/// A question to another part.
pub type Ask<I, O> = Arc<dyn Fn(I) -> BoxFuture<'static, Result<O, ApiError>> + Send + Sync>;

/// Handles to the other parts.
#[derive(Clone)]
pub struct Services {
    /// Resolves `provider/model` or a bare name to `provider/model`. Fails with `unknown_model` (near names in
    /// `details.near`), `ambiguous_model` or `provider_unreachable`.
    pub model_resolve: Ask<String, String>,
    /// The models that the configured upstreams list, as `provider/model`.
    pub models: Ask<(), Vec<String>>,
    /// How each part is.
    pub health: Ask<(), Vec<wire::HealthCheck>>,
    /// Facts about this installation for `/api/system/info`: Docker, sandbox posture, limits, providers without keys.
    pub facts: Ask<(), serde_json::Value>,
    /// Verifies the whole log on the server.
    pub audit_verify: Ask<(), wire::VerifyReport>,
    /// Seals the log up to now and returns the signed checkpoint as text.
    pub audit_checkpoint: Ask<(), String>,
    /// Starts making the base image where it is missing; returns what there is or what is under way.
    pub image_bootstrap: Ask<(), wire::Bootstrap>,
    /// Removes images that no task uses; returns what was removed.
    pub image_prune: Ask<(), wire::Pruned>,
}

/// Wraps an async function as a service.
pub fn ask<I, O, F>(f: impl Fn(I) -> F + Send + Sync + 'static) -> Ask<I, O>
where
    F: Future<Output = Result<O, ApiError>> + Send + 'static,
{
    Arc::new(move |input| Box::pin(f(input)))
}
