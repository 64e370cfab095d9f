//! A child and all processes that it has started, which are killed together and never left behind.

use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;
use tokio::time::timeout;

/// A killed process is gone at once, unless a device holds it.
const STOP_MAX: Duration = Duration::from_secs(5);

pub struct Group {
    child: Child,
    pid: Pid,
    ended: Option<ExitStatus>,
    on_end: OnEnd,
}

/// Called once, when the kernel may give the number of the group to another.
pub type OnEnd = Box<dyn Fn(Pid) + Send + Sync>;

impl Group {
    pub fn new(child: Child, pid: Pid, on_end: OnEnd) -> Group {
        Group { child, pid, ended: None, on_end }
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for the first process to end, and kills what it leaves behind. Safe to drop and call again.
    pub async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let status = self.child.wait().await?;
        self.end(status);
        Ok(status)
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> std::io::Result<Option<ExitStatus>> {
        if self.ended.is_none()
            && let Some(status) = self.child.try_wait()?
        {
            self.end(status);
        }
        Ok(self.ended)
    }

    fn end(&mut self, status: ExitStatus) {
        // While a member lives, the kernel gives the group's number to no other. From here on it may, so this is the last
        // time that the group is killed.
        let _ = kill_process_group(self.pid, Signal::KILL);
        self.ended = Some(status);
        (self.on_end)(self.pid);
    }

    pub fn kill(&mut self) {
        if self.ended.is_none() {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }

    /// Kills it and sees it end.
    pub async fn stop(mut self) {
        self.kill();
        let _ = timeout(STOP_MAX, self.wait()).await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        if self.ended.is_none() {
            (self.on_end)(self.pid);
        }
    }
}
