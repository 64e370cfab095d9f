//! Deletes single calls in pages of many: first their content, later the whole calls.

use super::Gc;
use crate::error::Result;
use crate::layout::Key;
use crate::layout::watermarks::Watermark;
use crate::limits;
use crate::model::{AppName, CallId};
use crate::planted::planted;
use crate::seam::store::ListEntry;
use crate::worker::pass::{CallPass, Next, Span};
use crate::worker::walk::StoredCall;

/// What is to be deleted together, for many calls.
#[derive(Default)]
struct Doomed {
    first: Vec<Key>,
    /// After the others: without its `status` a late message would run a call again.
    last: Vec<Key>,
}

impl Gc<'_> {
    /// Deletes the content of calls that ended so long ago, or of all that have ended.
    pub(super) async fn content_of_calls(
        &mut self,
        app: &AppName,
        mark: &mut Watermark<CallId>,
        kept_ms: Option<u64>,
    ) -> Result<()> {
        let span = match kept_ms {
            Some(kept_ms) => self.span(kept_ms),
            None => Span { ahead: true, ..self.span(0) },
        };
        self.calls(app, mark, &span, |gc, seen, doomed| gc.content_of(seen, kept_ms, doomed)).await
    }

    /// Deletes calls that ended so long ago that no late message can find them.
    pub(super) async fn whole_calls(
        &mut self,
        app: &AppName,
        mark: &mut Watermark<CallId>,
        age_ms: u64,
    ) -> Result<()> {
        let span = self.span(age_ms);
        self.calls(app, mark, &span, |gc, seen, doomed| gc.whole_call(seen, age_ms, doomed)).await
    }

    /// After an error the watermark stays where it was.
    async fn calls(
        &mut self,
        app: &AppName,
        mark: &mut Watermark<CallId>,
        span: &Span,
        judge: impl Fn(&mut Self, StoredCall, &mut Doomed) -> Next,
    ) -> Result<()> {
        let (deps, mut moved) = (self.deps, mark.clone());
        let mut pass = CallPass::new(deps, app, &mut moved, span);
        let mut doomed = Doomed::default();
        while !self.is_spent()
            && let Some(seen) = pass.next().await?
        {
            let call = seen.call;
            pass.settle(call, judge(self, seen, &mut doomed));
            self.delete_full_pages(&mut doomed).await?;
        }
        self.delete_all(&mut doomed).await?;
        *mark = moved;
        Ok(())
    }

    fn content_of(&mut self, seen: StoredCall, kept_ms: Option<u64>, doomed: &mut Doomed) -> Next {
        let Some(status) = status_of(&seen) else { return self.undecided() };
        if let Some(kept_ms) = kept_ms.filter(|kept_ms| self.now.since_ms(status.modified_at) <= *kept_ms) {
            return Next::LookAt(status.modified_at.plus_ms(kept_ms + 1));
        }
        let content = seen.objects.into_iter().filter(|(key, _)| !matches!(key, Key::Status(..)));
        let before = doomed.first.len();
        for (key, entry) in content {
            self.report.bytes += entry.bytes;
            doomed.first.push(key);
        }
        self.report.calls += u64::from(doomed.first.len() > before);
        Next::Nothing
    }

    fn whole_call(&mut self, seen: StoredCall, age_ms: u64, doomed: &mut Doomed) -> Next {
        let Some(status) = status_of(&seen) else { return self.undecided() };
        if self.now.since_ms(status.modified_at) <= age_ms {
            return Next::LookAt(status.modified_at.plus_ms(age_ms + 1));
        }
        match seen.objects.len() {
            1 => self.report.tombstones += 1,
            _ => self.report.calls += 1,
        }
        for (key, entry) in seen.objects {
            self.report.bytes += entry.bytes;
            match key {
                Key::Status(..) => doomed.last.push(key),
                _ => doomed.first.push(key),
            }
        }
        Next::Nothing
    }

    /// One without outcome is never deleted.
    pub(super) fn undecided(&self) -> Next {
        Next::LookAt(self.now.plus_ms(limits::ms(limits::UNDECIDED_AGAIN)))
    }

    async fn delete_full_pages(&mut self, doomed: &mut Doomed) -> Result<()> {
        while doomed.first.len() >= limits::LIST_PAGE_MAX {
            let rest = doomed.first.split_off(limits::LIST_PAGE_MAX);
            let page = std::mem::replace(&mut doomed.first, rest);
            self.delete(page).await?;
        }
        match doomed.last.len() >= limits::LIST_PAGE_MAX {
            true => self.delete_all(doomed).await,
            false => Ok(()),
        }
    }

    async fn delete_all(&mut self, doomed: &mut Doomed) -> Result<()> {
        let Doomed { first, last } = std::mem::take(doomed);
        let (first, last) = planted!((first, last), StatusBeforeTheRest => (last, first));
        self.delete(first).await?;
        self.delete(last).await
    }
}

fn status_of(seen: &StoredCall) -> Option<&ListEntry> {
    let status = seen.objects.iter().find(|(key, _)| matches!(key, Key::Status(..)));
    status.map(|(_, entry)| entry)
}
