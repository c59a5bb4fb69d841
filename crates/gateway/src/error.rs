//! What can go wrong in the gateway itself. What goes wrong in a call is in its record (`proxy`).

use std::path::PathBuf;

/// An error of the gateway.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A socket could not be made.
    #[error("cannot listen at {}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A setting makes no sense.
    #[error("provider {provider}: {message}")]
    Provider {
        /// The provider's or alias's name.
        provider: String,
        /// What is wrong with it, without any value of a secret.
        message: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// The gateway is shutting down.
    #[error("the gateway is shutting down")]
    Closed,
}
