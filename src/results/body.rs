//! The bodies of a call (result, log), read in pages so that memory stays bounded, and checked against the digest
//! in the outcome. Bodies in a batch's row were read with the row.

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::attempts;
pub use super::pages::Pages;
use super::view::CallView;
use crate::error::{Error, Result};
use crate::layout::Key;
use crate::model::{AttemptId, State, Stored};
use crate::seam::Deps;

/// Receives a body.
pub type Sink<'a> = dyn AsyncWrite + Send + Unpin + 'a;

/// Writes the result. An error after the last byte means that the bytes differ from the recorded ones.
pub async fn result(deps: &Deps, view: &CallView, sink: &mut Sink<'_>) -> Result<u64> {
    copy(result_pages(deps, view)?, sink).await
}

/// Writes the log of the attempt that became the outcome. An error after the last byte means that the bytes differ from
/// the recorded ones.
pub async fn log(deps: &Deps, view: &CallView, sink: &mut Sink<'_>) -> Result<u64> {
    copy(log_pages(deps, view)?, sink).await
}

/// Writes the log of any attempt.
pub async fn log_of(
    deps: &Deps,
    view: &CallView,
    which: attempts::Which,
    sink: &mut Sink<'_>,
) -> Result<u64> {
    let (attempt, stored) = attempts::find(deps, view, which).await?;
    let key = Key::Log(view.app.clone(), view.id, attempt);
    let pages = match &stored {
        Some(stored) => Pages::of_stored(deps, key, stored),
        None => Pages::unchecked(deps, key),
    };
    let pages = if view.state.is_final() { pages.or_gone(content_gone(view)) } else { pages };
    copy(pages, sink).await
}

pub fn result_pages(deps: &Deps, view: &CallView) -> Result<Pages> {
    if let Some(result) = &view.inline.result {
        return Ok(Pages::inline(deps, result.clone()));
    }
    match (&view.result, view.state) {
        (Some(stored), _) => {
            stored_pages(deps, view, stored, |attempt| match (view.id.batch(), view.id.number()) {
                (Some(batch), Some(number)) => Key::BatchResult(view.app.clone(), batch, number, attempt),
                _ => Key::Result(view.app.clone(), view.id, attempt),
            })
        }
        (None, State::Success) => Ok(Pages::inline(deps, Bytes::new())),
        (None, state) if state.is_final() => {
            let reason = view.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            Err(Error::not_found(format!("call `{}` has no result, it ended in {state}{reason}", view.id))
                .with_hint(format!("`afn get logs {} {}` shows what it printed", view.app, view.id)))
        }
        (None, state) => Err(not_yet(view, "result", state)),
    }
}

pub fn log_pages(deps: &Deps, view: &CallView) -> Result<Pages> {
    if let Some(log) = &view.inline.log {
        return Ok(Pages::inline(deps, log.clone()));
    }
    match (&view.log, view.state) {
        (Some(stored), _) => {
            stored_pages(deps, view, stored, |attempt| Key::Log(view.app.clone(), view.id, attempt))
        }
        (None, state) if state.is_final() => Ok(Pages::inline(deps, Bytes::new())),
        (None, state) => Err(match &view.unfinished.failed {
            Some(failed) => Error::not_found(format!("call `{}` has no outcome yet, it is {state}", view.id))
                .with_hint(format!("`--attempt {}` shows what the attempt that failed wrote", failed.number)),
            None => not_yet(view, "log", state),
        }),
    }
}

fn not_yet(view: &CallView, what: &str, state: State) -> Error {
    Error::not_found(format!("call `{}` has no {what} yet, it is {state}", view.id))
        .with_hint(format!("`afn wait {} {}` waits for it", view.app, view.id))
}

/// The bytes of an object that the outcome names.
fn stored_pages(
    deps: &Deps,
    view: &CallView,
    stored: &Stored,
    key: impl Fn(AttemptId) -> Key,
) -> Result<Pages> {
    let attempt = view.attempt.ok_or_else(|| {
        Error::internal(format!("the outcome of call `{}` names a body but no attempt", view.id))
    })?;
    Ok(Pages::of_stored(deps, key(attempt), stored).or_gone(content_gone(view)))
}

/// Why the content of a call that has ended is not there.
fn content_gone(view: &CallView) -> String {
    let ended = view.completed_at.map(|at| format!(", which ended on {at},")).unwrap_or_default();
    format!(
        "the content of call `{}`{ended} was deleted: its retention is over, or its app was deleted",
        view.id
    )
}

async fn copy(mut pages: Pages, sink: &mut Sink<'_>) -> Result<u64> {
    let failed = |error: std::io::Error| Error::new(crate::Code::Stopped, format!("write the body: {error}"));
    let mut bytes = 0;
    while let Some(page) = pages.next().await? {
        sink.write_all(&page).await.map_err(failed)?;
        bytes += page.len() as u64;
    }
    sink.flush().await.map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::call::load;
    use super::super::fixture::{NOW, World, attempt, call_at};
    use super::*;
    use crate::Code;
    use crate::limits;
    use crate::model::CallId;
    use crate::seam::store::PutObject;

    async fn done(world: &World, id: CallId, result: Option<Stored>) -> CallView {
        world.payload(id).await;
        let outcome = crate::model::Outcome { result, ..world.outcome(id, State::Success, "/asyncfn") };
        world.status(id, &outcome).await;
        load(&world.deps, &world.app, id).await.expect("the call")
    }

    #[tokio::test]
    async fn bodies_come_back_as_they_were_stored() {
        let world = World::new();
        let id = call_at(NOW, 1);
        let body: Vec<u8> = (0..limits::READ_PAGE_BYTES * 2 + 17).map(|n| (n % 251) as u8).collect();
        let stored = world.result(id, body.clone()).await;
        let view = done(&world, id, Some(stored)).await;

        let before = world.counts.snapshot().get.requests;
        let mut read = Vec::new();
        let bytes = result(&world.deps, &view, &mut read).await.expect("the result");
        assert_eq!(bytes, body.len() as u64);
        assert!(read == body, "the bytes are the same");
        assert_eq!(world.counts.snapshot().get.requests - before, 3, "a page at a time");
    }

    #[tokio::test]
    async fn what_is_not_what_was_recorded_is_an_error() {
        let world = World::new();
        let id = call_at(NOW, 1);
        let stored = world.result(id, "good").await;
        let view = done(&world, id, Some(Stored { sha256: World::digest_of("evil"), ..stored })).await;
        let error = result(&world.deps, &view, &mut Vec::new()).await.expect_err("another digest");
        assert_eq!(error.code(), Code::Internal);
        assert!(error.message().contains("is not what was recorded"), "{error}");
    }

    #[tokio::test]
    async fn an_empty_answer_is_an_answer_and_a_failure_has_none() {
        let world = World::new();
        let view = done(&world, call_at(NOW, 1), None).await;
        assert_eq!(result(&world.deps, &view, &mut Vec::new()).await.expect("empty"), 0);
        assert_eq!(log(&world.deps, &view, &mut Vec::new()).await.expect("empty"), 0);

        let stored = world.result(call_at(NOW, 2), "").await;
        let view = done(&world, call_at(NOW, 2), Some(stored)).await;
        assert_eq!(result(&world.deps, &view, &mut Vec::new()).await.expect("empty"), 0);

        let id = call_at(NOW, 3);
        world.done(id, State::Error, "/asyncfn").await;
        let view = load(&world.deps, &world.app, id).await.expect("the call");
        let error = result(&world.deps, &view, &mut Vec::new()).await.expect_err("it failed");
        assert_eq!(error.code(), Code::NotFound);
        assert!(error.message().ends_with("it ended in error: exit code 3"), "{error}");

        let id = call_at(NOW, 4);
        world.payload(id).await;
        let view = load(&world.deps, &world.app, id).await.expect("the call");
        let error = log(&world.deps, &view, &mut Vec::new()).await.expect_err("not yet");
        assert!(error.message().ends_with("has no log yet, it is queued"), "{error}");
    }

    #[tokio::test]
    async fn the_log_is_the_one_of_the_attempt_that_counts() {
        let world = World::new();
        let id = call_at(NOW, 1);
        for (number, text) in [(1, "first"), (2, "second")] {
            world.put(Key::Log(world.app.clone(), id, attempt(number)), PutObject::create(text)).await;
        }
        world.payload(id).await;
        let log_stored = Stored { bytes: 6, sha256: World::digest_of("second"), content_type: None };
        let outcome = crate::model::Outcome {
            attempt: Some(attempt(2)),
            log: Some(log_stored),
            ..world.outcome(id, State::Error, "/asyncfn")
        };
        world.status(id, &outcome).await;
        let view = load(&world.deps, &world.app, id).await.expect("the call");
        let mut read = Vec::new();
        log(&world.deps, &view, &mut read).await.expect("the log");
        assert_eq!(read, b"second");
    }

    #[tokio::test]
    async fn every_attempt_has_a_log_of_its_own() {
        use attempts::Which;
        let world = World::new();
        let id = call_at(NOW, 1);
        world.failed(id, attempt(1), Some(NOW)).await;
        world.put(Key::Log(world.app.clone(), id, attempt(2)), PutObject::create("fine")).await;
        world.payload(id).await;
        let log = Some(Stored { bytes: 4, sha256: World::digest_of("fine"), content_type: None });
        let outcome = crate::model::Outcome {
            attempt: Some(attempt(2)),
            attempts: 2,
            log,
            ..world.outcome(id, State::Success, "/asyncfn")
        };
        world.status(id, &outcome).await;
        let view = load(&world.deps, &world.app, id).await.expect("the call");
        let read = async |which| {
            let mut read = Vec::new();
            log_of(&world.deps, &view, which, &mut read).await.map(|_| String::from_utf8(read).expect("text"))
        };
        assert_eq!(read(Which::Number(1)).await.expect("a log"), "oops");
        assert_eq!(read(Which::Id(attempt(2))).await.expect("a log"), "fine");
        let error = read(Which::Number(3)).await.expect_err("no such attempt");
        assert_eq!(error.code(), Code::NotFound);
        assert!(error.to_string().contains("attempt 3"), "{error}");
        let earlier = attempts::earlier(&world.deps, &view).await.expect("attempts");
        let told: Vec<_> =
            earlier.iter().map(|one| (one.number, one.reason.as_str(), one.log.bytes)).collect();
        assert_eq!(told, [(1, "exit code 3", 4)]);
    }
}
