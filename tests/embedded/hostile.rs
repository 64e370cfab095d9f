//! Functions that do harm, as child processes: for each, the right outcome with its reason, a neighbour that is not harmed,
//! and nothing left behind. The functions that listen are this program itself, which then breaks the contract by hand.
//!
//! A process reaches what its machine reaches: other addresses, the metadata service, ports of this machine. Nothing keeps
//! it from that, and so nothing is tested; `SECURITY.md` says so, and containers are for functions that must not.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use afn::limits::MIB;
use afn::model::Format;
use afn::seam::Executor as _;
use afn::seam::executor::{Invocation, Verdict};
use rustix::fs::{Mode, OFlags, mkdirat, openat};
use tokio::time::{Instant, sleep};

use crate::support::PATIENCE;
use crate::support::child::name_of;

use super::bench::Bench;
use super::executor::{all_gone, is_alive, until};

pub async fn shell(bench: &Bench, script: &str) -> Invocation {
    let mut work = bench.function(Format::Default, &["sh", "func.sh"], &[("func.sh", script)]).await;
    Arc::make_mut(&mut work.version).limits.timeout_ms = 20_000;
    work
}

fn with_timeout(mut work: Invocation, ms: u64) -> Invocation {
    Arc::make_mut(&mut work.version).limits.timeout_ms = ms;
    work
}

/// All that lies in the folders of workers.
pub fn left(bench: &Bench) -> Vec<PathBuf> {
    let inside = |dir: &Path| -> Vec<PathBuf> {
        fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    };
    let roots = ["calls", "run/p"].map(|root| bench.work_dir().join(root));
    roots.iter().flat_map(|root| inside(root)).flat_map(|worker| inside(&worker)).collect()
}

pub async fn nothing_is_left(bench: &Bench) {
    let begun = Instant::now();
    while !left(bench).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "left behind: {:?}", left(bench));
        sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a hostile call beside one that takes its time.
async fn beside_a_neighbour(bench: &Bench, hostile: &Invocation, payload: &str) -> (Verdict, Vec<u8>) {
    let neighbour = shell(bench, "cat; sleep 0.3; echo ' is fine'").await;
    let (run, neighbour) =
        tokio::join!(bench.run(hostile, payload.to_owned()), bench.text(&neighbour, "the neighbour"));
    assert_eq!(neighbour, "the neighbour is fine\n");
    let run = run.unwrap();
    (run.verdict, run.log.to_vec())
}

fn reason(verdict: Verdict) -> String {
    match verdict {
        Verdict::Error { reason } | Verdict::Busy { reason, .. } => reason,
        Verdict::Timeout => "timeout".to_owned(),
        Verdict::Success { .. } => "success".to_owned(),
    }
}

#[tokio::test]
async fn a_swarm_of_processes_ends_with_its_call() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "trap '' TERM HUP INT
         for a in 1 2 3 4 5 6 7 8 9 10; do
             ( for b in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & touch {0}/$!; done; wait ) & touch {0}/$!
         done; wait",
        dir.path().display()
    );
    let swarm = with_timeout(shell(&bench, &script).await, 1_500);
    assert_eq!(reason(beside_a_neighbour(&bench, &swarm, "").await.0), "timeout");
    let pids: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(pids.len() > 50, "there should have been a swarm: {}", pids.len());
    let begun = Instant::now();
    while pids.iter().any(|pid| is_alive(pid)) {
        assert!(begun.elapsed() < PATIENCE, "still alive");
        sleep(Duration::from_millis(5)).await;
    }
    nothing_is_left(&bench).await;
}

#[tokio::test]
async fn a_gibibyte_of_log_or_result_is_cut_or_refused() {
    let bench = Bench::new();
    let log = shell(&bench, "yes | head -c 1073741824 >&2; echo done").await;
    let (verdict, log) = beside_a_neighbour(&bench, &log, "").await;
    assert_eq!(reason(verdict), "success");
    assert!(log.len() as u64 <= MIB + 200, "{}", log.len());
    let result = shell(&bench, "yes | head -c 1073741824").await;
    assert_eq!(reason(beside_a_neighbour(&bench, &result, "").await.0), "result too large: limit 64 MiB");
    nothing_is_left(&bench).await;
}

#[tokio::test]
async fn files_are_the_calls_own_and_go_with_it() {
    let bench = Bench::new();
    let script = r#"
        for place in . "$TMPDIR" "$HOME"; do
            dd if=/dev/zero of="$place/filler" bs=1M count=8 2>/dev/null || exit 1
            mkdir -p "$place/deep/er" && : >"$place/deep/er/x" && chmod 500 "$place/deep/er" "$place/deep"
        done
        mkdir "$TMPDIR/locked" && : >"$TMPDIR/locked/x" && chmod 0 "$TMPDIR/locked"
        i=0; while [ $i -lt 300 ]; do : >"many.$i"; i=$((i+1)); done
        pwd"#;
    let work = shell(&bench, script).await;
    let place = bench.text(&work, "").await;
    assert!(Path::new(place.trim()).starts_with(bench.work_dir().join("calls")), "{place}");
    nothing_is_left(&bench).await;
}

#[tokio::test]
async fn calls_of_one_version_do_not_see_each_others_files() {
    let bench = Bench::new();
    let work = shell(&bench, "cat >tmp.out; cat >\"$TMPDIR/tmp.out\" <tmp.out; sleep 0.2; cat tmp.out").await;
    let calls = (0..20).map(|number| bench.text(&work, format!("call {number}")));
    let answers = futures_util::future::join_all(calls).await;
    let expected: Vec<String> = (0..20).map(|number| format!("call {number}")).collect();
    assert_eq!(answers, expected);
    nothing_is_left(&bench).await;
}

#[tokio::test]
async fn code_is_read_only_and_leaves_nothing_to_the_next_call() {
    let bench = Bench::new();
    let files = [
        ("func.sh", "sh ./attack.sh; cat data.txt; ls"),
        (
            "attack.sh",
            r#"code=$(dirname "$(readlink -f func.sh)")
               for file in data.txt "$code/data.txt"; do (echo forged >"$file") 2>/dev/null && echo "wrote $file"; done
               (: >"$code/planted") 2>/dev/null && echo planted
               rm -f "$code/data.txt" 2>/dev/null && echo removed
               rm -f func.sh data.txt attack.sh; echo forged >data.txt"#,
        ),
        ("data.txt", "as deployed\n"),
    ];
    let work = bench.function(Format::Default, &["sh", "func.sh"], &files).await;
    // It forges its own view, and no other's.
    assert_eq!(bench.text(&work, "").await, "forged\ndata.txt\n");
    let archive = fs::read_dir(bench.work_dir().join("archives")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_to_string(archive.join("data.txt")).unwrap(), "as deployed\n");
    assert_eq!(fs::read_dir(&archive).unwrap().count(), 3);
    assert_eq!(bench.text(&work, "").await, "forged\ndata.txt\n");
}

/// This test program is the worker; what it was started with stands in its environment.
#[tokio::test]
async fn the_workers_environment_memory_and_files_are_out_of_reach() {
    let bench = Bench::new();
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "run by cargo");
    let script = r#"
        for file in environ mem maps fd; do
            (ls -l "/proc/$PPID/$file/" >/dev/null || head -c 1 "/proc/$PPID/$file") >/dev/null 2>&1 && echo "read $file"
        done
        for child in $(cat /proc/$PPID/task/*/children); do
            grep -aq CARGO_MANIFEST_DIR "/proc/$child/environ" 2>/dev/null && echo "read environ of child $child"
        done
        env | grep -E '^(AWS_|CARGO_)'
        echo end
        ls -l /proc/self/fd"#;
    let work = shell(&bench, script).await;
    let text = bench.text(&work, "").await;
    let (read, open) = text.split_once("end\n").unwrap();
    assert_eq!(read, "");
    // The three standard ones, and the folder that `ls` reads.
    assert_eq!(open.matches(" -> ").count(), 4, "{open}");
}

#[tokio::test]
async fn out_of_memory_a_function_goes_before_its_worker() {
    let bench = Bench::new();
    let work = shell(&bench, "sleep 0.2; cat /proc/$$/oom_score_adj").await;
    assert_eq!(bench.text(&work, "").await, "500\n");
}

const ROLE: &str = "AFN_TEST_HOSTILE";
const TEST: &str = "a_broken_answer_fails_its_own_call_alone";

async fn listener(bench: &Bench) -> Invocation {
    with_timeout(itself(bench, Format::HttpStream, TEST, "").await, 1_500)
}

/// A function that is this program, with a test of it as its part.
async fn itself(bench: &Bench, format: Format, test: &str, before: &str) -> Invocation {
    let (test, program) = (name_of(module_path!(), test), std::env::current_exe().unwrap());
    let script = format!("{before}\nexec {} --exact {test} --nocapture", program.display());
    let mut work = bench.function(format, &["sh", "func.sh"], &[("func.sh", &script)]).await;
    Arc::make_mut(&mut work.function).config.insert(ROLE.to_owned(), "1".to_owned());
    work
}

/// Folders within one another.
fn nest(mut here: OwnedFd) {
    for _ in 0..LEVELS {
        mkdirat(&here, "next", Mode::from_raw_mode(0o700)).unwrap();
        here = openat(&here, "next", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    }
}

const LEVELS: usize = 50_000;

#[tokio::test]
async fn folders_within_folders_are_removed_whatever_their_depth() {
    let places = ["TMPDIR", "PWD"];
    if std::env::var_os(ROLE).is_some() {
        let open = |place: &str| File::open(std::env::var_os(place).unwrap()).unwrap().into();
        return places.map(open).into_iter().for_each(nest);
    }
    let bench = Bench::in_memory();
    let test = "folders_within_folders_are_removed_whatever_their_depth";
    let work = with_timeout(itself(&bench, Format::Default, test, "").await, 120_000);
    assert_eq!(reason(beside_a_neighbour(&bench, &work, "").await.0), "success");
    nothing_is_left(&bench).await;
}

/// Time stands still, but for the wait until it listens.
#[tokio::test(start_paused = true)]
async fn a_function_that_never_listens_is_given_up() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let script = format!("trap '' TERM HUP INT; echo $$ >{}; sleep 1000 & wait", pid.display());
    let mute = bench.function(Format::HttpStream, &["sh", "func.sh"], &[("func.sh", &script)]).await;
    assert_eq!(bench.fault(&mute).await, "did not listen on FN_LISTENER within 60 s");
    tokio::time::resume();
    // It may have been given up before it could write.
    let pid = fs::read_to_string(&pid).unwrap_or_default();
    until("it is gone", || pid.is_empty() || !is_alive(pid.trim())).await;
    nothing_is_left(&bench).await;
    assert_eq!(bench.text(&shell(&bench, "cat").await, "the next").await, "the next");
}

#[tokio::test]
async fn a_listener_that_is_deaf_to_signals_ends_all_the_same() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let before = format!("trap '' TERM HUP INT QUIT; : >{}/$$", dir.path().display());
    let work = with_timeout(itself(&bench, Format::HttpStream, TEST, &before).await, 1_500);
    assert_eq!(reason(beside_a_neighbour(&bench, &work, "hang").await.0), "timeout");
    assert_eq!(bench.text(&work, "after hang").await, "after hang");
    bench.pool.close().await;
    all_gone(dir.path()).await;
    nothing_is_left(&bench).await;
}

/// Reads a request whose body is one chunk, and does what it says.
fn misbehave(mut link: UnixStream) -> std::io::Result<()> {
    let mut previous = String::new();
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n0\r\n\r\n") {
            let mut piece = [0; 4096];
            match link.read(&mut piece)? {
                0 => return Ok(()),
                length => request.extend_from_slice(&piece[..length]),
            }
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let id =
            request.lines().find_map(|line| line.strip_prefix("fn-call-id: ")).unwrap_or_default().to_owned();
        let body = request.split("\r\n\r\n").nth(1).and_then(|body| body.lines().nth(1)).unwrap_or_default();
        let answer = |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let endless = |link: &mut UnixStream, piece: &[u8]| -> std::io::Result<()> {
            for _ in 0..(1024 * MIB) / piece.len() as u64 {
                link.write_all(piece)?;
            }
            Ok(())
        };
        match body {
            "twice" => link.write_all(format!("{}{}", answer("one"), answer("two")).as_bytes())?,
            "late" => {
                link.write_all(answer("one").as_bytes())?;
                std::thread::sleep(Duration::from_millis(50));
                link.write_all(answer("unasked").as_bytes())?;
            }
            "stale" => {
                let head = format!("HTTP/1.1 200 OK\r\nfn-call-id: {previous}\r\ncontent-length: 3\r\n\r\n");
                link.write_all(format!("{head}old").as_bytes())?;
            }
            "drip" => {
                for byte in answer("too slow to be true").bytes() {
                    link.write_all(&[byte])?;
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
            "header" => {
                link.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
                endless(&mut link, &[b'x'; 65_536])?;
            }
            "headers" => {
                link.write_all(b"HTTP/1.1 200 OK\r\n")?;
                endless(&mut link, "x: y\r\n".repeat(8_192).as_bytes())?;
            }
            "result" => {
                link.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n")?;
                endless(&mut link, &[b'x'; 65_536])?;
            }
            "midway" => {
                link.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")?;
                std::process::exit(3);
            }
            "nonsense" => link.write_all(b"\0\x01\x02 what?\r\n\r\n")?,
            "hang" => std::thread::sleep(Duration::from_secs(1_000)),
            body => link.write_all(answer(body).as_bytes())?,
        }
        previous = id;
    }
}

fn listen() {
    let path = std::env::var("FN_LISTENER").unwrap();
    let listener = UnixListener::bind(path.strip_prefix("unix:").unwrap()).unwrap();
    loop {
        let (link, _) = listener.accept().unwrap();
        std::thread::spawn(move || misbehave(link));
    }
}

#[tokio::test]
async fn a_broken_answer_fails_its_own_call_alone() {
    if std::env::var_os(ROLE).is_some() {
        return listen();
    }
    let bench = Bench::new();
    let work = listener(&bench).await;
    for (payload, expected) in [
        ("drip", "timeout"),
        ("hang", "timeout"),
        ("header", "broken function response"),
        ("headers", "broken function response"),
        ("result", "result too large: limit 64 MiB"),
        ("midway", "exit code 3"),
        ("nonsense", "broken function response"),
    ] {
        let reason = reason(beside_a_neighbour(&bench, &work, payload).await.0);
        assert!(reason.starts_with(expected), "{payload}: {reason}");
        assert_eq!(bench.text(&work, format!("after {payload}")).await, format!("after {payload}"));
    }
    bench.pool.close().await;
    nothing_is_left(&bench).await;
}

#[tokio::test]
async fn an_answer_too_many_is_nobodys() {
    let bench = Bench::new();
    let work = listener(&bench).await;
    for payload in ["twice", "late", "stale"] {
        let Verdict::Success { body, .. } = beside_a_neighbour(&bench, &work, payload).await.0 else {
            panic!("{payload} is answered");
        };
        assert_eq!(body.to_bytes().unwrap(), if payload == "stale" { "old" } else { "one" });
        sleep(Duration::from_millis(100)).await;
        assert_eq!(bench.text(&work, format!("after {payload}")).await, format!("after {payload}"));
    }
}
