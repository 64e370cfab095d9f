//! One execution, watched: after a while its `started` is written, and from time to time somebody looks whether the
//! call was cancelled meanwhile.

use std::time::Duration;

use super::Shared;
use super::careful::{self, Past};
use super::phase::Phase;
use crate::layout::Key;
use crate::limits;
use crate::model::{AppName, CallId, DeliveryId};
use crate::seam::executor::{Fault, Run, Work};
use crate::seam::{Heard, StoreExt as _};

/// How an execution ended.
pub enum Ended {
    Run(Run),
    Fault(Fault),
    /// The call has an outcome by now: cancelled, or decided elsewhere.
    Decided,
    /// The grace is over; the sandbox is being stopped.
    HandBack,
}

/// Which delivery's mark tells of this execution.
pub struct Marking<'a> {
    pub app: &'a AppName,
    pub call: CallId,
    pub delivery: DeliveryId,
    pub past: &'a Past,
    /// The mark is there already.
    pub marked: bool,
}

/// Runs `work`. Says in the second value whether the delivery has a mark now.
pub async fn run(shared: &Shared, work: Work, marking: Marking<'_>) -> (Ended, bool) {
    let mut marked = marking.marked;
    let heard = work.heard.clone();
    let ended = tokio::select! {
        biased;
        () = shared.phases.reached(Phase::HandBack) => Ended::HandBack,
        run = shared.executor.run(work) => match run {
            Ok(run) => Ended::Run(run),
            Err(fault) => Ended::Fault(fault),
        },
        () = watch(shared, &marking, &heard, &mut marked) => Ended::Decided,
    };
    (ended, marked)
}

/// Returns once the call has an outcome. Nothing here is needed for safety, so a failed request is no reason to stop.
async fn watch(shared: &Shared, marking: &Marking<'_>, heard: &Heard, marked: &mut bool) {
    let status = Key::Status(marking.app.clone(), marking.call).to_string();
    let started = shared.seams.clock.monotonic();
    shared.seams.clock.sleep(Duration::from_millis(limits::STARTED_AFTER_MS)).await;
    if !*marked {
        // Set first: a write whose answer never comes may have been done.
        *marked = true;
        let Marking { app, call, delivery, past, .. } = *marking;
        let _ = careful::mark(shared, app, call, delivery, past, Some(heard)).await;
    }
    loop {
        if let Ok(true) = shared.seams.store.exists(&status).await {
            return;
        }
        let elapsed = shared.seams.clock.monotonic().saturating_sub(started).as_millis() as u64;
        let wait = (elapsed / 10).clamp(limits::CANCEL_LOOK_MS_MIN, limits::CANCEL_LOOK_MS_MAX);
        shared.seams.clock.sleep(Duration::from_millis(wait)).await;
    }
}
