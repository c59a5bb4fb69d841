//! Wheels, lock files, Dockerfiles: pure functions of what registries said.

use domain::{candidate::Artefact, request::Ecosystem};
use image::{
    base, dockerfile, npm,
    pip::{Platform, Wheel, licence, read_compiled},
};
use serde_json::json;
use std::collections::BTreeSet;

#[test]
fn the_best_wheel_is_chosen() {
    let on = Platform { python: (3, 11), libc: (2, 36), machine: "x86_64".into() };
    let fit = |name: &str| Wheel::parse(name).and_then(|w| w.fit(&on));
    for unfit in [
        "a-1-cp312-cp312-manylinux_2_17_x86_64.whl",
        "a-1-cp311-cp311-macosx_11_0_arm64.whl",
        "a-1-cp311-cp311-manylinux_2_17_aarch64.whl",
        "a-1-cp311-cp311-musllinux_1_1_x86_64.whl",
        "a-1-cp311-cp311-manylinux_2_38_x86_64.whl",
        "a-1-py2-none-any.whl",
        "a-1-cp312-abi3-manylinux2014_x86_64.whl",
        "a-1.tar.gz",
        "../a-1-py3-none-any.whl",
    ] {
        assert_eq!(fit(unfit), None, "{unfit}");
    }
    let ordered = [
        "a-1-py2.py3-none-any.whl",
        "a-1-py3-none-manylinux2014_x86_64.whl",
        "a-1-cp37-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "a-1-cp311-cp311-manylinux_2_28_x86_64.whl",
    ];
    for pair in ordered.windows(2) {
        assert!(fit(pair[0]).is_some() && fit(pair[0]) < fit(pair[1]), "{pair:?}");
    }
}

#[test]
fn compiled_requirements_are_pins_or_an_error() {
    let text =
        "six==1.16.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\nFoo_Bar[x]==2 \\\n    --hash=sha256:cc\n";
    let pins = read_compiled(text).unwrap();
    assert_eq!((pins[0].name.as_str(), pins[0].hashes.len()), ("six", 2));
    assert_eq!(pins[1].name, "foo-bar");
    for bad in ["x @ https://example.org/x.whl", "-e .", "x>=1", "x==1;rm"] {
        assert!(read_compiled(bad).is_err(), "{bad}");
    }
}

#[test]
fn licences_are_read_from_metadata() {
    assert_eq!(licence("Name: x\nLicense-Expression: MIT\n\nbody").as_deref(), Some("MIT"));
    assert_eq!(
        licence("License: UNKNOWN\nClassifier: License :: OSI Approved :: BSD License\n").as_deref(),
        Some("BSD License")
    );
    assert_eq!(licence("Name: x\n\nLicense: not this"), None);
    // A whole text in the field is no name.
    let text = "License: ====\n         The Kiwi licensing terms\n        ====\n        \n        Copyright\n";
    assert_eq!(licence(text).as_deref(), Some("The Kiwi licensing terms"));
    let classified = format!("{text}Classifier: License :: OSI Approved :: BSD License\n");
    assert_eq!(licence(&classified).as_deref(), Some("BSD License"));
}

#[test]
fn a_lock_that_leaves_the_registry_is_refused() {
    let integrity = format!("sha512-{}", "A".repeat(86) + "==");
    let entry = |resolved: &str| json!({"version": "1.0.0", "resolved": resolved, "integrity": integrity});
    let lock = |place: &str, e: serde_json::Value| json!({"packages": {"": {}, place: e}});
    assert!(npm::read_lock(&lock("node_modules/a", entry("https://r/a.tgz"))).is_ok());
    let mut no_hash = entry("https://r/a.tgz");
    no_hash.as_object_mut().unwrap().remove("integrity");
    for bad in [
        lock("node_modules/a", entry("git+ssh://git@github.com/a/b#1")),
        lock("node_modules/a", entry("file:../a")),
        lock("node_modules/a", no_hash),
        lock("node_modules/../../etc", entry("https://r/a.tgz")),
        lock("elsewhere/a", entry("https://r/a.tgz")),
        lock("node_modules/a", json!({"link": true, "resolved": "../a"})),
    ] {
        assert!(npm::read_lock(&bad).is_err(), "{bad}");
    }
}

fn artefact(ecosystem: Ecosystem, name: &str, sha: char) -> Artefact {
    Artefact {
        ecosystem,
        name: name.into(),
        version: "1.0".into(),
        sha256: sha.to_string().repeat(64),
        size_bytes: 1,
        file_name: format!("{}-1.0.whl", name.trim_start_matches('@').replace('/', "-")),
        url: String::new(),
        licence: None,
        uploaded_at: None,
        install_scripts: false,
        requested: true,
        places: Vec::new(),
    }
}

#[test]
fn a_dockerfile_binds_the_set_and_holds_nothing_unchecked() {
    let id = |c: char| format!("sha256:{}", c.to_string().repeat(64));
    let render = |set: &[Artefact]| dockerfile::render(&id('a'), &id('b'), set, None);
    let (one, two) = (artefact(Ecosystem::Pip, "one", '1'), artefact(Ecosystem::Pip, "two", '2'));
    let text = render(&[one.clone(), two.clone()]).unwrap().dockerfile;
    assert_eq!(text, render(&[two.clone(), one.clone()]).unwrap().dockerfile, "the order does not matter");
    let mut other = two.clone();
    other.sha256 = "3".repeat(64);
    assert_ne!(text, render(&[one.clone(), other]).unwrap().dockerfile);
    let spoil: [fn(&mut Artefact); 6] = [
        |a| a.name = "x\nRUN id".into(),
        |a| a.version = "1; id".into(),
        |a| a.file_name = "../x.whl".into(),
        |a| a.file_name = "$(id).whl".into(),
        |a| a.sha256 = "z".repeat(64),
        |a| a.places = vec!["/etc".into()],
    ];
    for (i, spoil) in spoil.iter().enumerate() {
        let mut bad = one.clone();
        spoil(&mut bad);
        assert!(render(&[bad]).is_err(), "spoiled artefact {i} was rendered");
    }
    assert!(dockerfile::render("debian:latest", &id('b'), &[one], None).is_err(), "a base is an ID");
}

#[test]
fn every_file_of_the_base_images_definition_is_part_of_the_program() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/agent");
    let mut found = BTreeSet::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(&root).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    let listed: BTreeSet<String> = base::DEFINITION.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(listed, found);
}
