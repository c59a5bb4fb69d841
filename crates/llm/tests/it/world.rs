//! Fixtures and snapshots.
//!
//! `fixtures/KIND/FORMAT/NAME.EXT` is what a client or a provider of `FORMAT` sends; `snapshots/KIND/FORMAT/NAME.TARGET.txt`
//! is what becomes of it in the format `TARGET`. `UPDATE_SNAPSHOTS=1 cargo test -p llm` writes the snapshots anew: read
//! their difference before you commit it.

use llm::Format;
use std::{collections::BTreeSet, fs, path::PathBuf};

/// Formats of clients.
pub(crate) const CLIENTS: &[Format] = &[Format::Chat, Format::Responses, Format::Messages, Format::Gemini];
/// Formats of providers.
pub(crate) const PROVIDERS: &[Format] = &Format::ALL;

/// A file of a format.
pub(crate) struct Fixture {
    pub(crate) format: Format,
    pub(crate) name: String,
    pub(crate) body: Vec<u8>,
}

fn tests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Every fixture of a kind, in order.
pub(crate) fn fixtures(kind: &str) -> Vec<Fixture> {
    let mut found = Vec::new();
    for format in Format::ALL {
        let Ok(dir) = fs::read_dir(tests().join("fixtures").join(kind).join(format.as_str())) else { continue };
        for file in dir {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            found.push(Fixture { format, name, body: fs::read(path).unwrap() });
        }
    }
    assert!(!found.is_empty(), "no fixtures of {kind}");
    found.sort_by(|a, b| (a.format.as_str(), &a.name).cmp(&(b.format.as_str(), &b.name)));
    found
}

/// Snapshots of a kind: compares each, and at the end that there are no others.
pub(crate) struct Snapshots {
    kind: &'static str,
    seen: BTreeSet<PathBuf>,
    wrong: Vec<String>,
}

impl Snapshots {
    pub(crate) fn new(kind: &'static str) -> Self {
        Self { kind, seen: BTreeSet::new(), wrong: Vec::new() }
    }

    pub(crate) fn check(&mut self, of: &Fixture, target: &str, actual: &str) {
        let dir = tests().join("snapshots").join(self.kind).join(of.format.as_str());
        let path = dir.join(format!("{}.{target}.txt", of.name));
        if updating() {
            fs::create_dir_all(&dir).unwrap();
            fs::write(&path, actual).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if expected != actual {
            self.wrong.push(format!("{}\n--- expected\n{expected}\n--- actual\n{actual}", path.display()));
        }
        self.seen.insert(path);
    }

    pub(crate) fn finish(self) {
        let mut all = Vec::new();
        for format in Format::ALL {
            let dir = tests().join("snapshots").join(self.kind).join(format.as_str());
            all.extend(fs::read_dir(dir).into_iter().flatten().map(|f| f.unwrap().path()));
        }
        let stale: Vec<_> = all.into_iter().filter(|p| !self.seen.contains(p)).collect();
        if updating() {
            stale.iter().for_each(|p| fs::remove_file(p).unwrap());
        } else {
            assert!(stale.is_empty(), "snapshots of nothing: {stale:?}");
        }
        assert!(self.wrong.is_empty(), "UPDATE_SNAPSHOTS=1 writes them anew\n{}", self.wrong.join("\n\n"));
    }
}

fn updating() -> bool {
    std::env::var_os("UPDATE_SNAPSHOTS").is_some()
}

/// JSON in lines, its keys in the order in which they stand.
pub(crate) fn pretty(json: &[u8]) -> String {
    let text = std::str::from_utf8(json).unwrap();
    serde_json::from_str::<serde_json::Value>(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let (mut out, mut depth, mut in_string, mut escaped) = (String::new(), 0_usize, false, false);
    let mut chars = text.chars().filter(|c| *c != '\n').peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                if matches!(chars.peek(), Some('}' | ']')) {
                    out.extend(chars.next());
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth -= 1;
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            ' ' => {}
            c => out.push(c),
        }
    }
    out
}
