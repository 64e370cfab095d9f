//! Connections that read, a few, off the async threads. What they do is short, a page at a time: a reader that lingers
//! keeps the log from being moved into the file.
//!
//! A read that was asked for goes on whether or not its future is polled: whoever reads ahead leaves some alone for a while,
//! and those must not keep the connections from others.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::open;
use super::trouble::Answer;
use crate::limits;

pub(super) struct Readers {
    path: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<dyn FnOnce() + Send>>,
    /// Threads that read.
    active: usize,
    idle: Vec<Connection>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

/// A thread that reads, or one that the runtime has yet to begin, and does not if it ends before.
struct Active(Option<Arc<Shared>>);

impl Active {
    /// Reads until nobody waits.
    fn work(mut self) {
        while let Some(read) = self.next() {
            // Whoever asked for it is told by what was dropped with it.
            let _ = catch_unwind(AssertUnwindSafe(read));
        }
    }

    /// When nobody waits, it is no longer active before anybody else can look whether it is.
    fn next(&mut self) -> Option<Box<dyn FnOnce() + Send>> {
        let shared = self.0.take()?;
        let next = {
            let mut state = shared.state();
            let next = state.waiting.pop_front();
            state.active -= usize::from(next.is_none());
            next
        };
        self.0 = next.is_some().then_some(shared);
        next
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.state().active -= 1;
        }
    }
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Readers {
        Readers { path, shared: Arc::default() }
    }

    /// Runs `work` on one state of the file.
    pub(super) async fn read<T: Send + 'static, E: Answer>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let (answer, answered) = oneshot::channel();
        let (path, shared) = (self.path.clone(), self.shared.clone());
        let read = move || {
            let kept = shared.state().idle.pop();
            let connection = match kept {
                Some(connection) => connection,
                None => open::reading(&path)?,
            };
            let transaction = Transaction::new_unchecked(&connection, TransactionBehavior::Deferred)?;
            let result = work(&transaction);
            // One that cannot end its transaction is not used again.
            if transaction.finish().is_ok() {
                shared.state().idle.push(connection);
            }
            result
        };
        let one_more = {
            let mut state = self.shared.state();
            state.waiting.push_back(Box::new(move || {
                if !answer.is_closed() {
                    let _ = answer.send(read());
                }
            }));
            let one_more = state.active < limits::SQLITE_READERS_MAX;
            state.active += usize::from(one_more);
            one_more
        };
        if one_more {
            let active = Active(Some(self.shared.clone()));
            tokio::task::spawn_blocking(move || active.work());
        }
        answered.await.unwrap_or_else(|_| Err(E::busy("the read was given up".to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::backend::sqlite::Sqlite;
    use crate::seam::clock::SystemClock;
    use crate::seam::store::{PutObject, Range};

    #[tokio::test]
    async fn reads_that_nobody_polls_hold_up_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(folder.path().join("afn.db"), Arc::new(SystemClock)).unwrap().store();
        store.put("a", PutObject::create("b")).await.unwrap();
        let mut left: Vec<_> =
            (0..3 * limits::SQLITE_READERS_MAX).map(|_| Box::pin(store.get("a", Range::All))).collect();
        for read in &mut left {
            assert!(read.now_or_never().is_none());
        }
        let read = tokio::time::timeout(Duration::from_secs(20), store.get("a", Range::All)).await;
        assert_eq!(read.expect("it is read").unwrap().body, "b");
        for read in left {
            assert_eq!(read.await.unwrap().body, "b");
        }
    }
}
