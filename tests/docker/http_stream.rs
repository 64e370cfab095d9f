//! The `http-stream` format in real containers: Fn's FDK for Python, unmodified, and hot reuse.

use std::sync::Arc;
use std::time::Duration;

use afn::executor::sandbox::{Launcher as _, Sandbox};
use afn::limits::MIB;
use afn::model::Format;
use afn::seam::Body;
use afn::seam::executor::{Execution, Fault, Invocation, Verdict};
use bytes::Bytes;

use super::fixtures::{Bench, containers, eventually, log, mebibytes, reason, success, work};
use super::images;

async fn fdk(payload: impl Into<Bytes>) -> Invocation {
    let mut work = work(images::fdk_function().await, Format::HttpStream, &[], payload);
    Arc::make_mut(&mut work.version).limits.memory_mib = 192;
    work
}

async fn call(sandbox: &mut dyn Sandbox, work: &Invocation) -> Execution {
    sandbox.invoke(work).await.unwrap_or_else(|fault| panic!("{fault:?}"))
}

#[tokio::test]
async fn one_container_serves_one_call_after_another() {
    let bench = Bench::new().await;
    let mut sandbox = bench.start(&fdk("").await).await;
    for count in ["1", "2", "3"] {
        let run = call(&mut *sandbox, &fdk("count").await).await;
        assert_eq!(success(&run), count);
        // Each call has its own part of the log.
        assert_eq!(log(&run).lines().filter(|line| line.starts_with("call ")).count(), 1, "{}", log(&run));
        assert!(log(&run).contains(&format!("call {count} says count")), "{}", log(&run));
        assert!(log(&run).contains("to stderr"), "{}", log(&run));
        assert!(sandbox.is_reusable());
    }
    assert_eq!(containers(bench.work_dir.path()).await.len(), 1);
    sandbox.stop().await;
    bench.close().await;
}

#[tokio::test]
async fn a_call_knows_itself_and_bodies_are_bytes() {
    let bench = Bench::new().await;
    let mut sandbox = bench.start(&fdk("").await).await;
    let about = fdk("about").await;
    let run = call(&mut *sandbox, &about).await;
    let said: serde_json::Value = serde_json::from_slice(&success(&run)).unwrap();
    let expected = serde_json::json!({
        "call": about.call.to_string(), "attempt": "1", "greeting": "hello", "user": 1000
    });
    assert_eq!(said, expected);

    let mut payload = b"echo ".to_vec();
    payload.extend(mebibytes(5));
    let run = call(&mut *sandbox, &fdk(payload.clone()).await).await;
    assert!(success(&run) == payload, "5 MiB went in and something else came out");
    let Verdict::Success { content_type, .. } = &run.verdict else { panic!("{:?}", run.verdict) };
    assert_eq!(content_type.as_deref(), Some("application/octet-stream"));

    let run = call(&mut *sandbox, &fdk("").await).await;
    assert_eq!(success(&run), "unknown: ");
    let run = call(&mut *sandbox, &fdk("large").await).await;
    let Verdict::Success { body: body @ Body::Spool(_), .. } = &run.verdict else {
        panic!("{:?}", run.verdict)
    };
    assert_eq!(body.len(), 20 * MIB);

    let run = call(&mut *sandbox, &fdk("chatter").await).await;
    assert_eq!(success(&run), "said");
    assert!(log(&run).ends_with("----- log cut: it has more than 1048576 bytes -----\n"));
    sandbox.stop().await;
    bench.close().await;
}

#[tokio::test]
async fn an_exception_is_an_error_with_its_message_and_the_container_stays() {
    let bench = Bench::new().await;
    let mut sandbox = bench.start(&fdk("").await).await;
    let run = call(&mut *sandbox, &fdk("raise").await).await;
    assert!(reason(&run).contains("no such user: 7"), "{}", reason(&run));
    assert!(sandbox.is_reusable());
    assert_eq!(success(&call(&mut *sandbox, &fdk("count").await).await), "2");
    sandbox.stop().await;
    bench.close().await;
}

#[tokio::test]
async fn an_exit_in_the_middle_of_a_call_is_its_reason() {
    let bench = Bench::new().await;
    let mut sandbox = bench.start(&fdk("").await).await;
    let run = call(&mut *sandbox, &fdk("exit").await).await;
    assert_eq!(reason(&run), "exit code 7");
    assert!(!sandbox.is_reusable());
    sandbox.stop().await;
    bench.close().await;
}

#[tokio::test]
async fn a_hot_container_that_runs_out_of_memory_says_so() {
    let bench = Bench::new().await;
    let mut sandbox = bench.start(&fdk("").await).await;
    assert_eq!(success(&call(&mut *sandbox, &fdk("count").await).await), "1");
    let run = call(&mut *sandbox, &fdk("eat").await).await;
    assert_eq!(reason(&run), "out of memory: limit 192 MiB");
    assert!(!sandbox.is_reusable());
    sandbox.stop().await;
    bench.close().await;
}

#[tokio::test]
async fn a_timeout_ends_the_container() {
    let bench = Bench::new().await;
    let mut sleep = fdk("sleep").await;
    Arc::make_mut(&mut sleep.version).limits.timeout_ms = 1_500;
    let mut sandbox = bench.start(&sleep).await;
    let run = call(&mut *sandbox, &sleep).await;
    assert!(matches!(run.verdict, Verdict::Timeout), "{:?}", run.verdict);
    assert!(log(&run).contains("call 1 says sleep"), "{}", log(&run));
    assert!((1_500..10_000).contains(&run.took.as_millis()), "{:?}", run.took);
    assert!(!sandbox.is_reusable());
    sandbox.stop().await;
    assert!(containers(bench.work_dir.path()).await.is_empty());
    bench.close().await;
}

#[tokio::test]
async fn a_function_that_cannot_start_says_why() {
    let bench = Bench::new().await;
    let mut broken = fdk("").await;
    Arc::make_mut(&mut broken.version).command =
        ["/usr/bin/python3", "-c", "import no_such_module"].map(str::to_owned).to_vec();
    let fault = bench.fault(&broken).await;
    let Fault::Function(why) = &fault else { panic!("{fault:?}") };
    assert!(why.starts_with("ended before it listened: exit code 1: "), "{why}");
    assert!(why.ends_with("ModuleNotFoundError: No module named 'no_such_module'"), "{why}");
    let said = String::from_utf8_lossy(&broken.execution_log.take_log()).into_owned();
    assert!(said.starts_with("Traceback ") && said.contains("no_such_module"), "{said}");
    eventually("the container is gone", async || containers(bench.work_dir.path()).await.is_empty()).await;
    bench.close().await;
}

#[tokio::test]
async fn a_run_that_is_dropped_leaves_nothing() {
    let bench = Bench::new().await;
    let sleep = fdk("sleep").await;
    let launcher = &bench.launcher;
    {
        let mut running = std::pin::pin!(async {
            let mut sandbox = launcher.start(&sleep).await.unwrap_or_else(|fault| panic!("{fault:?}"));
            let _ = sandbox.invoke(&sleep).await;
        });
        let up =
            eventually("the container runs", async || !containers(bench.work_dir.path()).await.is_empty());
        tokio::select! {
            biased;
            () = &mut running => panic!("it ended by itself"),
            () = up => {}
        }
        let more = tokio::time::timeout(Duration::from_secs(2), &mut running);
        assert!(more.await.is_err());
    }
    eventually("the container is gone", async || containers(bench.work_dir.path()).await.is_empty()).await;
    bench.close().await;
}

#[tokio::test]
async fn the_pool_keeps_containers_hot_and_closes_them() {
    use afn::executor::pool::Pool;
    use afn::seam::Executor as _;
    use afn::seam::clock::SystemClock;

    let Bench { launcher, work_dir } = Bench::new().await;
    let pool = Pool::new(Arc::new(launcher), Arc::new(SystemClock), 4);
    for count in ["1", "2"] {
        let run = pool.run(fdk("count").await).await.unwrap_or_else(|fault| panic!("{fault:?}"));
        assert_eq!(success(&run), count);
    }
    // A lost container is replaced by a fresh one.
    for name in containers(work_dir.path()).await {
        super::fixtures::docker().await.kill_container(name.trim_start_matches('/'), None).await.unwrap();
    }
    let run = pool.run(fdk("count").await).await.unwrap_or_else(|fault| panic!("{fault:?}"));
    assert_eq!(success(&run), "1");
    pool.close().await;
    assert!(containers(work_dir.path()).await.is_empty());
}

/// The worker is root here, beside Docker: it may mount.
#[tokio::test]
async fn the_folder_that_is_shared_with_the_worker_is_small_and_holds_no_programs() {
    let bench = Bench::new().await;
    let fill = "dd if=/dev/zero of=/tmp/iofs/x bs=1k count=1000 2>/dev/null; n=$(stat -c %s /tmp/iofs/x)
                echo \"wrote $n: $(grep ' /tmp/iofs ' /proc/mounts)\"; exit 3";
    let filler = work(images::busybox().await, Format::HttpStream, &["/bin/sh", "-c", fill], "");
    let Fault::Function(why) = bench.fault(&filler).await else { panic!("it is the function's fault") };
    let (_, said) = why.split_once("wrote ").unwrap_or_else(|| panic!("{why}"));
    let (bytes, mount) = said.split_once(": ").unwrap_or_else(|| panic!("{why}"));
    assert!(bytes.parse::<u64>().unwrap() <= 64 * 1024, "{why}");
    for option in ["tmpfs", "nosuid", "nodev", "noexec", "size=64k"] {
        assert!(mount.contains(option), "{option} is missing: {why}");
    }
    bench.close().await;
}
