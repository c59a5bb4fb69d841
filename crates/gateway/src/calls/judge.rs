//! Whether a sandbox's model call may leave.

use crate::{mcp, reply::Refusal};
use domain::{
    policy::Policy,
    task::{Agent, Desired},
};
use hyper::StatusCode;
use store::CallContext;

/// A run of OpenClaw whose first request lacks our tools.
pub(crate) const TOOLS_MISSING: &str = "tools_missing";

/// OpenClaw's first request of a turn must offer our tools.
pub(super) fn tools(context: &CallContext, tools: &[String]) -> Result<(), Refusal> {
    let lacks_tools = || mcp::prefixed_names().iter().any(|needed| !tools.iter().any(|t| t == needed));
    if context.agent == Agent::Openclaw && context.turns == 0 && lacks_tools() {
        let message = "the first model request of this turn lacks TaskForge's tools, so it is not let out";
        return Err(Refusal::new(StatusCode::FORBIDDEN, TOOLS_MISSING, message));
    }
    Ok(())
}

/// Why nothing of the sandbox is let out at the moment.
pub(crate) fn stopping(context: &CallContext) -> Option<Refusal> {
    let (code, message) = match (context.desired, context.iteration) {
        (Desired::Pause, _) => ("task_pausing", "this task is being paused"),
        (Desired::Cancel, _) => ("task_stopping", "this task is being cancelled"),
        (Desired::Run, None) => ("task_not_running", "this task is being stopped or restarted"),
        (Desired::Run, Some(_)) => return None,
    };
    Some(Refusal::new(StatusCode::TOO_MANY_REQUESTS, code, message).retry_after(5))
}

/// The policy's model that `asked` means: a full name, or a bare one that fits exactly one of them.
pub(super) fn allowed_model<'a>(policy: &'a Policy, asked: &str) -> Result<&'a str, NotAllowed> {
    if let Some(model) = policy.models.iter().find(|m| *m == asked) {
        return Ok(model);
    }
    let mut bare = policy.models.iter().filter(|m| m.split_once('/').is_some_and(|(_, name)| name == asked));
    match (bare.next(), bare.next()) {
        (Some(model), None) => Ok(model),
        _ => Err(NotAllowed),
    }
}

/// The policy has no such model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotAllowed;

/// What a sandbox hears that asks for another model.
pub(super) fn not_allowed(policy: &Policy, asked: &str) -> Refusal {
    let shown = super::admit::shown(asked);
    let message =
        format!("the task's policy does not allow the model {shown:?}; it allows: {}", policy.models.join(", "));
    Refusal::new(StatusCode::FORBIDDEN, "model_not_allowed", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(models: &[&str]) -> Policy {
        Policy { models: models.iter().map(|m| (*m).to_owned()).collect(), ..Policy::initial("x/y") }
    }

    #[test]
    fn only_the_models_of_the_policy_are_allowed() {
        let policy = policy(&["openai/gpt-4o", "router/openai/gpt-4o", "a/same", "b/same"]);
        let allowed = |asked| allowed_model(&policy, asked);
        assert_eq!(allowed("openai/gpt-4o"), Ok("openai/gpt-4o"));
        assert_eq!(allowed("gpt-4o"), Ok("openai/gpt-4o"));
        assert_eq!(allowed("router/openai/gpt-4o"), Ok("router/openai/gpt-4o"));
        for asked in ["same", "", "gpt-4o-mini", "openai/", "openai/GPT-4o", "a/other", "openai/gpt-4o "] {
            assert_eq!(allowed(asked), Err(NotAllowed), "{asked:?}");
        }
    }
}
