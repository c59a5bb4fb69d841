//! Containers in which agents work: made, adopted, watched, stopped, measured, emptied and removed.
//!
//! Owns every Docker object of kind agent, helper, workspace and state, the folder `<data>/run/<task>` that is
//! mounted into a sandbox, and the adapters that turn a task into an agent's command line.
//!
//! Invariants:
//! - A sandbox has no network but loopback, a read-only root, no capability, and only the mounts of [`spec`].
//! - The container's name is a function of the installation and the task, so that the Engine itself refuses a second
//!   writer; each operation is idempotent and can be repeated after a crash at any point.
//! - Nothing that comes out of a sandbox is trusted: the end and its reason come from the Engine, limits are enforced
//!   from outside, files leave through [`workspace`], which follows no link.
//! - Only objects that carry this installation's label are ever touched.
//!
//! It knows no database, no workflow and no policy.

/// Marks a place next to an outside effect where the crash suite can stop the process.
macro_rules! crash_point {
    ($name:literal) => {
        fail::fail_point!($name)
    };
}

pub mod agent;
mod backup;
pub mod docker;
pub mod error;
pub mod lifecycle;
pub mod logs;
pub mod posture;
pub mod reap;
pub mod run_dir;
pub mod spec;
pub(crate) mod tree;
pub mod usage;
pub mod volumes;
pub mod watch;
pub mod workspace;

pub use docker::Docker;
pub use error::Error;
pub use lifecycle::{Ensured, Exit, Limit, Presence, Sandboxes};
pub use posture::Posture;
pub use reap::{Class, Object};
pub use spec::SandboxSpec;
pub use volumes::DiskLimit;

/// Every failpoint of this crate, for the crash suite: a point that is never hit fails it.
pub const FAILPOINTS: &[&str] = &[
    "sandbox.volume_create.before",
    "sandbox.volume_create.after",
    "sandbox.create.before",
    "sandbox.create.after",
    "sandbox.start.before",
    "sandbox.start.after",
    "sandbox.stop.before",
    "sandbox.stop.after",
    "sandbox.kill.before",
    "sandbox.kill.after",
    "sandbox.remove.before",
    "sandbox.remove.after",
    "sandbox.purge.before",
    "sandbox.purge.after",
    "sandbox.helper_create.before",
    "sandbox.helper_create.after",
    "sandbox.put_files.before",
    "sandbox.put_files.after",
    "sandbox.collect.before",
    "sandbox.collect.after",
    "sandbox.run_dir.before",
    "sandbox.run_dir.after",
    "sandbox.reap.before",
    "sandbox.reap.after",
];
