//! The REST API: the only way in for people and programs.
//!
//! - Every route needs a named token or a session, except `/healthz` and the sign-in exchange (`layers`).
//! - Handlers extract, call the store or a service, and respond. A change is one store transaction of state, audit leaf
//!   and intent; nothing here calls Docker or the engine ([`Services`]).
//! - Every error is one envelope with a stable code ([`Code`], `docs/errors/`).
//! - The OpenAPI document is made from the handlers and kept as `openapi.json`; a test compares the two.

mod access;
mod error;
mod extract;
mod keys;
mod layers;
mod router;
mod routes;
mod serve;
mod services;
mod state;
pub mod wire;

pub use access::{
    CODE_TTL, FIRST_TOKEN, SESSION_TTL, check_name, first_token, issue_token, revoke_token, sign_in_code,
};
pub use error::{ApiError, ApiResult, Code, ErrorBody, ErrorEnvelope};
pub use extract::{DEFAULT_PAGE, MAX_BODY_BYTES, MAX_PAGE};
pub use keys::{issue_key, revoke_key};
pub use layers::Identity;
pub use router::{openapi, openapi_of, router};
pub use routes::{MAX_FILES, MAX_UPLOAD_BYTES};
pub use serve::serve;
pub use services::{Ask, CallModel, GatewayServices, ImageServices, Save, Services, Who, ask};
pub use state::{Api, ApiConfig, MAX_STREAMS, Surface};
