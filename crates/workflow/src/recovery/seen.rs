//! From what was seen of an act's effect to the outcome that is recorded. Pure.

use domain::event::{Event, EventKind, Outcome};
use sandbox::{Presence, volumes::VOLUMES};
use serde_json::json;
use store::OpenOp;

/// How much of an effect is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// All of it.
    Whole,
    /// Some of it.
    Part,
    /// Nothing of it.
    Nothing,
}

/// Where it was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Docker's containers, images and volumes.
    Engine,
    /// The task's volumes and the files in them.
    Workspace,
    /// The store: the effect is a part of a transaction that has, or has not, been made.
    Store,
}

impl Place {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Workspace => "workspace",
            Self::Store => "store",
        }
    }
}

/// What became of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The effect was looked for.
    Seen(Seen, Place),
    /// It could not be looked for, and why.
    Unseen(&'static str),
}

impl Seen {
    /// An effect without parts.
    pub const fn all_or_nothing(is_there: bool) -> Self {
        if is_there { Self::Whole } else { Self::Nothing }
    }

    /// A stop: whatever does not run any more is stopped.
    pub const fn stopped(presence: Presence) -> Self {
        match presence {
            Presence::Running => Self::Nothing,
            Presence::Absent | Presence::Created | Presence::Ended => Self::Whole,
        }
    }

    /// A removal: of so many things, so many are left.
    pub const fn removed(meant: u64, left: u64) -> Self {
        match left {
            0 => Self::Whole,
            _ if left < meant => Self::Part,
            _ => Self::Nothing,
        }
    }

    /// A workspace: its volumes, and how many of its input files are there as they were given.
    pub const fn prepared(volumes: usize, files: usize, as_given: usize) -> Self {
        match volumes {
            0 => Self::Nothing,
            VOLUMES if as_given >= files => Self::Whole,
            _ => Self::Part,
        }
    }

    /// Says where it was seen.
    pub const fn at(self, place: Place) -> Finding {
        Finding::Seen(self, place)
    }
}

impl Finding {
    /// Nobody can see it.
    pub const fn unseen(why: &'static str) -> Self {
        Self::Unseen(why)
    }

    /// How the act is closed.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Seen(Seen::Whole, _) => Outcome::Done,
            Self::Seen(Seen::Part | Seen::Nothing, _) => Outcome::NotDone,
            Self::Unseen(_) => Outcome::Unknown,
        }
    }

    /// The ended leaf of an act, placed where it was begun.
    pub fn ended(self, open: &OpenOp) -> Event {
        let begun = &open.leaf.event;
        let mut data = json!({"recovered": true, "begun": open.leaf.index});
        match self {
            Self::Seen(seen, place) => {
                data["established"] = place.as_str().into();
                if seen == Seen::Part {
                    data["in_part"] = true.into();
                }
            }
            Self::Unseen(why) => data["why"] = why.into(),
        }
        if begun.kind == EventKind::McpCall {
            // The agent was not told; it sees its request when it is resumed.
            data["answered"] = false.into();
        }
        let mut event = Event::ended(begun.kind, open.op, self.outcome(), data);
        (event.task, event.run, event.iteration) = (begun.task, begun.run, begun.iteration);
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{
        event::{LEAF_VERSION, Leaf},
        ids::OpId,
    };

    #[test]
    fn a_stop_is_done_when_nothing_runs() {
        assert_eq!(Seen::stopped(Presence::Running), Seen::Nothing);
        for over in [Presence::Absent, Presence::Created, Presence::Ended] {
            assert_eq!(Seen::stopped(over), Seen::Whole, "{over:?}");
        }
    }

    #[test]
    fn a_removal_is_done_when_nothing_is_left() {
        assert_eq!(Seen::removed(3, 0), Seen::Whole);
        assert_eq!(Seen::removed(0, 0), Seen::Whole, "nothing to remove");
        assert_eq!(Seen::removed(3, 1), Seen::Part);
        assert_eq!(Seen::removed(3, 3), Seen::Nothing);
        assert_eq!(Seen::removed(3, 4), Seen::Nothing, "more than was meant is there");
    }

    #[test]
    fn a_workspace_is_prepared_when_its_volumes_and_files_are_there() {
        assert_eq!(Seen::prepared(0, 0, 0), Seen::Nothing);
        assert_eq!(Seen::prepared(1, 0, 0), Seen::Part);
        assert_eq!(Seen::prepared(2, 0, 0), Seen::Whole);
        assert_eq!(Seen::prepared(2, 2, 1), Seen::Part, "a file is missing or another one");
        assert_eq!(Seen::prepared(2, 2, 2), Seen::Whole);
    }

    #[test]
    fn only_what_nobody_can_see_is_unknown() {
        let open = OpenOp {
            op: OpId::from_uuid("01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()),
            leaf: Leaf {
                v: LEAF_VERSION,
                index: 7,
                time: "2026-11-23T12:00:00Z".into(),
                event: Event::begun(
                    EventKind::ImageBuild,
                    OpId::from_uuid("01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()),
                    json!({}),
                )
                .iteration(3),
            },
        };
        for (finding, outcome) in [
            (Seen::Whole.at(Place::Engine), Outcome::Done),
            (Seen::Part.at(Place::Engine), Outcome::NotDone),
            (Seen::Nothing.at(Place::Store), Outcome::NotDone),
            (Finding::unseen("docker_unreachable"), Outcome::Unknown),
        ] {
            let event = finding.ended(&open);
            assert_eq!((event.outcome, event.op, event.iteration), (Some(outcome), Some(open.op), Some(3)));
            assert_eq!(event.data["begun"], 7, "it names the leaf that it closes");
            assert_eq!(event.data["recovered"], true);
        }
        assert_eq!(Seen::Part.at(Place::Engine).ended(&open).data["in_part"], true);
        assert_eq!(Finding::unseen("docker_unreachable").ended(&open).data["why"], "docker_unreachable");
    }
}
