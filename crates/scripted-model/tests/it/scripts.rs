//! The scripts, as an agent meets them.

use crate::agent::{Agent, Model};
use scripted_model::{Options, scripts::TABLE};
use serde_json::{Value, json};

const PENDING: &str = "Request req_1 is waiting for a person. End your turn now: call no further tool and do not work \
                       around it. You will be resumed in this session, with the same workspace, and told the outcome.";

/// Tools of a machine without matplotlib until it is granted.
fn machine(granted: bool) -> impl FnMut(&str, &Value) -> String {
    move |tool, arguments| match (tool, arguments["command"].as_str().unwrap_or_default()) {
        ("exec", "python3 analyse.py") if granted => "wrote chart.png\nwrote report.md".into(),
        ("exec", "python3 analyse.py") => "ModuleNotFoundError: No module named 'matplotlib'\n(exit 1)".into(),
        ("taskforge__request_packages" | "taskforge__ask_human", _) => PENDING.into(),
        _ => "ok".into(),
    }
}

#[tokio::test]
async fn demo_asks_ends_its_turn_and_delivers_when_granted() {
    let model = Model::start(Options::default()).await;
    let mut agent = Agent::new(&model, "demo");
    let words = agent.turn("Make a chart of sales.csv.", machine(false)).await;
    assert!(words.contains("end my turn"), "{words}");
    let asked = agent.called("taskforge__request_packages");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["packages"], json!([{ "ecosystem": "pip", "name": "matplotlib" }]));
    assert!(asked[0]["reason"].as_str().unwrap().contains("ModuleNotFoundError"));

    agent
        .turn(
            "Your requests were decided.\n\nApproved: pip package matplotlib. It is installed now; use it.",
            machine(true),
        )
        .await;
    assert_eq!(agent.called("taskforge__request_packages").len(), 1, "it does not ask again");
    let submitted = agent.called("taskforge__submit_result");
    assert_eq!(submitted[0]["files"], json!(["report.md", "chart.png"]));
}

#[tokio::test]
async fn demo_keeps_the_reason_of_a_denial() {
    let model = Model::start(Options::default()).await;
    let mut agent = Agent::new(&model, "demo");
    agent.turn("Make a chart of sales.csv.", machine(false)).await;
    agent.turn("Your requests were decided.\n\nDenied: pip package matplotlib. Reason given by ann: \"no charts\\ on 'Mondays' §7\"", machine(false)).await;
    let written: Vec<_> = agent.called("write").iter().map(|w| w["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(written, ["analyse.py", "decision.txt", "summarise.py"]);
    assert!(agent.called("write")[1]["content"].as_str().unwrap().contains("no charts\\ on 'Mondays' §7"));
    assert_eq!(agent.called("taskforge__submit_result")[0]["files"], json!(["report.md"]));
}

#[tokio::test]
async fn demo_survives_retries_and_lost_results() {
    let model = Model::start(Options::default()).await;
    let mut agent = Agent::new(&model, "demo");
    agent.turn("Make a chart of sales.csv.", machine(false)).await;
    // The process was killed while it ran the program in the new image: the call has no result of its own.
    agent.messages.push(json!({ "role": "user", "content": "Approved: all of it." }));
    let answer = model.ask(&agent.request()).await["choices"][0]["message"].clone();
    let id = answer["tool_calls"][0]["id"].clone();
    agent.messages.push(answer);
    let lost = "[openclaw] missing tool result in session history; inserted synthetic error result.";
    agent.messages.push(json!({ "role": "tool", "tool_call_id": id, "content": lost }));
    agent.turn("You were interrupted. Go on.", machine(true)).await;
    let runs = agent.called("exec").into_iter().filter(|e| e["command"] == "python3 analyse.py").count();
    assert_eq!(runs, 2, "once before the request, once more after the lost one");
    assert_eq!(agent.called("taskforge__submit_result").len(), 1);
}

#[tokio::test]
async fn it_waits_through_words_that_decide_nothing() {
    let model = Model::start(Options::default()).await;
    let mut agent = Agent::new(&model, "pip");
    agent.turn("Use six.", machine(false)).await;
    let words = agent.turn("Hello, are you there?", machine(false)).await;
    assert!(words.contains("wait for the decision"), "{words}");
    agent.turn("Approved: all of it.", |_, _| "six 1.17.0".into()).await;
    assert_eq!(agent.called("taskforge__submit_result")[0]["files"], json!(["pip.txt"]));
}

#[tokio::test]
async fn what_the_agent_program_adds_is_not_taken_for_a_person() {
    let model = Model::start(Options::default()).await;
    let mut agent = Agent::new(&model, "continue");
    agent.turn("[Mon 2026-11-23 21:31 UTC] Begin.", machine(true)).await;
    let state =
        "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nActive exec sessions: none\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>";
    agent.turn(state, machine(true)).await;
    assert!(agent.called("write").is_empty(), "its state is no message");
    agent.turn("[Mon 2026-11-23 21:32 UTC] [x] More.", machine(true)).await;
    assert_eq!(agent.called("write")[0]["content"], "[x] More.");
}

#[tokio::test]
async fn only_offered_tools_are_called() {
    let model = Model::start(Options::default()).await;
    let mut agent = Agent::new(&model, "demo");
    agent.tools = vec!["exec"];
    let words = agent.turn("Make a chart of sales.csv.", machine(false)).await;
    assert!(words.contains("no tool named taskforge__request_packages"), "{words}");
    assert!(agent.calls.iter().all(|(name, _)| name == "exec"));
    let wrote =
        agent.called("exec").into_iter().any(|e| e["command"].as_str().unwrap().starts_with("cat > 'analyse.py'"));
    assert!(wrote, "the shell stands in for a missing write tool");
}

#[tokio::test]
async fn two_requests_leave_in_one_turn_and_both_answers_are_kept() {
    let model = Model::start(Options::default()).await;
    let mut agent = Agent::new(&model, "two-requests");
    agent.turn("Go.", machine(false)).await;
    assert_eq!(agent.called("taskforge__request_packages").len(), 2);
    agent.turn("Approved: six.\n\nDenied: left-pad. Reason given by ann: because of its past.", machine(true)).await;
    let told = agent.called("write")[0]["content"].as_str().unwrap().to_owned();
    assert!(told.contains("Approved: six") && told.contains("because of its past"), "{told}");
    assert_eq!(agent.called("taskforge__submit_result").len(), 1);
}

#[tokio::test]
async fn an_answer_at_once_needs_no_second_turn() {
    let model = Model::start(Options::default()).await;
    let mut agent = Agent::new(&model, "unknown-package");
    let run = |tool: &str, arguments: &Value| match tool {
        "taskforge__request_packages" if arguments.to_string().contains("no-such") => {
            "Request req_1 could not be prepared, and nothing was installed: no such package".into()
        }
        "taskforge__request_packages" => "Nothing to do: six is already installed.".into(),
        _ => String::from("ok"),
    };
    agent.turn("Go.", run).await;
    let notes: Vec<_> = agent.called("write").iter().map(|w| w["content"].clone()).collect();
    assert_eq!(
        notes,
        [
            json!("Request req_1 could not be prepared, and nothing was installed: no such package"),
            json!("Nothing to do: six is already installed.")
        ]
    );
}

#[tokio::test]
async fn a_background_command_is_polled_to_its_end() {
    let model = Model::start(Options::default()).await;
    let mut agent = Agent::new(&model, "slow");
    let mut polls = 0;
    agent
        .turn("Work. steps=1 seconds=40", |tool, arguments| match tool {
            "exec" => {
                assert!(arguments["command"].as_str().unwrap().starts_with("sleep 40;"));
                "Command still running (session quiet-fjord, pid 42). Use process.".into()
            }
            "process" => {
                polls += 1;
                assert_eq!(arguments["sessionId"], "quiet-fjord");
                if polls < 3 { "Command still running (session quiet-fjord)".into() } else { "(exit 0)".into() }
            }
            _ => "ok".into(),
        })
        .await;
    assert_eq!(polls, 3);
    assert_eq!(agent.called("taskforge__submit_result").len(), 1);
}

#[tokio::test]
async fn continue_works_on_each_further_message() {
    let model = Model::start(Options::default()).await;
    let mut agent = Agent::new(&model, "continue");
    for words in ["Begin.", "Also add a title.", "And a footer."] {
        agent.turn(words, machine(true)).await;
    }
    let written: Vec<_> = agent.called("write").iter().map(|w| w["content"].clone()).collect();
    assert_eq!(written, [json!("Also add a title."), json!("And a footer.")]);
    assert_eq!(agent.called("taskforge__submit_result").len(), 3);
}

#[tokio::test]
async fn follow_does_what_the_task_says() {
    let model = Model::start(Options::default()).await;
    let mut agent = Agent::new(&model, "follow");
    let task = "Please do this:\n  exec: uname -a\n  write: a.txt = one\\ntwo\n  request: pip:six==1.16.0, apt:hello (for fun)\n  \
                submit: All done | a.txt, told-1.txt";
    agent.turn(task, machine(true)).await;
    assert_eq!(agent.called("exec")[0]["command"], "uname -a");
    assert_eq!(agent.called("write")[0], &json!({ "path": "a.txt", "content": "one\ntwo" }));
    let asked = agent.called("taskforge__request_packages")[0];
    assert_eq!(asked["reason"], "for fun");
    assert_eq!(asked["packages"][0], json!({ "ecosystem": "pip", "name": "six", "version": "1.16.0" }));
    assert!(agent.called("taskforge__submit_result").is_empty());
    agent.turn("Denied: not today.", machine(true)).await;
    assert_eq!(agent.called("write")[1], &json!({ "path": "told-1.txt", "content": "Denied: not today." }));
    assert_eq!(agent.called("taskforge__submit_result")[0]["files"], json!(["a.txt", "told-1.txt"]));
}

#[tokio::test]
async fn every_script_ends_its_turns() {
    let model = Model::start(Options::default()).await;
    for (name, _, _) in TABLE {
        let mut agent = Agent::new(&model, name);
        let task = "Go. seconds=0 steps=2 package=apt:broken";
        agent.turn(task, machine(false)).await;
        for words in ["Approved: all of it.", "Your question: which?\nAnswer by ann: blue.", "You have not submitted."]
        {
            agent.turn(words, machine(true)).await;
        }
        let submits = !agent.called("taskforge__submit_result").is_empty();
        assert_eq!(submits, !["plain-end", "echo", "follow"].contains(name), "{name}");
    }
}
