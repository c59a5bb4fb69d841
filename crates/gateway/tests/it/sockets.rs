//! The sockets: identity, long paths, restarts, and routes that are not there.

use crate::{
    fake::{sse_answer, stream_of},
    world::{World, chat_body, command_agent, connect, eventually, nobody, request, running_task},
};
use gateway::{Config, Gateway, Registry};
use http_body_util::BodyExt;
use hyper::StatusCode;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn a_path_longer_than_an_address_works_and_only_its_folder_is_open() {
    let long = "deep".repeat(40);
    let w = World::with(command_agent(), |c| c.run_root = c.run_root.with_file_name(&long), nobody).await;
    assert!(w.socket.as_os_str().len() > 150);
    assert_eq!(w.ask("GET", "/healthz", "").await, (StatusCode::OK, "ok\n".into()));
    let mode = |p: &std::path::Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    let folder = w.socket.parent().unwrap();
    assert_eq!((mode(folder.parent().unwrap()), mode(folder), mode(&w.socket)), (0o700, 0o755, 0o666));
}

#[tokio::test]
async fn a_socket_is_an_identity() {
    let w = World::new(|_| sse_answer(&stream_of("x", &[]))).await;
    let (other, _) = running_task(&w.store, command_agent(), "up/other").await;
    let socket = w.gateway.open(other).await.unwrap().path;
    let ask = |body: String| async {
        let mut c = connect(&socket).await;
        c.send_request(request("POST", "/v1/chat/completions", body)).await.unwrap().status()
    };
    assert_eq!(ask(chat_body(&[]).to_string()).await, StatusCode::FORBIDDEN, "the model of the first task");
    assert_eq!(ask(chat_body(&[("model", "up/other".into())]).to_string()).await, StatusCode::OK);
    assert_eq!(w.store.call_list(&other.into()).await.unwrap().len(), 2);
    assert!(w.calls().await.is_empty());
}

#[tokio::test]
async fn a_restarted_server_binds_the_same_socket_again() {
    let w = World::new(nobody).await;
    assert_eq!(w.gateway.open(w.task).await.unwrap().path, w.socket, "opening twice changes nothing");
    w.gateway.shutdown().await;
    assert!(w.gateway.open(w.task).await.is_err());
    assert!(w.socket.exists(), "the socket stays for the next server");
    let config = Config::new(w.dir.path().join("run"));
    let registry = Registry::new(Vec::new(), Vec::new(), &config).unwrap();
    let next = Gateway::new(config, w.store.clone(), registry);
    assert_eq!(next.open(w.task).await.unwrap().path, w.socket);
    assert_eq!(w.ask("GET", "/healthz", "").await.0, StatusCode::OK);
    assert_eq!(next.open_tasks().await, [w.task]);
    // Something removed it: opening again mends that.
    std::fs::remove_file(&w.socket).unwrap();
    next.open(w.task).await.unwrap();
    assert_eq!(w.ask("GET", "/healthz", "").await.0, StatusCode::OK);
    next.close(w.task).await;
    assert!(!w.socket.exists() && next.open_tasks().await.is_empty());
}

#[tokio::test]
async fn closing_ends_the_connections() {
    let w = World::new(nobody).await;
    let mut connection = w.connect().await;
    connection.send_request(request("GET", "/healthz", "")).await.unwrap().into_body().collect().await.unwrap();
    w.gateway.close(w.task).await;
    eventually("the connection ends", || async { connection.is_closed().then_some(()) }).await;
}

#[tokio::test]
async fn nothing_but_the_fixed_routes_is_there() {
    let w = World::new(nobody).await;
    for path in
        ["/", "/api/tasks", "/api/openapi.json", "/docs", "/v1", "/v1/completions", "/mcp/", "/MCP", "/v1/models/"]
    {
        for method in ["GET", "POST", "DELETE"] {
            assert_eq!(w.ask(method, path, "").await.0, StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
    for (method, path) in [
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/models"),
        ("DELETE", "/v1/models/x"),
        ("GET", "/v1/messages"),
        ("GET", "/tf/events"),
        ("PUT", "/mcp"),
    ] {
        assert_eq!(w.ask(method, path, "").await.0, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
    }
}
