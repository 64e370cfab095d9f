//! What Linux says of a process in `/proc`.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("the process takes a signal");
}

/// Stops a process, and waits until each of its threads has stopped: a thread inside a system call runs on after
/// SIGSTOP was sent.
pub async fn pause(pid: u32) {
    signal(pid, Signal::STOP);
    let begun = tokio::time::Instant::now();
    while !thread_states(pid).iter().all(|state| *state == 'T') {
        assert!(begun.elapsed() < PATIENCE, "process {pid} does not stop: {:?}", thread_states(pid));
        tokio::time::sleep(LOOK).await;
    }
}

/// `R`, `S`, `D`, `T`, … of each thread; empty if there is no such process.
fn thread_states(pid: u32) -> Vec<char> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let stat = |folder: PathBuf| std::fs::read_to_string(folder.join("stat")).ok();
    // `pid (name) state …`; the name may hold anything, a bracket too.
    let state = |stat: String| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    threads.flatten().filter_map(|thread| stat(thread.path()).and_then(state)).collect()
}

/// The most memory that a process has had.
pub fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}
