//! Wakes receives that wait: at once when this process sends, soon when another one does. SQLite tells nobody, but a
//! connection can be asked cheaply whether the file was changed by any other.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Notify;

use crate::limits;

const LOOK_MIN: Duration = Duration::from_millis(limits::SQLITE_LOOK_MS_MIN);
const LOOK_MAX: Duration = Duration::from_millis(limits::SQLITE_LOOK_MS_MAX);

pub(super) struct Wake {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queues: BTreeMap<String, Arc<Notify>>,
    waiting: usize,
    closing: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// Somebody waits for as long as this is held.
pub(super) struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

impl Wake {
    pub(super) fn start(connection: Connection) -> Wake {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let thread = thread::Builder::new().name("afn-sqlite-watch".to_owned());
        let watched = shared.clone();
        let thread = thread.spawn(move || watch(&connection, &watched)).expect("the system has threads");
        Wake { shared, thread: Some(thread) }
    }

    /// What is notified when a queue may have something visible.
    pub(super) fn queue(&self, name: &str) -> Arc<Notify> {
        self.shared.state().queues.entry(name.to_owned()).or_default().clone()
    }

    pub(super) fn wait(&self) -> Waiting<'_> {
        self.shared.state().waiting += 1;
        self.shared.changed.notify_all();
        Waiting(&self.shared)
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(connection: &Connection, shared: &Shared) {
    let mut version = None;
    let mut pause = LOOK_MIN;
    loop {
        {
            let mut state = shared.state();
            if state.waiting > 0 && !state.closing {
                state = shared.changed.wait_timeout(state, pause).expect("no holder of this lock panics").0;
            }
            while state.waiting == 0 && !state.closing {
                state = shared.changed.wait(state).expect("no holder of this lock panics");
                pause = LOOK_MIN;
            }
            if state.closing {
                return;
            }
        }
        let seen = data_version(connection).ok();
        // One that cannot be read is as good as changed: whoever wakes will hear the reason.
        if seen.is_some() && seen == version {
            pause = (pause + pause / 4).min(LOOK_MAX);
            continue;
        }
        version = seen;
        pause = LOOK_MIN;
        for queue in shared.state().queues.values() {
            queue.notify_waiters();
        }
    }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}
