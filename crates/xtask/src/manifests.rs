//! Rules on manifests: who may use a heavy library, and that each dependency has its reason in one place.

use crate::{Finding, Text};

/// Heavy libraries and the crates that may name them. Tests (dev-dependencies) are free.
const OWNERS: &[(&str, &[&str])] = &[
    ("sqlx", &["store", "workflow"]),
    ("bollard", &["sandbox", "image"]),
    ("duroxide", &["workflow"]),
    ("axum", &["gateway", "api", "image", "scripted-model", "taskforge"]),
    ("clap", &["taskforge", "scripted-model"]),
];

pub(crate) fn check(file: &Text) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut section = "";
    let name = file.path.parent().and_then(|p| p.file_name()).and_then(|n| n.to_str()).unwrap_or_default();
    for (i, line) in file.body.lines().enumerate() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let dependency = key.trim().trim_end_matches(".workspace");
        if key.trim_start().starts_with('#') {
            continue;
        }
        match section {
            "workspace.dependencies" if !value.contains("path =") && !line.contains('#') => {
                findings.push(Finding::error(
                    &file.path,
                    i + 1,
                    format!("`{dependency}` has no reason (a comment on its line)"),
                ));
            }
            "dependencies" | "dev-dependencies" | "build-dependencies" => {
                if !key.contains(".workspace") && !value.contains("workspace = true") && !value.contains("path =") {
                    let what = format!("`{dependency}` is not taken from the workspace's list");
                    findings.push(Finding::error(&file.path, i + 1, what));
                }
                let owners = OWNERS.iter().find(|(lib, _)| *lib == dependency).map(|(_, owners)| *owners);
                if section == "dependencies" && owners.is_some_and(|o| !o.contains(&name)) {
                    let what = format!("`{dependency}` belongs to {} alone", owners.unwrap_or_default().join(", "));
                    findings.push(Finding::error(&file.path, i + 1, what));
                }
            }
            _ => {}
        }
    }
    findings
}
