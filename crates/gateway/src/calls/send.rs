//! One request to a provider, up to the head of its answer.

use super::{failure::Failure, headers, prepare::Prepared};
use crate::{Config, client::SendError, providers::Target, resilience};
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming};

/// Why there is no answer: for the record, and for what happens next.
pub(super) type NoAnswer = (Failure, resilience::Failure);

/// Sends and waits for the head of the answer.
pub(super) async fn send(
    config: &Config,
    target: &Target,
    prepared: &Prepared,
) -> Result<Response<Incoming>, NoAnswer> {
    use resilience::Failure::{NoAnswer, NotSent};
    let name = &target.provider.name;
    let mut request = Request::new(Full::new(prepared.body.clone()));
    *request.method_mut() = hyper::Method::POST;
    *request.uri_mut() = prepared.uri.clone();
    *request.headers_mut() = prepared.headers.clone();
    let limit = target.provider.first_byte_timeout.unwrap_or(config.first_byte_timeout);
    let response = match tokio::time::timeout(limit, target.provider.client.send(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(e @ SendError::ConnectTimeout(_))) => {
            return Err((Failure::timed_out("upstream_connect_timeout", format!("provider {name:?}: {e}")), NotSent));
        }
        Ok(Err(e @ SendError::Connect(_))) => {
            return Err((Failure::failed("upstream_unreachable", format!("provider {name:?}: {e}")), NotSent));
        }
        Ok(Err(e @ SendError::Broken(_))) => {
            return Err((Failure::failed("upstream_broken", format!("provider {name:?}: {e}")), NoAnswer));
        }
        Err(_) => {
            let message = format!("provider {name:?} sent no byte within {limit:?} (first byte timeout)");
            return Err((Failure::timed_out("upstream_first_byte_timeout", message), NoAnswer));
        }
    };
    // Not for a retry: what is wrong there is wrong the next time too.
    headers::check(name, &response)
        .map_err(|f| (f, resilience::Failure::answered(400, resilience::RetryHint::default())))?;
    Ok(response)
}
