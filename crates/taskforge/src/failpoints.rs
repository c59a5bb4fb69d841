//! Crash points for the end-to-end suite, in builds with the feature `failpoints` only.
//!
//! `TASKFORGE_FAILPOINTS=name[,name...]` ends the process by `abort` the first time that one of them is reached: as
//! `kill -9` does, without a destructor or a flush.

/// Arms the points that the environment names.
#[cfg(feature = "failpoints")]
pub(crate) fn arm() {
    let names = std::env::var("TASKFORGE_FAILPOINTS").unwrap_or_default();
    for name in names.split(',').map(str::trim).filter(|n| !n.is_empty()) {
        if let Err(e) = fail::cfg_callback(name, || std::process::abort()) {
            eprintln!("error: the failpoint {name} cannot be armed: {e}");
        }
    }
}

/// Does nothing in a build without failpoints.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn arm() {}
