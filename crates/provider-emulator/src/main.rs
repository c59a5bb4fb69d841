//! Serves the emulated providers.

use std::process::ExitCode;
use tokio::net::TcpListener;

const USAGE: &str = "usage: provider-emulator [--listen ADDRESS] [--list]
Emulates the APIs of OpenAI, Anthropic, Gemini, Ollama and OpenAI-compatible servers.
  --listen ADDRESS  where to listen (127.0.0.1:0: a free port, which is printed)
  --list            the models and what they do
Example: provider-emulator --listen 127.0.0.1:9901
         curl 127.0.0.1:9901/openai/v1/models -H 'authorization: Bearer any'";

#[tokio::main]
async fn main() -> ExitCode {
    let mut listen = "127.0.0.1:0".to_owned();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--listen", Some(address)) => listen = address,
            ("--list", None) => {
                println!("{}", provider_emulator::model::LISTED.join("\n"));
                return ExitCode::SUCCESS;
            }
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    match run(&listen).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: cannot serve on {listen}: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn run(listen: &str) -> std::io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    provider_emulator::serve(listener).await
}
