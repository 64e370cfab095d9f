//! Runs one execution of a single call and watches it. After a while it writes the call's mark. From time to time it checks
//! whether the call has an outcome already.

use std::time::Duration;

use super::Shared;
use super::phase::Phase;
use crate::layout::Key;
use crate::limits;
use crate::model::{AppName, CallId};
use crate::seam::StoreExt as _;
use crate::seam::executor::{Execution, Fault, Invocation};

/// How an execution ended.
pub enum Completion {
    Ended(Result<Execution, Fault>),
    /// The call has an outcome by now: cancelled, or decided elsewhere.
    Decided,
    /// The grace is over; the sandbox is being stopped.
    CutOff,
}

/// Runs `work`. `mark` is awaited once the call has run for a while.
pub async fn run(
    shared: &Shared,
    work: Invocation,
    app: &AppName,
    call: CallId,
    mark: impl Future<Output = ()>,
) -> Completion {
    let watch = async {
        let started = shared.deps.clock.monotonic();
        shared.deps.clock.sleep(limits::STARTED_AFTER).await;
        mark.await;
        // Nothing here is needed for safety, so a failed request is no reason to stop.
        let status = Key::Status(app.clone(), call);
        while !matches!(shared.deps.store.exists(&status).await, Ok(true)) {
            let elapsed = shared.deps.clock.monotonic().saturating_sub(started).as_millis() as u64;
            let wait = (elapsed / 10)
                .clamp(limits::ms(limits::CANCEL_LOOK_MIN), limits::ms(limits::CANCEL_LOOK_MAX));
            shared.deps.clock.sleep(Duration::from_millis(wait)).await;
        }
    };
    tokio::select! {
        biased;
        () = shared.phases.reached(Phase::HandBack) => Completion::CutOff,
        run = shared.executor.run(work) => Completion::Ended(run),
        () = watch => Completion::Decided,
    }
}
