//! The real Engine: bootstrap, resolve, build, use. Needs Docker and the package registries.

use domain::{
    candidate::Artefact,
    ids::{InstallationId, RequestId, TaskId},
    request::{Ecosystem, PackageAsk},
};
use futures::FutureExt;
use image::{
    BuildError, BuildInput, BuiltImage, Images, ImagesConfig, Keep, LookupFn, ResolveError, ResolveInput, Resolved,
};
use sandbox::Docker;
use std::{
    process::Command,
    sync::{Arc, Mutex},
};
use uuid::Uuid;

struct Bench {
    images: Images,
    base: String,
    task: TaskId,
    lookups: Arc<Mutex<Vec<String>>>,
    _data: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let installation = InstallationId::from_uuid(Uuid::now_v7());
        let docker = Docker::connect(None, installation).unwrap();
        let images = Images::new(docker, ImagesConfig::new(data.path())).unwrap();
        let bases = images.bootstrap(&|line| println!("{line}")).await.unwrap();
        let task = TaskId::from_uuid(Uuid::now_v7());
        Self { images, base: bases.agent.id, task, lookups: Arc::default(), _data: data }
    }

    fn lookup(&self) -> LookupFn {
        let seen = Arc::clone(&self.lookups);
        Arc::new(move |lookup| {
            seen.lock().unwrap().push(lookup.url);
            async { Ok(()) }.boxed()
        })
    }

    fn input(&self, approved: &[Artefact], parent: &str, asks: &[(Ecosystem, &str, Option<&str>)]) -> ResolveInput {
        let ask = |(ecosystem, name, version): &(Ecosystem, &str, Option<&str>)| PackageAsk {
            ecosystem: *ecosystem,
            name: (*name).to_owned(),
            version: version.map(str::to_owned),
        };
        ResolveInput {
            task: self.task,
            request: RequestId::from_uuid(Uuid::now_v7()),
            base_image: self.base.clone(),
            parent_image: parent.to_owned(),
            approved: approved.to_vec(),
            asks: asks.iter().map(ask).collect(),
            policy_version: 1,
        }
    }

    async fn resolve(&self, asks: &[(Ecosystem, &str, Option<&str>)]) -> Result<Resolved, ResolveError> {
        self.images.resolve(&self.input(&[], &self.base, asks), self.lookup()).await
    }

    async fn build(&self, resolved: &Resolved) -> Result<BuiltImage, BuildError> {
        let candidate = &resolved.candidate;
        let input = BuildInput {
            task: self.task,
            request: candidate.request,
            candidate_digest: candidate.digest().unwrap(),
            base_image: candidate.base_image.clone(),
            parent_image: candidate.parent_image.clone(),
            artefacts: candidate.artefacts.clone(),
            dockerfile: Some(candidate.dockerfile.clone()),
        };
        self.images.build(&input).await
    }

    async fn end(self) {
        self.images.prune(&Keep::default()).await.unwrap();
        self.images.shutdown().await;
        assert!(self.images.list().await.unwrap().iter().all(|i| i.kind != "task-image"), "an image stayed");
        assert_eq!(self.images.reap().await.unwrap(), 0, "a resolver container stayed");
    }
}

/// Runs a command as agents run theirs: sealed, read-only, without a capability.
fn run(image: &str, script: &str) -> (bool, String) {
    let sealed = ["run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp", "--tmpfs"];
    let workspace = ["/workspace:uid=61000,gid=61000", image, "bash", "-c", script];
    let output = Command::new("docker").args(sealed).args(workspace).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn works(image: &str, script: &str) {
    let (ok, text) = run(image, script);
    assert!(ok, "{script}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pip_npm_and_apt_packages_work_in_the_image_and_a_later_request_builds_on_them() {
    let bench = Bench::new().await;
    let asks = [
        (Ecosystem::Pip, "matplotlib", None),
        (Ecosystem::Npm, "lodash", Some("^4")),
        (Ecosystem::Npm, "nanoid", None),
        (Ecosystem::Apt, "jq", None),
    ];
    let resolved = bench.resolve(&asks).await.unwrap();
    let names: Vec<&str> = resolved.new.iter().map(|a| a.name.as_str()).collect();
    for wanted in ["matplotlib", "numpy", "lodash", "nanoid", "jq", "libjq1"] {
        assert!(names.contains(&wanted), "{wanted} is not in {names:?}");
    }
    for a in &resolved.new {
        assert!(bench.images.packages().path(&a.sha256).exists(), "{a:?}");
        assert!(a.size_bytes > 0 && a.sha256.len() == 64, "{a:?}");
        assert_eq!(a.requested, asks.iter().any(|(_, name, _)| *name == a.name), "{a:?}");
    }
    let matplotlib = resolved.new.iter().find(|a| a.name == "matplotlib").unwrap();
    assert!(matplotlib.licence.is_some() && matplotlib.uploaded_at.is_some(), "{matplotlib:?}");
    assert_eq!(bench.lookups.lock().unwrap().len(), resolved.lookups as usize);

    let built = bench.build(&resolved).await.unwrap();
    assert!(!built.reused);
    works(&built.id, "python3 -c 'import matplotlib, numpy'");
    works(&built.id, "cd /workspace && node -e 'require(\"lodash\")'");
    works(
        &built.id,
        "cd /workspace && echo 'import { nanoid } from \"nanoid\"; console.log(nanoid())' > a.mjs && node a.mjs",
    );
    works(&built.id, "[ \"$(id -u)\" = 61000 ] && echo '{\"a\":1}' | jq .a");
    works(
        &built.id,
        "[ -z \"$(ls -A /mnt; ls -A /media)\" ] && [ ! -e /package.json ] && ! find / -xdev -name '*.whl' 2>/dev/null | grep .",
    );

    let again = bench.build(&resolved).await.unwrap();
    assert!(again.reused && again.id == built.id, "{again:?}");

    let more = [(Ecosystem::Npm, "is-odd", Some("3.0.1")), (Ecosystem::Pip, "cycler", None)];
    let input = bench.input(&resolved.candidate.artefacts, &built.id, &more);
    let second = bench.images.resolve(&input, bench.lookup()).await.unwrap();
    let names: Vec<&str> = second.new.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["is-number", "is-odd"], "what the task has is not new");
    let built = bench.build(&second).await.unwrap();
    works(
        &built.id,
        "cd /workspace && node -e 'require(\"is-odd\"); require(\"lodash\")' && python3 -c 'import matplotlib'",
    );
    let inventory = bench.images.inventory(&built.id).await.unwrap();
    assert!(inventory.npm.iter().any(|p| p.name == "is-odd"), "{:?}", inventory.npm);
    assert!(inventory.pip.iter().any(|p| p.name == "matplotlib"), "{:?}", inventory.pip);
    assert!(inventory.apt.iter().any(|p| p.name == "jq"));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_resolved_is_named() {
    let bench = Bench::new().await;
    let code = |r: Result<Resolved, ResolveError>| {
        let error = r.unwrap_err();
        (error.code(), error.to_string())
    };
    let (got, text) = code(bench.resolve(&[(Ecosystem::Pip, "taskforge-no-such-package-x", None)]).await);
    assert_eq!(got, "package_unknown", "{text}");
    let (got, text) = code(bench.resolve(&[(Ecosystem::Npm, "taskforge-no-such-package-x", None)]).await);
    assert_eq!(got, "package_unknown", "{text}");
    let (got, text) = code(bench.resolve(&[(Ecosystem::Apt, "jqq", None)]).await);
    assert_eq!(got, "package_unknown", "{text}");
    assert!(text.contains("Did you mean jq"), "{text}");
    let (got, text) = code(bench.resolve(&[(Ecosystem::Pip, "numpy", Some("==99999"))]).await);
    assert_eq!(got, "package_conflict", "{text}");
    let refuse: LookupFn = Arc::new(|_| async { Err("the log is full".to_owned()) }.boxed());
    let input = bench.input(&[], &bench.base, &[(Ecosystem::Pip, "six", None)]);
    let (got, text) = code(bench.images.resolve(&input, refuse).await);
    assert_eq!(got, "lookup_refused", "{text}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_does_not_install_fails_with_the_tools_words() {
    let bench = Bench::new().await;
    let mut resolved = bench.resolve(&[(Ecosystem::Apt, "jq", None)]).await.unwrap();
    resolved.candidate.artefacts.retain(|a| a.name == "jq");
    let wrong = bench.build(&resolved).await.unwrap_err();
    assert_eq!(wrong.code(), "build_mismatch", "the Dockerfile binds the set");
    resolved.candidate.dockerfile =
        bench.images.dockerfile(&resolved.candidate.base_image, &resolved.candidate.artefacts).await.unwrap();
    let error = bench.build(&resolved).await.unwrap_err();
    let BuildError::Failed { log_tail, .. } = &error else { panic!("{error}") };
    assert!(log_tail.contains("libjq1"), "{log_tail}");
    bench.end().await;
}

/// What the Engine's build cache says of its records.
fn cache() -> String {
    let args = ["system", "df", "--verbose", "--format", "{{json .BuildCache}}"];
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_leaves_no_step_of_its_own_in_the_build_cache() {
    let bench = Bench::new().await;
    let resolved = bench.resolve(&[(Ecosystem::Pip, "six", None)]).await.unwrap();
    let dockerfile = &resolved.candidate.dockerfile;
    let sums = dockerfile.split("echo '").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(sums.len() == 64, "{dockerfile}");
    let built = bench.build(&resolved).await.unwrap();
    assert!(!built.reused);
    assert!(!cache().contains(sums), "a step of this set is still in the cache");
    works(&built.id, "python3 -c 'import six'");
    bench.end().await;
}
