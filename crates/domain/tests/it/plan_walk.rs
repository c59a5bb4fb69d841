//! Random walks: whatever happens in whatever order, the rules hold and a cancel ends the run.

use domain::{
    ids::RequestId,
    plan::{
        BudgetView, Cause, IterationEnd, IterationView, RequestView, Side, Snapshot, Step, StopReason, Underway, plan,
    },
    request::RequestStatus,
    task::Desired,
};
use uuid::Uuid;

const WALKS: u64 = 3_000;
const STEPS: u32 = 200;

/// A small deterministic generator (splitmix64), so that a seed names a walk.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

struct World {
    s: Snapshot,
    underway: Underway,
    finished: bool,
    dice: Dice,
    asked: u128,
}

impl World {
    fn new(seed: u64) -> Self {
        let s = Snapshot {
            now_ms: 0,
            desired: Desired::Run,
            prepared: false,
            max_iterations: 12,
            iteration: None,
            requests: vec![],
            submitted: false,
            messages_waiting: false,
            restart_now: false,
        };
        Self { s, underway: Underway::default(), finished: false, dice: Dice(seed), asked: 0 }
    }

    fn set(&mut self, id: RequestId, status: RequestStatus) {
        for r in &mut self.s.requests {
            if r.id == id {
                r.status = status;
            }
        }
    }

    fn act(&mut self, step: &Step) {
        match step {
            Step::Begin(side) => {
                assert!(self.underway.side.is_none(), "one piece of work beside the agent at a time");
                assert_eq!(self.s.desired, Desired::Run, "nothing is begun against the operator's wish");
                self.underway.side = Some(*side);
            }
            Step::Expire { request } => self.set(*request, RequestStatus::Expired),
            Step::RunAgent { iteration, cause } => {
                assert!(!self.underway.agent, "a second writer");
                assert_eq!(self.s.desired, Desired::Run);
                assert!(
                    !self.s.requests.iter().any(|r| r.status.is_open() || r.status == RequestStatus::Approved),
                    "all decided and built"
                );
                assert!(
                    !self.s.requests.iter().any(|r| r.budget.is_some() && r.status == RequestStatus::Denied),
                    "no agent without a budget"
                );
                self.s.requests.clear();
                (self.s.messages_waiting, self.s.restart_now) = (false, false);
                self.s.iteration = Some(IterationView {
                    number: *iteration,
                    end: None,
                    consecutive_failures: 0,
                    nudge: *cause == Cause::Nudge,
                    stopping: None,
                });
                self.underway.agent = true;
            }
            Step::StopAgent { .. } => self.end(IterationEnd::Stopped),
            Step::DropSide => self.underway.side = None,
            Step::Wait { until_ms, .. } => {
                let stopping = self.s.iteration.as_ref().is_some_and(|i| i.stopping.is_some());
                assert!(!(stopping && self.underway.agent), "an agent that cannot go on is not waited for");
                assert!(!self.s.requests.iter().any(|r| r.status == RequestStatus::Pending) || until_ms.is_some());
                self.happen();
            }
            Step::Finish { .. } => {
                assert!(!self.underway.agent, "a finished run holds no container");
                self.finished = true;
            }
        }
    }

    fn end(&mut self, end: IterationEnd) {
        self.underway.agent = false;
        let Some(i) = &mut self.s.iteration else { return };
        i.consecutive_failures = u32::from(matches!(end, IterationEnd::Failed { .. }));
        i.end = Some(end);
        i.stopping = None;
    }

    /// Something from outside: the agent, a person, the clock, a finished piece of work.
    fn happen(&mut self) {
        self.s.now_ms += 1;
        match self.dice.roll(10) {
            0 | 1 if self.underway.agent => {
                let end = match self.dice.roll(4) {
                    0 => IterationEnd::Failed { reason: "x".into() },
                    1 => IterationEnd::Interrupted { reason: "x".into() },
                    _ => IterationEnd::TurnEnded,
                };
                self.end(end);
            }
            2 if self.underway.agent && self.s.requests.len() < 3 => {
                self.asked += 1;
                let id = RequestId::from_uuid(Uuid::from_u128(self.asked));
                let expires_ms = self.s.now_ms + 30;
                let status = RequestStatus::Resolving;
                self.s.requests.push(RequestView { id, status, expires_ms, told: false, budget: None });
            }
            3 if self.underway.agent => self.s.submitted = self.dice.roll(3) == 0,
            4 => match self.underway.side.take() {
                Some(Side::Prepare) => self.s.prepared = true,
                Some(Side::Resolve { request }) => self.set(request, RequestStatus::Pending),
                Some(Side::Build { request }) if self.s.desired == Desired::Run => {
                    self.set(request, RequestStatus::Applied)
                }
                Some(Side::Build { .. }) | None => {}
            },
            5 => {
                let pending: Vec<_> =
                    self.s.requests.iter().filter(|r| r.status == RequestStatus::Pending).map(|r| r.id).collect();
                if let Some(id) = pending.first() {
                    let budget = self.s.requests.iter().any(|r| r.id == *id && r.budget.is_some());
                    let to = match (self.dice.roll(2), budget) {
                        (0, false) => RequestStatus::Approved,
                        (0, true) => RequestStatus::Applied,
                        _ => RequestStatus::Denied,
                    };
                    self.set(*id, to);
                }
            }
            6 if self.s.desired != Desired::Cancel => {
                self.s.desired = if self.s.desired == Desired::Run { Desired::Pause } else { Desired::Run };
            }
            8 if self.underway.agent => {
                self.asked += 1;
                let id = RequestId::from_uuid(Uuid::from_u128(self.asked));
                let budget = Some(BudgetView { renews: self.dice.roll(2) == 0, refusal: None });
                let expires_ms = self.s.now_ms + 30;
                self.s.requests.push(RequestView {
                    id,
                    status: RequestStatus::Pending,
                    expires_ms,
                    told: false,
                    budget,
                });
                self.s.iteration.as_mut().expect("an agent has an iteration").stopping = Some(StopReason::Budget);
            }
            7 => (self.s.messages_waiting, self.s.restart_now) = (true, self.dice.roll(2) == 0),
            _ => self.s.now_ms += 20,
        }
    }
}

#[test]
fn the_rules_hold_on_every_walk_and_a_cancel_ends_it() {
    let mut ended = 0;
    for seed in 0..WALKS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            let step = plan(&world.s, world.underway);
            world.act(&step);
            if world.finished {
                ended += 1;
                break;
            }
        }
        if !world.finished {
            world.s.desired = Desired::Cancel;
            for _ in 0..4 {
                let step = plan(&world.s, world.underway);
                world.act(&step);
                if world.finished {
                    break;
                }
            }
            assert!(world.finished, "seed {seed}: a cancel must end the run within four steps");
        }
    }
    assert!(ended > WALKS / 2, "most walks end by themselves: {ended} of {WALKS}");
}
