//! The command line: a client of the API and nothing more, except for the commands that run or keep the server itself.
//!
//! stdout carries data, stderr the rest. `--json` gives one document, or one line per item where a command streams.

mod approvals;
mod audit_log;
mod decide;
mod doctor;
mod exit;
mod files;
mod gateway;
mod greet;
mod image;
mod key;
mod llm;
mod provider;
mod run;
mod running;
mod served;
mod server;
mod task;
mod token;
mod watch;

use exit::EXIT_CODES;
pub(crate) use exit::{Exit, Failure, Outcome};
pub(crate) use server::Hooks;

use crate::{client::Client, output::Out};
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  taskforge up --detach
  taskforge run \"Process sales.csv and write a summary\" --model openai/gpt-4o --file sales.csv
  taskforge approvals list
  taskforge task watch task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9
  taskforge audit verify";

/// AI agents in sealed containers: they ask, people decide, the log proves it.
#[derive(Debug, Parser)]
#[command(name = "taskforge", version, propagate_version = true, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// Whether this process becomes the server, or starts it.
    pub(crate) const fn starts_server(&self) -> bool {
        match &self.command {
            Command::Up(_) | Command::Restart(_) => true,
            Command::Gateway(args) => args.starts(),
            _ => false,
        }
    }
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Address of the server; otherwise the one that runs on the data directory.
    #[arg(long, global = true, env = "TASKFORGE_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// The folder that holds everything [default: ./.taskforge if there is one, else ~/.taskforge].
    #[arg(long, global = true, env = "TASKFORGE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Machine-readable output: one JSON document, or one line per item of a stream.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Global {
    /// The data directory, as an absolute path: the Engine mounts folders of it, and the server may be found from
    /// elsewhere.
    pub(crate) fn data_dir(&self) -> PathBuf {
        let dir = self.named_data_dir();
        std::path::absolute(&dir).unwrap_or(dir)
    }

    fn named_data_dir(&self) -> PathBuf {
        if let Some(dir) = &self.data_dir {
            return dir.clone();
        }
        let here = PathBuf::from(".taskforge");
        if here.is_dir() {
            return here;
        }
        std::env::home_dir().map_or(here, |home| home.join(".taskforge"))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server.
    Up(server::Up),
    /// Stop the server; tasks stay as they are and go on after the next start.
    #[command(after_help = "Examples:\n  taskforge down")]
    Down,
    /// Stop the server and start it again in the background.
    #[command(after_help = "Examples:\n  taskforge restart\n  taskforge restart --listen 127.0.0.1:8001")]
    Restart(server::Restart),
    /// What runs: the server and the tasks that go on.
    #[command(after_help = "Examples:\n  taskforge ps")]
    Ps,
    /// How each part is.
    #[command(after_help = "Examples:\n  taskforge health\n  taskforge health --json")]
    Health,
    /// Follow logs: all of them, or one of `server` and a task's id.
    Logs(server::Logs),
    /// Stop the server and remove what this installation owns, and nothing else.
    Clean(server::Clean),
    /// Take a consistent copy of everything; no server may run meanwhile.
    Backup(server::Backup),
    /// Put a backup back, into a data directory that is empty.
    Restore(server::Restore),
    /// Create a task, start it, watch it, decide its requests, and take its result.
    Run(run::Run),
    /// Tasks.
    #[command(subcommand)]
    Task(task::Task),
    /// Requests of agents, and the decisions on them.
    #[command(subcommand)]
    Approvals(approvals::Approvals),
    /// The audit log.
    #[command(subcommand)]
    Audit(audit_log::Audit),
    /// Images.
    #[command(subcommand)]
    Image(image::Image),
    /// Tokens: who may use the API, and under which name.
    #[command(subcommand)]
    Token(token::Token),
    /// The model gateway by itself: every provider in every format, each call on the record. Needs no Docker.
    Gateway(gateway::Gateway),
    /// Keys of callers: people and tools that use the gateway.
    #[command(subcommand)]
    Key(key::Key),
    /// Providers of models.
    #[command(subcommand)]
    Provider(provider::Provider),
    /// Model calls: make one, look at those that were made.
    #[command(subcommand)]
    Llm(llm::Llm),
    /// Look for what is wrong, and say what to do.
    #[command(after_help = "Examples:\n  taskforge doctor")]
    Doctor,
    /// Print a completion script for a shell.
    #[command(after_help = "Examples:\n  taskforge completions bash > /etc/bash_completion.d/taskforge")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Everything a command needs.
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) out: Out,
    pub(crate) hooks: Hooks,
}

impl Context {
    /// A client of the server, with the token that is at hand. A server that is just starting is waited for.
    pub(crate) async fn client(&self) -> Outcome<Client> {
        if self.global.server.is_none() {
            running::server(&self.global.data_dir()).await?;
        }
        Client::find(&self.global)
    }
}

/// Runs a command line and says how the program ends.
pub(crate) async fn run(cli: Cli, hooks: Hooks) -> Exit {
    let out = Out::new(cli.global.json);
    let context = Context { global: cli.global, out, hooks };
    match dispatch(&context, cli.command).await {
        Ok(exit) => exit,
        Err(failure) => {
            if context.out.json {
                eprintln!("{}", failure.json());
            } else {
                eprintln!("{failure}");
            }
            if failure.exit == Exit::Interrupted {
                // A question may still be open at the terminal; its read cannot be ended in another way.
                std::process::exit(Exit::Interrupted as i32);
            }
            failure.exit
        }
    }
}

async fn dispatch(c: &Context, command: Command) -> Outcome {
    match command {
        Command::Up(args) => server::up(c, args).await,
        Command::Down => server::down(c).await,
        Command::Restart(args) => server::restart(c, args).await,
        Command::Ps => server::ps(c).await,
        Command::Health => server::health(c).await,
        Command::Logs(args) => server::logs(c, args).await,
        Command::Clean(args) => server::clean(c, args).await,
        Command::Backup(args) => server::backup(c, args).await,
        Command::Restore(args) => server::restore(c, args).await,
        Command::Run(args) => run::run(c, args).await,
        Command::Task(command) => task::run(c, command).await,
        Command::Approvals(command) => approvals::run(c, command).await,
        Command::Audit(command) => audit_log::run(c, command).await,
        Command::Image(command) => image::run(c, command).await,
        Command::Token(command) => token::run(c, command).await,
        Command::Gateway(args) => gateway::run(c, args).await,
        Command::Key(command) => key::run(c, command).await,
        Command::Provider(command) => provider::run(c, command).await,
        Command::Llm(command) => llm::run(c, command).await,
        Command::Doctor => doctor::run(c).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "taskforge", &mut script);
            c.out.line(String::from_utf8_lossy(&script).trim_end());
            Ok(Exit::Ok)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_does_something_has_examples() {
        fn walk(command: &clap::Command, path: &str, without: &mut Vec<String>) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let path = format!("{path} {}", command.get_name());
            if !command.has_subcommands() && !help.contains("Examples:\n  taskforge ") {
                without.push(path.clone());
            }
            command.get_subcommands().for_each(|c| walk(c, &path, without));
        }
        let mut without = Vec::new();
        walk(&Cli::command(), "", &mut without);
        assert!(without.is_empty(), "{without:?}");
    }

    #[test]
    fn the_data_directory_is_absolute_however_it_is_named() {
        for args in [&["taskforge", "ps"][..], &["taskforge", "--data-dir", "here/it/is", "ps"]] {
            let cli = Cli::try_parse_from(args).unwrap();
            assert!(cli.global.data_dir().is_absolute(), "{args:?}: {:?}", cli.global.data_dir());
        }
    }
}
