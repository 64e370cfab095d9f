//! Waits for an outcome. Where the store sends no notification of it, the store is polled, at growing intervals.

use std::time::Duration;

use super::call::{CallView, load};
use crate::error::{Code, Error, Result};
use crate::layout::Key;
use crate::limits;
use crate::model::{AppName, CallId};
use crate::seam::Deps;

/// The time limit of a wait; without one it never ends.
pub(super) struct TimeLimit<'a> {
    deps: &'a Deps,
    begun: Duration,
    limit: Option<Duration>,
}

impl<'a> TimeLimit<'a> {
    pub(super) fn start(deps: &'a Deps, limit: Option<Duration>) -> TimeLimit<'a> {
        TimeLimit { deps, begun: deps.clock.monotonic(), limit }
    }

    pub(super) fn waited(&self) -> Duration {
        self.deps.clock.monotonic().saturating_sub(self.begun)
    }

    /// Sleeps until `event`, for `pause` at most, and not past the limit. An error when the limit is reached: `late` words
    /// it, `command` waits again.
    pub(super) async fn sleep(
        &self,
        event: impl Future<Output = ()> + Send,
        pause: Duration,
        late: impl FnOnce(String) -> String + Send,
        command: String,
    ) -> Result<()> {
        if let Some(limit) = self.limit.filter(|limit| *limit <= self.waited()) {
            let message = late(humantime::format_duration(limit).to_string());
            return Err(Error::new(Code::WaitTimedOut, message)
                .with_hint(format!("it goes on all the same: `{command}` waits again")));
        }
        let left = self.limit.map_or(Duration::MAX, |limit| limit.saturating_sub(self.waited()));
        tokio::select! {
            biased;
            () = event => {}
            () = self.deps.clock.sleep(pause.min(left)) => {}
        }
        Ok(())
    }
}

/// Reads the call until it has its outcome, or `limit` is over. Calls `on_read` with every view, also with the last one.
pub async fn wait(
    deps: &Deps,
    app: &AppName,
    id: CallId,
    limit: Option<Duration>,
    mut on_read: impl FnMut(&CallView),
) -> Result<CallView> {
    let limit = TimeLimit::start(deps, limit);
    let mut pause = limits::WAIT_LOOK_MIN;
    let status = Key::Status(app.clone(), id);
    loop {
        let created = deps.store.created(&status);
        let view = load(deps, app, id).await?;
        on_read(&view);
        if view.state.is_final() {
            return Ok(view);
        }
        let late = |limit| format!("call `{id}` has no outcome after {limit}, it is {}", view.state);
        limit.sleep(created, pause, late, format!("afn wait {app} {id}")).await?;
        pause = (pause * 3).min(limits::WAIT_LOOK_MAX);
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
        let error = wait(&world.deps, &world.app, id, limit, |_| looks.push(world.deps.clock.monotonic()))
            .await
            .expect_err("nobody works");
        assert_eq!(error.code(), Code::WaitTimedOut);
        assert_eq!(error.message(), format!("call `{id}` has no outcome after 1m, it is queued"));
        assert_eq!(looks.last(), Some(&Duration::from_secs(60)), "the last look is at the end");
        let early = looks.iter().filter(|look| **look < Duration::from_secs(10)).count();
        assert!(early <= 8, "{early} looks in the first 10 s");
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
            wait(&world.deps, &world.app, id, None, |view| states.push(view.state)),
            world.done_later(id),
        );
        assert_eq!(view.expect("the outcome").state, State::Success);
        assert_eq!(states.first(), Some(&State::Queued));
        assert_eq!(states.last(), Some(&State::Success));
    }

    #[tokio::test]
    async fn a_store_that_notifies_is_not_polled() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.payload(id).await;
        let clock = world.deps.clock.clone();
        let wait = async {
            wait(&world.deps, &world.app, id, None, |_| {}).await.expect("the outcome");
            clock.monotonic()
        };
        let done = async {
            world.done_later(id).await;
            clock.monotonic()
        };
        let (heard, recorded) = tokio::join!(wait, done);
        assert_eq!(heard, recorded);
    }

    #[tokio::test]
    async fn a_wait_without_time_looks_once() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.payload(id).await;
        let mut looks = 0;
        let error = wait(&world.deps, &world.app, id, Some(Duration::ZERO), |_| looks += 1).await;
        assert_eq!((error.expect_err("no time").code(), looks), (Code::WaitTimedOut, 1));
    }
}
