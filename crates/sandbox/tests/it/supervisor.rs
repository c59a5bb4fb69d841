//! The supervisor as process 1 of a real container.

use crate::fixture::with_fixture;
use sandbox::Ensured;
use std::{os::unix::fs::PermissionsExt, time::Duration};

#[test]
fn it_waits_for_the_gateway_before_the_agent_starts() {
    with_fixture(|f| async move {
        let spec = f.spec(1, "echo started").await;
        assert_eq!(f.sandboxes.ensure(&spec).await.expect("started"), Ensured::Started);
        let waits = tokio::time::timeout(Duration::from_millis(700), f.sandboxes.wait(&f.task)).await;
        assert!(waits.is_err(), "it did not end without a gateway");
        assert!(f.sandboxes.output(&f.task, 100).await.expect("output").stdout.is_empty(), "no agent yet");
        let _gateway = f.gateway();
        assert_eq!(f.sandboxes.wait(&f.task).await.expect("an end").code, 0);
        assert_eq!(f.sandboxes.output(&f.task, 100).await.expect("output").stdout, b"started\n");
    });
}

#[test]
fn orphans_are_reaped_and_what_is_left_is_killed() {
    with_fixture(|f| async move {
        // The shell in the middle ends first: its child becomes an orphan and then a zombie for process 1.
        let script = "sh -c 'sleep 0.2 & echo $! > /tmp/orphan'; sleep 0.6; \
            [ -e /proc/$(cat /tmp/orphan) ] && echo zombie; sleep 600 & exit 4";
        let (exit, said) = f.run_to_end(script).await;
        assert_eq!((exit.code, said.as_str()), (4, ""));
    });
}

#[test]
fn the_run_folder_can_be_read_but_not_its_parent() {
    with_fixture(|f| async move {
        f.spec(1, "true").await;
        let mode = |path: std::path::PathBuf| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        let folder = f.sandboxes.run_dir(&f.task);
        assert_eq!(mode(f.data.path().join("run")), 0o700);
        assert_eq!(mode(folder.clone()), 0o755);
        assert_eq!(mode(folder.join("taskforge-supervisor")), 0o555);
    });
}
