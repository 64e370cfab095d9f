//! Ctrl-C and SIGTERM: an end for most commands, a wish to end well for those that run calls.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::printer::Printer;
use crate::error::{Code, Error, Result};
use crate::worker::Stop;

/// A worker that is idle has drained before this is over, and there is nothing to tell.
const DRAINS_AT_ONCE: Duration = Duration::from_secs(2);

const A_MOMENT: Duration = Duration::from_millis(50);

/// Runs until it is done, or until Ctrl-C.
pub async fn or_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => done,
        // Work that says of an interrupt itself what it means says more, and may hear of it a little later.
        _ = tokio::signal::ctrl_c() => {
            tokio::time::timeout(A_MOMENT, work).await.unwrap_or_else(|_| Err(interrupted()))
        }
    }
}

pub fn interrupted() -> Error {
    Error::new(Code::Interrupted, "interrupted")
}

/// The signals that ask a process to end. They are caught from the moment this is made.
pub struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    pub fn catch() -> Result<Stops> {
        let catch = |kind| signal(kind).map_err(|error| Error::internal(format!("catch signals: {error}")));
        Ok(Stops { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// The first one drains, the second stops now. Never ends: whoever is stopped does.
    pub async fn drive(&mut self, stop: &watch::Sender<Stop>, printer: &Printer) -> Infallible {
        self.next().await;
        stop.send_replace(Stop::Drain);
        if tokio::time::timeout(DRAINS_AT_ONCE, self.next()).await.is_err() {
            printer.hint("a second signal stops now; what runs then goes back to the queue");
            self.next().await;
        }
        stop.send_replace(Stop::Now);
        std::future::pending().await
    }
}
