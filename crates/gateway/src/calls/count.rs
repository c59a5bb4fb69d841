//! `count_tokens` for models whose provider has no such call: an estimate of our own. Nothing leaves, so nothing is recorded.

use super::{admit, begin::Asked, ingress::Ingress, who::Who};
use crate::reply::{self, Reply};
use bytes::Bytes;
use hyper::{StatusCode, header::HeaderValue};

/// Says in an answer that the count is an estimate.
const ESTIMATED: &str = "x-taskforge-estimated";

/// The estimate; none: it is another call, or one that the provider answers, or one that is refused.
pub(super) async fn locally(who: &Who, asked: &Asked) -> Option<Reply> {
    if asked.ingress != Ingress::CountTokens {
        return None;
    }
    let view = asked.view.as_ref().ok()?;
    let route = match who {
        Who::Sandbox(sandbox) => {
            let policy = sandbox.shared.store.policy_current(sandbox.task).await.ok()?;
            admit::of_policy(&policy, &view.model, &sandbox.shared.registry.configured()).ok()?
        }
        Who::Caller(caller) => admit::of_caller(caller, &view.model).await.ok()?,
    };
    let format = asked.ingress.format();
    if route.targets.first()?.provider.kind.counts_tokens() {
        return None;
    }
    let tokens = llm::count_tokens_estimate(format, &asked.body);
    let mut reply = reply::json_bytes(StatusCode::OK, Bytes::from(llm::messages::render_count(tokens)));
    reply.headers_mut().insert(ESTIMATED, HeaderValue::from_static("true"));
    Some(reply)
}
