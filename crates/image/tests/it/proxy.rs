//! The registry proxy against a registry of our own on loopback, over real HTTP.

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use bytes::Bytes;
use domain::{
    ids::{InstallationId, TaskId},
    request::Ecosystem,
};
use futures::FutureExt;
use image::{
    Images, ImagesConfig, LookupFn,
    packages::Expected,
    registry_proxy::{HourBudget, Session, Trouble, router},
};
use reqwest::Url;
use sandbox::Docker;
use sha2::{Digest, Sha256};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tower::ServiceExt;
use uuid::Uuid;

const FILE: &[u8] = b"not really a wheel";

/// A registry; the tasks that serve it end with the test's runtime.
async fn registry() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let sha = hex::encode(Sha256::digest(FILE));
    let page = format!(
        r##"{{"files":[{{"filename":"demo-1.0-py3-none-any.whl","url":"{base}/files/demo-1.0-py3-none-any.whl","hashes":{{"sha256":"{sha}"}}}},
            {{"filename":"demo-1.0.tar.gz","url":"/x","hashes":{{"sha256":"{sha}"}}}}]}}"##
    );
    let away = |to: &'static str| get(move || async move { (StatusCode::FOUND, [(header::LOCATION, to)]) });
    let app = Router::new()
        .route(
            "/simple/demo/",
            get(move || async { ([(header::CONTENT_TYPE, "application/vnd.pypi.simple.v1+json")], page) }),
        )
        .route("/simple/near/", away("/simple/demo/"))
        .route("/simple/far/", away("http://127.0.0.1:9/simple/demo/"))
        .route("/simple/loop/", away("/simple/loop/"))
        .route("/simple/large/", get(|| async { "x".repeat(200_000) }))
        .route("/simple/broken/", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .route("/files/demo-1.0-py3-none-any.whl", get(|| async { FILE.into_response() }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    base
}

struct Bench {
    session: Arc<Session>,
    seen: Arc<Mutex<Vec<String>>>,
    base: String,
    _data: tempfile::TempDir,
}

async fn bench(refuse: bool, lookups: u32) -> Bench {
    let (base, data) = (registry().await, tempfile::tempdir().unwrap());
    let mut config = ImagesConfig::new(data.path());
    config.registries.pypi = format!("{base}/simple");
    config.registries.npm = base.clone();
    config.limits.index_bytes = 100_000;
    config.limits.lookups_per_request = lookups;
    let docker = Docker::connect(None, InstallationId::from_uuid(Uuid::now_v7())).unwrap();
    let images = Images::new(docker, config).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let lookup: LookupFn = Arc::new(move |lookup| {
        told.lock().unwrap().push(lookup.url);
        async move { if refuse { Err("not now".to_owned()) } else { Ok(()) } }.boxed()
    });
    let session = Arc::new(images.session(TaskId::from_uuid(Uuid::now_v7()), lookup));
    Bench { session, seen, base, _data: data }
}

impl Bench {
    async fn ask(&self, method: &str, path: &str) -> (u16, Bytes) {
        let request = axum::http::Request::builder().method(method).uri(path).body(axum::body::Body::empty()).unwrap();
        let response = router(Arc::clone(&self.session)).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (status, axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap())
    }
}

#[tokio::test]
async fn an_index_is_served_with_its_wheels_and_each_lookup_is_told() {
    let bench = bench(false, 100).await;
    let (status, body) = bench.ask("GET", "/pypi/simple/demo/").await;
    let page: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, 200);
    let names: Vec<&str> = page["files"].as_array().unwrap().iter().filter_map(|f| f["filename"].as_str()).collect();
    assert_eq!(names, ["demo-1.0-py3-none-any.whl"], "no source archive");
    assert_eq!(page["files"][0]["url"], "../../file/0/demo-1.0-py3-none-any.whl");
    let (status, body) = bench.ask("GET", "/pypi/file/0/demo-1.0-py3-none-any.whl").await;
    assert_eq!((status, &body[..]), (200, FILE));
    let told = bench.seen.lock().unwrap().clone();
    assert_eq!(
        told,
        [format!("{}/simple/demo/", bench.base), format!("{}/files/demo-1.0-py3-none-any.whl", bench.base)]
    );
    assert_eq!(bench.session.lookups(), 2);
}

#[tokio::test]
async fn redirects_stay_on_the_registry_and_end() {
    let bench = bench(false, 100).await;
    assert_eq!(bench.ask("GET", "/pypi/simple/near/").await.0, 200);
    let (status, body) = bench.ask("GET", "/pypi/simple/far/").await;
    assert_eq!(status, 502);
    assert!(String::from_utf8_lossy(&body).contains("not on a configured registry"), "{body:?}");
    assert!(!bench.seen.lock().unwrap().iter().any(|u| u.contains("127.0.0.1:9/")), "it was never told, so never sent");
    assert_eq!(bench.ask("GET", "/pypi/simple/loop/").await.0, 502);
}

#[tokio::test]
async fn what_is_not_a_registry_lookup_is_not_sent() {
    let bench = bench(false, 100).await;
    for (method, path, expect) in [
        ("POST", "/pypi/simple/demo/", 405),
        ("DELETE", "/npm/x", 405),
        ("CONNECT", "example.org:443", 405),
        ("GET", "/", 404),
        ("GET", "/pypi/other/demo", 404),
        ("GET", "/pypi/file/7/x.whl", 404),
        ("GET", "/pypi/simple/..%2f..%2fetc/", 404),
        ("GET", "/npm/../../etc/passwd", 404),
        ("GET", "/npm/-/v1/search", 404),
        ("GET", "/debian/../secret", 404),
        ("GET", "/metadata/latest", 404),
    ] {
        assert_eq!(bench.ask(method, path).await.0, expect, "{method} {path}");
    }
    assert!(bench.seen.lock().unwrap().is_empty(), "{:?}", bench.seen.lock().unwrap());
}

#[tokio::test]
async fn a_refused_lookup_never_reaches_the_registry() {
    let bench = bench(true, 100).await;
    assert_eq!(bench.ask("GET", "/pypi/simple/demo/").await.0, 403);
    assert_eq!(bench.session.troubles(), [Trouble::Refused { reason: "not now".into() }]);
}

#[tokio::test]
async fn bounds_bind() {
    let bench = bench(false, 2).await;
    assert_eq!(bench.ask("GET", "/pypi/simple/large/").await.0, 507);
    assert_eq!(bench.ask("GET", "/pypi/simple/none/").await.0, 404);
    assert_eq!(bench.ask("GET", "/pypi/simple/demo/").await.0, 507, "the third lookup of two");
    assert_eq!(bench.seen.lock().unwrap().len(), 2);

    let (mut budget, start) = (HourBudget::default(), Instant::now());
    assert!(budget.take(start, 2) && budget.take(start, 2) && !budget.take(start, 2));
    assert!(budget.take(start + Duration::from_secs(3600), 2), "an hour later");
}

#[tokio::test]
async fn only_the_promised_bytes_are_stored() {
    let bench = bench(false, 100).await;
    let url = Url::parse(&format!("{}/files/demo-1.0-py3-none-any.whl", bench.base)).unwrap();
    let wrong = Expected::Sha256("0".repeat(64));
    let error = bench.session.fetch(Ecosystem::Pip, &url, &wrong).await.unwrap_err();
    assert!(matches!(&error, Trouble::Network { detail, .. } if detail.contains("hash")), "{error:?}");
    let right = Expected::Sha256(hex::encode(Sha256::digest(FILE)));
    let stored = bench.session.fetch(Ecosystem::Pip, &url, &right).await.unwrap();
    assert_eq!(stored.size_bytes, FILE.len() as u64);
    let told = bench.seen.lock().unwrap().len();
    bench.session.fetch(Ecosystem::Pip, &url, &right).await.unwrap();
    assert_eq!(bench.seen.lock().unwrap().len(), told, "what is stored is not fetched again");
}
