//! `command`: any program in the image that speaks an OpenAI-compatible API and MCP on localhost.
//!
//! It finds in its environment: `TASKFORGE_TASK_ID`, `TASKFORGE_MODEL`, `TASKFORGE_PROMPT_FILE` (the instructions of
//! this turn), `TASKFORGE_MCP_URL`, `TASKFORGE_EVENTS_URL`, `OPENAI_BASE_URL`, `OPENAI_API_KEY` (of no worth),
//! `HOME`. Its folder is `/workspace`, `/state` outlives a turn. Exit code 0 ends the turn well; when it was told
//! "pending" it exits and is started again, in the new image, with a new prompt.

use super::{AgentEnd, EVENTS_URL, Launch, MCP_URL, MODEL_URL, NO_KEY, Turn, last_line};
use crate::{
    lifecycle::Exit,
    run_dir::{PROMPT, RunFile},
    spec::{RUN, STATE},
};
use std::collections::BTreeMap;

/// How to start it.
pub(super) fn launch(turn: &Turn<'_>, argv: &[String]) -> Launch {
    let env = [
        ("TASKFORGE_TASK_ID", turn.task.to_string()),
        ("TASKFORGE_MODEL", turn.model.to_owned()),
        ("TASKFORGE_PROMPT_FILE", format!("{RUN}/{PROMPT}")),
        ("TASKFORGE_MCP_URL", MCP_URL.to_owned()),
        ("TASKFORGE_EVENTS_URL", EVENTS_URL.to_owned()),
        ("TASKFORGE_STATE_DIR", STATE.to_owned()),
        ("OPENAI_BASE_URL", MODEL_URL.to_owned()),
        ("OPENAI_API_KEY", NO_KEY.to_owned()),
    ];
    Launch {
        argv: argv.to_vec(),
        env: env.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<BTreeMap<_, _>>(),
        files: vec![RunFile::new(PROMPT, turn.prompt)],
    }
}

/// What its end means: its exit code.
pub(super) fn interpret(exit: &Exit, stderr: &[u8]) -> AgentEnd {
    match exit.code {
        0 => AgentEnd::Done { text: None },
        code => {
            let said = exit.error.clone().unwrap_or_else(|| last_line(stderr, "it printed no reason"));
            AgentEnd::Failed { reason: format!("the program ended with code {code}: {said}") }
        }
    }
}
