//! A child and all that it has started, as one: killed together, never left behind.

use std::process::ExitStatus;
use std::sync::mpsc::Sender;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;
use tokio::time::timeout;

use super::spawn::Order;

/// A killed process is gone at once, unless a device holds it.
const STOP_MAX: Duration = Duration::from_secs(5);

pub struct Group {
    child: Child,
    pid: Pid,
    ended: Option<ExitStatus>,
    orders: Sender<Order>,
}

impl Group {
    pub fn new(child: Child, pid: Pid, orders: Sender<Order>) -> Group {
        Group { child, pid, ended: None, orders }
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for the first process to end; whatever it leaves behind is killed with it. May be dropped and asked again.
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
        // While a member lives the number is not given to another; when none does, there is nobody to kill. From here
        // on it may be given away, so this is the last time.
        let _ = kill_process_group(self.pid, Signal::KILL);
        self.ended = Some(status);
        let _ = self.orders.send(Order::Ended(self.pid));
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
            let _ = self.orders.send(Order::Ended(self.pid));
        }
    }
}
