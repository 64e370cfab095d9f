//! Quarantine decides how carefully a call runs whose workers were lost, and when it is recorded `killed` without running again. By the
//! number of its lost workers:
//! 1. It ran at `Normal` and left no mark. It runs `Among` others. The mark names all calls of its range that were not decided.
//! 2. Each call that the mark names is a suspect. It leaves its range in a unit of its own, and runs as the `Sole` suspect on a worker.
//!    Innocent calls finish here, or a step later.
//! 3. to 5. It has a worker to itself (`Alone`).
//! 6. Five loss marks name it, three of them `Alone`: it is recorded `killed`.
//!
//! Loss marks: see [`marks`]. A receive count alone makes a call no more suspect than one loss does (H4).

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::marks::{self, MarkLocation};
use super::slots::{Class, Slot};
use super::{Abandoned, Shared};
use crate::layout::Runs;
use crate::layout::object::MarkKind;
use crate::limits;
use crate::model::{AppName, AttemptHistory, BatchId, MarkId, Time};
use crate::planted::planted;

/// How a call runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// No worker was lost with it.
    Normal,
    /// Its message was delivered again, and no loss mark names the call. The worker writes a mark, then runs it beside other calls.
    Among,
    /// No other suspect runs on the worker.
    Sole,
    /// Nothing else runs on the worker.
    Alone,
}

impl Level {
    /// `losses`: how many loss marks name the call. The first loss of a message leaves none, so a message that came again
    /// counts as one.
    pub fn of(losses: usize, came_again: bool) -> Level {
        match losses {
            0 if !came_again => Level::Normal,
            0 => Level::Among,
            1 => Level::Sole,
            _ => Level::Alone,
        }
    }

    /// Of the mark that is written before a call runs so. At `Normal` none is.
    pub fn mark_kind(self) -> MarkKind {
        match self {
            Level::Normal | Level::Among => MarkKind::Among,
            Level::Sole => MarkKind::Sole,
            Level::Alone => MarkKind::Alone,
        }
    }

    pub fn is_suspect(self) -> bool {
        self >= Level::Sole
    }
}

/// Held by whatever runs on a worker. The order is: suspect, slot, exclusive. Whoever holds one never waits for one before
/// it.
#[derive(Default)]
pub struct Quarantine {
    /// Held by the one suspect of the worker.
    suspect: Mutex<()>,
    /// Read by every call that runs; written by one that runs alone.
    exclusive: RwLock<()>,
}

/// The right to run as a suspect, with a slot. Given up when dropped.
#[derive(Debug)]
pub struct SuspectPermit<'a> {
    _slot: Slot,
    _suspect: Option<MutexGuard<'a, ()>>,
    _exclusive: Exclusive<'a>,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held, not read")]
enum Exclusive<'a> {
    Alone(RwLockWriteGuard<'a, ()>),
    Among(RwLockReadGuard<'a, ()>),
}

impl Quarantine {
    /// The right to run among others. It waits while a call has the worker to itself, or queues for that.
    pub async fn among_others(&self) -> RwLockReadGuard<'_, ()> {
        self.exclusive.read().await
    }

    /// Whether a suspect runs on the worker. Another one would wait for it.
    pub fn has_suspect(&self) -> bool {
        self.suspect.try_lock().is_err()
    }

    /// Whether a call has the worker to itself, or queues for that: nothing else may start.
    pub fn is_closed(&self) -> bool {
        self.exclusive.try_read().is_err()
    }
}

/// Waits to run as a suspect. `None`: others are to try; the call goes back to the queue. `alone_since`: since when it waits
/// to have a worker to itself.
pub async fn enter(
    shared: &Shared,
    level: Level,
    class: Class,
    alone_since: Option<Time>,
) -> Option<SuspectPermit<'_>> {
    let clock = &shared.deps.clock;
    let until = clock.monotonic() + limits::SUSPECT_WAIT;
    if level == Level::Sole {
        return tokio::select! {
            biased;
            permit = queue_up(shared, level, class) => Some(permit),
            () = clock.sleep(limits::SUSPECT_WAIT) => None,
        };
    }
    let waited_ms = alone_since.map_or(0, |since| shared.deps.now().since_ms(since));
    if waited_ms >= limits::ms(limits::ALONE_QUEUES_AFTER).max(shared.pace.mean_ms()) {
        return Some(queue_up(shared, level, class).await);
    }
    loop {
        if let Some(permit) = try_alone(shared) {
            return Some(permit);
        }
        if clock.monotonic() >= until {
            return None;
        }
        clock.sleep(Duration::from_secs(1)).await;
    }
}

async fn queue_up(shared: &Shared, level: Level, class: Class) -> SuspectPermit<'_> {
    let quarantine = &shared.quarantine;
    let suspect = planted!(Some(quarantine.suspect.lock().await), TwoSuspectsAtOnce => None);
    let slot = shared.slots.take(class).await;
    let exclusive = match level {
        Level::Alone => Exclusive::Alone(quarantine.exclusive.write().await),
        _ => Exclusive::Among(quarantine.exclusive.read().await),
    };
    SuspectPermit { _slot: slot, _suspect: suspect, _exclusive: exclusive }
}

/// Without queueing: nothing that is about to start waits for it.
fn try_alone(shared: &Shared) -> Option<SuspectPermit<'_>> {
    let suspect = shared.quarantine.suspect.try_lock().ok()?;
    let slot = shared.slots.try_take()?;
    let exclusive = Exclusive::Alone(shared.quarantine.exclusive.try_write().ok()?);
    Some(SuspectPermit { _slot: slot, _suspect: Some(suspect), _exclusive: exclusive })
}

/// What becomes of a call with all these loss marks.
pub enum Judgement {
    /// Enough of them exist: it is recorded `killed`, with this reason.
    Condemned(String),
    /// The marks that count against the call. Their number says how carefully it runs.
    Runs(Vec<MarkId>),
}

/// Reads the marks when there are enough names to condemn the call: names in a message prove nothing. Fewer names are not checked,
/// because they only make the call run more carefully. `number`: the call's number in its chunk.
pub async fn judge(
    shared: &Shared,
    place: &MarkLocation,
    losses: Vec<MarkId>,
    number: Option<u64>,
) -> Result<Judgement, Abandoned> {
    let (losses_max, lone_min) =
        planted!((limits::LOSSES_MAX, limits::LONE_LOSSES_MIN), GroupMarksCondemn => (3, 0));
    if losses.len() < losses_max {
        return Ok(Judgement::Runs(losses));
    }
    let (mut exist, mut lone) = (Vec::new(), 0);
    for id in losses {
        let Some(mark) = marks::evidence(shared, place, id).await? else { continue };
        if mark.kind.names_losses() && number.is_none_or(|number| mark.names(number)) {
            lone += usize::from(mark.kind.is_lone());
            exist.push(id);
        }
    }
    match exist.len() >= losses_max && lone >= lone_min {
        true => Ok(Judgement::Condemned(format!("its worker was lost {} times", exist.len()))),
        false => Ok(Judgement::Runs(exist)),
    }
}

/// The names of the marks that all messages to a chunk have left, for each of these calls. The worker of some may still live:
/// then a call is taken for more suspect than it is.
pub async fn losses(
    shared: &Shared,
    app: &AppName,
    batch: BatchId,
    chunk: u64,
    calls: &Runs<AttemptHistory>,
) -> Result<Runs<Vec<MarkId>>, Abandoned> {
    let marks = marks::of_chunk(shared, app, batch, chunk).await?;
    let each = calls.each().map(|(number, _)| {
        let lost = marks.iter().filter(|mark| mark.kind.names_losses() && mark.names(number));
        (number, more_losses(Vec::new(), lost.map(|mark| mark.id)))
    });
    Ok(each.filter(|(_, marks)| !marks.is_empty()).collect())
}

/// The names of loss marks with more that were found: each once, at most as many as are needed to judge.
pub fn more_losses(mut known: Vec<MarkId>, found: impl IntoIterator<Item = MarkId>) -> Vec<MarkId> {
    for id in found {
        if !known.contains(&id) {
            known.push(id);
        }
    }
    // The last are those that were written when the call was most suspect.
    let surplus = known.len().saturating_sub(limits::LOSSES_MAX);
    known.drain(..surplus);
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_makes_a_call_more_suspect() {
        let levels: Vec<Level> = [(0, false), (0, true), (1, false), (1, true), (2, false), (4, false)]
            .map(|(losses, came_again)| Level::of(losses, came_again))
            .into();
        use Level::*;
        assert_eq!(levels, [Normal, Among, Sole, Sole, Alone, Alone]);
    }
}
