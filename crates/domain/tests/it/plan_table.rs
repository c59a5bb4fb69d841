//! One row per situation.

use domain::{
    ids::RequestId,
    plan::{
        BudgetView, Cause, IterationEnd, IterationView, MAX_CONSECUTIVE_FAILURES, RequestView, Side, Snapshot, Step,
        StopReason, Underway, plan,
    },
    request::RequestStatus,
    task::{Desired, RunOutcome, TaskStatus},
};
use uuid::Uuid;

const IDLE: Underway = Underway { agent: false, side: None };
const AGENT: Underway = Underway { agent: true, side: None };

fn id(n: u128) -> RequestId {
    RequestId::from_uuid(Uuid::from_u128(n))
}

fn request(n: u128, status: RequestStatus) -> RequestView {
    RequestView { id: id(n), status, expires_ms: 1_000_000, told: false, budget: None }
}

fn fresh() -> Snapshot {
    Snapshot {
        now_ms: 1_000,
        desired: Desired::Run,
        prepared: true,
        max_iterations: 50,
        iteration: None,
        requests: vec![],
        submitted: false,
        messages_waiting: false,
        restart_now: false,
    }
}

fn after(end: IterationEnd) -> Snapshot {
    let iteration = IterationView { number: 1, end: Some(end), consecutive_failures: 0, nudge: false, stopping: None };
    Snapshot { iteration: Some(iteration), ..fresh() }
}

fn run(iteration: u32, cause: Cause) -> Step {
    Step::RunAgent { iteration, cause }
}

#[test]
fn a_run_starts_prepared_and_is_adopted_after_a_crash() {
    let unprepared = Snapshot { prepared: false, ..fresh() };
    assert_eq!(plan(&unprepared, IDLE), Step::Begin(Side::Prepare));
    let busy = Underway { side: Some(Side::Prepare), ..IDLE };
    assert_eq!(plan(&unprepared, busy), Step::Wait { status: TaskStatus::Starting, until_ms: None });
    assert_eq!(plan(&fresh(), IDLE), run(1, Cause::Start));
    let lost = Snapshot {
        iteration: Some(IterationView { number: 4, end: None, consecutive_failures: 0, nudge: false, stopping: None }),
        ..fresh()
    };
    assert_eq!(plan(&lost, IDLE), run(4, Cause::Resume), "the record says running: adopt that very iteration");
}

#[test]
fn an_ended_turn_is_followed_by_what_it_left() {
    let ended = || after(IterationEnd::TurnEnded);
    assert_eq!(plan(&ended(), IDLE), run(2, Cause::Nudge));
    let mut nudged = ended();
    nudged.iteration.as_mut().unwrap().nudge = true;
    assert_eq!(plan(&nudged, IDLE), Step::Finish { outcome: RunOutcome::NotSubmitted });
    assert_eq!(plan(&Snapshot { submitted: true, ..ended() }, IDLE), Step::Finish { outcome: RunOutcome::Submitted });
    assert_eq!(plan(&Snapshot { messages_waiting: true, ..ended() }, IDLE), run(2, Cause::Message));
    let pending = Snapshot { requests: vec![request(1, RequestStatus::Pending)], ..ended() };
    assert_eq!(plan(&pending, IDLE), Step::Wait { status: TaskStatus::Waiting, until_ms: Some(1_000_000) });
    let resolving = Snapshot { requests: vec![request(1, RequestStatus::Resolving)], ..ended() };
    assert_eq!(plan(&resolving, IDLE), Step::Begin(Side::Resolve { request: id(1) }));
    assert_eq!(
        plan(&resolving, AGENT),
        Step::Begin(Side::Resolve { request: id(1) }),
        "also while the agent waits for it"
    );
    let denied = Snapshot { requests: vec![request(1, RequestStatus::Denied)], ..ended() };
    assert_eq!(plan(&denied, IDLE), run(2, Cause::Decided));
}

#[test]
fn all_requests_are_decided_before_the_agent_resumes_and_builds_come_first() {
    let s = Snapshot {
        requests: vec![
            request(1, RequestStatus::Resolving),
            request(2, RequestStatus::Approved),
            request(3, RequestStatus::Pending),
        ],
        ..after(IterationEnd::TurnEnded)
    };
    assert_eq!(plan(&s, IDLE), Step::Begin(Side::Build { request: id(2) }));
    let building = Underway { side: Some(Side::Build { request: id(2) }), ..IDLE };
    assert!(matches!(plan(&s, building), Step::Wait { status: TaskStatus::Building, .. }));
    let rest = Snapshot { requests: vec![request(2, RequestStatus::Applied), request(3, RequestStatus::Pending)], ..s };
    assert!(matches!(plan(&rest, IDLE), Step::Wait { status: TaskStatus::Waiting, .. }), "one is still open");
}

#[test]
fn an_undecided_request_expires() {
    let mut s = Snapshot { requests: vec![request(1, RequestStatus::Pending)], ..after(IterationEnd::TurnEnded) };
    s.now_ms = 1_000_000;
    assert_eq!(plan(&s, IDLE), Step::Expire { request: id(1) });
    s.desired = Desired::Pause;
    assert_eq!(plan(&s, IDLE), Step::Expire { request: id(1) }, "also while paused");
}

#[test]
fn pause_and_cancel_act_in_every_state() {
    let paused = |s: Snapshot| Snapshot { desired: Desired::Pause, ..s };
    let cancelled = |s: Snapshot| Snapshot { desired: Desired::Cancel, ..s };
    assert_eq!(plan(&paused(fresh()), AGENT), Step::StopAgent { reason: StopReason::Pause });
    assert!(matches!(plan(&paused(fresh()), IDLE), Step::Wait { status: TaskStatus::Paused, .. }));
    let approved = Snapshot { requests: vec![request(1, RequestStatus::Approved)], ..after(IterationEnd::TurnEnded) };
    assert!(
        matches!(plan(&paused(approved.clone()), IDLE), Step::Wait { status: TaskStatus::Paused, .. }),
        "no build is begun"
    );
    let building = Underway { side: Some(Side::Build { request: id(1) }), ..IDLE };
    assert!(
        matches!(plan(&paused(approved.clone()), building), Step::Wait { status: TaskStatus::Paused, .. }),
        "a build goes on"
    );
    assert_eq!(plan(&cancelled(approved), building), Step::DropSide);
    assert_eq!(plan(&cancelled(fresh()), AGENT), Step::StopAgent { reason: StopReason::Cancel });
    assert_eq!(plan(&cancelled(fresh()), IDLE), Step::Finish { outcome: RunOutcome::Cancelled });
    let unprepared = Snapshot { prepared: false, ..fresh() };
    assert_eq!(plan(&cancelled(unprepared), Underway { side: Some(Side::Prepare), ..IDLE }), Step::DropSide);
}

#[test]
fn failures_are_tried_again_and_bounded_and_limits_are_named() {
    let failed = |n| {
        let mut s = after(IterationEnd::Failed { reason: "exit code 1".into() });
        s.iteration.as_mut().unwrap().consecutive_failures = n;
        s
    };
    assert_eq!(plan(&failed(1), IDLE), run(2, Cause::Retry));
    assert!(matches!(
        plan(&failed(MAX_CONSECUTIVE_FAILURES), IDLE),
        Step::Finish { outcome: RunOutcome::Failed { .. } }
    ));
    assert_eq!(plan(&after(IterationEnd::Interrupted { reason: "killed".into() }), IDLE), run(2, Cause::Resume));
    assert_eq!(plan(&after(IterationEnd::Stopped), IDLE), run(2, Cause::Resume));
    let Step::Finish { outcome: RunOutcome::Failed { code, .. } } =
        plan(&after(IterationEnd::Limit { limit: "memory".into() }), IDLE)
    else {
        panic!("a limit ends the run");
    };
    assert_eq!(code, "limit_memory");
    let mut last = after(IterationEnd::TurnEnded);
    last.max_iterations = 1;
    let Step::Finish { outcome: RunOutcome::Failed { code, .. } } = plan(&last, IDLE) else {
        panic!("no second iteration")
    };
    assert_eq!(code, "iteration_limit");
}

#[test]
fn a_message_restarts_a_running_agent_only_when_asked() {
    let waiting = Snapshot { messages_waiting: true, ..fresh() };
    assert!(matches!(plan(&waiting, AGENT), Step::Wait { status: TaskStatus::Running, .. }));
    assert_eq!(
        plan(&Snapshot { restart_now: true, ..waiting }, AGENT),
        Step::StopAgent { reason: StopReason::Restart }
    );
}

fn budget(status: RequestStatus, renews: bool) -> RequestView {
    let refusal = Some("ada refused it: too dear".to_owned());
    RequestView { budget: Some(BudgetView { renews, refusal }), ..request(1, status) }
}

#[test]
fn a_used_up_budget_stops_the_agent_and_waits_for_a_person() {
    let iteration = IterationView {
        number: 1,
        end: None,
        consecutive_failures: 0,
        nudge: false,
        stopping: Some(StopReason::Budget),
    };
    let s = Snapshot {
        requests: vec![budget(RequestStatus::Pending, false)],
        iteration: Some(iteration),
        restart_now: true,
        ..fresh()
    };
    assert_eq!(plan(&s, AGENT), Step::StopAgent { reason: StopReason::Budget });
    assert_eq!(plan(&s, IDLE), run(1, Cause::Resume), "after a crash: adopt it, then stop it");
    let paused = Snapshot { desired: Desired::Pause, ..s };
    assert_eq!(plan(&paused, AGENT), Step::StopAgent { reason: StopReason::Pause });
    let with = |r| Snapshot { requests: vec![r], ..after(IterationEnd::Stopped) };
    assert!(matches!(
        plan(&with(budget(RequestStatus::Pending, false)), IDLE),
        Step::Wait { status: TaskStatus::Waiting, until_ms: Some(1_000_000) }
    ));
    assert_eq!(plan(&with(budget(RequestStatus::Applied, false)), IDLE), run(2, Cause::Decided));
}

#[test]
fn a_refused_budget_ends_the_run_with_its_reason() {
    let with = |r| Snapshot { requests: vec![r], ..after(IterationEnd::Stopped) };
    let failed = |s: &Snapshot| match plan(s, IDLE) {
        Step::Finish { outcome: RunOutcome::Failed { code, reason } } => (code, reason),
        other => panic!("{other:?}"),
    };
    let (code, reason) = failed(&with(budget(RequestStatus::Denied, true)));
    assert_eq!(code, "budget_denied");
    assert!(reason.contains("ada refused it: too dear"), "{reason}");
    assert_eq!(failed(&with(budget(RequestStatus::Expired, false))).0, "budget_expired");
    assert_eq!(plan(&with(budget(RequestStatus::Expired, true)), IDLE), run(2, Cause::Decided), "a new day");
    let told = RequestView { told: true, ..budget(RequestStatus::Denied, false) };
    assert_eq!(plan(&with(told), IDLE), run(2, Cause::Resume), "one of a run before");
    let submitted = Snapshot { submitted: true, ..with(budget(RequestStatus::Denied, false)) };
    assert_eq!(plan(&submitted, IDLE), Step::Finish { outcome: RunOutcome::Submitted });
    let cancelled = Snapshot { desired: Desired::Cancel, ..with(budget(RequestStatus::Denied, false)) };
    assert_eq!(plan(&cancelled, IDLE), Step::Finish { outcome: RunOutcome::Cancelled });
}
