//! What the supervisor takes from itself before anything of the agent runs.

use crate::{args::Args, sys};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getpid, set_child_subreaper, set_dumpable_behavior, setrlimit,
};

/// Hides the supervisor from processes of its own user and sets the limits that the agent inherits.
pub(crate) fn harden(args: &Args) -> Result<(), String> {
    sys::close_inherited();
    // /proc/1/{environ,mem,fd,...} then belong to root, and ptrace is refused. The agent becomes dumpable again by
    // its own execve.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| format!("cannot become non-dumpable: {e}"))?;
    rustix::thread::set_no_new_privs(true).map_err(|e| format!("cannot give up new privileges: {e}"))?;
    if !is_init() {
        // Outside a namespace of its own (tests) orphans are to come to us all the same.
        set_child_subreaper(Some(getpid())).map_err(|e| format!("cannot adopt orphans: {e}"))?;
    }
    let limits = [
        ("file size", Resource::Fsize, args.rlimit_fsize),
        ("processes", Resource::Nproc, args.rlimit_nproc),
        ("core size", Resource::Core, Some(args.rlimit_core)),
    ];
    for (name, resource, value) in limits {
        if let Some(value) = value {
            let limit = Rlimit { current: Some(value), maximum: Some(value) };
            setrlimit(resource, limit).map_err(|e| format!("cannot limit the {name} to {value}: {e}"))?;
        }
    }
    Ok(())
}

/// Whether this is process 1 of its namespace.
pub(crate) fn is_init() -> bool {
    getpid().is_init()
}
