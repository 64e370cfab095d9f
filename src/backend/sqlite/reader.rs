//! Connections that read, a few, off the async threads. A read is short, a page at a time: a long one keeps the log from
//! being moved into the file.
//!
//! A read goes on whether or not its future is polled: a caller that reads ahead leaves some futures alone for a while, and
//! those must not keep the connections from others.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinSet, spawn_blocking};

use super::failure::SqliteError;
use super::open;
use crate::limits;
use crate::seam::RequestFailure;

pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    /// One for each connection.
    permits: Arc<Semaphore>,
    reads: Mutex<JoinSet<()>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Readers {
        let permits = Arc::new(Semaphore::new(limits::SQLITE_READERS_MAX));
        Readers { path, idle: Arc::default(), permits, reads: Mutex::default() }
    }

    /// Runs `work` on one snapshot of the file.
    pub(super) async fn read<T: Send + 'static, E: SqliteError>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let (answer, answered) = oneshot::channel();
        let (path, idle, permits) = (self.path.clone(), self.idle.clone(), self.permits.clone());
        let read = move || {
            let connection = idle.lock().expect("no holder of this lock panics").pop();
            let connection = connection.map_or_else(|| open::reading(&path), Ok)?;
            let transaction = Transaction::new_unchecked(&connection, TransactionBehavior::Deferred)?;
            let result = work(&transaction);
            // A connection that cannot end its transaction is not used again.
            if transaction.finish().is_ok() {
                idle.lock().expect("no holder of this lock panics").push(connection);
            }
            result
        };
        let task = async move {
            let _permit = permits.acquire().await;
            if !answer.is_closed() {
                // If it panics, the answer is dropped and tells the caller.
                let _ = spawn_blocking(move || answer.send(read())).await;
            }
        };
        {
            let mut reads = self.reads.lock().expect("no holder of this lock panics");
            while reads.try_join_next().is_some() {}
            reads.spawn(task);
        }
        answered
            .await
            .unwrap_or_else(|_| Err(RequestFailure::Busy("the read was given up".to_owned()).into()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::backend::sqlite::Sqlite;
    use crate::layout::Key;
    use crate::seam::clock::SystemClock;
    use crate::seam::store::{ByteRange, PutObject};

    #[tokio::test]
    async fn reads_that_nobody_polls_hold_up_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(folder.path().join("afn.db"), Arc::new(SystemClock)).unwrap().store();
        let key = Key::text("a");
        store.put(&key, PutObject::create("b")).await.unwrap();
        let mut left: Vec<_> = (0..3 * limits::SQLITE_READERS_MAX)
            .map(|_| Box::pin(store.get(&key, ByteRange::Whole(u64::MAX))))
            .collect();
        for read in &mut left {
            assert!(read.now_or_never().is_none());
        }
        let read =
            tokio::time::timeout(Duration::from_secs(20), store.get(&key, ByteRange::Whole(u64::MAX))).await;
        assert_eq!(read.expect("it is read").unwrap().body, "b");
        for read in left {
            assert_eq!(read.await.unwrap().body, "b");
        }
    }
}
