//! Recording model calls: what a reader sees, the gate, the journal after a crash.

use crate::{done, open, reopen, started};
use bytes::Bytes;
use domain::{
    budget::Amounts,
    event::{Actor, EventKind, Leaf, Outcome, Phase},
    ids::{KeyId, RunId, TaskId},
    plan::{Cause, IterationEnd, StopReason},
    task::{Command, TaskStatus},
};
use futures::FutureExt;
use serde_json::{Value, json};
use std::{fs, path::Path};
use store::{
    AttemptEnd, Begun, CallContext, CallEnd, CallFilter, CallRef, CallScope, CallStatus, Caller, Durability,
    EmittedToolCall, EventFilter, NewAttempt, NewCall, NotSent, Received, RefusedCaller, SeenResult, Store, StoreError,
    Tokens,
};
use tempfile::TempDir;

pub(crate) fn new_call(request: &'static [u8]) -> NewCall {
    NewCall {
        ingress: "chat",
        asked_model: "demo".into(),
        stream: true,
        headers: json!({"user-agent": "test"}),
        request: Bytes::from_static(request),
        results: Vec::new(),
    }
}

pub(crate) fn attempt(provider: &str, request: Option<&'static [u8]>) -> NewAttempt {
    NewAttempt {
        provider: provider.into(),
        model: "m".into(),
        format: "chat",
        url: format!("https://{provider}/v1/chat/completions"),
        headers: json!({"authorization": "sha256:0011223344556677"}),
        request: request.map(Bytes::from_static),
        losses: Value::Null,
        reserved: None,
    }
}

fn over(status: CallStatus, response: impl Into<Received>) -> AttemptEnd {
    let error = (status != CallStatus::Done).then(|| ("upstream_status", "the provider answered 500".to_owned()));
    AttemptEnd { status, http_status: Some(200), error, response: response.into(), first_byte_ms: Some(3), total_ms: 9 }
}

pub(crate) fn end(response: impl Into<Received>) -> CallEnd {
    CallEnd {
        status: CallStatus::Done,
        error: None,
        first_byte_ms: Some(4),
        total_ms: 10,
        last: over(CallStatus::Done, response),
        response: None,
        normalised: Value::Null,
        finish_reason: Some("stop".into()),
        tokens: Tokens { prompt: Some(11), completion: Some(7), reasoning: Some(2), ..Tokens::default() },
        cost_micro_usd: Some(1500),
        price: Some("2026-11/m".into()),
        charged: None,
        tool_calls: Vec::new(),
        carries: Vec::new(),
    }
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

pub(crate) async fn running(store: &Store) -> (TaskId, RunId) {
    let (id, run) = started(store).await;
    iteration(store, id, run, 1).await;
    (id, run)
}

async fn iteration(store: &Store, id: TaskId, run: RunId, number: u32) {
    done(store, move |tx| {
        async move {
            tx.task_prepared(id, "sha256:base").await?;
            let task = tx.task_get(id).await?;
            tx.iteration_begin(&task, run, number, Cause::Start, |_| "go".to_owned()).await.map(drop)
        }
        .boxed()
    })
    .await;
}

pub(crate) fn judge(context: &CallContext) -> Result<NewAttempt, NotSent> {
    let running = context.desired == domain::task::Desired::Run && context.iteration.is_some();
    let why = || NotSent { http_status: 429, code: "not_running", message: "not now".into() };
    if running { Ok(attempt("one", None)) } else { Err(why()) }
}

async fn let_out(store: &Store, task: TaskId) -> CallRef {
    match store.recorder(Durability::Process).begin_task(task, new_call(b"ask"), judge).await.unwrap() {
        Begun::Sent(call) => call,
        Begun::Refused(_, why) => panic!("{why:?}"),
    }
}

async fn leaves(store: &Store, kinds: &[EventKind]) -> Vec<Leaf> {
    let mut all: Vec<Leaf> = Vec::new();
    loop {
        let after = all.last().map(|l| l.index);
        let page = store.event_list(&EventFilter { after, ..EventFilter::default() }).await.unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page.into_iter().map(|r| r.leaf));
    }
    all.retain(|l| kinds.contains(&l.event.kind));
    all
}

fn turn(call: &CallRef) -> u32 {
    match call.caller() {
        Caller::Task { turn, .. } => *turn,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_a_key_is_recorded_with_each_attempt_and_its_bodies() {
    let (store, _dir) = open().await;
    let recorder = store.recorder(Durability::Power);
    let key = store::new_id(KeyId::from_uuid);
    let caller = Caller::Key { key };
    let call =
        recorder.begin(caller.clone(), new_call(b"the request"), attempt("one", Some(b"as sent"))).await.unwrap();
    let open = store.call_get(call.id()).await.unwrap();
    assert_eq!((open.status, open.key, open.provider.as_deref()), (CallStatus::Open, Some(key), Some("one")));
    assert_eq!(store.body(&open.request).await.unwrap(), b"the request");
    assert_eq!(store.body(open.sent.as_deref().unwrap()).await.unwrap(), b"as sent");
    let failed = over(CallStatus::Failed, bytes("{\"error\":1}"));
    recorder.attempt_end(&call, failed, attempt("two", None)).await.unwrap();
    let mut ending = end(bytes("from the provider"));
    ending.response = Some(bytes("for the caller").into());
    ending.normalised = json!({"text": "x"});
    ending.carries = vec![("tool-1".into(), b"signature".to_vec())];
    recorder.end(&call, ending).await.unwrap();
    let again = recorder.end(&call, end(Bytes::new())).await;
    assert!(matches!(again, Err(StoreError::Conflict { code: "call_ended", .. })));

    let ended = store.call_get(call.id()).await.unwrap();
    assert_eq!((ended.status, ended.attempts, ended.provider.as_deref()), (CallStatus::Done, 2, Some("two")));
    assert_eq!((ended.prompt_tokens, ended.reasoning_tokens, ended.cost_micro_usd), (Some(11), Some(2), Some(1500)));
    assert_eq!(store.body(ended.response.as_deref().unwrap()).await.unwrap(), b"for the caller");
    assert_eq!(store.body(ended.normalised.as_deref().unwrap()).await.unwrap(), b"{\"text\":\"x\"}");
    let attempts = store.call_attempts(call.id()).await.unwrap();
    assert_eq!(
        attempts.iter().map(|a| (a.number, a.status)).collect::<Vec<_>>(),
        [(1, CallStatus::Failed), (2, CallStatus::Done)]
    );
    assert_eq!(store.body(attempts[0].response.as_deref().unwrap()).await.unwrap(), b"{\"error\":1}");
    assert_eq!(store.body(attempts[0].sent.as_deref().unwrap()).await.unwrap(), b"as sent");
    assert_eq!(store.body(attempts[1].response.as_deref().unwrap()).await.unwrap(), b"from the provider");
    assert_eq!(recorder.carry(&caller, "tool-1").await.unwrap().as_deref(), Some(&b"signature"[..]));
    assert_eq!(recorder.carry(&Caller::Token { name: "ada".into() }, "tool-1").await.unwrap(), None);

    let found = leaves(&store, &[EventKind::LlmCall, EventKind::LlmAttempt]).await;
    let phases: Vec<_> = found.iter().map(|l| l.event.phase).collect();
    assert_eq!(phases, [Phase::Begun, Phase::Point, Phase::Ended]);
    assert_eq!(found[1].event.data["upstream"], "two");
    assert_eq!(found[2].event.outcome, Some(Outcome::Done));
    assert_eq!(found[0].event.bodies["request"].commitment, open.request);
    store.seal().await.unwrap().expect("something was signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_retries_has_one_attempt_and_refusals_are_found() {
    let (store, _dir) = open().await;
    let recorder = store.recorder(Durability::Process);
    let ada = Caller::Token { name: "ada".into() };
    let call = recorder.begin(ada, new_call(b"r"), attempt("one", None)).await.unwrap();
    recorder.end(&call, end(bytes("answer"))).await.unwrap();
    let attempts = store.call_attempts(call.id()).await.unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(store.body(attempts[0].response.as_deref().unwrap()).await.unwrap(), b"answer");
    let key = store::new_id(KeyId::from_uuid);
    let why = NotSent { http_status: 403, code: "model_not_allowed", message: "only Others".into() };
    for by in [RefusedCaller::Unknown, RefusedCaller::Key(key), RefusedCaller::Token("ada".into())] {
        let id = recorder.refuse(by, new_call(b"no"), why.clone()).await.unwrap();
        assert_eq!(store.call_get(id).await.unwrap().status, CallStatus::Refused);
        assert!(store.call_attempts(id).await.unwrap().is_empty());
    }
    let count = async |f: CallFilter| store.call_count(&f).await.unwrap();
    let all = CallFilter::default;
    assert_eq!(count(all()).await, 4);
    assert_eq!(count(CallFilter { scope: Some(key.into()), ..all() }).await, 1);
    assert_eq!(count(CallFilter { status: Some(CallStatus::Refused), ..all() }).await, 3);
    assert_eq!(count(CallFilter { text: Some("only others".into()), ..all() }).await, 3);
    assert_eq!(count(CallFilter { model: Some("m".into()), provider: Some("one".into()), ..all() }).await, 1);
    assert_eq!(count(CallFilter { until: Some("2026-01-01T00:00:00.000Z".into()), ..all() }).await, 0);
    let newest = store.call_list(&CallFilter { newest_first: true, limit: Some(3), ..all() }).await.unwrap();
    let rest = CallFilter { newest_first: true, cursor: Some(newest[2].id), ..all() };
    assert_eq!(store.call_list(&rest).await.unwrap()[0].id, call.id());
    let totals = store.call_totals(CallScope::Token("ada".into())).await.unwrap();
    assert_eq!((totals.sent, totals.refused, totals.cost_micro_usd, totals.prompt_tokens), (1, 1, 1500, 11));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_is_recorded_while_it_comes() {
    let (store, _dir) = open().await;
    let recorder = store.recorder(Durability::Process);
    let caller = Caller::Token { name: "ada".into() };
    let long: Vec<u8> = (0..3_000_000_u32).flat_map(|n| n.to_le_bytes()).take(3_000_000).collect();
    let request = NewCall { request: long.clone().into(), ..new_call(b"") };
    let call = recorder.begin(caller, request, attempt("one", None)).await.unwrap();
    let mut writer = recorder.body(&call).unwrap();
    for piece in long.chunks(77_777) {
        writer.push(piece);
    }
    assert_eq!(writer.size(), long.len() as u64);
    recorder.end(&call, end(writer.finish())).await.unwrap();
    let call = store.call_get(call.id()).await.unwrap();
    assert_eq!(call.response_size, Some(long.len() as u64));
    assert!(store.body(&call.request).await.unwrap() == long);
    assert!(store.body(call.response.as_deref().unwrap()).await.unwrap() == long);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_lets_nothing_out_once_its_pause_is_recorded() {
    let (store, _dir) = open().await;
    let (id, _run) = running(&store).await;
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let recorder = store.recorder(Durability::Process);
                let (mut sent, mut refused) = (0, 0);
                while refused < 5 {
                    match recorder.begin_task(id, new_call(b"ask"), judge).await.unwrap() {
                        Begun::Sent(call) => {
                            sent += 1;
                            recorder.end(&call, end(bytes("x"))).await.unwrap();
                        }
                        Begun::Refused(..) => refused += 1,
                    }
                }
                sent
            })
        })
        .collect();
    let enough = async {
        while store.call_count(&id.into()).await.unwrap() < 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), enough).await.unwrap();
    done(&store, move |tx| tx.task_command(id, Command::Pause, "ada").boxed()).await;
    let mut sent = 0;
    for caller in callers {
        sent += caller.await.unwrap();
    }
    let found = leaves(&store, &[EventKind::LlmCall, EventKind::LlmRefused, EventKind::TaskPauseRequested]).await;
    let pause = found.iter().position(|l| l.event.kind == EventKind::TaskPauseRequested).unwrap();
    let begun = |l: &&Leaf| l.event.kind == EventKind::LlmCall && l.event.phase == Phase::Begun;
    assert_eq!(found.iter().filter(begun).count(), sent);
    assert!(!found[pause..].iter().any(|l| begun(&l)), "a call was let out after the pause");
    assert!(found[..pause].iter().all(|l| l.event.kind != EventKind::LlmRefused), "a call was refused before it");
    let mut turns: Vec<_> = found.iter().filter(begun).map(|l| l.event.data["turn"].as_u64().unwrap()).collect();
    assert!(turns.is_sorted(), "turns are counted in the order of the log");
    turns.dedup();
    assert_eq!(turns.len(), sent);
    // Resumed, it goes on where it was.
    done(&store, move |tx| tx.task_command(id, Command::Resume, "ada").boxed()).await;
    assert_eq!(turn(&let_out(&store, id).await) as usize, sent + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_retries_and_iterations_are_those_of_the_task() {
    let (store, _dir) = open().await;
    let (id, run) = running(&store).await;
    let recorder = store.recorder(Durability::Process);
    let first = let_out(&store, id).await;
    recorder.end(&first, CallEnd { status: CallStatus::Cut, ..end(bytes("half")) }).await.unwrap();
    let second = let_out(&store, id).await;
    assert_eq!((turn(&first), turn(&second)), (1, 2));
    assert_eq!(store.call_get(second.id()).await.unwrap().retry_of, Some(first.id()));
    done(&store, move |tx| tx.iteration_stop(run, 1, StopReason::Pause).boxed()).await;
    let begun = recorder.begin_task(id, new_call(b"ask"), judge).await.unwrap();
    assert!(matches!(begun, Begun::Refused(_, NotSent { code: "not_running", .. })), "it is being stopped");
    // A call ends whatever became of its task.
    recorder.end(&second, end(bytes("whole"))).await.unwrap();
    done(&store, move |tx| {
        async move {
            let task = tx.task_get(id).await?;
            let i = tx.iteration_get(run, 1).await?.unwrap();
            tx.iteration_end(&task, &i, &IterationEnd::Stopped, Some(0), b"").await
        }
        .boxed()
    })
    .await;
    iteration(&store, id, run, 2).await;
    let third = let_out(&store, id).await;
    assert_eq!(turn(&third), 1, "turns are counted for each iteration");
    let third = store.call_get(third.id()).await.unwrap();
    assert_eq!((third.iteration, third.retry_of), (Some(2), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn emitted_tool_calls_are_matched_at_once_and_get_their_results_once() {
    let (store, _dir) = open().await;
    let (id, run) = running(&store).await;
    let recorder = store.recorder(Durability::Process);
    let call = let_out(&store, id).await;
    let tool = |id: &str| EmittedToolCall { id: id.into(), name: "exec".into(), arguments: "{\"a\": 1}".into() };
    recorder.end(&call, CallEnd { tool_calls: vec![tool("c1"), tool("c2")], ..end(bytes("x")) }).await.unwrap();
    let op = store::new_id(domain::ids::OpId::from_uuid);
    let matched = move |arguments: Value| {
        store::work(move |tx| {
            async move { tx.tool_call_match(run, ["exec", "taskforge__exec"], &arguments, op).await }.boxed()
        })
    };
    assert_eq!(done(&store, matched(json!({"a": 1.0}))).await, Some(1));
    assert_eq!(done(&store, matched(json!({"a": 2}))).await, None);
    let seen = |id: &str, content| SeenResult { tool_id: id.into(), content: bytes(content) };
    let ask = NewCall { results: vec![seen("c2", "old"), seen("c2", "two"), seen("no", "?")], ..new_call(b"q") };
    for _ in 0..2 {
        let begun = recorder.begin_task(id, ask.clone(), judge).await.unwrap();
        assert!(matches!(begun, Begun::Sent(_)));
    }
    let tools = store.tool_call_list(id, 0).await.unwrap();
    assert_eq!(tools.len(), 2);
    assert_eq!(tools[0].result, None);
    assert_eq!(store.body(tools[1].result.as_deref().unwrap()).await.unwrap(), b"two");
    assert_eq!(store.body(&tools[0].arguments).await.unwrap(), b"{\"a\": 1}");
    let stages: Vec<_> =
        leaves(&store, &[EventKind::ToolCall]).await.iter().map(|l| l.event.data["stage"].clone()).collect();
    assert_eq!(stages, ["emitted", "emitted", "result"]);
    // Also after a restart of the gate: what waits is read from the tables.
    done(&store, move |tx| tx.task_command(id, Command::Pause, "ada").boxed()).await;
    done(&store, move |tx| tx.task_command(id, Command::Resume, "ada").boxed()).await;
    let ask = NewCall { results: vec![seen("c1", "one")], ..new_call(b"q") };
    recorder.begin_task(id, ask, judge).await.unwrap();
    let tools = store.tool_call_list(id, 0).await.unwrap();
    assert_eq!(store.body(tools[0].result.as_deref().unwrap()).await.unwrap(), b"one");
}

async fn erase(store: &Store, scope: impl Into<CallScope>) -> Result<u64, StoreError> {
    let by = Actor::Token { name: "ada".into() };
    store.bodies_erase(scope.into(), "asked for".into(), by).await.map(|erased| erased.bodies)
}

fn in_use<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict { code: "bodies_in_use", .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn erased_bodies_are_gone_and_their_segments_with_them() {
    let (store, dir) = open().await;
    let (id, _run) = running(&store).await;
    let recorder = store.recorder(Durability::Process);
    let (first, second) = (let_out(&store, id).await, let_out(&store, id).await);
    let tool = EmittedToolCall { id: "c".into(), name: "exec".into(), arguments: "{}".into() };
    let carries = vec![("c".to_owned(), b"reasoning".to_vec())];
    recorder.end(&first, CallEnd { tool_calls: vec![tool], carries, ..end(bytes("secret")) }).await.unwrap();
    let before = store.call_get(first.id()).await.unwrap();
    assert!(in_use(&erase(&store, id).await), "it runs");
    done(&store, move |tx| tx.task_show_status(id, TaskStatus::Failed).boxed()).await;
    assert!(in_use(&erase(&store, id).await), "a call is under way");
    assert_eq!(store.body(&before.request).await.unwrap(), b"ask");
    recorder.end(&second, end(bytes("late secret"))).await.unwrap();
    let late = store.call_get(second.id()).await.unwrap();
    assert_eq!(recorder.carry(first.caller(), "c").await.unwrap().as_deref(), Some(&b"reasoning"[..]));
    assert!(erase(&store, id).await.unwrap() > 5);
    let gone = [&before.request, before.response.as_ref().unwrap(), late.response.as_ref().unwrap()];
    for body in gone {
        assert!(matches!(store.body(body).await, Err(StoreError::Erased)));
    }
    assert_eq!(recorder.carry(first.caller(), "c").await.unwrap(), None);
    drop((store, recorder));
    let store = reopen(&dir).await;
    assert_eq!(segments(dir.path()).len(), 1, "only the one that is written now");
    for body in gone {
        assert!(matches!(store.body(body).await, Err(StoreError::Erased)), "also with its segment gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_erasure_a_caller_records_under_a_fresh_key() {
    let (store, dir) = open().await;
    let key = store::new_id(KeyId::from_uuid);
    let callers = [
        (Caller::Key { key }, CallScope::Key(key)),
        (Caller::Token { name: "ada".into() }, CallScope::Token("ada".into())),
    ];
    let mut old = Vec::new();
    let mut kept = Vec::new();
    let mut store = store;
    for round in 1..=3_u32 {
        for (caller, scope) in &callers {
            let recorder = store.recorder(Durability::Process);
            let call = recorder.begin(caller.clone(), new_call(b"ask"), attempt("one", None)).await.unwrap();
            assert!(in_use(&erase(&store, scope.clone()).await), "a call is under way");
            let carries = vec![("c".to_owned(), b"reasoning".to_vec())];
            recorder.end(&call, CallEnd { carries, ..end(bytes("secret")) }).await.unwrap();
            let made = store.call_get(call.id()).await.unwrap();
            assert_eq!(store.body(&made.request).await.unwrap(), b"ask");
            assert!(recorder.carry(caller, "c").await.unwrap().is_some());
            let refused = match caller {
                Caller::Key { key } => RefusedCaller::Key(*key),
                _ => RefusedCaller::Token("ada".into()),
            };
            let why = NotSent { http_status: 429, code: "over", message: "no".into() };
            recorder.refuse(refused, new_call(b"no"), why).await.unwrap();
            if round == 3 {
                kept.push(made.request);
                continue;
            }
            assert_eq!(erase(&store, scope.clone()).await.unwrap(), 3, "only what was recorded since");
            assert_eq!(erase(&store, scope.clone()).await.unwrap(), 0);
            assert!(recorder.carry(caller, "c").await.unwrap().is_none());
            old.extend([made.request, made.response.unwrap()]);
            let count = store.call_count(&CallFilter { scope: Some(scope.clone()), ..CallFilter::default() }).await;
            assert_eq!(count.unwrap(), u64::from(round) * 2, "the calls stay");
        }
        if round == 2 {
            drop(store);
            store = reopen(&dir).await;
        }
        for body in &old {
            assert!(matches!(store.body(body).await, Err(StoreError::Erased)));
        }
    }
    drop(store);
    let store = reopen(&dir).await;
    for body in &kept {
        assert_eq!(store.body(body).await.unwrap(), b"ask");
    }
    store.seal().await.unwrap();
    let report = audit::verify(store.log_dir(), &store.log_key().await.unwrap(), &audit::VerifyOptions::default());
    assert!(report.unwrap().valid);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_begin_beside_erasures_are_readable_or_erased_and_never_lost() {
    let (store, _dir) = open().await;
    let key = store::new_id(KeyId::from_uuid);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        callers.spawn(async move {
            let recorder = store.recorder(Durability::Process);
            let mut made = Vec::new();
            for _ in 0..40 {
                let begun = recorder.begin(Caller::Key { key }, new_call(b"ask"), attempt("one", None)).await;
                let call = begun.unwrap();
                // It is under way, so nobody may have erased it.
                let request = store.call_get(call.id()).await.unwrap().request;
                assert_eq!(store.body(&request).await.unwrap(), b"ask");
                recorder.end(&call, end(bytes("answer"))).await.unwrap();
                made.push(request);
            }
            made
        });
    }
    let mut erased = 0;
    while !callers.is_empty() {
        match erase(&store, key).await {
            Ok(bodies) => erased += bodies,
            other => assert!(in_use(&other), "{other:?}"),
        }
        while let Some(made) = callers.try_join_next() {
            for request in made.unwrap() {
                let read = store.body(&request).await;
                assert!(matches!(read.as_deref(), Ok(b"ask") | Err(StoreError::Erased)), "{read:?}");
            }
        }
        tokio::task::yield_now().await;
    }
    erased += erase(&store, key).await.unwrap();
    assert_eq!(erased, 4 * 40 * 2, "each body once");
}

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut all: Vec<_> = fs::read_dir(dir.join("calls")).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    copy_into(from, to.path());
    to
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_into(&entry.path(), &target);
        } else if entry.file_name() != "reserve" {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A data directory whose journal holds calls that no table has: the database as it was before them.
async fn unfolded() -> (TempDir, Vec<u64>) {
    let (store, dir) = open().await;
    let (id, _run) = running(&store).await;
    let recorder = store.recorder(Durability::Process);
    let warm = let_out(&store, id).await;
    recorder.end(&warm, end(bytes("warm"))).await.unwrap();
    store.call_get(warm.id()).await.unwrap();
    drop((store, recorder));
    let store = reopen(&dir).await;
    let recorder = store.recorder(Durability::Process);
    store.call_count(&CallFilter::default()).await.unwrap();
    let before = copy(dir.path());
    let mut ends = vec![0];
    let segment = segments(dir.path()).pop().unwrap();
    let long = Received::from(vec![7; 1000]);
    let key = Caller::Key { key: store::new_id(KeyId::from_uuid) };
    // The key's body key is in the database that is copied.
    let made = recorder.begin(key.clone(), new_call(b"makes the key"), attempt("one", None)).await.unwrap();
    recorder.end(&made, end(bytes("x"))).await.unwrap();
    store.call_count(&CallFilter::default()).await.unwrap();
    drop((before, store, recorder));
    let store = reopen(&dir).await;
    let recorder = store.recorder(Durability::Process);
    let before = copy(dir.path());
    let segment = segments(dir.path()).into_iter().max().unwrap_or(segment);
    let size = || fs::metadata(&segment).unwrap().len();
    let call = recorder.begin(key.clone(), new_call(b"one"), attempt("one", None)).await.unwrap();
    ends.push(size());
    recorder.attempt_end(&call, over(CallStatus::Failed, bytes("e")), attempt("two", None)).await.unwrap();
    ends.push(size());
    recorder.end(&call, end(long)).await.unwrap();
    ends.push(size());
    recorder.begin(key, new_call(b"two"), attempt("one", None)).await.unwrap();
    ends.push(size());
    fs::copy(&segment, before.path().join("calls").join(segment.file_name().unwrap())).unwrap();
    (before, ends)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_cut_at_any_byte_gives_exactly_the_whole_frames_once() {
    let (whole, ends) = unfolded().await;
    let segment = segments(whole.path()).pop().unwrap();
    let bytes = fs::read(&segment).unwrap();
    assert_eq!(bytes.len() as u64, *ends.last().unwrap());
    let base = {
        let dir = copy(whole.path());
        fs::write(dir.path().join("calls").join(segment.file_name().unwrap()), b"").unwrap();
        *reopen(&dir).await.changes().borrow()
    };
    let near = |at: usize| ends.iter().any(|e| at.abs_diff(*e as usize) <= 6) || at.is_multiple_of(101);
    for at in (0..=bytes.len()).filter(|at| near(*at)) {
        let dir = copy(whole.path());
        let path = dir.path().join("calls").join(segment.file_name().unwrap());
        fs::write(&path, &bytes[..at]).unwrap();
        let frames = ends.iter().filter(|e| **e as usize <= at).count() as u64 - 1;
        for time in ["first", "second"] {
            let store = reopen(&dir).await;
            assert_eq!(*store.changes().borrow(), base + frames, "cut at {at}, {time} start");
            drop(store);
        }
        if let Ok(meta) = fs::metadata(&path) {
            assert_eq!(meta.len(), ends[frames as usize], "the torn frame at {at} was cut");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_frame_ends_its_segment_and_what_is_before_it_counts() {
    let (whole, ends) = unfolded().await;
    let segment = segments(whole.path()).pop().unwrap();
    let bytes = fs::read(&segment).unwrap();
    for at in [ends[1] + 50, ends[2] - 5, ends[2] + 1] {
        let dir = copy(whole.path());
        let mut damaged = bytes.clone();
        damaged[at as usize] ^= 0x40;
        fs::write(dir.path().join("calls").join(segment.file_name().unwrap()), &damaged).unwrap();
        let store = reopen(&dir).await;
        let kept = ends.iter().filter(|e| **e <= at).count() as u64 - 1;
        let calls = store.call_list(&CallFilter::default()).await.unwrap();
        assert_eq!(calls.last().unwrap().attempts, u32::try_from(kept).unwrap().min(2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_left_open_by_a_crash_are_closed_as_unknown_after_the_fold() {
    let (dir, _) = unfolded().await;
    let store = reopen(&dir).await;
    assert_eq!(done(&store, |tx| tx.calls_recover().boxed()).await, 1);
    let calls = store.call_list(&CallFilter::default()).await.unwrap();
    let statuses: Vec<_> = calls.iter().rev().take(2).map(|c| c.status).collect();
    assert_eq!(statuses, [CallStatus::Unknown, CallStatus::Done]);
    assert_eq!(store.body(calls[calls.len() - 2].response.as_deref().unwrap()).await.unwrap(), vec![7; 1000]);
    let ended = leaves(&store, &[EventKind::LlmCall]).await.pop().unwrap();
    assert_eq!(ended.event.outcome, Some(Outcome::Unknown));
    store.seal().await.unwrap();
    let key = audit::LogKey::open_or_create(&dir.path().join("log.key")).unwrap();
    let verifier = key.verifier(&format!("taskforge/{}", store.installation())).unwrap();
    let report = audit::verify(store.log_dir(), &verifier, &audit::VerifyOptions::default()).unwrap();
    assert!(report.valid, "{:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_folded_in_the_order_of_the_journal() {
    let (store, dir) = open().await;
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..16 {
        let store = store.clone();
        callers.spawn(async move {
            let level = if n % 4 == 0 { Durability::Power } else { Durability::Process };
            let recorder = store.recorder(level);
            let caller = Caller::Token { name: format!("t{}", n % 3) };
            for _ in 0..50 {
                let call = recorder.begin(caller.clone(), new_call(b"ask"), attempt("one", None)).await.unwrap();
                recorder.end(&call, end(bytes("answer"))).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    let all = leaves(&store, &[EventKind::LlmCall]).await;
    assert_eq!(
        store.call_count(&CallFilter { status: Some(CallStatus::Done), ..CallFilter::default() }).await.unwrap(),
        800
    );
    assert!(all.iter().map(|l| &l.time).is_sorted());
    store.seal().await.unwrap();
    drop(store);
    let store = reopen(&dir).await;
    assert_eq!(store.call_count(&CallFilter::default()).await.unwrap(), 800);
    assert_eq!(*store.changes().borrow(), 1600);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_reserved_counts_until_its_end_is_recorded_also_after_a_crash() {
    let (store, dir) = open().await;
    let key = store::new_id(KeyId::from_uuid);
    let caller = Caller::Key { key };
    let recorder = store.recorder(Durability::Process);
    let amounts = |tokens, micro_usd, calls| Amounts { tokens, micro_usd, calls };
    let reserved = || NewAttempt { reserved: Some(amounts(500, 70, 1)), ..attempt("one", None) };
    let whole = recorder.begin(caller.clone(), new_call(b"ask"), reserved()).await.unwrap();
    let lost = recorder.begin(caller.clone(), new_call(b"ask"), reserved()).await.unwrap();
    let cut = recorder.begin(caller.clone(), new_call(b"ask"), reserved()).await.unwrap();
    let plain = recorder.begin(caller, new_call(b"ask"), attempt("one", None)).await.unwrap();
    let spent = async |store: &Store| store.call_spent(CallScope::Key(key)).await.unwrap();
    assert_eq!(spent(&store).await.total, amounts(1500, 210, 4), "open ones as they were reserved");
    recorder.end(&whole, CallEnd { charged: Some(amounts(18, 9, 1)), ..end(bytes("x")) }).await.unwrap();
    let half = CallEnd { status: CallStatus::Cut, tokens: Tokens::default(), cost_micro_usd: None, ..end(bytes("ha")) };
    recorder.end(&cut, CallEnd { charged: Some(amounts(500, 70, 1)), ..half }).await.unwrap();
    recorder.end(&plain, end(bytes("x"))).await.unwrap();
    let expected = amounts(18 + 500 + 500 + 18, 9 + 70 + 70 + 1500, 4);
    let now = spent(&store).await;
    assert_eq!((now.total, now.day, now.month), (expected, expected, expected));
    drop((recorder, lost, store));
    let store = reopen(&dir).await;
    assert_eq!(done(&store, |tx| tx.calls_recover().boxed()).await, 1);
    assert_eq!(spent(&store).await.total, expected, "a crash gives nothing back");
}
