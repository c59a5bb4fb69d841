//! Limits bind, and the end names the one that did.

use crate::fixture::{Fixture, with_fixture};
use sandbox::Limit;
use std::sync::Arc;

fn limited(change: impl Fn(&mut Fixture) + Send + 'static, script: &'static str, expect: Option<Limit>, code: i64) {
    with_fixture(|f| async move {
        let mut mine = Fixture {
            sandboxes: f.sandboxes.clone(),
            task: f.task,
            run: f.run,
            image: f.image.clone(),
            limits: f.limits,
            data: tempfile::tempdir().expect("a folder"),
        };
        change(&mut mine);
        let (exit, said) = Arc::new(mine).run_to_end(script).await;
        assert_eq!((exit.limit, exit.code), (expect, code), "{said}");
    });
}

#[test]
fn too_much_memory_is_named() {
    limited(|f| f.limits.memory_bytes = 64 << 20, "exec tail /dev/zero", Some(Limit::Memory), 137);
}

#[test]
fn too_long_is_named_and_enforced_from_outside() {
    limited(|f| f.limits.run_time_s = 5, "trap '' TERM; while :; do sleep 1; done", Some(Limit::Time), 137);
}

#[test]
fn too_much_disk_is_named() {
    let script = "i=0; while :; do head -c 4000000 /dev/zero > /workspace/f$i; i=$((i+1)); sleep 0.05; done";
    limited(|f| f.limits.disk_bytes = 32 << 20, script, Some(Limit::Disk), 137);
}

#[test]
fn a_tree_too_deep_to_measure_counts_as_too_much() {
    let script = "i=0; while [ $i -lt 300 ]; do mkdir d && cd d; i=$((i+1)); done; exec sleep 60";
    limited(|_| {}, script, Some(Limit::Disk), 137);
}

#[test]
fn no_file_grows_beyond_its_limit() {
    let script = "truncate -s 1T /workspace/sparse 2>&1; head -c 3000000 /dev/zero > /workspace/f; \
        [ $(stat -c %s /workspace/f) -le 1048576 ] && exit 7";
    limited(|f| f.limits.file_bytes = 1 << 20, script, None, 7);
}

#[test]
fn processes_are_limited_and_the_container_lives_on() {
    let script = "i=0; while [ $i -lt 200 ]; do sleep 30 & i=$((i+1)); done 2>/tmp/e; exit 5";
    // The shell gives up with 2 when it cannot fork; it is neither killed nor able to start all of them.
    limited(|f| f.limits.pids = 40, script, None, 2);
}
