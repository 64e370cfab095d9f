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

#[cfg(test)]
mod tests {
    use super::super::fixture::{NOW, World, call_at};
    use super::*;
    use crate::model::State;

    #[tokio::test]
    async fn a_wait_looks_ever_less_often_and_ends_on_time() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.payload(id).await;
        let mut looks = Vec::new();
        let limit = Some(Duration::from_secs(60));
        let error = wait(&world.seams, &world.app, id, limit, |_| looks.push(world.seams.clock.monotonic()))
            .await
            .expect_err("nobody works");
        assert_eq!(error.code(), Code::WaitTimedOut);
        assert_eq!(error.message(), format!("call `{id}` has no outcome after 1m, it is queued"));
        assert_eq!(looks.last(), Some(&Duration::from_secs(60)), "the last look is at the end");
        assert!(looks.len() < 45, "{} looks in a minute", looks.len());
        let pauses: Vec<Duration> = looks.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses[0], Duration::from_millis(50));
        assert_eq!(pauses.iter().max(), Some(&Duration::from_secs(2)));
    }

    #[tokio::test]
    async fn a_wait_ends_with_the_outcome() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.payload(id).await;
        let mut states = Vec::new();
        let (view, ()) = tokio::join!(
            wait(&world.seams, &world.app, id, None, |view| states.push(view.state)),
            world.done_later(id),
        );
        assert_eq!(view.expect("the outcome").state, State::Success);
        assert_eq!(states.first(), Some(&State::Queued));
        assert_eq!(states.last(), Some(&State::Success));
    }

    #[tokio::test]
    async fn a_wait_without_time_looks_once() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.payload(id).await;
        let mut looks = 0;
        let error = wait(&world.seams, &world.app, id, Some(Duration::ZERO), |_| looks += 1).await;
        assert_eq!((error.expect_err("no time").code(), looks), (Code::WaitTimedOut, 1));
    }
}
