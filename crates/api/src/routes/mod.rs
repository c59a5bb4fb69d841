//! Handlers, one file per group of routes.

pub(crate) mod audit;
pub(crate) mod commands;
pub(crate) mod files;
pub(crate) mod images;
pub(crate) mod keys;
pub(crate) mod llm;
pub(crate) mod messages;
pub(crate) mod new_task;
pub(crate) mod playground;
pub(crate) mod policies;
pub(crate) mod providers;
pub(crate) mod requests;
pub(crate) mod sign_in;
pub(crate) mod stream;
pub(crate) mod system;
pub(crate) mod tasks;
pub(crate) mod timeline;
pub(crate) mod tokens;

pub use new_task::{MAX_FILES, MAX_UPLOAD_BYTES};
