//! Why a call or batch does not move, for whoever looks at it or waits for it: nothing is met with silence.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use super::printer::Printer;
use crate::error::Result;
use crate::model::State;
use crate::results::why::{why, why_batch};
use crate::results::{BatchView, CallView};
use crate::seam::Seams;

/// A wait is explained once it has lasted this long, and looked at again this often.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_secs(10);
const LOOK_SELDOM: Duration = Duration::from_secs(300);

/// Says beside the answer why a call has no outcome yet.
pub async fn tell(printer: &Printer, seams: &Seams, call: &CallView) -> Result<()> {
    if call.state.is_final() || printer.is_quiet() {
        return Ok(());
    }
    if let Some(why) = why(seams, call).await? {
        printer.note(format!("Why: {why}"));
    }
    Ok(())
}

/// Says why a batch has not ended yet.
pub async fn tell_of_batch(printer: &Printer, seams: &Seams, batch: &BatchView) -> Result<()> {
    if batch.status.is_final() || printer.is_quiet() {
        return Ok(());
    }
    if let Some(why) = why_batch(seams, batch).await? {
        printer.hint(format!("{} is {}: {why}", batch.batch, batch.status));
    }
    Ok(())
}

/// Says during a wait why nothing moves, whenever the reason changes. Never ends. What it cannot find out it leaves
/// unsaid: the wait itself will fail of the same cause.
pub async fn keep_telling(printer: &Printer, seams: &Seams, seen: &Mutex<Option<CallView>>) -> Infallible {
    let mut told = None;
    seams.clock.sleep(PATIENCE).await;
    loop {
        let call = seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        // What runs needs no explanation.
        if let Some(call) = call.filter(|call| call.state != State::Running || call.failed_last().is_some()) {
            let reason = why(seams, &call).await.ok().flatten();
            if reason.is_some() && reason != told {
                let why = reason.as_deref().unwrap_or_default();
                match call.state {
                    // The reason says it: until when.
                    State::Delayed => printer.hint(format!("{} is {why}", call.id)),
                    state => printer.hint(format!("{} is {state}: {why}", call.id)),
                }
                told = reason;
            }
        }
        seams.clock.sleep(LOOK_AGAIN).await;
    }
}

/// The same for a batch, once no call of it has ended for a while.
pub async fn keep_telling_of_batch(
    printer: &Printer,
    seams: &Seams,
    seen: &Mutex<Option<BatchView>>,
) -> Infallible {
    let mut told = None;
    let mut decided = None;
    let mut pause = LOOK_AGAIN;
    seams.clock.sleep(PATIENCE).await;
    loop {
        let view = seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        if let Some(view) = view {
            let stands = decided == Some(view.decided);
            decided = Some(view.decided);
            let reason = match stands || view.decided == 0 {
                true => why_batch(seams, &view).await.ok().flatten(),
                false => None,
            };
            // A reason may tell how long it lasts already: it is told again ever more seldom.
            pause = if stands { (2 * pause).min(LOOK_SELDOM) } else { LOOK_AGAIN };
            if reason.is_some() && reason != told {
                let reason = reason.as_deref().unwrap_or_default();
                printer.hint(format!("{} is {}: {reason}", view.batch, view.status));
            }
            told = reason;
        }
        seams.clock.sleep(pause).await;
    }
}
