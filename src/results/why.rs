//! Why a call or a batch does not progress. Its message is on a queue that cannot be searched, so the reasons come from its
//! objects and the depth of the queue.

use std::time::Duration;

use super::batch::{BatchStatus, BatchView};
use super::call::{CallView, load};
use super::open::others;
use crate::error::Result;
use crate::layout::key;
use crate::layout::object::{self, Unsuited};
use crate::limits;
use crate::model::{State, Time};
use crate::seam::queue::{Depth, QueuePair};
use crate::seam::store::List;
use crate::seam::{Deps, StoreExt as _};

/// The reason as one line; `None` when the call progresses. Takes a second and a half when messages wait, because only two
/// reads of the depth show whether a worker receives.
pub async fn why(deps: &Deps, view: &CallView) -> Result<Option<String>> {
    let failed = failed(deps.now(), view);
    match view.state {
        State::Delayed => Ok(view.not_before.map(|time| format!("delayed until {time}"))),
        State::Queued => {
            let unsuited = unsuited(deps, key::unsuited(&view.app, view.id), None).await?;
            match (unsuited, failed) {
                (Some(reason), _) | (None, Some((reason, Retry::Waits))) => Ok(Some(reason)),
                (None, Some((failed, Retry::Due))) => {
                    let waits = queued(deps, Waiting::Call(view)).await?;
                    Ok(Some(waits.map_or(failed.clone(), |waits| format!("{failed}; {waits}"))))
                }
                (None, None) => queued(deps, Waiting::Call(view)).await,
            }
        }
        State::Running if view.id.batch().is_none() => match failed {
            Some((failed, _)) => Ok(Some(failed)),
            None => running(deps, view).await,
        },
        _ => Ok(None),
    }
}

enum Retry {
    Waits,
    Due,
}

/// How often the call failed, and its next attempt.
fn failed(now: Time, view: &CallView) -> Option<(String, Retry)> {
    let failed = view.failed_last()?;
    let times = match failed.failures {
        1 => "once".to_owned(),
        failures => format!("{failures} times"),
    };
    let text = format!("failed {times}, {}", failed.reason);
    Some(match failed.retry_at {
        Some(at) if now < at => (format!("{text}; tried again at {at}"), Retry::Waits),
        Some(at) => {
            (format!("{text}; the next attempt was due at {at} and runs, or is about to"), Retry::Due)
        }
        None => (text, Retry::Due),
    })
}

/// No object shows that a worker renews its lease. The depth of the queue shows when no message is leased at all.
async fn running(deps: &Deps, view: &CallView) -> Result<Option<String>> {
    let depth = deps.queues.calls.live.depth().await?;
    if depth.in_flight == 0 && has_changed(deps, view).await? {
        return Ok(None);
    }
    let worker = view.worker.as_deref().unwrap_or("a worker");
    let since = view.started_at.map(|at| format!(" since {at}")).unwrap_or_default();
    let lost = format!("ran on {worker}{since}; no worker holds a message now, it may be lost");
    Ok(Some(match (depth.in_flight, depth.visible) {
        (0, 0) => lost,
        (0, waiting) => {
            format!("{lost}: messages waiting {waiting}, the worker that receives this call's runs it again")
        }
        _ => {
            let lease = view.unfinished.lease_ms.map_or(limits::VISIBILITY, Duration::from_millis);
            let lease = humantime::format_duration(lease);
            format!(
                "runs on {worker}{since}; if that worker is lost, another takes the call over within {lease}"
            )
        }
    }))
}

/// Whether the call has changed since it was read. Then the depth of the queue does not explain the old view.
async fn has_changed(deps: &Deps, view: &CallView) -> Result<bool> {
    let now = load(deps, &view.app, view.id).await?;
    Ok((now.state, now.attempts) != (view.state, view.attempts))
}

/// Why a worker could not run it, as the latest object under the prefix says, if it is later than `since`.
async fn unsuited(deps: &Deps, prefix: String, since: Option<Time>) -> Result<Option<String>> {
    let listed = deps.store.list_all(List::all(prefix)).await?;
    let latest = listed.entries.into_iter().max_by_key(|entry| entry.modified_at);
    let Some(latest) = latest.filter(|latest| since.is_none_or(|since| since < latest.modified_at)) else {
        return Ok(None);
    };
    let key = latest.to_key();
    let Some(found) = deps.store.find(&key, limits::FACT_BYTES_MAX).await? else { return Ok(None) };
    let unsuited: Unsuited = object::decode(&key, &found.body)?;
    let Unsuited { worker, at, .. } = &unsuited;
    Ok(Some(format!("no worker seen that can run it: {unsuited} (reported by {worker} at {at})")))
}

/// Why a batch does not progress.
pub async fn why_batch(deps: &Deps, view: &BatchView) -> Result<Option<String>> {
    let id = view.batch;
    match view.status {
        BatchStatus::Success | BatchStatus::Failed | BatchStatus::Cancelled => Ok(None),
        BatchStatus::Paused => Ok(view.control.as_ref().map(|control| {
            format!("paused by {} at {}; `afn batch unpause {id}` lets it go on", control.by, control.at)
        })),
        _ if view.open() > 0 => {
            // A worker that can run the calls has recorded an outcome since.
            match unsuited(deps, key::batch_unsuited(&view.app, id), view.heard_at).await? {
                Some(unsuited) => Ok(Some(unsuited)),
                None => queued(deps, Waiting::Batch(view)).await,
            }
        }
        BatchStatus::Cancelling if view.sealed.is_none() => Ok(Some(
            "it is sealed ten minutes after its last chunk, and ends then, if a worker runs".to_owned(),
        )),
        BatchStatus::Submitting => Ok(Some(format!(
            "every submitted call is decided; if its submitter is gone, `afn batch resume {id}` goes on, \
             `afn batch seal {id}` ends it here"
        ))),
        BatchStatus::Queued | BatchStatus::Running | BatchStatus::Cancelling => Ok(None),
    }
}

/// What waits for a worker.
#[derive(Clone, Copy)]
enum Waiting<'a> {
    Call(&'a CallView),
    Batch(&'a BatchView),
}

impl Waiting<'_> {
    fn is_single(&self) -> bool {
        matches!(self, Waiting::Call(view) if view.id.batch().is_none())
    }

    fn queue<'d>(&self, deps: &'d Deps) -> &'d QueuePair {
        if self.is_single() { &deps.queues.calls } else { &deps.queues.chunks }
    }

    /// Whether it has changed, or may have, since it was read.
    async fn has_changed(&self, deps: &Deps) -> Result<bool> {
        match self {
            Waiting::Call(view) => has_changed(deps, view).await,
            Waiting::Batch(view) => {
                let silent_ms = deps.now().since_ms(view.heard_at.unwrap_or_default());
                Ok(silent_ms < limits::ms(limits::WHY_SILENT))
            }
        }
    }

    /// For a batch whose workers have recorded nothing for a while. Whether they are lost cannot be seen: a lease lasts
    /// until it expires, and a call may take long.
    fn silence(&self, now: Time) -> Option<String> {
        let Waiting::Batch(view) = self else { return None };
        let silent_ms = now.since_ms(view.heard_at.unwrap_or(view.created_at));
        let since = if view.heard_at.is_some() { "" } else { " since it was submitted" };
        (silent_ms >= limits::ms(limits::WHY_SILENT)).then(|| {
            format!(
                "no worker has recorded an outcome for {}{since}; if none is left, `afn worker` goes on within {}, \
                 `afn batch resume {}` at once",
                whole_seconds(silent_ms),
                whole_seconds(limits::ms(limits::VISIBILITY)),
                view.batch
            )
        })
    }
}

async fn queued(deps: &Deps, waiting: Waiting<'_>) -> Result<Option<String>> {
    let queue = &waiting.queue(deps).live;
    let first = queue.depth().await?;
    if first.visible == 0 && first.in_flight == 0 {
        if waiting.has_changed(deps).await? {
            return Ok(None);
        }
        return no_message(deps, waiting, first).await.map(Some);
    }
    let mut now = first;
    if first.in_flight == 0 {
        deps.clock.sleep(limits::WHY_LOOK).await;
        now = queue.depth().await?;
    }
    if now.in_flight > 0 {
        let mut reason = leased(deps.now(), waiting, now);
        if let Waiting::Batch(view) = waiting
            && waiting.silence(deps.now()).is_some()
            && let Some(other) = busy_with(deps, view).await
        {
            let messages = format!("messages held {}, waiting {}", now.in_flight, now.visible);
            reason = format!("{messages}; workers are busy with {other}");
        }
        return Ok(Some(reason));
    }
    if now.visible != first.visible {
        return Ok(None);
    }
    // Workers whose slots are all taken by the other kind of work receive nothing here.
    let (others, what) = match waiting.is_single() {
        true => (&deps.queues.chunks, "batches"),
        false => (&deps.queues.calls, "single calls"),
    };
    let others = others.live.depth().await?;
    if others.in_flight > 0 {
        let (held, waits) = (others.in_flight, others.visible);
        return Ok(Some(format!("workers are busy with {what}: messages held {held}, waiting {waits}")));
    }
    let resume = match waiting {
        Waiting::Batch(view) if view.heard_at.is_some() => {
            format!(", or go on with `afn batch resume {}`", view.batch)
        }
        Waiting::Batch(_) | Waiting::Call(_) => String::new(),
    };
    Ok(Some(format!("no worker seen: run `afn start` or `afn worker`{resume}")))
}

/// The other batch that workers have recorded outcomes of lately, the one that was submitted first.
async fn busy_with(deps: &Deps, view: &BatchView) -> Option<String> {
    // A role for one app may not list the batches of others.
    let others = others(deps, view.batch, limits::OTHER_BATCHES_MAX).await.unwrap_or_default();
    others.into_iter().find(|other| other.is_worked_on).map(|other| other.to_string())
}

/// Workers hold messages.
fn leased(now: Time, waiting: Waiting<'_>, depth: Depth) -> String {
    let delayed = if depth.delayed > 0 { format!(", delayed {}", depth.delayed) } else { String::new() };
    let messages = format!("messages held {}, waiting {}{delayed}", depth.in_flight, depth.visible);
    match (waiting.silence(now), waiting) {
        (Some(silence), _) => format!("{messages}; {silence}"),
        (None, Waiting::Call(_)) if depth.visible == 0 && depth.delayed == 0 => {
            format!("taken by a worker, it runs or is about to: {messages}")
        }
        (None, _) => format!("workers are busy: {messages}"),
    }
}

async fn no_message(deps: &Deps, waiting: Waiting<'_>, depth: Depth) -> Result<String> {
    if depth.delayed > 0 {
        return Ok(format!("no message is due, {} are delayed until their retry", depth.delayed));
    }
    let dead = waiting.queue(deps).dead.depth().await?.visible;
    if dead > 0 {
        return Ok(format!(
            "no message is on the queue; dead letters: {dead}, `afn dlq list` shows whether it is among them"
        ));
    }
    let (accepted_at, remedy) = match waiting {
        Waiting::Call(view) => (view.created_at, "`afn gc` at once".to_owned()),
        Waiting::Batch(view) => (view.created_at, format!("`afn batch resume {}` at once", view.batch)),
    };
    Ok(format!(
        "no message is on the queue and no worker holds one, {} after it was accepted: if that stays so, workers send \
         it again after an hour, {remedy}",
        whole_seconds(deps.now().since_ms(accepted_at)),
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
    use crate::model::{CallFacts, CallRef, MessageId};
    use crate::seam::queue::Outgoing;

    async fn queued_call(world: &World, not_before: Option<Time>) -> CallView {
        let id = call_at(NOW, 1);
        world.payload_with(id, "hello", &CallFacts { not_before, ..world.facts(id, "/asyncfn") }).await;
        load(&world.deps, &world.app, id).await.expect("the call")
    }

    async fn send(world: &World, dead: bool) {
        let lane = &world.deps.queues.calls;
        let queue = if dead { &lane.dead } else { &lane.live };
        let sent = queue.send(vec![Outgoing::new("{}".to_owned())]).await.expect("a queue");
        assert!(sent.iter().all(Result::is_ok));
    }

    async fn reason(world: &World, view: &CallView) -> String {
        why(&world.deps, view).await.expect("an answer").expect("a reason")
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
        let held = world.deps.queues.calls.live.receive(1, Duration::ZERO, minute).await.expect("a queue");
        assert_eq!(held.len(), 1);
        assert_eq!(reason(&world, &view).await, "workers are busy: messages held 1, waiting 1");
        let held = world.deps.queues.calls.live.receive(1, Duration::ZERO, minute).await.expect("a queue");
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
        let view = load(&world.deps, &world.app, id).await.expect("the call");
        assert_eq!((view.state, view.attempts), (State::Queued, 1));
        let due = "failed once, exit code 3; tried again at 2026-09-21T14:14:20.000Z";
        assert_eq!(reason(&world, &view).await, due);
        // In place, with the mark of the attempt that has ended.
        world.started(id, delivery(1), 1).await;
        let view = load(&world.deps, &world.app, id).await.expect("the call");
        assert_eq!((view.state, view.started_at), (State::Running, None));
        assert_eq!(reason(&world, &view).await, due);
        world.deps.clock.sleep(Duration::from_secs(61)).await;
        let late = reason(&world, &view).await;
        assert!(late.ends_with("due at 2026-09-21T14:14:20.000Z and runs, or is about to"), "{late}");
        world.started(id, delivery(2), 2).await;
        let view = load(&world.deps, &world.app, id).await.expect("the call");
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
        let held = world.deps.queues.calls.live.receive(1, Duration::ZERO, minute).await.expect("a queue");
        assert_eq!(held.len(), 1);
        let view = load(&world.deps, &world.app, id).await.expect("the call");
        assert_eq!(
            reason(&world, &view).await,
            "runs on worker-1 since 2026-09-21T14:13:20.000Z; if that worker is lost, another takes the call over \
             within 1m"
        );
        world.deps.clock.sleep(minute).await;
        let lost = reason(&world, &view).await;
        assert!(lost.contains("no worker holds a message now, it may be lost: messages waiting 1"), "{lost}");
    }

    #[tokio::test]
    async fn a_call_without_message_is_told_from_one_among_the_dead_letters() {
        let world = World::new();
        let view = queued_call(&world, None).await;
        world.deps.clock.sleep(Duration::from_secs(90)).await;
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
        let queued = load(&world.deps, &world.app, id).await.expect("the call");
        world.started(id, delivery(1), 1).await;
        let running = load(&world.deps, &world.app, id).await.expect("the call");
        assert_eq!((queued.state, running.state), (State::Queued, State::Running));
        assert_eq!(why(&world.deps, &queued).await.expect("an answer"), None);
        world.status(id, &world.outcome(id, State::Success, "/asyncfn")).await;
        assert_eq!(why(&world.deps, &running).await.expect("an answer"), None);
    }

    #[tokio::test]
    async fn a_version_that_no_worker_can_run_is_told() {
        let world = World::new();
        let view = queued_call(&world, None).await;
        let said = Unsuited {
            why: "image for linux/arm64, this worker runs linux/amd64".to_owned(),
            worker: "worker-1".to_owned(),
            at: NOW,
            failed_starts: None,
        };
        let id = (CallRef::new(&world.app, view.id), MessageId::new(NOW, 7));
        world.put_fact(&id, &said).await;
        assert_eq!(
            reason(&world, &view).await,
            "no worker seen that can run it: image for linux/arm64, this worker runs linux/amd64 (reported by worker-1 \
             at 2026-09-21T14:13:20.000Z)"
        );
    }

    #[tokio::test]
    async fn there_is_nothing_to_tell_of_what_moves() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.done(id, State::Success, "/asyncfn").await;
        let view = load(&world.deps, &world.app, id).await.expect("the call");
        assert_eq!(why(&world.deps, &view).await.expect("an answer"), None);
    }

    #[tokio::test]
    async fn a_batch_that_does_not_move_tells_what_it_waits_for() {
        let world = World::new();
        let made = Made::begun(&world, batch_at(NOW, 1)).await;
        let reason = async || {
            let view = batch::load(&world.deps, made.id).await.expect("the batch");
            why_batch(&world.deps, &view).await.expect("an answer")
        };
        let submitter = reason().await.expect("a reason");
        assert!(submitter.contains("if its submitter is gone"), "{submitter}");
        made.chunk(1, 2).await;
        let lost = reason().await.expect("a reason");
        assert!(lost.ends_with(&format!("after an hour, `afn batch resume {}` at once", made.id)), "{lost}");
        let sent = world.deps.queues.chunks.live.send(vec![Outgoing::new("{}".to_owned())]).await;
        assert!(sent.expect("a queue").iter().all(Result::is_ok));
        assert_eq!(reason().await.as_deref(), Some("no worker seen: run `afn start` or `afn worker`"));
        let minute = Duration::from_secs(60);
        let held = world.deps.queues.chunks.live.receive(1, Duration::ZERO, minute).await.expect("a queue");
        assert_eq!(held.len(), 1);
        made.part(2, &rows(1..=1)).await;
        assert_eq!(reason().await.as_deref(), Some("workers are busy: messages held 1, waiting 0"));
        world.deps.clock.sleep(Duration::from_secs(45)).await;
        assert_eq!(
            reason().await,
            Some(format!(
                "messages held 1, waiting 0; no worker has recorded an outcome for 45s; if none is left, `afn worker` goes on within \
                 1m, `afn batch resume {}` at once",
                made.id
            ))
        );
        world.deps.clock.sleep(minute).await;
        let lapsed = reason().await.expect("a reason");
        let way_out = format!("or go on with `afn batch resume {}`", made.id);
        assert!(lapsed.starts_with("no worker seen") && lapsed.ends_with(&way_out), "{lapsed}");
        made.part(2, &rows(2..=2)).await;
        made.sealed(2, &[]).await;
        assert_eq!(reason().await, None, "it has ended");
    }
}
