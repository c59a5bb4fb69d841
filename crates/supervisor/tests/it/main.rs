//! The supervisor's binary on the host: relay, waiting, signals, exit codes. What only process 1 can do is tested with
//! Docker in the crate `sandbox`.

#![expect(clippy::expect_used, reason = "what a test needs and does not get ends it")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);

struct Supervisor {
    child: Child,
    port: u16,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

/// A gateway that answers `/healthz` and otherwise does what the test says.
fn gateway(socket: &Path, count: usize, serve: fn(UnixStream)) -> JoinHandle<()> {
    std::fs::remove_file(socket).ok();
    let listener = UnixListener::bind(socket).expect("a socket");
    std::thread::spawn(move || {
        let mut served = 0;
        while served < count {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut head = [0; 12];
            stream.read_exact(&mut head).expect("a request");
            if head.starts_with(b"GET /healthz") {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").expect("an answer");
            } else {
                assert_eq!(&head, b"hello world\n", "bytes arrive as they were sent");
                serve(stream);
                served += 1;
            }
        }
    })
}

fn echo(mut stream: UnixStream) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("until the other half closes");
    stream.write_all(&all).expect("echoed");
}

impl Supervisor {
    fn start(options: &[&str], command: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("gateway.sock");
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let child = Command::new(env!("CARGO_BIN_EXE_taskforge-supervisor"))
            .args(["--listen", &format!("127.0.0.1:{port}"), "--socket"])
            .arg(&socket)
            .args(options)
            .arg("--")
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        Self { child, port, socket, _folder: folder }
    }

    fn connect(&self) -> TcpStream {
        until("the listener", || TcpStream::connect(("127.0.0.1", self.port)).ok())
    }

    fn end(mut self) -> (ExitStatus, String, String) {
        let status = until("the end", || self.child.try_wait().expect("a child"));
        let (mut out, mut err) = (String::new(), String::new());
        self.child.stdout.take().expect("piped").read_to_string(&mut out).expect("text");
        self.child.stderr.take().expect("piped").read_to_string(&mut err).expect("text");
        (status, out, err)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    fn first_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
        line
    }
}

fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::yield_now();
    }
}

fn talk(stream: &mut TcpStream, payload: &[u8]) -> Vec<u8> {
    let mut writer = stream.try_clone().expect("cloned");
    let payload = payload.to_vec();
    let sender = std::thread::spawn(move || {
        writer.write_all(b"hello world\n").expect("sent");
        writer.write_all(&payload).expect("sent");
        writer.shutdown(Shutdown::Write).expect("half closed");
    });
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    sender.join().expect("sent");
    answer
}

#[test]
fn exit_codes_and_output_pass_through() {
    let check = |script: &str, code: i32, out: &str| {
        let supervisor = Supervisor::start(&[], &["sh", "-c", script]);
        let _gateway = gateway(&supervisor.socket, usize::MAX, echo);
        let (status, stdout, stderr) = supervisor.end();
        assert_eq!((status.code(), stdout.as_str()), (Some(code), out), "{stderr}");
    };
    check("echo out; echo err >&2; exit 7", 7, "out\n");
    check("kill -9 $$", 137, "");
    check("kill -15 $$", 143, "");
    check("cat; echo after", 0, "after\n");
}

#[test]
fn a_missing_program_is_127_and_a_wrong_command_line_64() {
    let supervisor = Supervisor::start(&[], &["/no/such/program"]);
    let _gateway = gateway(&supervisor.socket, usize::MAX, echo);
    let (status, _, stderr) = supervisor.end();
    assert_eq!(status.code(), Some(127));
    assert!(stderr.contains("cannot start /no/such/program"), "{stderr}");
    let (status, _, stderr) = Supervisor::start(&["--max-connections", "0"], &["true"]).end();
    assert_eq!(status.code(), Some(64));
    assert!(stderr.contains("--max-connections"), "{stderr}");
}

#[test]
fn bytes_pass_both_ways_with_half_close() {
    let supervisor = Supervisor::start(&[], &["sleep", "60"]);
    let gateway = gateway(&supervisor.socket, 2, echo);
    let payload: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    assert_eq!(talk(&mut supervisor.connect(), &payload), payload);
    assert_eq!(talk(&mut supervisor.connect(), b""), b"");
    gateway.join().expect("the gateway");
    supervisor.signal("-TERM");
    assert_eq!(supervisor.end().0.code(), Some(143));
}

#[test]
fn a_connection_is_held_while_the_gateway_is_away() {
    let supervisor = Supervisor::start(&[], &["sleep", "60"]);
    let _gateway = gateway(&supervisor.socket, 1, echo);
    talk(&mut supervisor.connect(), b"before");
    std::fs::remove_file(&supervisor.socket).expect("removed");
    // It is accepted, and bytes are taken, while nobody is there.
    let mut held = supervisor.connect();
    held.write_all(b"hello world\n").expect("sent");
    held.set_read_timeout(Some(Duration::from_millis(300))).expect("set");
    let nothing = held.read(&mut [0; 1]).expect_err("neither answer nor end");
    assert!(matches!(nothing.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{nothing}");
    let _second = gateway(&supervisor.socket, 1, |mut s| s.write_all(b"back").expect("sent"));
    held.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut answer = [0; 4];
    held.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"back");
    supervisor.signal("-TERM");
    supervisor.end();
}

#[test]
fn a_held_connection_that_was_given_up_is_not_sent_later() {
    let supervisor = Supervisor::start(&[], &["sleep", "60"]);
    let _gateway = gateway(&supervisor.socket, 1, echo);
    talk(&mut supervisor.connect(), b"before");
    std::fs::remove_file(&supervisor.socket).expect("removed");
    let mut given_up = supervisor.connect();
    given_up.write_all(b"given up....").expect("sent");
    given_up.shutdown(Shutdown::Write).expect("given up");
    given_up.set_read_timeout(Some(PATIENCE)).expect("set");
    assert_eq!(given_up.read(&mut [0; 1]).expect("closed"), 0, "it is forgotten");
    // This one stays open in both directions: half-closed while it is held it would count as given up too.
    let mut kept = supervisor.connect();
    kept.write_all(b"hello world\n").expect("sent");
    // This gateway fails if it sees anything but "hello world".
    let gateway = gateway(&supervisor.socket, 1, |mut s| s.write_all(b"back").expect("sent"));
    kept.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut answer = [0; 4];
    kept.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"back");
    gateway.join().expect("it saw one request only");
    supervisor.signal("-TERM");
    supervisor.end();
}

#[test]
fn more_connections_than_the_bound_wait_their_turn() {
    let supervisor = Supervisor::start(&["--max-connections", "2"], &["sleep", "60"]);
    let _gateway = gateway(&supervisor.socket, 12, echo);
    let all: Vec<_> = (0..12)
        .map(|n: u8| {
            let mut stream = supervisor.connect();
            std::thread::spawn(move || talk(&mut stream, &[n; 1000]) == [n; 1000])
        })
        .collect();
    assert!(all.into_iter().all(|t| t.join().expect("a client")), "each got its own bytes back");
    supervisor.signal("-TERM");
    supervisor.end();
}

#[test]
fn no_agent_starts_before_the_gateway_answers() {
    let supervisor = Supervisor::start(&[], &["sh", "-c", "echo started"]);
    // A socket that accepts and says the wrong thing is no gateway.
    let listener = UnixListener::bind(&supervisor.socket).expect("a socket");
    for _ in 0..2 {
        let (mut stream, _) = listener.accept().expect("asked");
        stream.write_all(b"HTTP/1.1 503 no\r\n\r\n").expect("answered");
    }
    let (mut stream, _) = listener.accept().expect("asked again: it has not given up or gone on");
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("answered");
    let (status, stdout, _) = supervisor.end();
    assert_eq!((status.code(), stdout.as_str()), (Some(0), "started\n"));
}

#[test]
fn a_gateway_away_for_too_long_means_resume_me() {
    let supervisor = Supervisor::start(&["--gateway-timeout", "1"], &["sh", "-c", "echo never"]);
    let (status, stdout, _) = supervisor.end();
    assert_eq!((status.code(), stdout.as_str()), (Some(75), ""), "at the start");

    let supervisor = Supervisor::start(&["--gateway-timeout", "1"], &["sleep", "60"]);
    let _gateway = gateway(&supervisor.socket, 1, echo);
    talk(&mut supervisor.connect(), b"");
    std::fs::remove_file(&supervisor.socket).expect("removed");
    let _held = supervisor.connect();
    let (status, _, stderr) = supervisor.end();
    assert_eq!(status.code(), Some(75), "while it runs");
    assert!(stderr.contains("to be resumed"), "{stderr}");
}

#[test]
fn signals_reach_the_agent_and_while_waiting_the_supervisor() {
    let mut supervisor =
        Supervisor::start(&[], &["sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done"]);
    let _gateway = gateway(&supervisor.socket, usize::MAX, echo);
    assert_eq!(supervisor.first_line(), "ready\n");
    supervisor.signal("-TERM");
    assert_eq!(supervisor.end().0.code(), Some(9));

    let waiting = Supervisor::start(&[], &["true"]);
    waiting.connect();
    waiting.signal("-INT");
    assert_eq!(waiting.end().0.code(), Some(130));
}

#[test]
fn nothing_is_left_and_limits_are_set() {
    let script = "ulimit -f; ulimit -c; (setsid sleep 600 & echo $!) ; exit 0";
    let supervisor = Supervisor::start(&["--rlimit-fsize", "1048576"], &["sh", "-c", script]);
    let _gateway = gateway(&supervisor.socket, usize::MAX, echo);
    let (status, stdout, stderr) = supervisor.end();
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!((status.code(), lines.len()), (Some(0), 3), "{stdout} {stderr}");
    assert_eq!(lines[..2], ["2048", "0"], "in blocks of 512 bytes");
    assert!(!Path::new("/proc").join(lines[2]).exists(), "the detached process is gone");
}
