//! The one connection that writes, on its own thread. Requests that come while a transaction is open join it: one sync to
//! the disk then pays for all, and each is answered once it is safe there.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::failure::SqliteError;
use crate::limits;
use crate::seam::RequestFailure;

pub(super) struct Writer {
    /// Dropped before the thread, which ends when there are no more jobs.
    jobs: Sender<Queued>,
    _thread: JoinedThread,
}

/// Waits for the thread's end when it is dropped.
struct JoinedThread(Option<JoinHandle<()>>);

impl Drop for JoinedThread {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

struct Queued {
    bytes: u64,
    job: Job,
}

/// Does its work in the transaction, or answers that it was not done.
type Job = Box<dyn FnOnce(Result<&Connection, &RequestFailure>) -> Option<Reply> + Send>;
/// Answers, once it is known how the transaction ended.
type Reply = Box<dyn FnOnce(&Result<(), RequestFailure>) + Send>;

impl Writer {
    pub(super) fn start(connection: Connection) -> Writer {
        let (jobs, asked) = channel();
        let thread = thread::Builder::new().name("afn-sqlite-write".to_owned());
        let thread = thread.spawn(move || run(&connection, &asked)).expect("the system has threads");
        Writer { jobs, _thread: JoinedThread(Some(thread)) }
    }

    /// Runs `work` in a transaction and answers when it is safe on the disk; then `done` runs, whether or not anybody
    /// still waits. An error undoes this work alone. `bytes` is about what it writes.
    pub(super) async fn write<T: Send + 'static, E: SqliteError>(
        &self,
        bytes: u64,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        done: impl FnOnce() + Send + 'static,
    ) -> Result<T, E> {
        let (answer, answered) = oneshot::channel::<Result<T, E>>();
        let job: Job = Box::new(move |transaction| {
            let result = match transaction {
                Ok(connection) => apart(connection, work),
                Err(why) => {
                    let _ = answer.send(Err(why.clone().into()));
                    return None;
                }
            };
            Some(Box::new(move |committed: &Result<(), RequestFailure>| {
                // Also what was refused rests on what others wrote in this transaction: it stands or falls with it.
                let result = committed.clone().map_err(E::from).and(result);
                if result.is_ok() {
                    done();
                }
                let _ = answer.send(result);
            }) as Reply)
        });
        let gone = || E::from(RequestFailure::Lost("the thread that writes has ended".to_owned()));
        self.jobs.send(Queued { bytes, job }).map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn run(connection: &Connection, asked: &Receiver<Queued>) {
    while let Ok(first) = asked.recv() {
        if let Err(error) = statement(connection, "BEGIN IMMEDIATE") {
            // The others have waited as long.
            let why = RequestFailure::Busy(error.to_string());
            for queued in std::iter::once(first).chain(asked.try_iter()) {
                (queued.job)(Err(&why));
            }
            continue;
        }
        let (mut replies, mut bytes) = (Vec::new(), 0);
        let mut next = Some(first);
        // A transaction that SQLite rolled back by itself (disk full) takes no more.
        while let Some(Queued { bytes: more, job }) = next {
            bytes += more;
            replies.extend(job(Ok(connection)));
            let full = replies.len() >= limits::SQLITE_GROUP_WRITES_MAX
                || bytes >= limits::SQLITE_GROUP_BYTES_MAX
                || connection.is_autocommit();
            next = if full { None } else { asked.try_recv().ok() };
        }
        let committed = commit(connection);
        for reply in replies {
            reply(&committed);
        }
    }
}

fn commit(connection: &Connection) -> Result<(), RequestFailure> {
    if connection.is_autocommit() {
        return Err(RequestFailure::Busy("the transaction was rolled back: the disk may be full".to_owned()));
    }
    // A commit that fails half way leaves open what a reader will find.
    statement(connection, "COMMIT").map_err(|error| {
        if !connection.is_autocommit() {
            let _ = statement(connection, "ROLLBACK");
        }
        RequestFailure::Lost(error.to_string())
    })
}

/// Runs work so that an error undoes it and nothing else.
fn apart<T, E: SqliteError>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    statement(connection, "SAVEPOINT work")?;
    let result = work(connection);
    if result.is_err() && !connection.is_autocommit() {
        statement(connection, "ROLLBACK TO work")?;
    }
    if !connection.is_autocommit() {
        statement(connection, "RELEASE work")?;
    }
    result
}

fn statement(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}
