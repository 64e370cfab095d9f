//! Waiting for an outcome: the store has no bell, so it is looked at again and again, ever less often.

use std::time::Duration;

use super::call::{CallView, load};
use crate::error::{Code, Error, Result};
use crate::limits;
use crate::model::{AppName, CallId};
use crate::seam::Seams;

/// Looks until the call has its outcome, or `limit` is over; `on_look` sees every look, the last one too.
pub async fn wait(
    seams: &Seams,
    app: &AppName,
    id: CallId,
    limit: Option<Duration>,
    mut on_look: impl FnMut(&CallView),
) -> Result<CallView> {
    let begun = seams.clock.monotonic();
    let mut pause = Duration::from_millis(limits::WAIT_LOOK_MS_MIN);
    loop {
        let view = load(seams, app, id).await?;
        on_look(&view);
        if view.state.is_final() {
            return Ok(view);
        }
        let waited = seams.clock.monotonic().saturating_sub(begun);
        let left = limit.map_or(Duration::MAX, |limit| limit.saturating_sub(waited));
        if left.is_zero() {
            let limit = humantime::format_duration(limit.unwrap_or_default());
            return Err(Error::new(
                Code::WaitTimedOut,
                format!("call `{id}` has no outcome after {limit}, it is {}", view.state),
            )
            .hint(format!("it goes on all the same: `afn wait {app} {id}` waits again")));
        }
        seams.clock.sleep(pause.min(left)).await;
        pause = (pause * 3 / 2).min(Duration::from_millis(limits::WAIT_LOOK_MS_MAX));
    }
}
