//! Connections that read, a few, off the async threads. What they do is short, a page at a time: a reader that lingers
//! keeps the log from being moved into the file.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::Semaphore;

use super::open;
use super::trouble::Answer;
use crate::limits;

pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Readers {
        Readers { path, idle: Arc::default(), permits: Arc::new(Semaphore::new(limits::SQLITE_READERS_MAX)) }
    }

    /// Runs `work` on one state of the file.
    pub(super) async fn read<T: Send + 'static, E: Answer>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let permit = self.permits.clone().acquire_owned().await.expect("never closed");
        let (path, idle) = (self.path.clone(), self.idle.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let pool = || idle.lock().expect("no holder of this lock panics");
            let kept = pool().pop();
            let connection = match kept {
                Some(connection) => connection,
                None => open::reading(&path)?,
            };
            let transaction = Transaction::new_unchecked(&connection, TransactionBehavior::Deferred)?;
            let result = work(&transaction);
            // One that cannot end its transaction is not used again.
            if transaction.finish().is_ok() {
                pool().push(connection);
            }
            drop(permit);
            result
        });
        reading.await.unwrap_or_else(|error| Err(E::busy(format!("the read was given up: {error}"))))
    }
}
