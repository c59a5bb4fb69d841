//! Checks a task before it is stored: what is stored is sound.

use crate::{ApiError, ApiResult, extract, wire};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::task::{Agent, DEFAULT_MAX_ITERATIONS, Limits, MAX_ITERATIONS};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// Files that a task can be given.
pub const MAX_FILES: usize = 100;
/// Bytes of all files that a task can be given.
pub const MAX_UPLOAD_BYTES: usize = 32 << 20;

const MAX_NAME_CHARS: usize = 200;
pub(crate) const MAX_INSTRUCTION_CHARS: usize = 100_000;
const MAX_MODEL_CHARS: usize = 200;
const MAX_ARGS: usize = 64;
const MAX_ARG_BYTES: usize = 16 << 10;
const MAX_PATH_BYTES: usize = 1024;
const MAX_PATH_PART_BYTES: usize = 255;

/// Checks everything but the model, which the upstreams know.
pub(crate) fn check(new: wire::NewTask) -> ApiResult<store::NewTask> {
    extract::words("name", &new.name, MAX_NAME_CHARS)?;
    extract::words("description", &new.description, MAX_INSTRUCTION_CHARS)?;
    extract::words("llm_model", &new.llm_model, MAX_MODEL_CHARS)?;
    if new.name.chars().any(char::is_control) {
        return Err(ApiError::value("name holds control characters"));
    }
    let limits: Limits = new.limits.unwrap_or_default().into();
    limits.check().map_err(|e| ApiError::value(format!("limits: {e}")))?;
    let max_iterations = new.max_iterations.unwrap_or(DEFAULT_MAX_ITERATIONS);
    if max_iterations == 0 || max_iterations > MAX_ITERATIONS {
        return Err(ApiError::value(format!(
            "max_iterations is {max_iterations}; it must lie between 1 and {MAX_ITERATIONS}"
        )));
    }
    let budget = new.budget.map(domain::budget::Budget::from);
    budget
        .as_ref()
        .map(domain::budget::Budget::check)
        .transpose()
        .map_err(|e| ApiError::value(format!("budget: {e}")))?;
    Ok(store::NewTask {
        agent: agent(new.agent, new.command)?,
        files: files(&new.files)?,
        name: new.name,
        description: new.description,
        llm_model: new.llm_model,
        limits,
        max_iterations,
        budget,
    })
}

fn agent(name: Option<wire::AgentName>, command: Option<Vec<String>>) -> ApiResult<Agent> {
    match (name.unwrap_or(wire::AgentName::Openclaw), command) {
        (wire::AgentName::Openclaw, None) => Ok(Agent::Openclaw),
        (wire::AgentName::Openclaw, Some(_)) => Err(ApiError::value("command needs `\"agent\": \"command\"`")),
        (wire::AgentName::Command, None) => {
            Err(ApiError::value("agent `command` needs a command: program and arguments"))
        }
        (wire::AgentName::Command, Some(argv)) => {
            let sound = |a: &String| a.len() <= MAX_ARG_BYTES && !a.contains('\0');
            if argv.is_empty() || argv.len() > MAX_ARGS || argv[0].is_empty() || !argv.iter().all(sound) {
                let rule =
                    format!("command has 1 to {MAX_ARGS} arguments of at most {MAX_ARG_BYTES} bytes, without NUL");
                return Err(ApiError::value(rule));
            }
            Ok(Agent::Command { argv })
        }
    }
}

fn files(files: &[wire::NewFile]) -> ApiResult<Vec<(String, String, Vec<u8>)>> {
    if files.len() > MAX_FILES {
        return Err(ApiError::value(format!("{} files are given; at most {MAX_FILES} are allowed", files.len())));
    }
    let mut paths = BTreeSet::new();
    let mut total = 0;
    let mut decoded = Vec::with_capacity(files.len());
    for file in files {
        check_path(&file.path)?;
        let shown = domain::text::visible_line(&file.path);
        if !paths.insert(file.path.as_str()) {
            return Err(ApiError::value(format!("file {shown:?} is given twice")));
        }
        let bytes = STANDARD
            .decode(&file.content_base64)
            .map_err(|e| ApiError::value(format!("file {shown:?} is not base64: {e}")))?;
        total += bytes.len();
        if total > MAX_UPLOAD_BYTES {
            let message = format!("the files have more than {MAX_UPLOAD_BYTES} bytes together");
            return Err(ApiError::new(crate::Code::BodyTooLarge, message));
        }
        decoded.push((file.path.clone(), hex::encode(Sha256::digest(&bytes)), bytes));
    }
    for path in &paths {
        let mut parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        if let Some(parent) = parents.find(|p| paths.contains(p)) {
            return Err(ApiError::value(format!("{parent:?} is both a file and a folder")));
        }
    }
    Ok(decoded)
}

/// A path names a place below the workspace, in one spelling only.
fn check_path(path: &str) -> ApiResult<()> {
    let part = |p: &str| !p.is_empty() && p != "." && p != ".." && p.len() <= MAX_PATH_PART_BYTES;
    if path.len() > MAX_PATH_BYTES
        || path.chars().any(char::is_control)
        || path.contains('\\')
        || !path.split('/').all(part)
    {
        let shown = domain::text::visible_line(path);
        return Err(ApiError::value(format!("{shown:?} is not a path below the workspace, such as `data/sales.csv`")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_workspace() {
        for good in ["a", "a/b.csv", ".hidden", "größe/ä", "..a", "a b"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in ["", "/", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a\nb", "a\\..\\b", "a\0", &long] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_file_is_no_folder() {
        let file = |path: &str| wire::NewFile { path: path.into(), content_base64: "YQ==".into() };
        assert!(files(&[file("a"), file("b/c")]).is_ok());
        assert!(files(&[file("a"), file("a/b/c")]).is_err());
        assert!(files(&[file("a"), file("a")]).is_err());
    }

    #[test]
    fn a_command_belongs_to_its_agent() {
        let argv = || Some(vec!["python3".to_owned()]);
        assert!(agent(None, None).is_ok_and(|a| a == Agent::Openclaw));
        assert!(agent(Some(wire::AgentName::Command), argv()).is_ok());
        assert!(agent(Some(wire::AgentName::Command), None).is_err());
        assert!(agent(Some(wire::AgentName::Command), Some(vec![])).is_err());
        assert!(agent(None, argv()).is_err());
    }
}
