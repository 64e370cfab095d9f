//! The `default` format in real containers.

use std::sync::Arc;

use afn::executor::sandbox::Launcher as _;
use afn::limits::{LOG_BYTES_MAX, MIB};
use afn::model::{Digest, Source};
use afn::seam::Body;
use afn::seam::executor::{Fault, Mismatch, Verdict};

use super::fixtures::{Bench, log, mebibytes, reason, script, success};

#[tokio::test]
async fn stdin_becomes_stdout_and_stderr_the_log() {
    let bench = Bench::new().await;
    let run = bench.call(&script("echo started >&2; tr a-z A-Z; echo done >&2", "payload ✓").await).await;
    assert_eq!(success(&run), "PAYLOAD ✓");
    assert_eq!(log(&run), "started\ndone\n");
    assert!(run.took < crate::support::PATIENCE);

    let empty = bench.call(&script("wc -c", "").await).await;
    assert_eq!(success(&empty), "0\n");
    bench.close().await;
}

#[tokio::test]
async fn the_call_and_the_config_are_in_the_environment() {
    let bench = Bench::new().await;
    let work = script("echo $FN_CALL_ID $AFN_ATTEMPT $GREETING $FN_MEMORY $FN_HEADER_CONTENT_TYPE", "").await;
    let run = bench.call(&work).await;
    assert_eq!(success(&run), format!("{} 1 hello 128 text/plain\n", work.call));
    bench.close().await;
}

#[tokio::test]
async fn bodies_are_bytes_whatever_their_size() {
    let bench = Bench::new().await;
    let all: Vec<u8> = (0..=255).collect();
    let run = bench.call(&script("cat", all.clone()).await).await;
    assert_eq!(success(&run), all);

    let payload = mebibytes(5);
    let run = bench.call(&script("cat", payload.clone()).await).await;
    assert!(success(&run) == payload, "5 MiB went in and something else came out");

    // Past 1 MiB a result lies in a file, not in memory.
    let run = bench.call(&script("head -c 20971520 /dev/zero", "").await).await;
    let Verdict::Success { body: body @ Body::Spool(_), .. } = &run.verdict else {
        panic!("{:?}", run.verdict);
    };
    assert_eq!(body.len(), 20 * MIB);

    let run = bench.call(&script("head -c 70000000 /dev/zero", "").await).await;
    assert_eq!(reason(&run), "result too large: limit 64 MiB");
    bench.close().await;
}

#[tokio::test]
async fn a_payload_that_nobody_reads_harms_nobody() {
    let bench = Bench::new().await;
    let run = bench.call(&script("exec 0<&-; echo no thanks", mebibytes(5)).await).await;
    assert_eq!(success(&run), "no thanks\n");
    bench.close().await;
}

#[tokio::test]
async fn how_it_ended_is_the_reason() {
    let bench = Bench::new().await;
    let run = bench.call(&script("echo oops >&2; exit 3", "").await).await;
    assert_eq!((reason(&run), &*log(&run)), ("exit code 3", "oops\n"));
    let run = bench.call(&script("kill -SEGV $$", "").await).await;
    assert_eq!(reason(&run), "exit code 139 (SIGSEGV)");
    let run = bench.call(&script("kill -KILL $$", "").await).await;
    assert_eq!(reason(&run), "exit code 137 (SIGKILL)");
    bench.close().await;
}

#[tokio::test]
async fn memory_has_a_limit_and_the_reason_says_so() {
    let bench = Bench::new().await;
    let mut work = script("tail /dev/zero", "").await;
    Arc::make_mut(&mut work.version).limits.memory_mib = 32;
    let run = bench.call(&work).await;
    assert_eq!(reason(&run), "out of memory: limit 32 MiB");
    bench.close().await;
}

#[tokio::test]
async fn time_runs_out_and_the_container_is_gone() {
    let bench = Bench::new().await;
    let mut work = script("echo begun >&2; sleep 100", "").await;
    Arc::make_mut(&mut work.version).limits.timeout_ms = 1_500;
    let run = bench.call(&work).await;
    assert!(matches!(run.verdict, Verdict::Timeout), "{:?}", run.verdict);
    assert_eq!(log(&run), "begun\n");
    assert!((1_500..10_000).contains(&run.took.as_millis()), "{:?}", run.took);
    assert!(super::fixtures::containers(bench.work_dir.path()).await.is_empty());
    bench.close().await;
}

#[tokio::test]
async fn a_long_log_is_cut_and_says_so() {
    let bench = Bench::new().await;
    let run = bench.call(&script("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo fine", "").await).await;
    assert_eq!(success(&run), "fine\n");
    let log = log(&run);
    assert!(
        log.ends_with("----- log cut: it has more than 1048576 bytes -----\n"),
        "{}",
        &log[log.len() - 99..]
    );
    assert!(log.len() < LOG_BYTES_MAX as usize + 100);
    bench.close().await;
}

#[tokio::test]
async fn the_sandbox_is_closed() {
    let bench = Bench::new().await;
    let probe = "
        id -u; id -g
        touch /root-is-writable 2>/dev/null && echo writable root
        touch /tmp/x && echo tmp works
        ls /sys/class/net
        grep CapEff /proc/self/status
        grep NoNewPrivs /proc/self/status
        ulimit -n
        df -m /tmp | tail -1 | awk '{print $2}'
        cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null
        true
    ";
    let mut work = script(probe, "").await;
    Arc::make_mut(&mut work.version).limits.tmpfs_mib = 7;
    let run = bench.call(&work).await;
    let expected = "1000\n1000\ntmp works\nlo\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n1024\n7\n256\n";
    assert_eq!(success(&run), expected);

    let fork_bomb = "n=0; while [ $n -lt 400 ]; do sleep 20 & n=$((n+1)); done; echo all started";
    let run = bench.call(&script(fork_bomb, "").await).await;
    assert!(reason(&run).starts_with("exit code"), "{:?}", run.verdict);
    assert!(log(&run).contains("can't fork"), "{}", log(&run));
    bench.close().await;
}

#[tokio::test]
async fn the_network_is_there_when_asked_for() {
    let bench = Bench::new().await;
    let mut work = script("ls /sys/class/net", "").await;
    Arc::make_mut(&mut work.version).limits.network = true;
    let run = bench.call(&work).await;
    assert!(success(&run).windows(4).any(|word| word == b"eth0"), "{run:?}");
    bench.close().await;
}

/// The worker is root here, beside Docker.
#[tokio::test]
async fn a_network_reaches_neither_metadata_nor_this_machine_nor_other_containers() {
    let bench = Bench::new().await;
    assert_eq!(
        bench.launcher.leaves_metadata_open(),
        None,
        "these tests need root, iptables, and Docker beside them"
    );
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let with_network = async |text: &str| {
        let mut work = script(text, "").await;
        Arc::make_mut(&mut work.version).limits.network = true;
        work
    };
    let neighbour =
        with_network("ip -4 -o addr show dev eth0; nc -l -p 7777 -e echo reached & sleep 4").await;
    let attack = format!(
        "gateway=$(ip route | sed -n 's/default via \\([0-9.]*\\).*/\\1/p'); [ -n \"$gateway\" ] || exit 9
         sleep 1
         for target in \"$gateway {port}\" '169.254.169.254 80' '169.254.170.2 80' '168.63.129.16 80'; do
             timeout 2 nc -w 1 $target </dev/null >/dev/null 2>&1 && echo \"reached $target\"
         done
         prefix=${{gateway%.*}}
         for last in 2 3 4 5 6; do
             timeout 1 nc -w 1 $prefix.$last 7777 </dev/null 2>/dev/null
         done
         echo end"
    );
    let attack = with_network(&attack).await;
    let (neighbour, attack) = tokio::join!(bench.call(&neighbour), bench.call(&attack));
    assert!(success(&neighbour).windows(5).any(|word| word == b"inet "), "{neighbour:?}");
    assert_eq!(success(&attack), "end\n", "{}", log(&attack));
    drop(listener);
    bench.close().await;
}

#[tokio::test]
async fn an_image_that_is_not_here_is_the_functions_fault() {
    let bench = Bench::new().await;
    let mut work = script("true", "").await;
    // No name server knows this name (RFC 2606), with a network or without.
    let reference = "registry.invalid/nobody/nothing:1";
    Arc::make_mut(&mut work.version).source = Source::Image { reference: reference.to_owned(), digest: None };
    let fault = bench.fault(&work).await;
    let Fault::Function(why) = &fault else { panic!("{fault:?}") };
    assert!(why.starts_with("image not found: registry.invalid/nobody/nothing:1 is not here"), "{why}");

    // A registry that is down says nothing about the image.
    let reference = "localhost:1/nothing:1";
    Arc::make_mut(&mut work.version).source = Source::Image { reference: reference.to_owned(), digest: None };
    let fault = bench.fault(&work).await;
    assert!(matches!(&fault, Fault::Mismatch(_)), "{fault:?}");
    bench.close().await;
}

#[tokio::test]
async fn the_recorded_image_is_run_wherever_its_tag_has_moved() {
    let bench = Bench::new().await;
    let docker = super::fixtures::docker().await;
    let mut work = script("echo still here", "").await;
    let id = docker.inspect_image(super::images::BUSYBOX).await.unwrap().id.unwrap();
    let reference = "registry.invalid/moved:1".to_owned();
    Arc::make_mut(&mut work.version).source =
        Source::Image { reference: reference.clone(), digest: Some(id.clone()) };
    assert_eq!(success(&bench.call(&work).await), "still here\n");

    // Another image under the tag is not the one that was deployed.
    Arc::make_mut(&mut work.version).source = Source::Image {
        reference: super::images::BUSYBOX.to_owned(),
        digest: Some(format!("sha256:{}", "0".repeat(64))),
    };
    let fault = bench.fault(&work).await;
    assert!(fault.to_string().contains("(sha256:000000000000)"), "{fault:?}");
    bench.close().await;
}

#[tokio::test]
async fn what_cannot_run_here_is_a_mismatch() {
    let bench = Bench::new().await;
    let mut version = (*script("true", "").await.version).clone();
    bench.launcher.suits(&version).unwrap();
    version.os = Some("linux".to_owned());
    version.arch = Some("mips64le".to_owned());
    let mismatch = bench.launcher.suits(&version).unwrap_err();
    assert!(mismatch.0.starts_with("linux/mips64le image, this worker runs linux/"), "{mismatch}");

    // A function's folder, where nobody asked for processes.
    let mut work = script("true", "").await;
    Arc::make_mut(&mut work.version).source = Source::Archive { sha256: Digest::of(b""), bytes: 0 };
    let expected = "this worker runs containers only: start it with --executor process, or give --image";
    assert_eq!(bench.launcher.suits(&work.version).unwrap_err().0, expected);
    assert_eq!(bench.fault(&work).await, Fault::Mismatch(Mismatch(expected.to_owned())));
    bench.launcher.probe().await.unwrap();
    bench.close().await;
}
