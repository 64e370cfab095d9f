//! The `http-stream` format in a container: it listens on a socket in a folder that it shares with the worker, and
//! answers one call after another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bollard::container::AttachContainerResults;
use futures_util::StreamExt as _;
use tokio::task::JoinSet;

use super::container::{Container, Ending};
use crate::contract::http_stream::{Answer, Connection, NotReady};
use crate::executor::sandbox::Sandbox;
use crate::limits;
use crate::seam::executor::{Fault, Run, Verdict, Work};
use crate::seam::{Clock, Heard};

pub(super) struct Hot {
    container: Container,
    clock: Arc<dyn Clock>,
    connection: Connection,
    said: Arc<Mutex<Said>>,
    _listener: JoinSet<()>,
    keep: bool,
    /// It had something to say in its last call, or is not known yet.
    speaks: bool,
}

/// What the container says.
#[derive(Default)]
struct Said {
    /// Of the call that it is in, or was in last.
    heard: Heard,
    pieces: u64,
    /// Nothing will come any more: the container has ended.
    ended: bool,
}

impl Hot {
    /// Starts a container that was made and attached to, and waits until it listens.
    pub(super) async fn start(
        container: Container,
        attached: AttachContainerResults,
        clock: Arc<dyn Clock>,
        work: &Work,
    ) -> Result<Hot, Fault> {
        container.start().await?;
        let said = Arc::new(Mutex::new(Said { heard: work.heard.clone(), ..Said::default() }));
        let mut listener = JoinSet::new();
        listener.spawn(listen(attached, Arc::clone(&said)));
        let Some(dir) = container.ticket.dir() else {
            return Err(Fault::Worker("a container without a folder for its socket".to_owned()));
        };
        let exited = async {
            let _ = container.ended().await;
        };
        let not_ready = match Connection::establish(dir, exited).await {
            Ok(connection) => {
                return Ok(Hot {
                    container,
                    clock,
                    connection,
                    said,
                    _listener: listener,
                    keep: true,
                    speaks: true,
                });
            }
            Err(not_ready) => not_ready,
        };
        let why = match not_ready {
            NotReady::Exited => match container.ending().await? {
                Some(ending) => {
                    format!("ended before it listened: {}", ending.reason(work.version.limits.memory_mib))
                }
                None => "ended before it listened".to_owned(),
            },
            NotReady::TimedOut => {
                let limit = limits::START_MS_MAX / 1_000;
                format!("did not listen on FN_LISTENER within {limit} s")
            }
            NotReady::Broken(why) => why,
        };
        settle(&*clock, &said, Some(0)).await;
        Err(Fault::Function(match work.heard.last_line() {
            Some(line) => format!("{why}: {line}"),
            None => why,
        }))
    }

    /// The answer broke off: mostly because the container ended, which is known a moment later.
    async fn how_it_broke(&self, why: &str, memory_mib: u64) -> Result<String, Fault> {
        const END_MS_MAX: u64 = 2_000;
        let ending = tokio::select! {
            biased;
            ending = self.container.ended() => Some(ending?),
            () = self.clock.sleep(Duration::from_millis(END_MS_MAX)) => None,
        };
        Ok(match ending {
            Some(Ending { exit_code: 0, .. }) => "exit code 0 before an answer".to_owned(),
            Some(ending) => ending.reason(memory_mib),
            None => format!("broken function response: {why}"),
        })
    }
}

#[async_trait]
impl Sandbox for Hot {
    async fn invoke(&mut self, work: &Work) -> Result<Run, Fault> {
        let before = {
            let mut said = lock(&self.said);
            said.heard = work.heard.clone();
            said.pieces
        };
        // Whatever cuts this short leaves a container in the middle of a call.
        self.keep = false;
        let memory_mib = work.version.limits.memory_mib;
        let started_at = self.clock.now();
        work.heard.begins(started_at);
        let begun = self.clock.monotonic();
        let answer = self.connection.call(work, started_at).await?;
        let took = self.clock.monotonic().saturating_sub(begun);
        let verdict = match answer {
            Answer::Verdict { verdict, keep } => {
                self.keep = keep;
                verdict
            }
            Answer::Broken(why) => Verdict::Error { reason: self.how_it_broke(&why, memory_mib).await? },
            Answer::Gone(why) => return Err(Fault::Function(format!("the container was lost: {why}"))),
        };
        settle(&*self.clock, &self.said, self.speaks.then_some(before)).await;
        self.speaks = lock(&self.said).pieces > before;
        Ok(Run { verdict, log: work.heard.take_log(), started_at, took })
    }

    fn is_reusable(&self) -> bool {
        self.keep && !lock(&self.said).ended
    }

    async fn stop(self: Box<Self>) {
        self.container.remove().await;
    }
}

async fn listen(attached: AttachContainerResults, said: Arc<Mutex<Said>>) {
    let mut output = attached.output;
    while let Some(Ok(piece)) = output.next().await {
        let mut said = lock(&said);
        said.heard.say(&piece.into_bytes());
        said.pieces += 1;
    }
    lock(&said).ended = true;
}

/// The log comes by another way than the answer and may be a little later: waits until nothing more comes, and where
/// something is expected beyond the pieces there were `before`, for that too.
async fn settle(clock: &dyn Clock, said: &Mutex<Said>, before: Option<u64>) {
    let until = clock.monotonic() + Duration::from_millis(limits::LOG_QUIET_MS_MAX);
    let mut pieces = lock(said).pieces;
    loop {
        clock.sleep(Duration::from_millis(limits::LOG_QUIET_MS)).await;
        let said = lock(said);
        let quiet = said.pieces == pieces && before != Some(pieces);
        if said.ended || quiet || clock.monotonic() >= until {
            return;
        }
        pieces = said.pieces;
    }
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}
