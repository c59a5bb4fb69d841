//! Fixture files, and files of what is expected, which `UPDATE_EXPECTED=1` writes anew.

use llm::Format;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A fixture.
pub(crate) struct Fixture {
    pub(crate) format: Format,
    pub(crate) name: String,
    pub(crate) body: Vec<u8>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The fixtures of a kind, in a fixed order.
pub(crate) fn fixtures(kind: &str) -> Vec<Fixture> {
    let mut all = Vec::new();
    for format in Format::ALL {
        let Ok(folder) = fs::read_dir(root().join("fixtures").join(kind).join(format.as_str())) else { continue };
        let mut paths: Vec<PathBuf> = folder.map(|e| e.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            all.push(Fixture { format, name, body: fs::read(&path).unwrap() });
        }
    }
    assert!(!all.is_empty(), "no fixtures of {kind}");
    all
}

/// Compares with what is expected of a fixture; collects what differs.
pub(crate) fn check(kind: &str, fixture: &Fixture, found: &str, differing: &mut Vec<String>) {
    let folder = root().join("expected").join(kind).join(fixture.format.as_str());
    let path = folder.join(format!("{}.txt", fixture.name));
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::create_dir_all(&folder).unwrap();
        return fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected != found {
        let line = expected.lines().zip(found.lines()).position(|(a, b)| a != b);
        let line = line.unwrap_or_else(|| expected.lines().count().min(found.lines().count()));
        let at = |text: &str| text.lines().nth(line).unwrap_or("(end)").to_owned();
        differing.push(format!(
            "{} line {}:\n  expected {}\n  found    {}",
            path.strip_prefix(root()).unwrap().display(),
            line + 1,
            at(&expected),
            at(found)
        ));
    }
}

/// Fails with what differs.
pub(crate) fn settle(differing: &[String]) {
    assert!(
        differing.is_empty(),
        "{} files differ (UPDATE_EXPECTED=1 writes them):\n{}",
        differing.len(),
        differing.join("\n")
    );
}
