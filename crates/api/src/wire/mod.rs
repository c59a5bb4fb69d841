//! What goes over the wire, once for the server and the command line client. Domain types are converted, not exposed.

mod access;
mod audit;
mod budget;
mod event;
mod image;
mod keys;
mod llm;
mod policy;
mod provider;
mod query;
mod request;
mod system;
mod task;

pub use access::*;
pub use audit::*;
pub use budget::*;
pub use event::*;
pub use image::*;
pub use keys::*;
pub use llm::*;
pub use policy::*;
pub use provider::*;
pub use query::*;
pub use request::*;
pub use system::*;
pub use task::*;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// What the page holds.
    pub items: Vec<T>,
    /// Where the next page starts, for `cursor`; none: this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
