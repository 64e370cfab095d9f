//! The world of these tests: an embedded context whose commands block, since the tests do nothing meanwhile.

use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use afn::seam::Clock as _;
use afn::seam::clock::SystemClock;
use rustix::process::Signal;
use tokio::runtime::Runtime;

pub use crate::support::command::Ran;
use crate::support::{self, PATIENCE};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

pub struct World {
    world: support::World,
    runtime: Arc<Runtime>,
}

impl Deref for World {
    type Target = support::World;

    fn deref(&self) -> &support::World {
        &self.world
    }
}

impl World {
    pub fn new() -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        World { world: support::World::embedded(), runtime: Arc::new(runtime.unwrap()) }
    }

    pub fn command(&self, folder: &Path) -> Command {
        let mut command = self.std_command();
        command.current_dir(folder);
        command
    }

    /// Runs a command line that needs no quoting.
    pub fn afn(&self, line: &str) -> Ran {
        self.runtime.block_on(self.world.afn(line))
    }

    pub fn args(&self, args: &[&str]) -> Ran {
        self.run_in("", args, b"")
    }

    pub fn run_in(&self, folder: &str, args: &[&str], stdin: &[u8]) -> Ran {
        self.runtime.block_on(self.world.run_in(folder, args, stdin))
    }

    /// A command that goes on until it is told to end.
    pub fn spawn(&self, line: &str) -> Running {
        let _runtime = self.runtime.enter();
        Running { running: self.world.spawn(line), runtime: self.runtime.clone() }
    }

    /// A function whose code is this shell script, deployed to `app`.
    pub fn deploy(&self, name: &str, app: &str, more: &str, script: &str) {
        self.runtime.block_on(self.world.deploy_to(app, name, more, script));
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Puts a body on the queue of calls, as a stranger would.
    pub fn send(&self, body: &str) {
        let sent = self.runtime.block_on(async {
            let opened = self.open().await;
            let message = afn::seam::queue::Outgoing::new(body.to_owned());
            opened.deps.queues.calls.live.send(vec![message]).await.unwrap()
        });
        assert_eq!(sent, [Ok(())]);
    }

    /// Until a file has so many lines.
    pub fn until_lines(&self, file: &str, count: usize) {
        let begun = SystemClock.monotonic();
        while std::fs::read_to_string(self.path(file)).unwrap_or_default().lines().count() < count {
            assert!(SystemClock.monotonic() - begun < PATIENCE, "{file} has not {count} lines");
            std::thread::sleep(LOOK);
        }
    }

    /// Runs what is queued, until nothing is.
    #[track_caller]
    pub fn drain(&self) -> String {
        let ran = self.afn("worker --drain -j 2");
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:#?}");
        ran.stderr
    }
}

pub struct Running {
    running: support::Running,
    runtime: Arc<Runtime>,
}

impl Running {
    /// Waits for a line with this in it, after the line that was waited for last.
    pub fn until(&mut self, part: &str) -> String {
        self.runtime.block_on(self.running.next(part))
    }

    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Its exit code and its answer.
    pub fn end(self) -> Ran {
        self.runtime.block_on(self.running.end())
    }
}
