//! What the API needs from other parts, given at construction: it calls neither Docker nor the engine by itself.

use crate::{ApiError, wire};
use axum::{
    body::Body,
    http::{Request, Response},
};
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
    /// The model gateway.
    pub gateway: GatewayServices,
    /// Images; none where there is no Docker, and then no route asks for them.
    pub images: Option<ImageServices>,
}

/// Images.
#[derive(Clone)]
pub struct ImageServices {
    /// Starts making the base image where it is missing; returns what there is or what is under way.
    pub bootstrap: Ask<(), wire::Bootstrap>,
    /// Removes images that no task uses; returns what was removed.
    pub prune: Ask<(), wire::Pruned>,
}

/// Who makes a model call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Whoever the key in the request's headers belongs to.
    Headers,
    /// The token by this name, which was checked before.
    Token(String),
}

/// Answers a model call. The path of the request says which format it speaks.
pub type CallModel = Arc<dyn Fn(Who, Request<Body>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// A provider to be saved.
pub struct Save {
    /// Its name.
    pub name: String,
    /// What it is.
    pub provider: wire::SaveProvider,
    /// Whether a saved one by that name is replaced.
    pub replace: bool,
    /// The token that saves it.
    pub by: String,
}

/// The model gateway.
#[derive(Clone)]
pub struct GatewayServices {
    /// Answers a model call.
    pub call: CallModel,
    /// The providers, wherever they are configured.
    pub providers: Ask<(), Vec<wire::Provider>>,
    /// Saves a provider and puts it to use.
    pub provider_save: Ask<Save, wire::Provider>,
    /// Removes the saved provider by the first name, for the token by the second.
    pub provider_remove: Ask<(String, String), wire::Provider>,
    /// Asks a provider for its models, now.
    pub provider_test: Ask<String, wire::ProviderTest>,
    /// The aliases.
    pub aliases: Ask<(), Vec<wire::Alias>>,
    /// Reads the configuration again, for the token by this name.
    pub reload: Ask<String, wire::Reloaded>,
    /// Metrics as Prometheus reads them.
    pub metrics: Ask<(), String>,
}

/// Wraps an async function as a service.
pub fn ask<I, O, F>(f: impl Fn(I) -> F + Send + Sync + 'static) -> Ask<I, O>
where
    F: Future<Output = Result<O, ApiError>> + Send + 'static,
{
    Arc::new(move |input| Box::pin(f(input)))
}
