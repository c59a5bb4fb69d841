//! The contract is kept in the repository, and every error code has its page.

use std::{collections::BTreeSet, path::Path};

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// `UPDATE_OPENAPI=1 cargo test -p api --test it contract` writes the file anew.
#[test]
fn the_openapi_document_is_the_one_in_the_repository() {
    let document = format!("{}\n", serde_json::to_string_pretty(&api::openapi()).unwrap());
    let path = repository("crates/api/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &document).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == document, "the API has changed: look at the change, then run with UPDATE_OPENAPI=1");
}

#[test]
fn operations_are_named_verb_resource_and_tell_of_errors() {
    let document = serde_json::to_value(api::openapi()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        assert!(!path.contains('*'), "{path}");
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && name.contains('_');
            assert!(plain, "{method} {path}: {name}");
            assert!(operation["responses"]["default"].is_object(), "{name} has no error response");
            assert!(names.insert(name), "{method} {path} has the name of another operation");
            for part in path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}')) {
                let told = operation["parameters"].as_array().unwrap().iter().any(|p| p["name"] == part);
                assert!(told, "{method} {path} does not describe {part}");
            }
        }
    }
    assert!(names.len() > 35, "{names:?}");
}

#[test]
fn every_error_code_has_its_page() {
    let mut pages: BTreeSet<String> = std::fs::read_dir(repository("docs/errors"))
        .unwrap()
        .filter_map(|f| f.unwrap().file_name().into_string().unwrap().strip_suffix(".md").map(str::to_owned))
        .collect();
    for code in api::Code::ALL {
        assert!(pages.remove(code.as_str()), "docs/errors/{}.md is missing", code.as_str());
        let page = std::fs::read_to_string(repository(&format!("docs/errors/{}.md", code.as_str()))).unwrap();
        assert!(page.starts_with(&format!("# {}\n", code.as_str())), "{}", code.as_str());
        assert!(page.contains("## What happened") && page.contains("## What to do"), "{}", code.as_str());
    }
}
