//! How batches end: cancelled in the middle and at the last moment, drained, sealed without the end of their source,
//! retried.

use std::time::Duration;

use afn::layout::part::RowResult;
use afn::model::State;
use afn::results;
use tokio::io::AsyncWriteExt as _;

use super::facts::one_outcome_each;
use super::ground::{ECHO, line, lines};
use super::harness;
use super::proxy::Proxy;
use super::world::{APP, World, count};

everywhere!(
    cancelled_midway,
    cancelled_at_the_last_moment,
    drained_midway,
    a_dead_stdin_is_sealed,
    failures_are_retried_once,
    one_after_another,
);

/// Whatever a run still waits for when it ends, it takes nothing along of the next one.
async fn one_after_another(world: World) {
    for seconds in ["0", "1", "1.4", "2.2"] {
        world.write("in.txt", seconds);
        let begun = tokio::time::Instant::now();
        let run = ["batch", "run", "--input", "in.txt", "--output", "out.csv", "--force", "--", "sh", "-c"];
        world.args(&[&run[..], &["read -r time; sleep $time"]].concat(), b"").await.ok();
        // A message that is lost to a receive comes back after a minute.
        assert!(begun.elapsed() < Duration::from_secs(50), "sleep {seconds}: {:?}", begun.elapsed());
    }
}

async fn cancelled_midway(world: World) {
    const CALLS: u64 = 400;
    world.deploy("slow", "read -r line; sleep 0.1; printf '%s' \"$line\"").await;
    world.write("in.txt", lines(CALLS));
    let batch = world.submit_batch("slow", "in.txt", "").await;
    let _worker = world.worker("-j 4").await;
    world.until_batch(batch, "begun", |view| view.decided > 0).await;
    world.args(&["batch", "cancel", &batch.to_string(), "--reason", "not today"], b"").await.ok();
    let waited = world.afn(&format!("batch wait {batch}")).await;
    assert_eq!(waited.code, 6, "{waited:#?}");
    let view = world.over(batch).await;
    assert_eq!(view.reason.as_deref(), Some("not today"));
    assert!(count(&view, State::Success) > 0 && count(&view, State::Cancelled) > 0, "{view:#?}");
    assert_eq!(count(&view, State::Success) + count(&view, State::Cancelled), CALLS);
    one_outcome_each(&world, batch, CALLS).await;
    // What was sent is not what will run: nothing is left to do.
    let again = world.afn(&format!("batch cancel {batch}")).await.failed(2);
    assert!(again.contains("has finished already"), "{again}");
}

async fn cancelled_at_the_last_moment(world: World) {
    const CALLS: u64 = 40;
    world.deploy("last", "read -r line; [ \"$line\" != 'line 40' ] || sleep 3; printf '%s' \"$line\"").await;
    world.write("in.txt", lines(CALLS));
    let batch = world.submit_batch("last", "in.txt", "").await;
    let _worker = world.worker("-j 2").await;
    // The log of a chunk tells of it at the latest when a flush is due.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let cancelled = world.afn(&format!("batch cancel {batch}")).await;
    let view = world.over(batch).await;
    let rows = one_outcome_each(&world, batch, CALLS).await;
    for (number, row) in &rows {
        match row.status {
            State::Success => assert_eq!(row.result, RowResult::Inline(line(*number).into())),
            status => assert_eq!(status, State::Cancelled, "{row:?}"),
        }
    }
    // Whoever was first: the batch says what its calls say.
    let is_cancelled = count(&view, State::Cancelled) > 0;
    assert_eq!(
        view.status == results::batch::BatchStatus::Cancelled,
        is_cancelled,
        "{cancelled:?} {view:#?}"
    );
}

/// A worker that is told to end hands the rest over, and nothing runs twice.
async fn drained_midway(mut world: World) {
    // Nobody is lost, and a busy machine must not look as if somebody were.
    world.visibility = None;
    const CALLS: u64 = 300;
    let ran = world.path("ran");
    let script =
        format!("read -r line; echo \"$line\" >> '{}'; sleep 0.05; printf '%s' \"$line\"", ran.display());
    world.deploy("slow", &script).await;
    world.write("in.txt", lines(CALLS));
    let batch = world.submit_batch("slow", "in.txt", "").await;
    for _ in 0..3 {
        let mut worker = world.worker("-j 4").await;
        tokio::time::sleep(Duration::from_millis(900)).await;
        worker.terminate();
        assert_eq!(worker.ended().await, 0, "{:#?}", worker.lines());
    }
    let _worker = world.worker("-j 4").await;
    world.over(batch).await;
    for (number, row) in one_outcome_each(&world, batch, CALLS).await {
        assert_eq!((row.attempts, &row.result), (1, &RowResult::Inline(line(number).into())), "{row:?}");
    }
    assert_eq!(world.read("ran").lines().count() as u64, CALLS);
}

/// Nobody can read a pipe again; ten minutes after its last chunk the batch can be ended with what there is.
async fn a_dead_stdin_is_sealed(mut world: World) {
    world.deploy("echo", ECHO).await;
    let mut command = world.command();
    command.args(["batch", "submit", APP, "/echo", "-"]).stdin(std::process::Stdio::piped());
    let mut submitter = command.kill_on_drop(true).spawn().expect("it starts");
    let mut stdin = submitter.stdin.take().expect("a pipe");
    stdin.write_all(lines(1_000).as_bytes()).await.expect("it reads");
    let batch = super::submitters::begun(&world, 0).await;
    // Full chunks at once, and what waits for more after a second.
    world.until_batch(batch, "stored", |view| view.stored == 1_000).await;
    submitter.start_kill().expect("it runs");
    submitter.wait().await.expect("it ends");
    drop(stdin);

    let _worker = world.worker("-j 2").await;
    // The last chunks may be stored without a message.
    world.until_batch(batch, "begun", |view| view.decided > 0).await;
    let said = world.afn(&format!("batch resume {batch}")).await.failed(2);
    assert!(said.contains("standard input") && said.contains("batch seal"), "{said}");
    let said = world.afn(&format!("batch seal {batch}")).await.failed(2);
    assert!(said.contains("may still be submitted") && said.contains("try again in"), "{said}");

    let quiet = Duration::from_secs(601);
    let _proxy = if world.is_embedded() {
        let file = world.database();
        let database = rusqlite::Connection::open(file).expect("the file opens");
        database.busy_timeout(Duration::from_secs(30)).expect("a number");
        let aged = database.execute(
            "UPDATE objects SET modified_at = modified_at - ?1 WHERE key LIKE 'apps/%/batches/%'",
            [quiet.as_millis() as i64],
        );
        assert!(aged.expect("it can be written") > 11);
        None
    } else {
        let proxy = Proxy::before(&harness::endpoint()).await;
        proxy.set_store_clock_ahead(quiet);
        world.set_endpoint(proxy.endpoint());
        Some(proxy)
    };
    world.afn(&format!("batch seal {batch}")).await.ok();
    let view = world.over(batch).await;
    assert_eq!((view.calls, count(&view, State::Success)), (Some(1_000), 1_000));
    one_outcome_each(&world, batch, 1_000).await;
}

async fn failures_are_retried_once(world: World) {
    const CALLS: u64 = 100;
    let ready = world.path("ready");
    let script = format!(
        "read -r line; case $line in *7) [ -e '{}' ] || exit 9 ;; esac; printf '%s' \"$line\"",
        ready.display()
    );
    world.deploy("f", &script).await;
    world.write("in.txt", lines(CALLS));
    let batch = world.submit_batch("f", "in.txt", "").await;
    let _worker = world.worker("-j 4").await;
    let view = world.over(batch).await;
    assert_eq!((count(&view, State::Success), count(&view, State::Error)), (90, 10));
    world.write("ready", "");
    let line_of = format!("batch retry {batch}");
    let (first, second) = tokio::join!(world.afn(&line_of), world.afn(&line_of));
    let (first, second) = (first.json(), second.json());
    assert_eq!(first["batch_id"], second["batch_id"]);
    let retry = first["batch_id"].as_str().expect("an id").parse().expect("a batch's id");
    world.over(retry).await;
    one_outcome_each(&world, retry, 10).await;
    assert_eq!(world.batches().await.len(), 2);
    let latest = world.rows(batch, "--latest").await;
    assert_eq!(latest.len(), 100);
    for (number, row) in latest {
        assert_eq!((&row["status"], &row["result"]), (&"success".into(), &line(number).into()), "{row}");
    }
    assert_eq!(world.rows(batch, "--status error").await.len(), 10);
}
