//! The process executor with functions that stay, format `http-stream`. The function is this program itself, started
//! again for one test, on the serving half of the boilerplate for Rust.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use afn::model::Format;
use afn::seam::executor::{Calls, Execution, Fault, Invocation, Verdict};
use afn::seam::{ExecutionLog, Executor as _};
use tokio::time::sleep;

use crate::support::child::name_of;

use super::bench::Bench;
use super::executor::{all_gone, is_alive, until, until_two_are_in};

#[path = "../../templates/rust/serve.rs"]
mod serve;

use serve::{Answer, Call};

const ROLE: &str = "AFN_TEST_FUNCTION";
const TEST: &str = "one_process_serves_call_after_call";

/// Does what the payload says.
fn handle(call: &Call) -> Result<Answer, Box<dyn std::error::Error>> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let count = CALLS.fetch_add(1, Relaxed) + 1;
    let text = String::from_utf8_lossy(&call.body);
    match text.split_once(' ').unwrap_or((&text, "")) {
        ("count", _) => Ok(Answer::json(format!("{{\"pid\":{},\"calls\":{count}}}", std::process::id()))),
        ("attempt", _) => Ok(Answer::text(format!("{} {}", call.id, call.attempt))),
        ("fail", why) => Err(why.into()),
        ("panic", _) => panic!("as asked"),
        ("exit", code) => {
            writeln!(std::io::stderr(), "good bye")?;
            std::process::exit(code.parse()?)
        }
        ("say", words) => {
            writeln!(std::io::stdout(), "out {words}")?;
            writeln!(std::io::stderr(), "err {words}")?;
            Ok(Answer::text("said"))
        }
        ("shout", bytes) => {
            std::io::stdout().write_all(&vec![b'!'; bytes.parse()?])?;
            Ok(Answer::text("shouted"))
        }
        ("doze", ms) => {
            thread::sleep(Duration::from_millis(ms.parse()?));
            Ok(Answer::text("awake"))
        }
        ("mutter", file) => {
            let file = file.to_owned();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(50));
                let _ = writeln!(std::io::stdout(), "between calls");
                let _ = fs::write(file, "");
            });
            Ok(Answer::text("later"))
        }
        ("leave", _) => {
            thread::spawn(|| {
                thread::sleep(Duration::from_millis(50));
                std::process::exit(9);
            });
            Ok(Answer::text(std::process::id().to_string()))
        }
        ("hang", dir) => {
            let child = Command::new("sleep").arg("1000").spawn()?;
            fs::write(Path::new(dir).join(child.id().to_string()), "")?;
            fs::write(Path::new(dir).join(std::process::id().to_string()), "")?;
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        }
        _ => Ok(Answer::bytes(call.body.clone())),
    }
}

/// This program as a function; `before` is shell that runs first.
async fn itself(bench: &Bench, before: &str) -> Invocation {
    let program = std::env::current_exe().unwrap();
    let test = name_of(module_path!(), TEST);
    let script = format!("{before}\nexec {} --exact {test} --nocapture", program.display());
    let command = ["sh", "func.sh"];
    let mut work = bench.function(Format::HttpStream, &command, &[("func.sh", &script)]).await;
    Arc::make_mut(&mut work.function).config.insert(ROLE.to_owned(), "1".to_owned());
    work
}

#[tokio::test]
async fn one_process_serves_call_after_call() {
    if std::env::var_os(ROLE).is_some() {
        panic!("served no more: {:?}", serve::forever(handle));
    }
    let bench = Bench::new();
    let work = itself(&bench, "").await;
    let first = bench.text(&work, "count").await;
    assert!(first.ends_with("\"calls\":1}"), "{first}");
    for calls in 2..=20 {
        let expected = first.replace("\"calls\":1}", &format!("\"calls\":{calls}}}"));
        assert_eq!(bench.text(&work, "count").await, expected);
    }
    let run = bench.run(&work, "attempt").await.unwrap();
    let Verdict::Success { content_type, body } = run.verdict else { panic!("{:?}", run.verdict) };
    assert_eq!(content_type.as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(body.to_bytes().unwrap(), format!("{} 1", work.call));

    // Fn's FDKs have their connections closed after a second; the process stays.
    sleep(Duration::from_millis(1_100)).await;
    assert_eq!(bench.text(&work, "count").await, first.replace("\"calls\":1}", "\"calls\":22}"));
    bench.pool.close().await;
}

#[tokio::test]
async fn any_bytes_go_in_and_come_out() {
    let bench = Bench::new();
    let work = itself(&bench, "").await;
    let large: Vec<u8> = (0..5 << 20).map(|n| (n % 251) as u8).collect();
    for payload in [Vec::new(), (0..=255).collect(), "grüße ✓ 日本".into(), large] {
        assert!(bench.answer(&work, payload.clone()).await == payload);
    }
}

#[tokio::test]
async fn a_log_belongs_to_its_call() {
    let bench = Bench::new();
    let work = itself(&bench, "echo starting").await;
    let Execution { log, .. } = bench.run(&work, "say one").await.unwrap();
    assert_eq!(log, "out one\nerr one\n");
    let muttered = bench.work_dir().join("muttered");
    let Execution { log, .. } = bench.run(&work, format!("mutter {}", muttered.display())).await.unwrap();
    assert_eq!(log, "");
    until("it has muttered", || muttered.exists()).await;
    let Execution { log, .. } = bench.run(&work, "say two").await.unwrap();
    assert_eq!(log, "out two\nerr two\n", "what was said between the calls belongs to neither");
}

#[tokio::test]
async fn a_failed_call_says_why_and_the_process_stays() {
    let bench = Bench::new();
    let work = itself(&bench, "").await;
    let first = bench.text(&work, "count").await;
    let (reason, log) = bench.failure(&work, "fail no such user ✓").await;
    assert_eq!((reason.as_str(), log.as_str()), ("no such user ✓", "failed: no such user ✓\n"));
    let (reason, log) = bench.failure(&work, "panic").await;
    assert_eq!(reason, "it panicked, the log tells where");
    assert!(log.contains("as asked"), "{log}");
    assert_eq!(bench.text(&work, "count").await, first.replace("\"calls\":1}", "\"calls\":4}"));
}

#[tokio::test]
async fn a_process_that_ends_fails_its_call_and_no_other() {
    let bench = Bench::new();
    let work = itself(&bench, "").await;
    let first = bench.text(&work, "count").await;
    let (reason, log) = bench.failure(&work, "exit 3").await;
    assert_eq!((reason.as_str(), log.as_str()), ("exit code 3", "good bye\n"));
    let second = bench.text(&work, "count").await;
    assert!(second != first && second.ends_with("\"calls\":1}"), "{second}");
    assert_eq!(bench.failure(&work, "exit 0").await.0, "exit code 0 before an answer");

    let pid = bench.text(&work, "leave").await;
    until("it has left", || !is_alive(&pid)).await;
    assert!(bench.text(&work, "count").await.ends_with("\"calls\":1}"), "a fresh one, and no call lost");
}

#[tokio::test]
async fn a_timeout_kills_the_whole_group_and_the_next_call_gets_a_fresh_one() {
    let bench = Bench::new();
    let mut work = itself(&bench, "").await;
    Arc::make_mut(&mut work.version).limits.timeout_ms = 5_000;
    let dir = tempfile::tempdir().unwrap();
    let run = bench.run(&work, format!("hang {}", dir.path().display())).await.unwrap();
    assert!(matches!(run.verdict, Verdict::Timeout), "{:?}", run.verdict);
    all_gone(dir.path()).await;
    assert!(bench.text(&work, "count").await.ends_with("\"calls\":1}"));
}

#[tokio::test]
async fn an_abandoned_call_is_killed() {
    let bench = Bench::new();
    let work = itself(&bench, "").await;
    let dir = tempfile::tempdir().unwrap();
    tokio::select! { biased;
        done = bench.run(&work, format!("hang {}", dir.path().display())) => panic!("{done:?}"),
        () = until_two_are_in(dir.path()) => {}
    }
    all_gone(dir.path()).await;
    assert!(bench.text(&work, "count").await.ends_with("\"calls\":1}"));
}

#[tokio::test]
async fn a_socket_may_be_a_link_as_fdks_make_it() {
    let bench = Bench::new();
    let before = "path=${FN_LISTENER#unix:}\n\
                  ln -s phony.sock $path\n\
                  export FN_LISTENER=unix:${path%lsnr.sock}phony.sock";
    let work = itself(&bench, before).await;
    assert_eq!(bench.text(&work, "hello").await, "hello");
}

#[tokio::test]
async fn what_never_listens_says_why() {
    let bench = Bench::new();
    let shell = async |script: &str| {
        bench.function(Format::HttpStream, &["sh", "func.sh"], &[("func.sh", script)]).await
    };
    let work = shell("echo begin; echo 'ModuleNotFoundError: no module named x' >&2; exit 4").await;
    let why = bench.fault(&work).await;
    assert_eq!(why, "ended before it listened: exit code 4: ModuleNotFoundError: no module named x");
    let work = shell("ln -s /tmp/elsewhere.sock ${FN_LISTENER#unix:}; sleep 1000").await;
    let why = bench.fault(&work).await;
    assert_eq!(why, "lsnr.sock is a link to `/tmp/elsewhere.sock`, which leads out of its folder");
}

/// Calls that are pulled, and what came of them.
struct Pulled {
    work: Invocation,
    payloads: std::vec::IntoIter<String>,
    ended: Vec<Result<Execution, Fault>>,
}

impl Calls for Pulled {
    fn next(&mut self) -> Option<Invocation> {
        let payload = self.payloads.next()?.into();
        Some(Invocation { payload, execution_log: ExecutionLog::default(), ..self.work.clone() })
    }

    fn ended(&mut self, run: Result<Execution, Fault>) {
        self.ended.push(run);
    }
}

/// Quick ones and slow ones, small and large, silent and loud, and those that take their process along.
async fn in_a_row() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let mut work = itself(&bench, "").await;
    Arc::make_mut(&mut work.version).limits.timeout_ms = 5_000;
    let large = "0123456789abcdef".repeat(3 << 16);
    let hang = format!("hang {}", dir.path().display());
    let (text, loud) = (|text: &str| text.to_owned(), "!".repeat(300_000));
    let mut expected: Vec<(String, Result<String, &str>, String)> = Vec::new();
    for round in 0..40 {
        let told = format!("attempt {round}");
        expected.push((told, Ok(format!("{} 1", work.call)), String::new()));
        expected.push((format!("say {round}"), Ok(text("said")), format!("out {round}\nerr {round}\n")));
    }
    expected.extend([
        (large.clone(), Ok(large.clone()), String::new()),
        (text("quick"), Ok(text("quick")), String::new()),
        (text("shout 300000"), Ok(text("shouted")), loud),
        (text("quick"), Ok(text("quick")), String::new()),
        (text("doze 30"), Ok(text("awake")), String::new()),
        (text("quick"), Ok(text("quick")), String::new()),
        (text("fail so"), Err("so"), text("failed: so\n")),
        (text("quick"), Ok(text("quick")), String::new()),
        (text("exit 3"), Err("exit code 3"), text("good bye\n")),
        (text("quick"), Ok(text("quick")), String::new()),
        (text("quick"), Ok(text("quick")), String::new()),
        (hang, Err("timeout"), String::new()),
        (text("quick"), Ok(text("quick")), String::new()),
    ]);
    let payloads: Vec<String> = expected.iter().map(|(payload, ..)| payload.clone()).collect();
    let mut calls = Pulled { work, payloads: payloads.into_iter(), ended: Vec::new() };
    let first = calls.next().unwrap();
    bench.pool.run_many(first, &mut calls).await;
    assert_eq!(calls.ended.len(), expected.len());
    for ((payload, answer, log), ended) in expected.into_iter().zip(calls.ended) {
        let Execution { verdict, log: execution_log, .. } = ended.unwrap();
        let said = match verdict {
            Verdict::Success { body, .. } => {
                Ok(String::from_utf8(body.to_bytes().unwrap().to_vec()).unwrap())
            }
            Verdict::Error { reason } | Verdict::Busy { reason, .. } => Err(reason),
            Verdict::Timeout => Err("timeout".to_owned()),
        };
        let name: String = payload.chars().take(20).collect();
        assert!(said == answer.map_err(str::to_owned), "{name}");
        assert!(execution_log == log, "{name}: {} bytes of log, not {}", execution_log.len(), log.len());
    }
    all_gone(dir.path()).await;
    bench.pool.close().await;
}

#[tokio::test]
async fn calls_in_a_row_are_each_their_own() {
    in_a_row().await;
}

/// Where a thread may be kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_a_row_are_each_their_own_on_a_thread_of_their_own() {
    in_a_row().await;
}

#[tokio::test]
async fn calls_at_once_have_processes_of_their_own() {
    let bench = Bench::new();
    let work = itself(&bench, "").await;
    let answers = futures_util::future::join_all((0..4).map(|_| bench.text(&work, "count"))).await;
    let mut pids: Vec<&str> = answers.iter().map(|answer| answer.split_once(',').unwrap().0).collect();
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 4, "{answers:?}");
}
