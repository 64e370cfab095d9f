//! A process of the `http-stream` format: it listens, and runs one call after another.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};

use super::folder::Folder;
use super::group::Group;
use super::output::Output;
use crate::contract::http_stream::{Answer, Connection, Exchange, QUICK_MAX};
use crate::contract::{exit_reason, exit_verdict};
use crate::executor::sandbox::Sandbox;
use crate::seam::executor::{Calls, Execution, Fault, Invocation, Verdict};
use crate::seam::{Clock, ExecutionLog};

/// How long the answer of a process that has ended may still be on its way.
const LAST_ANSWER_MAX: Duration = Duration::from_millis(100);
/// How long to wait for the exit of a process whose connection broke, which tells why.
const EXIT_MAX: Duration = Duration::from_millis(500);
/// How long a thread is kept for a function that answers quickly.
const BURST_MAX: Duration = Duration::from_millis(10);

pub struct StreamProcess {
    group: Group,
    connection: Connection,
    output: Output,
    clock: Arc<dyn Clock>,
    usable: bool,
    /// It answered its last call quickly.
    quick: bool,
    /// It has written something, and may go on after its answer.
    writes: bool,
    _folder: Folder,
}

/// How a burst of quick calls ended.
enum Burst {
    NoMoreCalls,
    Over,
    /// This call takes longer. Its function may have seen it.
    Slow(Box<(Invocation, Exchange)>),
}

impl StreamProcess {
    /// Waits until the process listens.
    pub async fn start(
        mut group: Group,
        mut output: Output,
        folder: Folder,
        clock: Arc<dyn Clock>,
        execution_log: &ExecutionLog,
    ) -> Result<StreamProcess, Fault> {
        let exited = async {
            let _ = group.wait().await;
        };
        let Some(dir) = &folder.socket else {
            return Err(Fault::Worker("a process without a folder for its socket".to_owned()));
        };
        let ready = tokio::select! { biased;
            ready = Connection::establish(dir, exited) => ready,
            () = output.collect(execution_log) => unreachable!("it reads until dropped"),
        };
        match ready {
            Ok(connection) => Ok(StreamProcess {
                group,
                connection,
                output,
                clock,
                usable: true,
                quick: false,
                writes: true,
                _folder: folder,
            }),
            Err(not_ready) => {
                output.drain(|piece| execution_log.append(piece));
                let exit = group.try_wait().ok().flatten();
                Err(not_ready.fault(exit.map(exit_reason), execution_log))
            }
        }
    }

    /// What a broken answer means, once it is known whether the process has ended.
    async fn broken(&mut self, why: String) -> Verdict {
        let reason = match timeout(EXIT_MAX, self.group.wait()).await {
            Ok(Ok(status)) if status.success() => "exit code 0 before an answer".to_owned(),
            Ok(Ok(status)) => return exit_verdict(status),
            Ok(Err(_)) | Err(_) => format!("broken function response: {why}"),
        };
        Verdict::Error { reason }
    }

    /// Asks the kernel: the runtime may not have heard yet of an end that is over.
    fn check_alive(&mut self) -> Result<(), Fault> {
        match self.group.try_wait() {
            Ok(Some(status)) => {
                self.usable = false;
                Err(Fault::Function(format!("ended between two calls: {}", exit_reason(status))))
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, invocation: &Invocation) -> Exchange {
        // What was written since the last answer belongs to no call.
        if std::mem::take(&mut self.writes) {
            self.output.drain(|_| {});
        }
        // Until there is an answer: an abandoned call leaves a process that cannot be used again.
        self.usable = false;
        let started_at = self.clock.now();
        invocation.execution_log.begins(started_at);
        self.connection.begin(invocation, started_at)
    }

    async fn finish(&mut self, invocation: &Invocation, exchange: Exchange) -> Result<Execution, Fault> {
        let (started_at, begun_at) = (exchange.started_at, exchange.begun_at);
        let ended = async {
            let _ = self.group.wait().await;
            sleep(LAST_ANSWER_MAX).await;
        };
        let answer = tokio::select! { biased;
            answer = self.connection.finish(exchange) => answer?,
            () = self.output.collect(&invocation.execution_log) => unreachable!("it reads until dropped"),
            () = ended => Answer::Broken("the process has ended".to_owned()),
        };
        let took = begun_at.elapsed();
        self.quick = took < QUICK_MAX;
        let verdict = match answer {
            Answer::Verdict { verdict, keep } => {
                self.usable = keep;
                verdict
            }
            Answer::Broken(why) => self.broken(why).await,
            Answer::Gone(why) => return Err(Fault::Function(why)),
        };
        if !self.usable {
            self.group.kill();
        }
        self.output.drain(|piece| invocation.execution_log.append(piece));
        self.writes = true;
        Ok(Execution { verdict, log: invocation.execution_log.take_log(), started_at, took })
    }

    /// Runs calls that are answered quickly, one after another, without leaving the thread.
    fn burst(&mut self, calls: &mut dyn Calls) -> Burst {
        if self.connection.wait_in_kernel(true).is_none() {
            self.quick = false;
            return Burst::Over;
        }
        let burst = self.quick_calls(calls);
        self.connection.wait_in_kernel(false);
        burst
    }

    fn quick_calls(&mut self, calls: &mut dyn Calls) -> Burst {
        let ends_at = Instant::now() + BURST_MAX;
        while self.usable && self.connection.used_at < ends_at {
            let Some(invocation) = calls.next() else { return Burst::NoMoreCalls };
            let mut exchange = self.begin(&invocation);
            let Some(verdict) = self.connection.answer_now(&mut exchange) else {
                return Burst::Slow(Box::new((invocation, exchange)));
            };
            let (took, started_at) = (self.connection.used_at - exchange.begun_at, exchange.started_at);
            self.usable = true;
            self.output.drain(|piece| {
                self.writes = true;
                invocation.execution_log.append(piece);
            });
            let log = invocation.execution_log.take_log();
            calls.ended(Ok(Execution { verdict, log, started_at, took }));
        }
        Burst::Over
    }
}

#[async_trait]
impl Sandbox for StreamProcess {
    async fn invoke(&mut self, invocation: &Invocation) -> Result<Execution, Fault> {
        self.check_alive()?;
        let exchange = self.begin(invocation);
        self.finish(invocation, exchange).await
    }

    async fn invoke_many(&mut self, calls: &mut dyn Calls) -> Option<Invocation> {
        // A runtime with a single thread needs it for everything else.
        let may_block = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
        loop {
            let burst = match may_block && self.quick && self.usable {
                true => block_in_place(|| self.burst(calls)),
                false => {
                    let invocation = calls.next()?;
                    if !self.usable || self.check_alive().is_err() {
                        return Some(invocation);
                    }
                    let exchange = self.begin(&invocation);
                    Burst::Slow(Box::new((invocation, exchange)))
                }
            };
            match burst {
                Burst::NoMoreCalls => return None,
                Burst::Over => tokio::task::yield_now().await,
                Burst::Slow(slow) => {
                    let (invocation, exchange) = *slow;
                    match self.finish(&invocation, exchange).await {
                        Err(Fault::Function(_)) => return Some(invocation),
                        execution => calls.ended(execution),
                    }
                }
            }
        }
    }

    fn is_reusable(&self) -> bool {
        self.usable
    }

    async fn stop(self: Box<Self>) {
        self.group.stop().await;
    }
}
