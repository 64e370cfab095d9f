//! The process executor with shell functions, format `default`.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use afn::executor::sandbox::Launcher as _;
use afn::executor::{BatchConfig, OwnBatch, OwnBatchOnly, ProcessLauncher};
use afn::layout::Key;
use afn::model::{BatchId, CallId, Digest, Format, Source, Time, machine};
use afn::seam::Executor as _;
use afn::seam::executor::{Execution, Fault, Invocation, Mismatch, Verdict};
use afn::seam::store::{PutObject, Store as _};
use tokio::time::{Instant, sleep, timeout};

use super::bench::{Bench, options};
use crate::support::PATIENCE;

const MIB: usize = 1 << 20;

async fn shell(bench: &Bench, script: &str) -> Invocation {
    bench.function(Format::Default, &["sh", "func.sh"], &[("func.sh", script)]).await
}

/// A zombie is dead, whoever has yet to collect it.
pub fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_zombie = stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('Z'));
    // The first thread of a process is a zombie while the others still end.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, |tasks| tasks.count());
    !is_zombie || threads > 1
}

/// Until nothing that has written its number into the folder is left.
pub async fn all_gone(dir: &Path) {
    let pids: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(pids.len() >= 2, "parent and child should have been there: {pids:?}");
    until("all are gone", || !pids.iter().any(|pid| is_alive(pid))).await;
}

pub async fn until_two_are_in(dir: &Path) {
    until("two are in", || fs::read_dir(dir).unwrap().count() >= 2).await;
}

pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "still not: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn stdin_becomes_stdout_and_stderr_is_the_log() {
    let bench = Bench::new();
    let work = shell(&bench, "echo careful >&2; cat; echo \" for $FN_CALL_ID, attempt $AFN_ATTEMPT\"").await;
    let run = bench.run(&work, "answer").await.unwrap();
    let Verdict::Success { body, content_type: None } = run.verdict else { panic!("{:?}", run.verdict) };
    assert_eq!(body.to_bytes().unwrap(), format!("answer for {}, attempt 1\n", work.call));
    assert_eq!(run.log, "careful\n");
    assert!(run.took > Duration::ZERO && run.took < PATIENCE);
    assert!(run.started_at.0 > 1_700_000_000_000);
}

#[tokio::test]
async fn the_environment_is_clean_and_has_config() {
    let bench = Bench::new();
    let mut work = shell(&bench, "env | sort; ls -d \"$HOME\" \"$TMPDIR\" >/dev/null && cat here").await;
    Arc::make_mut(&mut work.app_config).insert("GREETING".to_owned(), "hello there".to_owned());
    Arc::make_mut(&mut work.function).config.insert("LANG".to_owned(), "own".to_owned());
    work.headers.insert("x-trace".to_owned(), "7".to_owned());
    let text = bench.run(&work, "").await.unwrap();
    let Verdict::Error { .. } = text.verdict else { panic!("there is no file `here`") };

    let work = Invocation { version: shell(&bench, "env | sort").await.version, ..work };
    let text = bench.text(&work, "").await;
    let mut names: Vec<&str> = text.lines().map(|line| line.split_once('=').unwrap().0).collect();
    // What a shell adds by itself.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    let mut expected = vec![
        "AFN_ATTEMPT",
        "FN_APP_ID",
        "FN_APP_NAME",
        "FN_CALL_ID",
        "FN_DEADLINE",
        "FN_FN_ID",
        "FN_FN_NAME",
        "FN_FORMAT",
        "FN_HEADER_X_TRACE",
        "FN_MEMORY",
        "FN_METHOD",
        "FN_PATH",
        "FN_REQUEST_URL",
        "FN_TYPE",
        "GREETING",
        "HOME",
        "LANG",
        "PATH",
        "TMPDIR",
    ];
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
    assert!(text.contains("GREETING=hello there\n") && text.contains("LANG=own\n"));
}

#[tokio::test]
async fn failures_say_how_they_ended() {
    let bench = Bench::new();
    let work = shell(&bench, "echo half; echo why >&2; exit 3").await;
    assert_eq!(bench.failure(&work, "").await, ("exit code 3".to_owned(), "why\n".to_owned()));
    let work = shell(&bench, "kill -SEGV $$").await;
    assert_eq!(bench.failure(&work, "").await.0, "killed by signal 11");
}

#[tokio::test]
async fn any_bytes_go_in_and_come_out() {
    let bench = Bench::new();
    let work = shell(&bench, "cat").await;
    let all: Vec<u8> = (0..=255).collect();
    for payload in [Vec::new(), all, "grüße ✓ 日本".into()] {
        assert_eq!(bench.answer(&work, payload.clone()).await, payload);
    }
}

#[tokio::test]
async fn five_mebibytes_go_both_ways_at_once() {
    let bench = Bench::new();
    let payload: Vec<u8> = (0..5 * MIB).map(|n| (n % 251) as u8).collect();
    // `tee` fills stdout and stderr while stdin is still being written.
    let work = shell(&bench, "tee /dev/stderr").await;
    let run = bench.run(&work, payload.clone()).await.unwrap();
    let Verdict::Success { body, .. } = run.verdict else { panic!("{:?}", run.verdict) };
    assert!(body.to_bytes().unwrap() == payload, "five mebibytes came back changed");
    assert!(run.log.len() > MIB && run.log.len() < MIB + 200, "cut at 1 MiB, and says so");
    assert!(run.log.ends_with(b"bytes -----\n"));
}

#[tokio::test]
async fn a_function_need_not_read_its_payload() {
    let bench = Bench::new();
    let payload = vec![7; 5 * MIB];
    let work = shell(&bench, "exec <&-; echo done").await;
    assert_eq!(bench.text(&work, payload.clone()).await, "done\n");
    let work = shell(&bench, "exit 5").await;
    assert_eq!(bench.failure(&work, payload).await.0, "exit code 5");
}

#[tokio::test]
async fn what_a_function_leaves_running_neither_delays_nor_survives_its_call() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let work =
        shell(&bench, &format!("sleep 1000 & touch {0}/$$ {0}/$!; echo done", dir.path().display())).await;
    assert_eq!(bench.text(&work, "").await, "done\n");
    all_gone(dir.path()).await;
}

#[tokio::test]
async fn a_timeout_kills_the_whole_group() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let script = format!("echo begun >&2; sleep 1000 & touch {0}/$$ {0}/$!; wait", dir.path().display());
    let mut work = shell(&bench, &script).await;
    Arc::make_mut(&mut work.version).limits.timeout_ms = 4_000;
    let run = bench.run(&work, "").await.unwrap();
    assert!(matches!(run.verdict, Verdict::Timeout), "{:?}", run.verdict);
    assert_eq!(run.log, "begun\n");
    assert!(run.took >= Duration::from_secs(4));
    all_gone(dir.path()).await;
}

#[tokio::test]
async fn an_abandoned_call_is_killed() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let work = shell(&bench, &format!("sleep 1000 & touch {0}/$$ {0}/$!; wait", dir.path().display())).await;
    tokio::select! { biased;
        done = bench.run(&work, "") => panic!("{done:?}"),
        () = until_two_are_in(dir.path()) => {}
    }
    all_gone(dir.path()).await;
    bench.pool.close().await;
}

#[tokio::test]
async fn close_kills_what_runs() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let work = shell(&bench, &format!("sleep 1000 & touch {0}/$$ {0}/$!; wait", dir.path().display())).await;
    let (done, ()) = tokio::join!(bench.run(&work, ""), async {
        until_two_are_in(dir.path()).await;
        bench.pool.close().await;
    });
    assert!(matches!(done, Err(Fault::Worker(_))), "{done:?}");
    all_gone(dir.path()).await;
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let bench = Bench::new();
    let files = [("data", "\u{7f}ELF nonsense"), ("script", "#!/no/such/interpreter\n")];
    for (command, expected) in [
        (
            vec!["no-such-program"],
            "`no-such-program` is not installed on this worker: install it, or deploy the function as an image",
        ),
        (vec!["./absent"], "`./absent` is not in the function's folder"),
        (vec!["./data"], "`./data` is not executable"),
        (vec![], "the version names no command; give `entrypoint` or `cmd`"),
    ] {
        for format in [Format::Default, Format::HttpStream] {
            let work = bench.function(format, &command, &files).await;
            assert_eq!(bench.fault(&work).await, expected);
        }
    }
}

#[tokio::test]
async fn a_script_whose_interpreter_is_missing_is_told_from_a_missing_script() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("script"), "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(dir.path().join("script"), fs::Permissions::from_mode(0o755)).unwrap();
    let work = bench.folder(Format::HttpStream, &["./script"], dir.path()).await;
    let why = bench.fault(&work).await;
    assert!(why.contains("the interpreter or loader that it names is not on this worker"), "{why}");
}

#[tokio::test]
async fn an_archive_is_fetched_once_and_checked() {
    let bench = Bench::new();
    let work = shell(&bench, "cat part && echo \" of it\"").await;
    let Source::Archive { sha256, .. } = &work.version.source else { panic!() };
    let unpacked = bench.work_dir().join("archives").join(format!("{sha256}.app"));
    let (first, second) = tokio::join!(bench.failure(&work, ""), bench.failure(&work, ""));
    assert_eq!((first.0, second.0), ("exit code 1".to_owned(), "exit code 1".to_owned()));
    fs::write(unpacked.join("part"), "all").unwrap();
    let key = Key::Archive(work.app.clone(), sha256.clone());
    bench.store.delete(&[key]).await.unwrap();
    assert_eq!(bench.text(&work, "").await, "all of it\n", "from the folder, not from the store");
    // Another app that names the digest has no such archive.
    let stranger = Invocation { app: "stranger".parse().unwrap(), ..work.clone() };
    let why = bench.fault(&stranger).await;
    assert!(why.contains("archive not found: `apps/stranger/"), "{why}");

    // Another worker, which has to fetch it and cannot.
    let other = Bench::new();
    let why = other.fault(&work).await;
    assert!(why.contains("archive not found"), "{why}");
    let mut damaged = other.function(Format::Default, &["true"], &[("f", "x")]).await;
    let Source::Archive { bytes, .. } = &mut Arc::make_mut(&mut damaged.version).source else { panic!() };
    *bytes -= 1;
    let why = other.fault(&damaged).await;
    assert!(why.contains("is not what its name says"), "{why}");
    let left: Vec<_> = fs::read_dir(other.work_dir().join("archives")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// 40 entries of 608 bytes in all would be 80 000 folders.
#[tokio::test]
async fn an_archive_that_no_worker_can_unpack_makes_none_sick() {
    let bench = Bench::new();
    let mut work = shell(&bench, "cat").await;
    for path in [format!("{}f", "a/".repeat(1_900)), "f\0g".to_owned(), "n".repeat(300)] {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), Default::default()));
        for number in 0..40 {
            let long = format!("{number}{path}\0");
            for (kind, body) in
                [(tar::EntryType::GNULongName, long.as_bytes()), (tar::EntryType::Regular, b"")]
            {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(kind);
                header.set_size(body.len() as u64);
                header.set_cksum();
                tar.append(&header, body).unwrap();
            }
        }
        let packed = tar.into_inner().unwrap().finish().unwrap();
        let sha256 = Digest::of(&packed);
        Arc::make_mut(&mut work.version).source =
            Source::Archive { sha256: sha256.clone(), bytes: packed.len() as u64 };
        bench.store.put(&Key::Archive(work.app.clone(), sha256), PutObject::create(packed)).await.unwrap();
        let why = bench.fault(&work).await;
        assert!(why.starts_with("cannot unpack archive"), "{why}");
        let left: Vec<_> = fs::read_dir(bench.work_dir().join("archives")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// A worker may be killed while it unpacks; what it had unpacked may be what fills the disk.
#[tokio::test]
async fn a_probe_removes_what_was_unpacked_in_part() {
    let bench = Bench::new();
    let left = bench.work_dir().join("archives/.unpack-killed/half");
    fs::create_dir_all(&left).unwrap();
    bench.pool.probe().await.unwrap();
    assert!(!left.parent().unwrap().exists());
}

#[tokio::test]
async fn many_workers_unpack_into_one_folder() {
    let bench = Bench::new();
    let work = shell(&bench, "cat").await;
    let launchers: Vec<ProcessLauncher> =
        (0..8).map(|_| ProcessLauncher::new(options(bench.store.clone(), bench.work_dir()))).collect();
    let started =
        futures_util::future::join_all(launchers.iter().map(|launcher| launcher.start(&work))).await;
    for sandbox in started {
        let mut sandbox = sandbox.unwrap();
        let Execution { verdict: Verdict::Success { .. }, .. } = sandbox.invoke(&work).await.unwrap() else {
            panic!()
        };
        sandbox.stop().await;
    }
    let left: Vec<_> = fs::read_dir(bench.work_dir().join("archives")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn a_full_work_folder_is_the_workers_fault() {
    let bench = Bench::new();
    let work = shell(&bench, "cat").await;
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("a file");
    fs::write(&blocked, "").unwrap();
    let launcher = ProcessLauncher::new(options(bench.store.clone(), &blocked));
    let why = launcher.probe().await.unwrap_err();
    assert!(why.contains("cannot keep archives in"), "{why}");
    let Err(Fault::Worker(why)) = launcher.start(&work).await.map(drop) else { panic!("no worker's fault") };
    assert!(why.contains("cannot keep archives in"), "{why}");
    bench.pool.probe().await.unwrap();
}

#[tokio::test]
async fn what_suits_is_known_without_starting_it() {
    let bench = Bench::new();
    let mut version = (*shell(&bench, "cat").await.version).clone();
    bench.pool.suits(&version).unwrap();
    let (os, arch) = machine();
    version.os = Some(os.to_owned());
    version.arch = Some(arch.to_owned());
    bench.pool.suits(&version).unwrap();
    version.arch = Some("s390x".to_owned());
    let expected = Mismatch(format!("built for {os}/s390x, this worker runs {os}/{arch}"));
    assert_eq!(bench.pool.suits(&version).unwrap_err(), expected);
    version.source = Source::Image { reference: "me/f:1".to_owned(), digest: None };
    let expected = Mismatch("image `me/f:1` needs a worker with Docker".to_owned());
    assert_eq!(bench.pool.suits(&version).unwrap_err(), expected);
}

#[tokio::test]
async fn time_is_counted_from_the_payload_on() {
    let bench = Bench::new();
    let work = shell(&bench, "sleep 0.3").await;
    let run = timeout(PATIENCE, bench.run(&work, "")).await.unwrap().unwrap();
    assert!(run.took >= Duration::from_millis(250), "{:?}", run.took);
}

/// The worker of `batch run` in a remote context: a hot process of its function is not given to calls of other users either.
#[tokio::test]
async fn a_batchs_own_worker_runs_no_other_calls() {
    let bench = Bench::new();
    let own = shell(&bench, "cat; echo $GREETING").await;
    let batch = BatchId::new(Time(1), 7 << 40);
    let own = Invocation { call: batch.call(1), ..own };
    let mut config = BatchConfig::default();
    config.function.insert("GREETING".to_owned(), "published".to_owned());
    let only = OwnBatch::new(own.app.clone(), own.function.name.clone(), (*own.version).clone(), config);
    only.begin(batch);
    let Bench { pool, .. } = bench;
    let only = OwnBatchOnly { executor: Arc::new(pool), own: Arc::new(only) };
    let run = only.run(Invocation { payload: b"mine ".to_vec().into(), ..own.clone() }).await.unwrap();
    let Verdict::Success { body, .. } = run.verdict else { panic!("{:?}", run.verdict) };
    assert_eq!(body.to_bytes().unwrap(), "mine published\n");

    let expected = Mismatch("this worker runs the calls of its own batch only".to_owned());
    let other = BatchId::new(Time(1), 8 << 40);
    for foreign in [
        Invocation { call: CallId::single(Time(1), 7), ..own.clone() },
        Invocation { call: other.call(1), ..own.clone() },
        Invocation { app: "other".parse().unwrap(), ..own.clone() },
    ] {
        assert_eq!(only.run(foreign).await.unwrap_err(), Fault::Mismatch(expected.clone()));
    }
    only.close().await;
}
