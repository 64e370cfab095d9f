//! Functions that do harm, in containers: for each, the right outcome with its reason, a neighbour that is not harmed, and
//! nothing left behind. `tests/services/functions/hostile` breaks the contract as its payload says.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use afn::executor::pool::Pool;
use afn::limits::{MIB, START_MAX};
use afn::model::Format;
use afn::seam::Executor as _;
use afn::seam::clock::SystemClock;
use afn::seam::executor::{Execution, Fault, Invocation, Verdict};
use tokio::time::{Instant, sleep};

use super::fixtures::{Bench, containers, log, reason, success, work};
use super::images;
use crate::support::child::name_of;

/// For a call that is to run into it.
const SHORT_MS: u64 = 1_500;
const TMP_MIB: u64 = 7;

enum Expected {
    Answer(&'static str),
    /// How the reason begins.
    Error(&'static str),
    Timeout,
}

use Expected::{Answer, Error, Timeout};

struct Ground {
    pool: Pool,
    work_dir: tempfile::TempDir,
}

impl Ground {
    async fn new() -> Ground {
        let Bench { launcher, work_dir } = Bench::new().await;
        Ground { pool: Pool::new(Arc::new(launcher), Arc::new(SystemClock), 4), work_dir }
    }

    /// Runs a call while a neighbour, hot in a container of its own, answers call after call.
    async fn beside_a_neighbour(&self, work: Invocation) -> Result<Execution, Fault> {
        let ended = AtomicBool::new(false);
        let hostile = async {
            let run = self.pool.run(work).await;
            ended.store(true, Relaxed);
            run
        };
        let neighbour = async {
            while !ended.load(Relaxed) {
                let run = self.pool.run(listener("neighbour", "fine").await).await;
                assert_eq!(success(&run.expect("the neighbour runs")), "fine");
            }
        };
        tokio::join!(hostile, neighbour).0
    }

    async fn close(self) {
        self.pool.close().await;
        assert_eq!(containers(self.work_dir.path()).await, Vec::<String>::new(), "containers are left");
        let left: Vec<_> = fs::read_dir(self.work_dir.path().join("docker")).expect("it is there").collect();
        assert!(left.is_empty(), "folders are left: {left:?}");
        let mounts = fs::read_to_string("/proc/mounts").expect("it can be read");
        assert!(!mounts.contains(&*self.work_dir.path().to_string_lossy()), "mounts are left: {mounts}");
    }
}

/// A call of the function that listens. Those of one role share containers.
async fn listener(role: &str, payload: &str) -> Invocation {
    let mut work = work(images::hostile().await, Format::HttpStream, &["/bin/hostile"], payload.to_owned());
    Arc::make_mut(&mut work.function).config.insert("ROLE".to_owned(), role.to_owned());
    Arc::make_mut(&mut work.version).limits.tmpfs_mib = TMP_MIB;
    work
}

async fn shell(script: &str) -> Invocation {
    work(images::hostile().await, Format::Default, &["/bin/sh", "-c", script], "")
}

fn check(what: &str, run: &Execution, expected: &Expected) {
    match (expected, &run.verdict) {
        (Answer(answer), Verdict::Success { .. }) => assert_eq!(success(run), *answer, "{what}"),
        (Error(begin), Verdict::Error { reason }) => assert!(reason.starts_with(begin), "{what}: {reason}"),
        (Timeout, Verdict::Timeout) => {}
        (_, verdict) => panic!("{what}: {verdict:?}\n{}", log(run)),
    }
}

#[tokio::test]
async fn a_function_that_breaks_the_contract_fails_its_own_call_alone() {
    let ground = Ground::new().await;
    for (payload, expected) in [
        ("twice", Answer("one")),
        ("late", Answer("one")),
        ("stale", Answer("old")),
        ("link", Answer("linked")),
        ("drip", Timeout),
        ("hang", Timeout),
        ("deaf", Timeout),
        ("header", Error("broken function response")),
        ("headers", Error("broken function response")),
        ("nonsense", Error("broken function response")),
        ("midway", Error("exit code 3")),
        ("result", Error("result too large: limit 64 MiB")),
    ] {
        let mut hostile = listener("hostile", payload).await;
        if matches!(expected, Timeout) {
            Arc::make_mut(&mut hostile.version).limits.timeout_ms = SHORT_MS;
        }
        let run =
            ground.beside_a_neighbour(hostile).await.unwrap_or_else(|fault| panic!("{payload}: {fault:?}"));
        check(payload, &run, &expected);
        // Nothing of it reaches the next call, once it was said.
        sleep(Duration::from_millis(100)).await;
        let after = ground.pool.run(listener("hostile", "after").await).await.expect("it runs");
        assert_eq!(success(&after), "after", "{payload}");
    }
    ground.close().await;
}

#[tokio::test]
async fn a_function_takes_no_more_of_the_machine_than_its_limits() {
    let ground = Ground::new().await;
    for (payload, expected) in [
        ("bomb", Timeout),
        ("swarm", Answer("bounded")),
        ("hog", Error("out of memory: limit 128 MiB")),
        ("log", Answer("shouted")),
    ] {
        let mut hostile = listener(payload, payload).await;
        if matches!(expected, Timeout) {
            Arc::make_mut(&mut hostile.version).limits.timeout_ms = SHORT_MS;
        }
        let run =
            ground.beside_a_neighbour(hostile).await.unwrap_or_else(|fault| panic!("{payload}: {fault:?}"));
        check(payload, &run, &expected);
        assert!(run.log.len() as u64 <= MIB + 200, "{payload}: {} bytes of log", run.log.len());
    }
    let run = ground.beside_a_neighbour(shell("yes | head -c 1073741824").await).await.expect("it runs");
    assert_eq!(reason(&run), "result too large: limit 64 MiB");

    // A page less than nothing is where it cannot write at all.
    let run = ground.beside_a_neighbour(listener("fill", "fill").await).await.expect("it runs");
    let text = String::from_utf8(success(&run).to_vec()).expect("text");
    let written = |place: &str| -> i64 {
        let found = text.split(", ").find_map(|part| part.strip_prefix(&format!("{place} ")));
        found.unwrap_or_else(|| panic!("{place}: {text}")).parse().expect("a number")
    };
    for (place, kib_max) in [("/tmp", TMP_MIB as i64 * 1_024), ("shared", 64), ("/dev/shm", 64 * 1_024)] {
        assert!((0..=kib_max).contains(&written(place)), "{place}: {text}");
    }
    assert_eq!((written("/"), written("/dev")), (-1, -1), "{text}");
    ground.close().await;
}

/// In a mount namespace of its own a worker does not mount, and shares a plain folder. In memory: some disks take minutes.
#[tokio::test]
async fn folders_within_folders_are_removed_whatever_their_depth() {
    const ROLE: &str = "AFN_TEST_PLAIN_FOLDER";
    if std::env::var_os(ROLE).is_none() && rustix::process::geteuid().is_root() {
        let test = name_of(module_path!(), "folders_within_folders_are_removed_whatever_their_depth");
        let mut worker = tokio::process::Command::new("unshare");
        worker.arg("--mount").arg(std::env::current_exe().expect("this binary"));
        worker.args(["--exact", &test, "--nocapture"]).env(ROLE, "1").env("TMPDIR", "/dev/shm");
        assert!(worker.status().await.expect("it runs").success());
        return;
    }
    let ground = Ground::new().await;
    let mut hostile = listener("deep", "deep").await;
    Arc::make_mut(&mut hostile.version).limits.timeout_ms = 120_000;
    let run = ground.beside_a_neighbour(hostile).await.expect("it runs");
    assert_eq!(success(&run), "50000");
    ground.close().await;
}

/// With a network: `a_network_reaches_neither_metadata_nor_this_machine_nor_other_containers`.
#[tokio::test]
async fn a_function_reaches_nothing_outside_of_its_container() {
    let ground = Ground::new().await;
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "run by cargo");
    let (work_dir, worker) = (ground.work_dir.path().display(), std::process::id());
    let script = format!(
        "for target in '1.1.1.1 53' '169.254.169.254 80' '169.254.170.2 80' '172.17.0.1 {port}' '127.0.0.1 {port}'; do
             timeout 2 nc -w 1 $target </dev/null >/dev/null 2>&1 && echo \"reached $target\"
         done
         find / -type s 2>/dev/null
         ls {work_dir} /var/run/docker.sock 2>/dev/null
         grep -las '[C]ARGO_MANIFEST_DIR' /proc/[0-9]*/environ
         head -c 1 /proc/{worker}/mem 2>/dev/null
         kill -0 {worker} 2>/dev/null && echo signalled
         mount -t tmpfs none /tmp 2>/dev/null && echo mounted
         echo end"
    );
    let run = ground.beside_a_neighbour(shell(&script).await).await.expect("it runs");
    assert_eq!(success(&run), "end\n", "{}", log(&run));
    ground.close().await;
}

#[tokio::test]
async fn a_function_that_never_listens_is_given_up() {
    let ground = Ground::new().await;
    let mute = work(images::hostile().await, Format::HttpStream, &["/bin/sleep", "1000"], "");
    let begun = Instant::now();
    let Err(Fault::Function(why)) = ground.beside_a_neighbour(mute).await else {
        panic!("it never listened")
    };
    assert_eq!(why, format!("did not listen on FN_LISTENER within {} s", START_MAX.as_secs()));
    assert!(begun.elapsed() >= START_MAX);
    ground.close().await;
}
