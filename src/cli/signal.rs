//! Ctrl-C and SIGTERM end most commands at once. Commands that run calls shut down cleanly.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::printer::Printer;
use crate::error::{Code, Error, Result};
use crate::worker::Phase;

/// An idle worker drains within this time, and its user needs no hint.
const IDLE_DRAIN_MAX: Duration = Duration::from_secs(2);

/// How long a command that handles Ctrl-C itself gets to return its own error.
const OWN_ERROR_WITHIN: Duration = Duration::from_millis(50);

/// Returns when the work is done, or at Ctrl-C.
pub async fn or_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => done,
        // Some work catches Ctrl-C itself and returns an error that explains more. It may see the signal a little later.
        _ = tokio::signal::ctrl_c() => {
            tokio::time::timeout(OWN_ERROR_WITHIN, work).await.unwrap_or_else(|_| Err(interrupted()))
        }
    }
}

pub fn interrupted() -> Error {
    Error::new(Code::Interrupted, "interrupted")
}

/// The signals that ask a process to stop. They are caught from `catch` on.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub fn catch() -> Result<StopSignals> {
        let catch = |kind| signal(kind).map_err(|error| Error::internal(format!("catch signals: {error}")));
        Ok(StopSignals {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// What a clean-up returns; `None` when a signal ended it.
    pub async fn or_next<T>(&mut self, clean_up: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = clean_up => Some(done),
            () = self.next() => None,
        }
    }

    /// Drains a worker at the first signal, and makes it hand its calls back at the second. Never returns: the worker
    /// itself ends.
    pub async fn forward(&mut self, stop: &watch::Sender<Phase>, printer: &Printer) -> Infallible {
        self.next().await;
        stop.send_replace(Phase::Drain);
        if tokio::time::timeout(IDLE_DRAIN_MAX, self.next()).await.is_err() {
            printer.hint("a second signal stops now; what runs then goes back to the queue");
            self.next().await;
        }
        stop.send_replace(Phase::HandBack);
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_ends_a_clean_up_that_hangs() {
        let mut stops = StopSignals::catch().unwrap();
        assert_eq!(stops.or_next(async { 7 }).await, Some(7));
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT).unwrap();
        assert_eq!(stops.or_next(std::future::pending::<()>()).await, None);
    }
}
