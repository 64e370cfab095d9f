//! Why nothing moves. A call without outcome is on its way through a queue that cannot be searched; what can be known
//! is read off its own objects and the queue's depth. The same for a batch.

use std::time::Duration;

use super::batch::{BatchStatus, BatchView};
use super::call::{CallView, load, reading};
use crate::error::Result;
use crate::layout::key;
use crate::layout::object::{self, Unsuited};
use crate::limits;
use crate::model::{State, Time};
use crate::seam::queue::{Depth, Lane};
use crate::seam::store::List;
use crate::seam::{Seams, StoreExt as _};

/// One line for people; `None` when there is nothing to tell. Takes a second and a half when messages wait: whether
/// somebody works is only seen by looking twice.
pub async fn why(seams: &Seams, view: &CallView) -> Result<Option<String>> {
    match view.state {
        State::Delayed => Ok(view.not_before.map(|time| format!("delayed until {time}"))),
        State::Queued => match unsuited(seams, view).await? {
            Some(unsuited) => Ok(Some(format!(
                "no worker seen that can run it: {} (said by {} at {})",
                unsuited.why, unsuited.worker, unsuited.at
            ))),
            None => match failed(seams.now(), view) {
                Some((failed, true)) => Ok(Some(failed)),
                Some((failed, false)) => {
                    let waits = queued(seams, &Waiting::call(seams, view)).await?;
                    Ok(Some(waits.map_or(failed.clone(), |waits| format!("{failed}; {waits}"))))
                }
                None => queued(seams, &Waiting::call(seams, view)).await,
            },
        },
        State::Running if view.id.batch().is_none() => match failed(seams.now(), view) {
            Some((failed, _)) => Ok(Some(failed)),
            None => running(seams, view).await,
        },
        State::Running
        | State::Success
        | State::Error
        | State::Timeout
        | State::Killed
        | State::Cancelled => Ok(None),
    }
}

/// How often it failed, and what comes next; `true`: its next attempt is not due yet.
fn failed(now: Time, view: &CallView) -> Option<(String, bool)> {
    let failed = view.failed_last()?;
    let times = match failed.failures {
        1 => "once".to_owned(),
        failures => format!("{failures} times"),
    };
    let text = format!("failed {times}, {}", failed.reason);
    Some(match failed.retry_at {
        Some(at) if now < at => (format!("{text}; tried again at {at}"), true),
        Some(at) => (format!("{text}; the next attempt was due at {at} and runs, or is about to"), false),
        None => (text, false),
    })
}

/// That a worker renews its lease cannot be seen; that nobody holds any message can.
async fn running(seams: &Seams, view: &CallView) -> Result<Option<String>> {
    let depth = seams.queues.calls.live.depth().await?;
    if depth.in_flight == 0 && has_moved(seams, view).await? {
        return Ok(None);
    }
    let worker = view.worker.as_deref().unwrap_or("a worker");
    let since = view.started_at.map(|at| format!(" since {at}")).unwrap_or_default();
    let lease = Duration::from_millis(view.signs.lease_ms.unwrap_or(limits::VISIBILITY_MS));
    Ok(Some(match (depth.in_flight, depth.visible) {
        (0, 0) => format!("ran on {worker}{since}; no worker holds a message now, it may be lost"),
        (0, waiting) => format!(
            "ran on {worker}{since}; no worker holds a message now, it may be lost: messages waiting {waiting}, \
             whoever takes this call's runs it again"
        ),
        _ => format!(
            "runs on {worker}{since}; were that worker lost, another would take the call over within {}",
            humantime::format_duration(lease)
        ),
    }))
}

/// Whether it went on between its reading and a queue's: then the two tell nothing together.
async fn has_moved(seams: &Seams, view: &CallView) -> Result<bool> {
    let now = load(seams, &view.app, view.id).await?;
    Ok((now.state, now.attempts) != (view.state, view.attempts))
}

/// What the first worker said that could not run it.
async fn unsuited(seams: &Seams, view: &CallView) -> Result<Option<Unsuited>> {
    let listed = seams.store.list_all(List::all(key::unsuited(&view.app, view.id))).await?;
    let Some(latest) = listed.entries.into_iter().max_by_key(|entry| entry.modified_at) else {
        return Ok(None);
    };
    let object = seams.store.find(&latest.key).await.map_err(reading(&latest.key))?;
    object.map(|object| object::decode(&latest.key, &object.body)).transpose()
}

/// The same for a batch, as of its view.
pub async fn why_batch(seams: &Seams, view: &BatchView) -> Result<Option<String>> {
    let id = view.batch;
    match view.status {
        BatchStatus::Success | BatchStatus::Failed | BatchStatus::Cancelled => Ok(None),
        _ if view.open() > 0 => queued(seams, &Waiting::batch(seams, view)).await,
        BatchStatus::Cancelling if view.sealed.is_none() => Ok(Some(
            "it is sealed ten minutes after its last chunk, and ends then, if a worker runs".to_owned(),
        )),
        BatchStatus::Submitting => Ok(Some(format!(
            "everything that is submitted is decided; if its submitter is gone, `afn batch resume {id}` goes on, \
             `afn batch seal {id}` ends it here"
        ))),
        BatchStatus::Queued | BatchStatus::Running | BatchStatus::Cancelling => Ok(None),
    }
}

/// Something that waits for a worker.
struct Waiting<'a> {
    lane: &'a Lane,
    since: Time,
    /// What is held for it when nothing waits on the queue.
    taken: &'static str,
    /// What to do about a lost message.
    way_out: String,
    what: What<'a>,
}

enum What<'a> {
    Call(&'a CallView),
    Batch(&'a BatchView),
}

impl<'a> Waiting<'a> {
    fn call(seams: &'a Seams, view: &'a CallView) -> Waiting<'a> {
        let lane = if view.id.batch().is_some() { &seams.queues.chunks } else { &seams.queues.calls };
        let taken = "taken by a worker, it runs or is about to";
        let (way_out, what) = ("`afn gc` at once".to_owned(), What::Call(view));
        Waiting { lane, since: view.created_at, taken, way_out, what }
    }

    fn batch(seams: &'a Seams, view: &'a BatchView) -> Waiting<'a> {
        let way_out = format!("`afn batch resume {}` at once", view.batch);
        let (lane, taken) = (&seams.queues.chunks, "workers are busy");
        Waiting { lane, since: view.created_at, taken, way_out, what: What::Batch(view) }
    }

    fn batch_view(&self) -> Option<&'a BatchView> {
        match self.what {
            What::Batch(view) => Some(view),
            What::Call(_) => None,
        }
    }

    /// Whether it went on, or may have, since it was read.
    async fn has_moved(&self, seams: &Seams) -> Result<bool> {
        match self.what {
            What::Call(view) => has_moved(seams, view).await,
            What::Batch(view) => {
                let heard_at = view.heard_at.unwrap_or_default();
                Ok(seams.now().since_ms(heard_at) < limits::WHY_SILENT_MS)
            }
        }
    }

    /// Of a batch whose workers have recorded nothing for a while: since when, and how it goes on if they are gone. That
    /// they are cannot be seen: a lease stands until it lapses, and a call may take long.
    fn silence(&self, now: Time) -> Option<String> {
        let view = self.batch_view()?;
        let silent_ms = now.since_ms(view.heard_at.unwrap_or(view.created_at));
        let since = if view.heard_at.is_some() { "" } else { " since it was submitted" };
        (silent_ms >= limits::WHY_SILENT_MS).then(|| {
            format!(
                "no worker was heard of for {}{since}; if none is left, `afn worker` goes on within {}, \
                 `afn batch resume {}` at once",
                whole_seconds(silent_ms),
                whole_seconds(limits::VISIBILITY_MS),
                view.batch
            )
        })
    }
}

async fn queued(seams: &Seams, waiting: &Waiting<'_>) -> Result<Option<String>> {
    let queue = &waiting.lane.live;
    let first = queue.depth().await?;
    if first.visible == 0 && first.in_flight == 0 {
        if waiting.has_moved(seams).await? {
            return Ok(None);
        }
        return no_message(seams, waiting, first).await.map(Some);
    }
    if first.in_flight > 0 {
        return Ok(Some(held(seams.now(), waiting, first)));
    }
    seams.clock.sleep(Duration::from_millis(limits::WHY_LOOK_MS)).await;
    let second = queue.depth().await?;
    if second.in_flight > 0 {
        return Ok(Some(held(seams.now(), waiting, second)));
    }
    if second.visible == first.visible {
        let again = match waiting.batch_view().filter(|view| view.heard_at.is_some()) {
            Some(view) => format!(", or go on with `afn batch resume {}`", view.batch),
            None => String::new(),
        };
        return Ok(Some(format!("no worker seen: run `afn start` or `afn worker`{again}")));
    }
    Ok(None)
}

fn held(now: Time, waiting: &Waiting<'_>, depth: Depth) -> String {
    let delayed = if depth.delayed > 0 { format!(", delayed {}", depth.delayed) } else { String::new() };
    let messages = format!("messages held {}, waiting {}{delayed}", depth.in_flight, depth.visible);
    if let Some(silence) = waiting.silence(now) {
        return format!("{messages}; {silence}");
    }
    let how = if depth.visible == 0 && depth.delayed == 0 { waiting.taken } else { "workers are busy" };
    format!("{how}: {messages}")
}

async fn no_message(seams: &Seams, waiting: &Waiting<'_>, depth: Depth) -> Result<String> {
    if depth.delayed > 0 {
        return Ok(format!("no message is due, {} are delayed: a retry waits its time", depth.delayed));
    }
    let dead = waiting.lane.dead.depth().await?.visible;
    if dead > 0 {
        return Ok(format!(
            "no message is on the queue; dead letters: {dead}, `afn dlq list` tells whether it is among them"
        ));
    }
    Ok(format!(
        "no message is on the queue and no worker holds one, {} after it was accepted: if that stays so, workers send \
         it again after an hour, {}",
        whole_seconds(seams.now().since_ms(waiting.since)),
        waiting.way_out
    ))
}

fn whole_seconds(ms: u64) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(ms / 1_000))
}

#[cfg(test)]
mod tests {
    use super::super::batch;
    use super::super::batch::fixture::{Made, batch_at, rows};
    use super::super::fixture::{NOW, World, attempt, call_at, delivery};
    use super::*;
    use crate::layout::Key;
    use crate::model::{CallFacts, MessageId};
    use crate::seam::queue::Outgoing;
    use crate::seam::store::PutObject;

    async fn queued_call(world: &World, not_before: Option<Time>) -> CallView {
        let id = call_at(NOW, 1);
        world.payload_with(id, "hello", &CallFacts { not_before, ..world.facts(id, "/asyncfn") }).await;
        load(&world.seams, &world.app, id).await.expect("the call")
    }

    async fn send(world: &World, dead: bool) {
        let lane = &world.seams.queues.calls;
        let queue = if dead { &lane.dead } else { &lane.live };
        let sent = queue.send(vec![Outgoing::new("{}".to_owned())]).await.expect("a queue");
        assert!(sent.iter().all(Result::is_ok));
    }

    async fn reason(world: &World, view: &CallView) -> String {
        why(&world.seams, view).await.expect("an answer").expect("a reason")
    }

    #[tokio::test]
    async fn a_delay_is_told() {
        let world = World::new();
        let view = queued_call(&world, Some(NOW.plus_ms(60_000))).await;
        assert_eq!(reason(&world, &view).await, "delayed until 2026-09-21T14:14:20.000Z");
    }

    #[tokio::test]
    async fn messages_that_nobody_takes_want_a_worker() {
        let world = World::new();
        let view = queued_call(&world, None).await;
        send(&world, false).await;
        assert_eq!(reason(&world, &view).await, "no worker seen: run `afn start` or `afn worker`");
    }

    #[tokio::test]
    async fn messages_that_are_held_tell_of_workers() {
        let world = World::new();
        let view = queued_call(&world, None).await;
        send(&world, false).await;
        send(&world, false).await;
        let minute = Duration::from_secs(60);
        let held = world.seams.queues.calls.live.receive(1, Duration::ZERO, minute).await.expect("a queue");
        assert_eq!(held.len(), 1);
        assert_eq!(reason(&world, &view).await, "workers are busy: messages held 1, waiting 1");
        let held = world.seams.queues.calls.live.receive(1, Duration::ZERO, minute).await.expect("a queue");
        assert_eq!(held.len(), 1);
        assert_eq!(
            reason(&world, &view).await,
            "taken by a worker, it runs or is about to: messages held 2, waiting 0"
        );
    }

    #[tokio::test]
    async fn a_call_between_two_attempts_tells_when_the_next_is_due() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.payload(id).await;
        send(&world, false).await;
        world.failed(id, attempt(1), Some(NOW.plus_ms(60_000))).await;
        let view = load(&world.seams, &world.app, id).await.expect("the call");
        assert_eq!((view.state, view.attempts), (State::Queued, 1));
        let due = "failed once, exit code 3; tried again at 2026-09-21T14:14:20.000Z";
        assert_eq!(reason(&world, &view).await, due);
        // In place, with the mark of the attempt that has ended.
        world.started(id, delivery(1), 1).await;
        let view = load(&world.seams, &world.app, id).await.expect("the call");
        assert_eq!((view.state, view.started_at), (State::Running, None));
        assert_eq!(reason(&world, &view).await, due);
        world.seams.clock.sleep(Duration::from_secs(61)).await;
        let late = reason(&world, &view).await;
        assert!(late.ends_with("due at 2026-09-21T14:14:20.000Z and runs, or is about to"), "{late}");
        world.started(id, delivery(2), 2).await;
        let view = load(&world.seams, &world.app, id).await.expect("the call");
        let runs = reason(&world, &view).await;
        assert!(runs.starts_with("ran on worker-1 since 2026-09-21T14:14:21"), "{runs}");
    }

    #[tokio::test]
    async fn a_running_call_tells_where_and_since_when_and_what_if_its_worker_is_lost() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.payload(id).await;
        world.started(id, delivery(1), 1).await;
        send(&world, false).await;
        let minute = Duration::from_secs(60);
        let held = world.seams.queues.calls.live.receive(1, Duration::ZERO, minute).await.expect("a queue");
        assert_eq!(held.len(), 1);
        let view = load(&world.seams, &world.app, id).await.expect("the call");
        assert_eq!(
            reason(&world, &view).await,
            "runs on worker-1 since 2026-09-21T14:13:20.000Z; were that worker lost, another would take the call over \
             within 1m"
        );
        world.seams.clock.sleep(minute).await;
        let lost = reason(&world, &view).await;
        assert!(lost.contains("no worker holds a message now, it may be lost: messages waiting 1"), "{lost}");
    }

    #[tokio::test]
    async fn a_call_without_message_is_told_from_one_among_the_dead_letters() {
        let world = World::new();
        let view = queued_call(&world, None).await;
        world.seams.clock.sleep(Duration::from_secs(90)).await;
        let lost = reason(&world, &view).await;
        assert!(
            lost.starts_with("no message is on the queue and no worker holds one, 1m 30s after"),
            "{lost}"
        );
        send(&world, true).await;
        let dead = reason(&world, &view).await;
        assert!(dead.contains("dead letters: 1, `afn dlq list`"), "{dead}");
    }

    #[tokio::test]
    async fn a_call_that_went_on_meanwhile_is_not_told_of_as_lost() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.payload(id).await;
        let queued = load(&world.seams, &world.app, id).await.expect("the call");
        world.started(id, delivery(1), 1).await;
        let running = load(&world.seams, &world.app, id).await.expect("the call");
        assert_eq!((queued.state, running.state), (State::Queued, State::Running));
        assert_eq!(why(&world.seams, &queued).await.expect("an answer"), None);
        world.status(id, &world.outcome(id, State::Success, "/asyncfn")).await;
        assert_eq!(why(&world.seams, &running).await.expect("an answer"), None);
    }

    #[tokio::test]
    async fn a_version_that_no_worker_can_run_is_told() {
        let world = World::new();
        let view = queued_call(&world, None).await;
        let said = Unsuited {
            v: 1,
            why: "image for linux/arm64, this worker runs linux/amd64".to_owned(),
            worker: "worker-1".to_owned(),
            at: NOW,
        };
        let key = Key::Unsuited(world.app.clone(), view.id, MessageId::new(NOW, 7));
        world.put(key, PutObject::create(object::encode(&said))).await;
        assert_eq!(
            reason(&world, &view).await,
            "no worker seen that can run it: image for linux/arm64, this worker runs linux/amd64 (said by worker-1 \
             at 2026-09-21T14:13:20.000Z)"
        );
    }

    #[tokio::test]
    async fn there_is_nothing_to_tell_of_what_moves() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.done(id, State::Success, "/asyncfn").await;
        let view = load(&world.seams, &world.app, id).await.expect("the call");
        assert_eq!(why(&world.seams, &view).await.expect("an answer"), None);
    }

    #[tokio::test]
    async fn a_batch_that_does_not_move_tells_what_it_waits_for() {
        let world = World::new();
        let made = Made::begun(&world, batch_at(NOW, 1)).await;
        let reason = async || {
            let view = batch::load(&world.seams, made.id).await.expect("the batch");
            why_batch(&world.seams, &view).await.expect("an answer")
        };
        let submitter = reason().await.expect("a reason");
        assert!(submitter.contains("if its submitter is gone"), "{submitter}");
        made.chunk(1, 2).await;
        let lost = reason().await.expect("a reason");
        assert!(lost.ends_with(&format!("after an hour, `afn batch resume {}` at once", made.id)), "{lost}");
        let sent = world.seams.queues.chunks.live.send(vec![Outgoing::new("{}".to_owned())]).await;
        assert!(sent.expect("a queue").iter().all(Result::is_ok));
        assert_eq!(reason().await.as_deref(), Some("no worker seen: run `afn start` or `afn worker`"));
        let minute = Duration::from_secs(60);
        let held = world.seams.queues.chunks.live.receive(1, Duration::ZERO, minute).await.expect("a queue");
        assert_eq!(held.len(), 1);
        made.part(2, &rows(1..=1)).await;
        assert_eq!(reason().await.as_deref(), Some("workers are busy: messages held 1, waiting 0"));
        world.seams.clock.sleep(Duration::from_secs(45)).await;
        assert_eq!(
            reason().await,
            Some(format!(
                "messages held 1, waiting 0; no worker was heard of for 45s; if none is left, `afn worker` goes on within \
                 1m, `afn batch resume {}` at once",
                made.id
            ))
        );
        world.seams.clock.sleep(minute).await;
        let lapsed = reason().await.expect("a reason");
        let way_out = format!("or go on with `afn batch resume {}`", made.id);
        assert!(lapsed.starts_with("no worker seen") && lapsed.ends_with(&way_out), "{lapsed}");
        made.part(2, &rows(2..=2)).await;
        made.sealed(2, &[]).await;
        assert_eq!(reason().await, None, "it has ended");
    }
}
