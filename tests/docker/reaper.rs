//! What a worker leaves that was killed in the middle of a call.

use std::path::Path;
use std::process::{Command, Stdio};

use afn::executor::docker::DockerLauncher;
use afn::executor::sandbox::Launcher as _;

use crate::support::child::name_of;

use super::fixtures::{Bench, containers, eventually, options, script};

/// Set for the process that plays the worker: this test binary once more, with the same test.
const DOOMED: &str = "AFN_TEST_DOOMED_WORK_DIR";

async fn play_the_worker(work_dir: &Path) {
    let launcher = DockerLauncher::connect(options(work_dir)).await.unwrap();
    let work = script("sleep 1000", "").await;
    let mut sandbox = launcher.start(&work).await.unwrap_or_else(|fault| panic!("{fault:?}"));
    let _ = sandbox.invoke(&work).await;
    panic!("nobody has killed the worker");
}

#[tokio::test]
async fn a_killed_workers_containers_are_removed_by_the_next() {
    if let Some(work_dir) = std::env::var_os(DOOMED) {
        return play_the_worker(Path::new(&work_dir)).await;
    }
    super::images::busybox().await;
    let work_dir = tempfile::tempdir().unwrap();
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name_of(module_path!(), "a_killed_workers_containers_are_removed_by_the_next")])
        .env(DOOMED, work_dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("its container runs", async || !containers(work_dir.path()).await.is_empty()).await;

    // As long as it lives, nobody touches what is its own.
    let neighbour = DockerLauncher::connect(options(work_dir.path())).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    neighbour.close().await;
    assert_eq!(containers(work_dir.path()).await.len(), 1);

    worker.kill().unwrap();
    worker.wait().unwrap();
    assert_eq!(containers(work_dir.path()).await.len(), 1);
    let next = DockerLauncher::connect(options(work_dir.path())).await.unwrap();
    let folders = || std::fs::read_dir(work_dir.path().join("docker")).unwrap().count();
    // The folder goes after the containers; the next worker has one of its own as long as it lives.
    eventually("they are gone", async || containers(work_dir.path()).await.is_empty() && folders() == 1)
        .await;
    next.close().await;
    assert_eq!(folders(), 0, "a worker's folder is left");
}

#[tokio::test]
async fn a_crash_within_a_process_is_no_different() {
    let Bench { launcher, work_dir } = Bench::new().await;
    let work = script("sleep 1000", "").await;
    let sandbox = launcher.start(&work).await.unwrap_or_else(|fault| panic!("{fault:?}"));
    drop(launcher);
    drop(sandbox);
    assert_eq!(containers(work_dir.path()).await.len(), 1);
    let next = DockerLauncher::connect(options(work_dir.path())).await.unwrap();
    eventually("it is gone", async || containers(work_dir.path()).await.is_empty()).await;
    next.close().await;
}
