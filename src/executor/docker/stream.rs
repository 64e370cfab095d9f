//! The `http-stream` format in a container: it listens on a socket in a folder that it shares with the worker, and
//! answers one call after another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bollard::container::AttachContainerResults;
use futures_util::StreamExt as _;
use tokio::task::JoinSet;

use super::container::{Container, ContainerExit};
use crate::contract::http_stream::{Answer, Connection, NotReady};
use crate::executor::sandbox::Sandbox;
use crate::limits;
use crate::seam::executor::{Execution, Fault, Invocation, Verdict};
use crate::seam::{Clock, ExecutionLog};

pub(super) struct StreamContainer {
    container: Container,
    clock: Arc<dyn Clock>,
    connection: Connection,
    output: Arc<Mutex<Output>>,
    _reader: JoinSet<()>,
    keep: bool,
    /// It wrote something in its last call, or had no call yet.
    writes: bool,
}

/// What the container writes.
#[derive(Default)]
struct Output {
    /// That of the current call, or of the last one.
    execution_log: ExecutionLog,
    pieces: u64,
    /// Nothing more will come: the container has ended.
    ended: bool,
}

impl StreamContainer {
    /// Starts a container that was created and attached to, and waits until it listens.
    pub(super) async fn start(
        container: Container,
        attached: AttachContainerResults,
        clock: Arc<dyn Clock>,
        invocation: &Invocation,
    ) -> Result<StreamContainer, Fault> {
        let attached = container.start(attached).await?;
        let execution_log = invocation.execution_log.clone();
        let output = Arc::new(Mutex::new(Output { execution_log, ..Output::default() }));
        let mut reader = JoinSet::new();
        reader.spawn(read(attached, Arc::clone(&output)));
        let Some(dir) = container.ticket.dir.as_deref() else {
            return Err(Fault::Worker("a container without a folder for its socket".to_owned()));
        };
        let exited = async {
            let _ = container.ended().await;
        };
        match Connection::establish(dir, exited).await {
            Ok(connection) => Ok(StreamContainer {
                container,
                clock,
                connection,
                output,
                _reader: reader,
                keep: true,
                writes: true,
            }),
            Err(not_ready) => {
                let exit = if not_ready == NotReady::Exited { container.exit().await? } else { None };
                settle(&*clock, &output, Some(0)).await;
                let exit = exit.map(|exit| exit.reason(invocation.version.limits.memory_mib));
                Err(not_ready.fault(exit, &invocation.execution_log))
            }
        }
    }

    /// Why an answer broke off: mostly because the container ended, which is known a moment later.
    async fn how_it_broke(&self, why: &str, memory_mib: u64) -> Result<Verdict, Fault> {
        const END_MS_MAX: u64 = 2_000;
        let ending = tokio::select! {
            biased;
            ending = self.container.ended() => Some(ending?),
            () = self.clock.sleep(Duration::from_millis(END_MS_MAX)) => None,
        };
        let reason = match ending {
            Some(ContainerExit { exit_code: 0, .. }) => "exit code 0 before an answer".to_owned(),
            Some(ending) => return Ok(ending.verdict(memory_mib)),
            None => format!("broken function response: {why}"),
        };
        Ok(Verdict::Error { reason })
    }
}

#[async_trait]
impl Sandbox for StreamContainer {
    async fn invoke(&mut self, invocation: &Invocation) -> Result<Execution, Fault> {
        let before = {
            let mut output = lock(&self.output);
            output.execution_log = invocation.execution_log.clone();
            output.pieces
        };
        // An error, or a dropped future, leaves a container in the middle of a call.
        self.keep = false;
        let memory_mib = invocation.version.limits.memory_mib;
        let started_at = self.clock.now();
        invocation.execution_log.begins(started_at);
        let begun = self.clock.monotonic();
        let answer = self.connection.call(invocation, started_at).await?;
        let took = self.clock.monotonic().saturating_sub(begun);
        let verdict = match answer {
            Answer::Verdict { verdict, keep } => {
                self.keep = keep;
                verdict
            }
            Answer::Broken(why) => self.how_it_broke(&why, memory_mib).await?,
            Answer::Gone(why) => return Err(Fault::Function(format!("the container was lost: {why}"))),
        };
        settle(&*self.clock, &self.output, self.writes.then_some(before)).await;
        self.writes = lock(&self.output).pieces > before;
        Ok(Execution { verdict, log: invocation.execution_log.take_log(), started_at, took })
    }

    fn is_reusable(&self) -> bool {
        self.keep && !lock(&self.output).ended
    }

    async fn stop(self: Box<Self>) {
        self.container.remove().await;
    }
}

async fn read(attached: AttachContainerResults, output: Arc<Mutex<Output>>) {
    let mut pieces = attached.output;
    while let Some(Ok(piece)) = pieces.next().await {
        let mut output = lock(&output);
        output.execution_log.append(&piece.into_bytes());
        output.pieces += 1;
    }
    lock(&output).ended = true;
}

/// The output comes by another way than the answer and may be a little later. Waits until no more of it comes; with
/// `before`, also until there are more pieces than that.
async fn settle(clock: &dyn Clock, output: &Mutex<Output>, before: Option<u64>) {
    let until = clock.monotonic() + limits::LOG_QUIET_MAX;
    let mut pieces = lock(output).pieces;
    loop {
        clock.sleep(limits::LOG_QUIET).await;
        let output = lock(output);
        let quiet = output.pieces == pieces && before != Some(pieces);
        if output.ended || quiet || clock.monotonic() >= until {
            return;
        }
        pieces = output.pieces;
    }
}

fn lock(output: &Mutex<Output>) -> MutexGuard<'_, Output> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}
