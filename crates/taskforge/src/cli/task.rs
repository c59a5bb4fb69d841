//! `taskforge task`: everything that can be done to a task.

use super::{Context, Exit, Failure, Outcome, decide::Manner, files, watch};
use crate::{
    client::{Client, encode_value},
    output,
};
use api::wire::{
    AgentName, Continue, FileList, LogPart, Message, NewFile, NewMessage, NewTask, Page, TaskDetail, TaskLimits,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  taskforge task create --name \"Sales\" --description \"Summarise sales.csv\" --model openai/gpt-4o --file sales.csv
  taskforge task start task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9
  taskforge task list --status waiting
  taskforge task message task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9 \"Use euros\" --now
  taskforge task files task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9 --output ./result";

/// What can be done.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Task {
    /// Create a task; it does not run until it is started.
    #[command(
        after_help = "Examples:\n  taskforge task create --description \"Summarise sales.csv\" --model openai/gpt-4o --file sales.csv"
    )]
    Create {
        /// The instructions.
        #[arg(long)]
        description: String,
        #[command(flatten)]
        new: NewArgs,
    },
    /// List tasks, newest first.
    #[command(after_help = "Examples:\n  taskforge task list\n  taskforge task list --status waiting")]
    List {
        /// Only those in this state.
        #[arg(long)]
        status: Option<String>,
        /// Only those whose name or description contains this.
        #[arg(long)]
        text: Option<String>,
        /// How many, at the most.
        #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Show a task with its runs.
    #[command(after_help = "Examples:\n  taskforge task show task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9")]
    Show(Id),
    /// Start a task for the first time.
    #[command(after_help = "Examples:\n  taskforge task start task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9")]
    Start(Id),
    /// Follow a task's timeline, and decide its requests.
    #[command(after_help = "Examples:\n  taskforge task watch task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9")]
    Watch(Id),
    /// Stop a task at once and keep everything.
    #[command(after_help = "Examples:\n  taskforge task pause task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9")]
    Pause(Id),
    /// Go on with a paused task.
    #[command(after_help = "Examples:\n  taskforge task resume task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9")]
    Resume(Id),
    /// End a task at once.
    #[command(after_help = "Examples:\n  taskforge task cancel task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9")]
    Cancel(Id),
    /// Start a further run of a task that has ended.
    #[command(
        after_help = "Examples:\n  taskforge task continue task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9 \"Now in euros\""
    )]
    Continue {
        /// The task.
        task: String,
        /// The instructions.
        instructions: String,
    },
    /// Send words to a task's agent.
    #[command(
        after_help = "Examples:\n  taskforge task message task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9 \"Use euros\" --now"
    )]
    Message {
        /// The task.
        task: String,
        /// The words.
        text: String,
        /// Restart the agent to hear them at once.
        #[arg(long)]
        now: bool,
    },
    /// List a task's files, or download them.
    #[command(after_help = "Examples:\n  taskforge task files task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9 --output ./result")]
    Files {
        /// The task.
        task: String,
        /// Download them into this folder.
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// Everything in the workspace, not only the submitted files.
        #[arg(long)]
        all: bool,
    },
    /// Show what a task's agent processes wrote.
    #[command(after_help = "Examples:\n  taskforge task logs task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9")]
    Logs(Id),
}

impl Task {
    /// `task logs`.
    pub(super) fn logs(task: &str) -> Self {
        Self::Logs(Id { task: task.to_owned() })
    }
}

/// A task.
#[derive(Debug, Args)]
pub(super) struct Id {
    /// The task.
    task: String,
}

/// What a new task is made from.
#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// The model: `provider/model`, or a bare name that exactly one provider offers.
    #[arg(long, env = "TASKFORGE_MODEL")]
    model: String,
    /// A file for the workspace; may be given several times.
    #[arg(long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A short name; otherwise the beginning of the instructions.
    #[arg(long)]
    name: Option<String>,
    /// The agent: `openclaw`, or `command` together with --command.
    #[arg(long, value_parser = ["openclaw", "command"], default_value = "openclaw")]
    agent: String,
    /// Program and arguments of agent `command`, as one shell-like line of words without quotes.
    #[arg(long, value_name = "WORDS", required_if_eq("agent", "command"))]
    command: Option<String>,
    /// Agent processes per run, at the most.
    #[arg(long, value_name = "N")]
    max_iterations: Option<u32>,
    /// How much it may use of models, such as `5 USD`, `200 calls, 2000000 tokens` or `1 USD/day`; then it waits, and
    /// asks for more.
    #[arg(long, value_name = "BUDGET")]
    budget: Option<domain::budget::Budget>,
    /// Memory of the sandbox in MiB.
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// Wall time of one agent process in seconds.
    #[arg(long, value_name = "SECONDS")]
    run_time: Option<u64>,
}

impl NewArgs {
    /// Creates the task.
    pub(super) async fn create(&self, client: &Client, description: &str) -> Outcome<api::wire::Task> {
        const MAX_NAME_CHARS: usize = 60;
        let first = description.lines().next().unwrap_or("task").chars().filter(|c| !c.is_control());
        let limits = (self.memory.is_some() || self.run_time.is_some()).then(|| {
            let mut limits = TaskLimits::default();
            limits.memory_bytes = self.memory.map_or(limits.memory_bytes, |m| m << 20);
            limits.run_time_s = self.run_time.unwrap_or(limits.run_time_s);
            limits
        });
        let new = NewTask {
            name: self.name.clone().unwrap_or_else(|| first.take(MAX_NAME_CHARS).collect()),
            description: description.to_owned(),
            llm_model: self.model.clone(),
            agent: Some(if self.agent == "command" { AgentName::Command } else { AgentName::Openclaw }),
            command: self.command.as_ref().map(|c| c.split_whitespace().map(str::to_owned).collect()),
            limits,
            max_iterations: self.max_iterations,
            budget: self.budget.map(Into::into),
            files: self.files.iter().map(|f| upload(f)).collect::<Outcome<_>>()?,
        };
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(|e| Failure::failed(e.to_string()))?;
        client.create("/api/tasks", &hex::encode(key), &new).await
    }
}

fn upload(path: &Path) -> Outcome<NewFile> {
    let failed = |why: String| Failure::failed(format!("cannot read {}: {why}", path.display()));
    let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(|| failed("its name is not text".into()))?;
    let size = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if size > api::MAX_UPLOAD_BYTES as u64 {
        return Err(failed(format!("it has {size} bytes; at most {} are allowed", api::MAX_UPLOAD_BYTES)));
    }
    let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    Ok(NewFile { path: name.to_owned(), content_base64: STANDARD.encode(bytes) })
}

pub(super) async fn run(c: &Context, command: Task) -> Outcome {
    let client = c.client().await?;
    match command {
        Task::Create { description, new } => {
            let task = new.create(&client, &description).await?;
            told(c, &task, &format!("start it with `taskforge task start {}`", task.id))
        }
        Task::List { status, text, limit } => list(c, &client, status, text, limit).await,
        Task::Show(id) => {
            let detail: TaskDetail = client.get(&path(&id.task, "")).await?;
            if c.out.json {
                c.out.document(&detail)?;
            } else {
                c.out.line(&output::task::show(c.out, &detail, jiff::Timestamp::now()));
            }
            Ok(Exit::Ok)
        }
        Task::Start(id) => told(
            c,
            &client.post(&path(&id.task, "/start")).await?,
            &format!("follow it with `taskforge task watch {}`", id.task),
        ),
        Task::Watch(id) => {
            let manner = Manner::new(c, false, None);
            let detail: TaskDetail = client.get(&path(&id.task, "")).await?;
            let detail = watch::follow(c, &client, &detail.task.id, None, &manner).await?;
            Ok(watch::exit_of(&detail))
        }
        Task::Pause(id) => {
            told(c, &client.post(&path(&id.task, "/pause")).await?, "its container is stopped; everything is kept")
        }
        Task::Resume(id) => told(c, &client.post(&path(&id.task, "/resume")).await?, "it goes on"),
        Task::Cancel(id) => told(c, &client.post(&path(&id.task, "/cancel")).await?, "it is being ended"),
        Task::Continue { task, instructions } => {
            let made = client.send_json(&path(&task, "/continue"), &Continue { instructions }).await?;
            told(c, &made, &format!("follow it with `taskforge task watch {task}`"))
        }
        Task::Message { task, text, now } => {
            let message: Message = client.send_json(&path(&task, "/messages"), &NewMessage { text, now }).await?;
            if c.out.json {
                c.out.document(&message)?;
            } else {
                c.out.line(&format!(
                    "{} is on its way{}",
                    message.id,
                    if now { "; the agent is restarted" } else { "" }
                ));
            }
            Ok(Exit::Ok)
        }
        Task::Files { task, output, all } => files_of(c, &client, &task, output, all).await,
        Task::Logs(id) => logs(c, &client, &id.task).await,
    }
}

fn path(task: &str, rest: &str) -> String {
    format!("/api/tasks/{}{rest}", encode_value(task))
}

/// Says where a task stands, and what comes next.
fn told(c: &Context, task: &api::wire::Task, next: &str) -> Outcome {
    if c.out.json {
        c.out.document(task)?;
    } else {
        let wish = if task.desired == "run" { String::new() } else { format!(", to {}", task.desired) };
        c.out.line(&format!("{} is {}{wish}; {next}", task.id, task.status));
    }
    Ok(Exit::Ok)
}

async fn list(c: &Context, client: &Client, status: Option<String>, text: Option<String>, limit: u32) -> Outcome {
    let mut items: Vec<api::wire::Task> = Vec::new();
    let mut cursor: Option<String> = None;
    while items.len() < limit as usize {
        let page = (limit - items.len() as u32).min(api::MAX_PAGE);
        let mut query = format!("/api/tasks?limit={page}");
        for (name, value) in [("status", &status), ("text", &text), ("cursor", &cursor)] {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", encode_value(value)));
            }
        }
        let answer: Page<api::wire::Task> = client.get(&query).await?;
        items.extend(answer.items);
        cursor = answer.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if c.out.json {
        c.out.document(&Page { items, next_cursor: cursor })?;
    } else if items.is_empty() {
        c.out.line("no tasks; make one with `taskforge run \"...\" --model PROVIDER/MODEL`");
    } else {
        output::task::list(c.out, &items, jiff::Timestamp::now());
        if cursor.is_some() {
            eprintln!("there are more; see them with -n");
        }
    }
    Ok(Exit::Ok)
}

async fn files_of(c: &Context, client: &Client, task: &str, output: Option<PathBuf>, all: bool) -> Outcome {
    let list: FileList = client.get(&path(task, "/files")).await?;
    let Some(dir) = output else {
        if c.out.json {
            c.out.document(&list)?;
        } else if list.files.is_empty() {
            c.out.line("no files were collected yet");
        } else {
            output::task::files(c.out, &list.files);
        }
        return Ok(Exit::Ok);
    };
    let wanted = files::wanted(&list, all);
    let written = files::download(client, &encode_value(task), &wanted, &dir).await?;
    if c.out.json {
        c.out.document(&serde_json::json!({"downloaded": written}))?;
    } else {
        c.out.line(&format!("{} files in {}", written.len(), dir.display()));
    }
    Ok(Exit::Ok)
}

async fn logs(c: &Context, client: &Client, task: &str) -> Outcome {
    let page: Page<LogPart> = client.get(&path(task, "/logs")).await?;
    if c.out.json {
        c.out.document(&page)?;
        return Ok(Exit::Ok);
    }
    for part in &page.items {
        let cut = if part.truncated { format!(", the end of {}", output::size(part.size)) } else { String::new() };
        let title = format!("run {}, agent process {}, {}{cut}", part.run, part.iteration, part.stream);
        c.out.line(&c.out.paint(output::Style::Bold, &title));
        c.out.line(&output::agent_block(&part.text, ""));
    }
    if page.items.is_empty() {
        c.out.line("no agent process has ended yet");
    }
    Ok(Exit::Ok)
}
