//! Making, adopting, stopping, removing, reaping, and the posture.

use crate::fixture::{EngineProxy, until, with_fixture};
use domain::ids::{InstallationId, TaskId};
use sandbox::{Docker, Ensured, Error, Sandboxes, docker::Kind, reap::Class};
use std::{collections::BTreeSet, time::Duration};
use uuid::Uuid;

#[test]
fn posture_is_measured_and_without_violation() {
    with_fixture(|f| async move {
        let spec = f.spec(1, "exec sleep 60").await;
        let _gateway = f.gateway();
        assert_eq!(f.sandboxes.ensure(&spec).await.expect("started"), Ensured::Started);
        let posture = f.sandboxes.posture(&f.task).await.expect("measured");
        assert_eq!(posture.violations(), Vec::<String>::new());
        assert_eq!((posture.network.as_str(), posture.user.as_str()), ("none", "61000:61000"));
        assert_eq!(posture.memory_bytes, 128 << 20);
        assert_eq!(posture.pids, 64);
        assert_eq!(posture.mounts.len(), 3, "{:?}", posture.mounts);
        let mut weak = posture.clone();
        weak.network = "bridge".into();
        weak.cap_add = vec!["SYS_ADMIN".into()];
        weak.mounts[0].target = "/var/run/docker.sock".into();
        assert_eq!(weak.violations().len(), 3, "{:?}", weak.violations());
    });
}

#[test]
fn what_the_agent_sees_is_what_the_posture_says() {
    with_fixture(|f| async move {
        let script = "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; ls /sys/class/net; \
            touch /x 2>&1; touch /run/taskforge/x 2>&1; touch /workspace/w /state/s /tmp/t && echo writable; \
            cat /proc/1/environ 2>&1; head -c1 /proc/1/mem 2>&1; echo 1 2>&1 >/proc/1/oom_score_adj; pwd; echo $HOME";
        let (exit, said) = f.run_to_end(script).await;
        assert_eq!(exit.code, 0, "{said}");
        for expect in [
            "61000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "/x': Read-only file system",
            "/run/taskforge/x': Read-only file system",
            "writable",
            "/proc/1/environ: Permission denied",
            "open '/proc/1/mem' for reading: Permission denied",
            "/proc/1/oom_score_adj: Permission denied",
            "/workspace",
            "/tmp/home",
        ] {
            assert!(said.contains(expect), "{expect:?} is not in:\n{said}");
        }
        assert!(said.contains("\nlo\n") && !said.contains("eth0"), "only loopback:\n{said}");
    });
}

#[test]
fn the_same_iteration_is_adopted_and_a_newer_one_replaces_it() {
    with_fixture(|f| async move {
        let spec = f.spec(1, "echo $$ >> /workspace/starts; exec sleep 60").await;
        let _gateway = f.gateway();
        assert_eq!(f.sandboxes.ensure(&spec).await.expect("started"), Ensured::Started);
        // Another process of the same installation knows nothing and finds it.
        let docker = Docker::connect(None, f.sandboxes.docker().installation()).expect("address");
        let other = Sandboxes::new(docker, f.data.path());
        assert_eq!(other.ensure(&spec).await.expect("adopted"), Ensured::Adopted);
        other.kill(&f.task).await.expect("killed");
        let exit = f.sandboxes.wait(&f.task).await.expect("an end");
        assert_eq!((exit.code, exit.limit), (137, None));
        assert_eq!(other.ensure(&spec).await.expect("known"), Ensured::Ended, "an iteration is never run twice");
        let next = f.spec(2, "exec cat /workspace/starts").await;
        assert_eq!(f.sandboxes.ensure(&next).await.expect("started"), Ensured::Started);
        assert_eq!(f.sandboxes.wait(&f.task).await.expect("an end").code, 0, "the workspace is still there");
        let seen = f.sandboxes.leftovers().await.expect("a list");
        assert_eq!(seen.iter().filter(|o| o.class == Class::Container).count(), 1, "{seen:?}");
    });
}

#[test]
fn racing_starts_make_one_container() {
    with_fixture(|f| async move {
        let spec = f.spec(1, "exec sleep 60").await;
        let _gateway = f.gateway();
        let all = futures::future::join_all((0..4).map(|_| f.sandboxes.ensure(&spec))).await;
        for result in all {
            assert_ne!(result.expect("one of them starts it, the others find it"), Ensured::Ended);
        }
        let seen = f.sandboxes.leftovers().await.expect("a list");
        assert_eq!(seen.iter().filter(|o| o.class == Class::Container).count(), 1, "{seen:?}");
    });
}

#[test]
fn stopping_is_polite_first_and_idempotent() {
    with_fixture(|f| async move {
        let spec = f.spec(1, "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.05; done").await;
        let _gateway = f.gateway();
        f.sandboxes.ensure(&spec).await.expect("started");
        until("the script", || async {
            f.sandboxes.output(&f.task, 100).await.is_ok_and(|o| o.stdout.starts_with(b"ready"))
        })
        .await;
        f.sandboxes.stop(&f.task, Duration::from_secs(20)).await.expect("stopped");
        let exit = f.sandboxes.wait(&f.task).await.expect("an end");
        assert_eq!(exit.code, 9, "the agent's own answer to the signal");
        f.sandboxes.stop(&f.task, Duration::ZERO).await.expect("again");
        f.sandboxes.remove(&f.task).await.expect("removed");
        f.sandboxes.remove(&f.task).await.expect("again");
        f.sandboxes.purge(&f.task).await.expect("purged");
        f.sandboxes.purge(&f.task).await.expect("again");
        assert!(!f.sandboxes.run_dir(&f.task).exists());
        assert!(matches!(f.sandboxes.wait(&f.task).await, Err(Error::NotFound { .. })));
    });
}

#[test]
fn reaping_touches_only_what_is_ours_and_dead() {
    with_fixture(|f| async move {
        let spec = f.spec(1, "exec sleep 60").await;
        let _gateway = f.gateway();
        f.sandboxes.ensure(&spec).await.expect("started");
        // A second installation on the same Engine, with a task of its own.
        let foreign = Docker::connect(None, InstallationId::from_uuid(Uuid::now_v7())).expect("address");
        let data = tempfile::tempdir().expect("a folder");
        let foreign = Sandboxes::new(foreign, data.path());
        let reaped = foreign.reap(&BTreeSet::new()).await.expect("reaped");
        assert!(reaped.removed.is_empty(), "{reaped:?}");
        // A dead task of ours, beside the live one.
        let dead = TaskId::from_uuid(Uuid::now_v7());
        f.sandboxes.ensure_volumes(&dead, &f.image, &f.limits).await.expect("volumes");
        let reaped = f.sandboxes.reap(&BTreeSet::from([f.task])).await.expect("reaped");
        assert_eq!(reaped.removed.len(), 2, "{reaped:?}");
        assert!(reaped.removed.iter().all(|o| o.task == Some(dead) && o.kind != Some(Kind::Agent)), "{reaped:?}");
        assert!(f.sandboxes.is_running(&f.task).await.expect("inspected"));
    });
}

#[test]
fn a_foreign_container_with_our_name_is_left_alone() {
    with_fixture(|f| async move {
        let spec = f.spec(1, "exec sleep 60").await;
        let name = f.sandboxes.docker().container_name(&f.task);
        let client = f.sandboxes.docker().client().await.expect("a client");
        let options = bollard::query_parameters::CreateContainerOptionsBuilder::default().name(&name).build();
        let body = bollard::models::ContainerCreateBody {
            image: Some(f.image.clone()),
            cmd: Some(vec!["/bin/sh".into()]),
            // The image's own labels would make it ours.
            labels: Some([("dev.taskforge.installation".to_owned(), "other".to_owned())].into()),
            ..Default::default()
        };
        client.create_container(Some(options), body).await.expect("made");
        let refused = f.sandboxes.ensure(&spec).await;
        let removal = f.sandboxes.purge(&f.task).await;
        client.remove_container(&name, None).await.expect("it was still there");
        assert!(matches!(refused, Err(Error::NameTaken { .. })), "{refused:?}");
        assert!(matches!(removal, Err(Error::NameTaken { .. })), "{removal:?}");
    });
}

#[test]
fn logs_are_streamed_in_lines() {
    use futures::StreamExt;
    with_fixture(|f| async move {
        let spec = f.spec(1, "echo one; echo two >&2; head -c 200000 /dev/zero | tr '\\0' x; echo; exit 3").await;
        let _gateway = f.gateway();
        f.sandboxes.ensure(&spec).await.expect("started");
        let lines = f.sandboxes.log_lines(&f.task, 100, true).await.expect("a stream");
        let lines: Vec<_> = lines.map(|l| l.expect("a line")).collect().await;
        assert!(lines.iter().any(|l| l.text == "one"), "{:?}", &lines[0]);
        assert!(lines.iter().any(|l| l.text == "two" && l.source == sandbox::logs::Source::Stderr));
        let long = lines.iter().find(|l| l.text.starts_with("xxx")).expect("the long line");
        assert!(long.cut && long.text.len() <= sandbox::logs::MAX_LINE_BYTES && !long.text.contains('T'), "bounded");
        assert_eq!(f.sandboxes.wait(&f.task).await.expect("an end").code, 3);
    });
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_said_clearly() {
    let installation = InstallationId::from_uuid(Uuid::now_v7());
    for endpoint in ["unix:///nonexistent/docker.sock", "tcp://127.0.0.1:1"] {
        let docker = Docker::connect(Some(endpoint), installation).expect("an address");
        let error = docker.ping().await.expect_err("nobody there");
        assert_eq!(error.code(), "docker_unreachable", "{error:?}");
        assert!(error.to_string().contains("docker is not running") && error.to_string().contains(endpoint), "{error}");
        assert!(error.hint().contains("start Docker"));
    }
    assert!(matches!(Docker::connect(Some("ftp://x"), installation), Err(Error::Endpoint { .. })));
}

#[test]
fn a_missing_image_and_a_missing_program_are_told_apart() {
    with_fixture(|f| async move {
        let mut spec = f.spec(1, "true").await;
        let _gateway = f.gateway();
        spec.image = "taskforge-no-such-image:1".into();
        let error = f.sandboxes.ensure(&spec).await.expect_err("no image");
        assert!(matches!(&error, Error::NoSuchImage { image } if image.contains("no-such-image")), "{error:?}");
        spec.image = f.image.clone();
        spec.argv = vec!["/no/such/program".into()];
        f.sandboxes.ensure(&spec).await.expect("started");
        let exit = f.sandboxes.wait(&f.task).await.expect("an end");
        assert_eq!(exit.code, 127);
    });
}

#[test]
fn a_program_without_a_handler_ends_at_the_first_signal() {
    with_fixture(|f| async move {
        let spec = f.spec(1, "echo ready; exec sleep 60").await;
        let _gateway = f.gateway();
        f.sandboxes.ensure(&spec).await.expect("started");
        until("the script", || async {
            f.sandboxes.output(&f.task, 100).await.is_ok_and(|o| o.stdout.starts_with(b"ready"))
        })
        .await;
        f.sandboxes.stop(&f.task, Duration::from_secs(60)).await.expect("stopped");
        let exit = f.sandboxes.wait(&f.task).await.expect("an end");
        assert_eq!(exit.code, 143);
        let took = exit.finished_at.expect("an end").duration_since(exit.started_at.expect("a start"));
        assert!(took.as_secs() < 50, "not killed after the grace period: {took:?}");
    });
}

#[test]
fn waiting_survives_an_engine_that_goes_away_and_comes_back() {
    with_fixture(|f| async move {
        let spec = f.spec(1, "sleep 3; exit 6").await;
        let _gateway = f.gateway();
        f.sandboxes.ensure(&spec).await.expect("started");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("docker.sock");
        let proxy = EngineProxy::serve(&path);
        let endpoint = format!("unix://{}", path.display());
        let docker = Docker::connect(Some(&endpoint), f.sandboxes.docker().installation()).expect("address");
        let watched = Sandboxes::new(docker, f.data.path());
        let task = f.task;
        let watch = tokio::spawn(async move { watched.wait(&task).await });
        until("the watch", || async { proxy.connections() >= 2 }).await;
        drop(proxy);
        std::fs::remove_file(&path).expect("removed");
        until("the end of the agent", || async { !f.sandboxes.is_running(&f.task).await.expect("inspected") }).await;
        assert!(!watch.is_finished(), "it neither fails nor guesses while the Engine is away");
        let _proxy = EngineProxy::serve(&path);
        assert_eq!(watch.await.expect("no panic").expect("an end").code, 6);
    });
}
