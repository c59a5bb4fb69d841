//! Puts the static supervisor into the binary, where `TASKFORGE_SUPERVISOR_BIN` names it (`scripts/build` does).
//! Without it an empty file is embedded, and the server looks for the supervisor beside its own binary.

use std::{env, fs, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    println!("cargo:rerun-if-env-changed=TASKFORGE_SUPERVISOR_BIN");
    println!("cargo:rerun-if-changed=build.rs");
    let Some(out) = env::var_os("OUT_DIR") else { return ExitCode::FAILURE };
    let target = PathBuf::from(out).join("supervisor");
    let done = match env::var_os("TASKFORGE_SUPERVISOR_BIN") {
        Some(path) => {
            println!("cargo:rerun-if-changed={}", PathBuf::from(&path).display());
            fs::copy(path, target).map(drop)
        }
        None => fs::write(target, b""),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            println!("cargo:warning=the supervisor cannot be embedded: {e}");
            ExitCode::FAILURE
        }
    }
}
