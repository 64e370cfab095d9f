//! The bodies of a call (payload, result, log), read in pages so that memory stays small whatever they weigh, and
//! checked against the digest that the outcome names. Those that lie in a batch's row came with it.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::call::{CallView, reading};
use super::{attempts, batch};
use crate::error::{Error, Result};
use crate::layout::Key;
use crate::limits;
use crate::model::{Digest, State, Stored};
use crate::seam::Seams;
use crate::seam::store::{ETag, Range};

/// Where a body goes.
pub type Sink<'a> = dyn AsyncWrite + Send + Unpin + 'a;

/// Writes the payload as it was sent; answers how many bytes it has.
pub async fn payload(seams: &Seams, view: &CallView, sink: &mut Sink<'_>) -> Result<u64> {
    copy(payload_pages(seams, view).await?, sink).await
}

/// Writes the answer. An error after the last byte says that the bytes are not those that were recorded.
pub async fn result(seams: &Seams, view: &CallView, sink: &mut Sink<'_>) -> Result<u64> {
    copy(result_pages(seams, view)?, sink).await
}

/// Writes the log of the execution that counts. An error after the last byte says that the bytes are not those that
/// were recorded.
pub async fn log(seams: &Seams, view: &CallView, sink: &mut Sink<'_>) -> Result<u64> {
    copy(log_pages(seams, view)?, sink).await
}

/// The same of an attempt, whether it counts or not.
pub async fn log_of(
    seams: &Seams,
    view: &CallView,
    which: attempts::Which,
    sink: &mut Sink<'_>,
) -> Result<u64> {
    let (attempt, stored) = attempts::find(seams, view, which).await?;
    let expected = stored.map(|stored| Expected { bytes: Some(stored.bytes), sha256: stored.sha256 });
    let key = Key::Log(view.app.clone(), view.id, attempt).to_string();
    copy(Pages::new(seams, key, expected), sink).await
}

pub async fn payload_pages(seams: &Seams, view: &CallView) -> Result<Pages> {
    match view.id.batch() {
        Some(_) => batch::call::payload(seams, view).await,
        None => Ok(Pages::new(seams, Key::Payload(view.app.clone(), view.id).to_string(), None)),
    }
}

pub fn result_pages(seams: &Seams, view: &CallView) -> Result<Pages> {
    if let Some(result) = &view.inline.result {
        return Ok(Pages::inline(seams, result.clone()));
    }
    match (&view.result, view.state) {
        (Some(stored), _) => {
            stored_pages(seams, view, stored, |view, attempt| match (view.id.batch(), view.id.number()) {
                (Some(batch), Some(number)) => Key::BatchResult(view.app.clone(), batch, number, attempt),
                _ => Key::Result(view.app.clone(), view.id, attempt),
            })
        }
        (None, State::Success) => Ok(Pages::inline(seams, Bytes::new())),
        (None, state) if state.is_final() => {
            let reason = view.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            Err(Error::not_found(format!("call `{}` has no result, it ended in {state}{reason}", view.id))
                .hint(format!("`afn get logs {} {}` shows what it printed", view.app, view.id)))
        }
        (None, state) => Err(not_yet(view, "result", state)),
    }
}

pub fn log_pages(seams: &Seams, view: &CallView) -> Result<Pages> {
    if let Some(log) = &view.inline.log {
        return Ok(Pages::inline(seams, log.clone()));
    }
    match (&view.log, view.state) {
        (Some(stored), _) => {
            stored_pages(seams, view, stored, |view, attempt| Key::Log(view.app.clone(), view.id, attempt))
        }
        (None, state) if state.is_final() => Ok(Pages::inline(seams, Bytes::new())),
        (None, state) => Err(match &view.signs.failed {
            Some(failed) => Error::not_found(format!("call `{}` has no outcome yet, it is {state}", view.id))
                .hint(format!("`--attempt {}` shows what the attempt that failed wrote", failed.number)),
            None => not_yet(view, "log", state),
        }),
    }
}

fn not_yet(view: &CallView, what: &str, state: State) -> Error {
    Error::not_found(format!("call `{}` has no {what} yet, it is {state}", view.id))
        .hint(format!("`afn wait {} {}` waits for it", view.app, view.id))
}

fn stored_pages(
    seams: &Seams,
    view: &CallView,
    stored: &Stored,
    key: impl Fn(&CallView, crate::model::AttemptId) -> Key,
) -> Result<Pages> {
    let attempt = view.attempt.ok_or_else(|| {
        Error::internal(format!("the outcome of call `{}` names a body but no attempt", view.id))
    })?;
    let expected = Expected { bytes: Some(stored.bytes), sha256: stored.sha256.clone() };
    Ok(Pages::new(seams, key(view, attempt).to_string(), Some(expected)))
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

/// What the bytes are to be.
struct Expected {
    bytes: Option<u64>,
    sha256: Digest,
}

/// A body, page after page.
pub struct Pages {
    seams: Seams,
    key: String,
    expected: Option<Expected>,
    /// All of it, where it is at hand.
    inline: Option<Bytes>,
    offset: u64,
    hasher: Sha256,
    /// Of the first page, whose object every other page has to be of, and the length of the whole.
    object: Option<(ETag, u64)>,
    done: bool,
}

impl Pages {
    fn new(seams: &Seams, key: String, expected: Option<Expected>) -> Pages {
        Pages {
            seams: seams.clone(),
            key,
            expected,
            inline: None,
            offset: 0,
            hasher: Sha256::new(),
            object: None,
            done: false,
        }
    }

    pub(super) fn inline(seams: &Seams, body: Bytes) -> Pages {
        Pages { inline: Some(body), done: true, ..Pages::new(seams, String::new(), None) }
    }

    /// An object that is to have this digest.
    pub(super) fn of_object(seams: &Seams, key: String, sha256: Digest) -> Pages {
        Pages::new(seams, key, Some(Expected { bytes: None, sha256 }))
    }

    /// The next page, never empty; `None` after the last. Whatever follows an error is not to be trusted.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(body) = self.inline.take().filter(|body| !body.is_empty()) {
            return Ok(Some(body));
        }
        if self.done {
            return Ok(None);
        }
        if self.object.as_ref().is_some_and(|(_, bytes)| self.offset == *bytes) {
            self.done = true;
            self.check()?;
            return Ok(None);
        }
        let range = Range::Part { offset: self.offset, length: limits::READ_PAGE_BYTES };
        let page = self.seams.store.get(&self.key, range).await.map_err(reading(&self.key))?;
        let (etag, bytes) = self.object.get_or_insert((page.info.etag.clone(), page.info.bytes));
        if *etag != page.info.etag || (page.body.is_empty() && self.offset < *bytes) {
            return Err(Error::internal(format!("object `{}` changed while it was read", self.key))
                .hint("results are written once: something else writes into this bucket"));
        }
        if page.body.is_empty() {
            self.done = true;
            self.check()?;
            return Ok(None);
        }
        self.hasher.update(&page.body);
        self.offset += page.body.len() as u64;
        Ok(Some(page.body))
    }

    fn check(&mut self) -> Result<()> {
        let Some(expected) = &self.expected else { return Ok(()) };
        let digest = Digest::from_bytes(std::mem::take(&mut self.hasher).finalize().into());
        let bytes = expected.bytes.unwrap_or(self.offset);
        if self.offset == bytes && digest == expected.sha256 {
            return Ok(());
        }
        Err(Error::internal(format!(
            "object `{}` is not what was recorded: {} bytes with SHA-256 {digest} instead of {bytes} with {}",
            self.key, self.offset, expected.sha256
        ))
        .hint("results are written once: something else writes into this bucket"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::call::load;
    use super::super::fixture::{NOW, World, attempt, call_at};
    use super::*;
    use crate::Code;
    use crate::model::CallId;
    use crate::seam::store::PutObject;

    async fn done(world: &World, id: CallId, result: Option<Stored>) -> CallView {
        world.payload(id).await;
        let outcome = crate::model::Outcome { result, ..world.outcome(id, State::Success, "/asyncfn") };
        world.status(id, &outcome).await;
        load(&world.seams, &world.app, id).await.expect("the call")
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
        let bytes = result(&world.seams, &view, &mut read).await.expect("the result");
        assert_eq!(bytes, body.len() as u64);
        assert!(read == body, "the bytes are the same");
        assert_eq!(world.counts.snapshot().get.requests - before, 3, "a page at a time");

        let mut read = Vec::new();
        assert_eq!(payload(&world.seams, &view, &mut read).await.expect("the payload"), 5);
        assert_eq!(read, b"hello");
    }

    #[tokio::test]
    async fn what_is_not_what_was_recorded_is_an_error() {
        let world = World::new();
        let id = call_at(NOW, 1);
        let stored = world.result(id, "good").await;
        let view = done(&world, id, Some(Stored { sha256: World::digest_of("evil"), ..stored })).await;
        let error = result(&world.seams, &view, &mut Vec::new()).await.expect_err("another digest");
        assert_eq!(error.code(), Code::Internal);
        assert!(error.message().contains("is not what was recorded"), "{error}");
    }

    #[tokio::test]
    async fn an_empty_answer_is_an_answer_and_a_failure_has_none() {
        let world = World::new();
        let view = done(&world, call_at(NOW, 1), None).await;
        assert_eq!(result(&world.seams, &view, &mut Vec::new()).await.expect("empty"), 0);
        assert_eq!(log(&world.seams, &view, &mut Vec::new()).await.expect("empty"), 0);

        let stored = world.result(call_at(NOW, 2), "").await;
        let view = done(&world, call_at(NOW, 2), Some(stored)).await;
        assert_eq!(result(&world.seams, &view, &mut Vec::new()).await.expect("empty"), 0);

        let id = call_at(NOW, 3);
        world.done(id, State::Error, "/asyncfn").await;
        let view = load(&world.seams, &world.app, id).await.expect("the call");
        let error = result(&world.seams, &view, &mut Vec::new()).await.expect_err("it failed");
        assert_eq!(error.code(), Code::NotFound);
        assert!(error.message().ends_with("it ended in error: exit code 3"), "{error}");

        let id = call_at(NOW, 4);
        world.payload(id).await;
        let view = load(&world.seams, &world.app, id).await.expect("the call");
        let error = log(&world.seams, &view, &mut Vec::new()).await.expect_err("not yet");
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
        let view = load(&world.seams, &world.app, id).await.expect("the call");
        let mut read = Vec::new();
        log(&world.seams, &view, &mut read).await.expect("the log");
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
        let view = load(&world.seams, &world.app, id).await.expect("the call");
        let read = async |which| {
            let mut read = Vec::new();
            log_of(&world.seams, &view, which, &mut read)
                .await
                .map(|_| String::from_utf8(read).expect("text"))
        };
        assert_eq!(read(Which::Number(1)).await.expect("a log"), "oops");
        assert_eq!(read(Which::Id(attempt(2))).await.expect("a log"), "fine");
        let error = read(Which::Number(3)).await.expect_err("no such attempt");
        assert_eq!(error.code(), Code::NotFound);
        assert!(error.to_string().contains("attempt 3"), "{error}");
        let earlier = attempts::earlier(&world.seams, &view).await.expect("attempts");
        let told: Vec<_> =
            earlier.iter().map(|one| (one.number, one.reason.as_str(), one.log.bytes)).collect();
        assert_eq!(told, [(1, "exit code 3", 4)]);
    }
}
