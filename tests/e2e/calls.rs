//! Every way a call can end, and every kind of body, through one worker; delay, idempotency, cancel.

use afn::model::{CallId, State, Time};
use serde_json::Value;

use super::world::{APP, World};
use super::{bucket, fixtures, images};

struct Case {
    call: CallId,
    ends: State,
    /// Nothing for a call that succeeds.
    reason: &'static str,
    result: &'static str,
    log: &'static str,
}

const DEAF: &str = "ended before it listened: exit code 4: no such module";

#[tokio::test]
async fn every_end_has_one_outcome_that_says_why() {
    let world = World::with_docker("ends").await;
    world.create_sh("sh", "--memory 32").await;
    world.create_sh("hasty", "--timeout 5s").await;
    world.create("absent", "afn-test/absent:1", "").await;
    world
        .deploy_image("deaf", "memory: 64\nformat: http-stream\n", "echo no such module >&2; exit 4\n")
        .await;
    world.afn(&format!("config app {APP} GREETING hello")).await.ok();

    let submit = async |name: &str, script: &str, ends, reason, result, log| {
        let call = world.submit(name, script, "").await;
        Case { call, ends, reason, result, log }
    };
    let cases = [
        submit("sh", "echo fine; echo to the log >&2", State::Success, "", "fine\n", "to the log\n").await,
        submit("sh", "echo $GREETING $AFN_ATTEMPT", State::Success, "", "hello 1\n", "").await,
        submit("sh", "true", State::Success, "", "", "").await,
        submit("sh", "echo oops >&2; exit 3", State::Error, "exit code 3: oops", "", "oops\n").await,
        submit("sh", "kill -SEGV $$", State::Error, "exit code 139 (SIGSEGV)", "", "").await,
        submit("sh", "exec tail /dev/zero", State::Error, "out of memory: limit 32 MiB", "", "").await,
        submit("hasty", "echo begun >&2; sleep 60", State::Timeout, "timed out after 5s", "", "begun\n")
            .await,
        submit("absent", "", State::Error, "image not found: afn-test/absent:1", "", "").await,
        submit("deaf", "", State::Error, DEAF, "", "no such module\n").await,
    ];

    let mut worker = world.worker("-j 2").await;
    for case in &cases {
        let call = world.wait(case.call).await;
        assert_eq!(call["status"], case.ends.as_str(), "{call}");
        let reason = call["reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with(case.reason) && reason.is_empty() == case.reason.is_empty(), "{call}");
        let left = bucket::one_outcome(&world, case.call).await;
        assert_eq!(left.outcome.status, case.ends);
        let result = world.afn(&format!("get result {APP} {}", case.call)).await;
        match case.ends {
            State::Success => assert_eq!(result.ok(), case.result),
            _ => assert!(result.failed(3).contains(case.reason)),
        }
        assert_eq!(world.logs(case.call).await, case.log);
    }
    // What cannot start is tried again, what failed by itself is not.
    let attempts = async |at: usize| world.status(cases[at].call).await["attempts"].clone();
    assert_eq!((attempts(3).await, attempts(7).await, attempts(8).await), (1.into(), 3.into(), 3.into()));
    let first = world.afn(&format!("get logs {APP} {} --attempt 1", cases[8].call)).await;
    assert_eq!(first.ok(), "no such module\n");
    // Whoever waits for a call that failed is told by the exit code.
    assert_eq!(world.afn(&format!("wait {APP} {}", cases[3].call)).await.code, 1);

    worker.terminate();
    assert_eq!(worker.ended().await, 0, "{:#?}", worker.lines());
    world.queue_is_dry().await;
    assert_eq!(world.containers().await, Vec::<String>::new());
}

#[tokio::test]
async fn bodies_come_back_as_the_bytes_they_are() {
    let world = World::with_docker("bodies").await;
    world.deploy_image("echo", "memory: 64\ncontent_type: application/x-parcel\n", "cat\n").await;
    let all: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let payloads = [
        Vec::new(),
        "ein Gruß · привет · 你好 · 🦀\n".as_bytes().to_vec(),
        all,
        fixtures::mebibytes(5).to_vec(),
    ];
    let mut calls = Vec::new();
    for payload in &payloads {
        calls.push(world.submit("echo", payload, "").await);
    }
    let _worker = world.worker("-j 2").await;
    for (call, payload) in calls.into_iter().zip(&payloads) {
        assert_eq!(world.wait(call).await["status"], "success");
        assert!(world.result(call).await == *payload, "{} bytes went in, others came out", payload.len());
        let outcome = bucket::one_outcome(&world, call).await.outcome;
        match outcome.result {
            None => assert!(payload.is_empty()),
            Some(stored) => assert_eq!(stored.content_type.as_deref(), Some("application/x-parcel")),
        }
    }
    // One byte more than a payload may have is refused before anything is stored.
    let file = world.write("large", vec![0; 6 * 1024 * 1024 + 1]);
    let refused = world.args(&["call", APP, "/echo", "--file", &file.to_string_lossy()], b"").await;
    assert!(refused.failed(2).contains("6.0 MiB"));
    let listed = world.afn(&format!("list calls {APP} -o json")).await.json();
    assert_eq!(listed["calls"].as_array().map(Vec::len), Some(payloads.len()));
}

#[tokio::test]
async fn a_sync_function_answers_whoever_calls_it() {
    let world = World::with_docker("sync").await;
    let image = images::busybox().await;
    world.afn(&format!("create function {APP} /now {image}")).await.ok();
    let _worker = world.worker("-j 1").await;
    let answered = world.args(&["call", APP, "/now"], b"echo at once").await;
    assert_eq!(answered.ok(), "at once\n");
    let failed = world.args(&["call", APP, "/now"], b"exit 9").await;
    assert!(failed.failed(1).contains("exit code 9"));
}

#[tokio::test]
async fn a_delayed_call_begins_when_its_time_has_come() {
    let world = World::with_docker("delay").await;
    world.create_sh("sh", "").await;
    let _worker = world.worker("-j 2").await;
    let delayed = world.submit("sh", "echo later", "--delay 15s").await;
    let status = world.status(delayed).await;
    assert_eq!(status["status"], "delayed", "{status}");
    assert!(status["why"].as_str().is_some_and(|why| why.starts_with("delayed until ")), "{status}");
    let at_once = world.submit("sh", "echo now", "").await;
    world.wait(at_once).await;
    world.wait(delayed).await;
    let (now, later) = (
        bucket::one_outcome(&world, at_once).await.outcome,
        bucket::one_outcome(&world, delayed).await.outcome,
    );
    let begun = |outcome: &afn::model::Outcome| outcome.started_at.expect("it ran");
    assert!(begun(&later) >= Time(later.created_at.0 + 15_000), "{later:?}");
    assert!(begun(&now) < begun(&later), "a delayed call holds nobody up");
}

#[tokio::test]
async fn an_idempotency_key_makes_one_call_of_many_submissions() {
    let world = World::with_docker("key").await;
    world.create_sh("sh", "").await;
    let submit = async || world.submit("sh", "echo once", "--idempotency-key order-7").await;
    let (one, two) = tokio::join!(submit(), submit());
    assert_eq!(one, two);
    let _worker = world.worker("-j 2").await;
    assert_eq!(world.wait(one).await["status"], "success");
    // The key is remembered when the call is over, and what stands is not run again.
    assert_eq!(submit().await, one);
    world.queue_is_dry().await;
    assert_eq!(bucket::one_outcome(&world, one).await.outcome.attempts, 1);
    let args = ["submit", APP, "/sh", "--data", "echo twice", "--idempotency-key", "order-7"];
    let conflict = world.args(&args, b"").await.failed(2);
    assert!(conflict.contains("idempotency key"), "{conflict}");
    let listed: Value = world.afn(&format!("list calls {APP} -o json")).await.json();
    assert_eq!(listed["calls"].as_array().map(Vec::len), Some(1), "{listed}");
}

#[tokio::test]
async fn a_call_is_cancelled_before_it_runs_and_while_it_runs() {
    let world = World::with_docker("cancel").await;
    world.create_sh("sh", "").await;
    let queued = world.submit("sh", "echo never", "").await;
    world.afn(&format!("cancel {queued}")).await.ok();

    let worker = world.worker("-j 1").await;
    let running = world.submit("sh", "echo sleepy >&2; sleep 80", "").await;
    let next = world.submit("sh", "echo the slot is free", "").await;
    let since = world.until(running, "running").await["started_at"].clone();
    let told = world.afn(&format!("cancel {APP} {running}")).await.ok();
    assert!(told.contains("cancelled while running: "), "{told}");
    worker.said_all(&[&running.to_string(), "cancelled while running, stopped after"]).await;
    // The only slot is free again long before the sleep is over.
    assert_eq!(world.wait(next).await["status"], "success");

    for call in [queued, running] {
        let left = bucket::one_outcome(&world, call).await;
        assert_eq!(left.outcome.status, State::Cancelled);
        assert!(left.outcome.reason.is_some_and(|reason| reason.starts_with("cancelled by")));
        assert_eq!(world.afn(&format!("wait {call}")).await.code, 6);
    }
    // What the worker knew of it is still known.
    let call = world.status(running).await;
    assert_eq!((&call["started_at"], &call["attempts"]), (&since, &1.into()), "{call}");
    assert_eq!(world.logs(running).await, "sleepy\n");
    assert!(
        !worker.lines().iter().any(|line| line.contains(&queued.to_string()) && line.contains("started"))
    );
    world.queue_is_dry().await;
    fixtures::eventually("the container is gone", async || world.containers().await.is_empty()).await;
    // What finished first, stands.
    let late = world.afn(&format!("cancel {next}")).await.failed(2);
    assert!(late.contains("has finished already: success"), "{late}");
}
