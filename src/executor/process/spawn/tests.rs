//! What is left behind, looked up in /proc.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use rustix::process::{Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::*;

fn start(dir: &Path) -> Spawner {
    Spawner::start(&dir.join("run"), &dir.join("work"), None).unwrap()
}

/// A shell and what it has started; both write their number down.
fn two_sleepers(dir: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg("sleep 1000 & echo $! >$0/b.new && mv $0/b.new $0/b; echo $$ >$0/a.new; mv $0/a.new $0/a; wait");
    command.arg(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

async fn number(path: &Path) -> Pid {
    let begun = Instant::now();
    loop {
        if let Ok(text) = fs::read_to_string(path) {
            return Pid::from_raw(text.trim().parse().unwrap()).unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{} never came", path.display());
        sleep(Duration::from_millis(5)).await;
    }
}

/// A zombie is dead, whoever has yet to collect it.
fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

async fn all_gone(pids: &[Pid]) {
    let begun = Instant::now();
    while pids.iter().any(|pid| is_alive(*pid)) {
        assert!(begun.elapsed() < Duration::from_secs(10), "still alive: {pids:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_group_is_killed_whole() {
    let dir = tempfile::tempdir().unwrap();
    let spawner = start(dir.path());
    let group = spawner.spawn(two_sleepers(dir.path()), Rights::Few(None)).await.unwrap();
    let pids = [number(&dir.path().join("a")).await, number(&dir.path().join("b")).await];
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    group.stop().await;
    all_gone(&pids).await;
}

#[tokio::test]
async fn a_dropped_group_and_a_dropped_spawner_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spawner = start(dir.path());
    let run_dir = spawner.sockets().to_owned();
    assert!(run_dir.is_dir());
    let group = spawner.spawn(two_sleepers(dir.path()), Rights::Few(None)).await.unwrap();
    let pids = [number(&dir.path().join("a")).await, number(&dir.path().join("b")).await];
    drop((spawner, group));
    all_gone(&pids).await;
    assert!(!run_dir.exists());
}

#[tokio::test]
async fn what_a_process_leaves_behind_goes_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let spawner = start(dir.path());
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg("sleep 1000 & echo $! >$0/b; exit 7").arg(dir.path());
    let mut group = spawner.spawn(command, Rights::Few(None)).await.unwrap();
    assert_eq!(group.wait().await.unwrap().code(), Some(7));
    all_gone(&[number(&dir.path().join("b")).await]).await;
    assert_eq!(group.wait().await.unwrap().code(), Some(7), "may be asked again");
}

#[tokio::test]
async fn a_process_has_a_session_of_its_own_gives_way_and_dumps_no_core() {
    let dir = tempfile::tempdir().unwrap();
    let spawner = start(dir.path());
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg("cat /proc/$$/stat >$0/stat; ulimit -c >$0/core; kill -QUIT $$").arg(dir.path());
    let mut group = spawner.spawn(command, Rights::Few(None)).await.unwrap();
    assert_eq!(group.wait().await.unwrap().signal(), Some(Signal::QUIT.as_raw()));
    let stat = fs::read_to_string(dir.path().join("stat")).unwrap();
    let fields: Vec<&str> = stat.split(' ').collect();
    let (pid, group, session) = (fields[0], fields[4], fields[5]);
    assert_eq!((group, session), (pid, pid));
    #[cfg(target_os = "linux")]
    assert_eq!(fields[40].parse(), Ok(libc::SCHED_BATCH));
    assert_eq!(fs::read_to_string(dir.path().join("core")).unwrap().trim(), "0");
}

/// Runs itself a second time, as the worker that is killed.
#[tokio::test]
async fn a_worker_killed_by_sigkill_leaves_nothing() {
    const WORKER_DIR: &str = "AFN_TEST_WORKER_DIR";
    if let Some(dir) = std::env::var_os(WORKER_DIR) {
        let dir = Path::new(&dir);
        let spawner = start(dir);
        let _group = spawner.spawn(two_sleepers(dir), Rights::Few(None)).await.unwrap();
        fs::write(dir.join("run_dir.new"), spawner.sockets().to_str().unwrap()).unwrap();
        fs::rename(dir.join("run_dir.new"), dir.join("run_dir")).unwrap();
        return std::future::pending().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let name = concat!(module_path!(), "::a_worker_killed_by_sigkill_leaves_nothing");
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name.split_once("::").unwrap().1])
        .env(WORKER_DIR, dir.path())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pids = [number(&dir.path().join("a")).await, number(&dir.path().join("b")).await];
    while !dir.path().join("run_dir").exists() {
        sleep(Duration::from_millis(5)).await;
    }
    let run_dir = fs::read_to_string(dir.path().join("run_dir")).unwrap();
    assert!(pids.iter().all(|pid| is_alive(*pid)) && Path::new(&run_dir).is_dir());

    kill_process(Pid::from_raw(worker.id().unwrap() as i32).unwrap(), Signal::KILL).unwrap();
    worker.wait().await.unwrap();
    all_gone(&pids).await;
    let begun = Instant::now();
    while Path::new(&run_dir).exists() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{run_dir} is still there");
        sleep(Duration::from_millis(5)).await;
    }
}
