//! Weeks later: what has had its time is deleted, whole; nothing is deleted early, and nothing that comes late brings
//! anything back (H14, N12).

use std::collections::BTreeSet;
use std::time::Duration;

use afn::layout::{Key, key};
use afn::limits;
use afn::model::BatchId;
use afn::seam::StoreExt as _;
use afn::seam::queue::{Outgoing, Queue as _};
use afn::seam::store::List;
use afn::submit::resume::{ResumeRequest, resume};
use afn::worker::Phase;
use afn::worker::delete::gc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Seen;
use super::check::{Invariant, Verdict};
use super::stage::Stage;

const A_YEAR_MS: i64 = 365 * 24 * 3600 * 1000;
/// How long a worker lives then: its supervisors and reconciler look.
const A_WHILE: Duration = Duration::from_secs(300);

pub async fn weeks_later(stage: &Stage, seen: &mut Seen) -> Verdict {
    // Nothing is old enough yet, whatever the clock of this machine says.
    let hasty = stage.world.process("hasty deleter");
    hasty.clock.step(A_YEAR_MS);
    let _ = gc(&hasty.deps, false).await;
    seen.look(stage).await?;

    tokio::time::sleep(limits::DELETE_AFTER + Duration::from_secs(3600)).await;
    let deleter = stage.world.process("deleter");
    if let Err(error) = gc(&deleter.deps, false).await {
        return Err(Invariant::Liveness.broken(format!("deletion fails: {error}")));
    }
    stage.world.guard.verdict()?;
    for call in seen.calls.decided() {
        if !list(stage, key::call(&stage.app, call)).await.is_empty() {
            return Err(
                Invariant::Liveness.broken(format!("{call} was decided weeks ago and is still there"))
            );
        }
    }
    let fired = seen.batches.fired();
    let left = list(stage, key::batches(&stage.app)).await;
    for (batch, then) in &fired {
        let mut stays: Vec<String> =
            [Key::Fired(stage.app.clone(), *batch), Key::Summary(stage.app.clone(), *batch)]
                .iter()
                .map(Key::to_string)
                .collect();
        stays.sort();
        let its: Vec<&String> =
            left.iter().filter(|name| name.starts_with(&key::batch(&stage.app, *batch))).collect();
        if its != stays.iter().collect::<Vec<_>>() {
            return Err(
                Invariant::Liveness.broken(format!("of {batch}, followed by {then:?}, are left {its:?}"))
            );
        }
    }
    nothing_comes_back(stage, fired.into_keys().collect()).await
}

/// Old messages come again, and somebody tries to resume what is gone.
async fn nothing_comes_back(stage: &Stage, over: BTreeSet<BatchId>) -> Verdict {
    let before = decided(stage, &over).await;
    for (queue, body) in stage.world.guard.hoard() {
        let sent = stage.world.queues[queue].send(vec![Outgoing::new(body)]).await;
        sent.expect("the queue itself never fails");
    }
    for batch in over.iter().copied() {
        let late = stage.world.process("late resumer");
        let request = ResumeRequest { batch, source: None };
        if let Ok(resumed) = resume(&late.deps, request, &|_| {}).await {
            return Err(Invariant::NothingGoesEarly.broken(format!("what is gone was resumed: {resumed:?}")));
        }
    }
    let process = stage.world.process("late worker");
    let (deaths, _died) = mpsc::unbounded_channel();
    let (_stop, stopped) = watch::channel(Phase::Run);
    let mut running = JoinSet::new();
    running.spawn(stage.worker(1, &process, deaths).run(stopped));
    tokio::time::sleep(A_WHILE).await;
    running.shutdown().await;
    stage.world.guard.verdict()?;
    match decided(stage, &over).await.difference(&before).next() {
        Some(new) => Err(Invariant::OneOutcome.broken(format!("{new} came back weeks later"))),
        None => Ok(()),
    }
}

/// What lies of calls and batches that were decided: what is still open may go on.
async fn decided(stage: &Stage, over: &BTreeSet<BatchId>) -> BTreeSet<String> {
    let calls = list(stage, key::calls(&stage.app)).await;
    let open: Vec<String> =
        calls.iter().filter_map(|name| name.strip_suffix("payload")).map(str::to_owned).collect();
    let mut left: BTreeSet<String> =
        calls.into_iter().filter(|name| !open.iter().any(|call| name.starts_with(call))).collect();
    for batch in over {
        left.extend(list(stage, key::batch(&stage.app, *batch)).await);
    }
    left
}

async fn list(stage: &Stage, prefix: String) -> Vec<String> {
    let listed = stage.world.store.list_all(List::all(prefix)).await.expect("the store never fails");
    listed.entries.into_iter().map(|entry| entry.key).collect()
}
