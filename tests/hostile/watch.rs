//! Holds a reader against the limits of time and memory. One that never yields would hang the test, so a thread looks at it.

use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Duration;

use afn::limits::MIB;
use futures_util::FutureExt as _;
use rustix::time::{ClockId, clock_gettime};

use crate::memory;

/// Beyond the size of the object.
const BYTES_MAX: u64 = 64 * MIB;
const CPU_MAX: Duration = Duration::from_secs(5);
/// Of real time. More than any reader takes on a busy machine.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// What runs, and since when by the monotonic clock.
static RUNNING: Mutex<Option<(String, Duration)>> = Mutex::new(None);

fn time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Ends the process when a reader hangs: a thread that never yields cannot be stopped in another way.
pub fn start() {
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let running = RUNNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let Some((what, since)) = &*running else { continue };
            if time(ClockId::Monotonic).saturating_sub(*since) > HANGS_AFTER {
                // Not by a macro, whose output the test harness would keep to itself.
                let _ = writeln!(std::io::stderr(), "{what} has not ended after {HANGS_AFTER:?}");
                std::process::abort();
            }
        }
    });
}

fn set_running(what: Option<String>) {
    let running = what.map(|what| (what, time(ClockId::Monotonic)));
    *RUNNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = running;
}

/// Runs one reader and holds it against the limits. What it returns does not matter.
pub async fn held<T>(seed: u64, what: &str, size: usize, reader: impl Future<Output = T>) -> T {
    let again = format!("AFN_HOSTILE_FROM={seed} AFN_HOSTILE_SEEDS=1 cargo test --test hostile");
    set_running(Some(format!("{what}; again: {again};")));
    let (cpu_before, memory) = (time(ClockId::ThreadCPUTime), memory::Mark::now());
    let ended = AssertUnwindSafe(reader).catch_unwind().await;
    let (took, grew) = (time(ClockId::ThreadCPUTime).saturating_sub(cpu_before), memory.peak());
    set_running(None);
    let most = BYTES_MAX + size as u64;
    assert!(took < CPU_MAX, "{what} took {took:?} of CPU time; again: {again}");
    assert!(grew < most, "{what} allocated {grew} bytes for an object of {size}; again: {again}");
    ended.unwrap_or_else(|_| panic!("{what} panicked; again: {again}"))
}
