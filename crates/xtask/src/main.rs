//! Checks of the repository itself: `cargo run -p xtask -- tidy`.
//!
//! Owns the rules of docs/style.md that neither rustfmt nor clippy can check. Reads files and changes none.
//! A finding has a severity: an error fails the run, a warning is shown.

mod manifests;
mod source;
mod text;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// What a rule found.
struct Finding {
    file: PathBuf,
    /// From 1; 0 is the whole file.
    line: usize,
    error: bool,
    what: String,
}

impl Finding {
    fn error(file: &Path, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, error: true, what: what.into() }
    }

    fn warning(file: &Path, line: usize, what: impl Into<String>) -> Self {
        Self { error: false, ..Self::error(file, line, what) }
    }
}

/// A text file of the repository.
struct Text {
    path: PathBuf,
    body: String,
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() != Some("tidy") {
        eprintln!("usage: cargo run -p xtask -- tidy");
        return ExitCode::from(2);
    }
    let files = match tracked() {
        Ok(files) => files,
        Err(e) => {
            eprintln!("error: cannot list the repository's files: {e}");
            return ExitCode::FAILURE;
        }
    };
    let findings: Vec<_> = files.iter().flat_map(check).collect();
    for f in &findings {
        let severity = if f.error { "error" } else { "warning" };
        println!("{severity}: {}:{}: {}", f.file.display(), f.line, f.what);
    }
    let errors = findings.iter().filter(|f| f.error).count();
    println!("tidy: {} files, {errors} errors, {} warnings", files.len(), findings.len() - errors);
    if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check(file: &Text) -> Vec<Finding> {
    let mut findings = text::check(file);
    if file.path.extension().is_some_and(|e| e == "rs") {
        findings.extend(source::check(file));
    }
    if file.path.ends_with("Cargo.toml") {
        findings.extend(manifests::check(file));
    }
    findings
}

/// All text files that git knows or would take; binary files are none of our business.
fn tracked() -> std::io::Result<Vec<Text>> {
    let list = Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).output()?;
    if !list.status.success() {
        return Err(std::io::Error::other(String::from_utf8_lossy(&list.stderr).into_owned()));
    }
    let names = String::from_utf8_lossy(&list.stdout);
    let read = |name: &str| Some(Text { path: name.into(), body: fs::read_to_string(name).ok()? });
    Ok(names.split('\0').filter(|n| !n.is_empty()).filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(path: &str, body: &str) -> Vec<String> {
        let file = Text { path: path.into(), body: body.into() };
        check(&file).into_iter().filter(|f| f.error).map(|f| f.what).collect()
    }

    #[track_caller]
    fn finds(path: &str, body: &str, part: &str) {
        let found = errors(path, body);
        assert!(found.iter().any(|f| f.contains(part)), "{part} is not in {found:?}");
    }

    #[test]
    fn good_code_is_quiet() {
        assert_eq!(errors("crates/api/src/lib.rs", "//! Doc.\n\nfn main() {}\n"), Vec::<String>::new());
        let manifest = "[dependencies]\nsqlx.workspace = true\n";
        assert_eq!(errors("crates/store/Cargo.toml", manifest), Vec::<String>::new());
    }

    #[test]
    fn each_rule_bites() {
        let long = format!("//! Doc.\n{}", "fn f() {}\n".repeat(601));
        finds("crates/api/src/lib.rs", &long, "lines");
        finds("crates/api/src/lib.rs", "fn main() {}\n", "module doc");
        finds("crates/api/src/lib.rs", &format!("//! D.\n#[{}(dead_code)]\nfn f() {{}}\n", "allow"), "expect");
        finds("crates/api/src/lib.rs", &format!("//! D.\n// {}: more\n", "TODO"), "without an issue");
        finds("crates/api/src/lib.rs", &format!("//! D.\n// It {} a map.\n", "now uses"), "history");
        finds("crates/api/src/lib.rs", &format!("//! D.\nstruct Task{};\n", "Manager"), "says nothing");
        finds("crates/domain/src/lib.rs", "//! D.\nuse std::time::SystemTime;\n", "pure");
        finds("docs/a.md", &format!("see {}{}\n", "/ro", "ot/.cargo"), "path of one machine");
        finds("crates/api/Cargo.toml", "[dependencies]\nbollard.workspace = true\n", "bollard");
        finds("Cargo.toml", "[workspace.dependencies]\nserde = \"1\"\n", "reason");
        finds("crates/api/Cargo.toml", "[dependencies]\nserde = \"1\"\n", "workspace");
    }

    #[test]
    fn tests_may_be_long_and_name_anything() {
        let body = format!("//! D.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn f() {}\n".repeat(700));
        assert_eq!(errors("crates/api/src/lib.rs", &body), Vec::<String>::new());
        let body = format!("//! D.\n{}", "fn f() {}\n".repeat(700));
        assert_eq!(errors("crates/api/tests/it/main.rs", &body), Vec::<String>::new());
    }
}
