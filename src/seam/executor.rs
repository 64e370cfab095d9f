//! The executor: runs a version's code on a payload, in a sandbox that it starts, keeps hot or throws away.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::body::Body;
use super::execution_log::ExecutionLog;
use crate::model::{AppName, BatchId, CallId, Config, Function, FunctionName, Time, Version};

#[async_trait]
pub trait Executor: Send + Sync {
    /// Whether this version can run here at all: kind of source, operating system, architecture, format. Cheap; sends no
    /// request.
    fn suits(&self, version: &Version) -> Result<(), Mismatch>;

    /// Whether such calls are this worker's at all. Those that are not say nothing about what it can run.
    fn serves(&self, _work: &Work<'_>) -> bool {
        true
    }

    /// As [`Executor::suits`], where it also matters whose calls they are.
    fn accepts(&self, work: &Work<'_>) -> Result<(), Mismatch> {
        self.suits(work.version)
    }

    /// Runs one call. The timeout of the version counts from the moment the function gets the payload, never while a
    /// sandbox is fetched or started. A function that fails is an [`Ok`] with its verdict; [`Fault`] is
    /// for failures that show nothing about the call.
    ///
    /// Dropping the future abandons the call: its sandbox is stopped and never used again. What the function has written
    /// until then stays in [`Invocation::execution_log`], also when it could not be started.
    async fn run(&self, invocation: Invocation) -> Result<Execution, Fault>;

    /// Runs calls of one version, config and function one after another: `first`, and then whatever `calls` has next,
    /// until it has none. Returns early when the executor is closed; the call that was taken last and has not ended is
    /// abandoned then, as it is when the future is dropped.
    async fn run_many(&self, first: Invocation, calls: &mut dyn Calls) {
        let mut next = Some(first);
        while let Some(invocation) = next {
            calls.ended(self.run(invocation).await);
            next = calls.next();
        }
    }

    /// Whether this machine can run anything now, with a real round trip (Docker's socket, a child process). Asked
    /// again by a sick worker until it succeeds.
    async fn probe(&self) -> Result<(), String>;

    /// Stops every sandbox. What still runs is abandoned.
    async fn close(&self);
}

/// Calls that an executor pulls one by one. Nothing is reserved ahead, so a slow call delays no other.
pub trait Calls: Send {
    /// The next call to run; `None` while none may begin.
    fn next(&mut self) -> Option<Invocation>;

    /// The result of the call that was pulled last, as of [`Executor::run`].
    fn ended(&mut self, execution: Result<Execution, Fault>);
}

/// One call, as an executor needs it. What it has in common with others of its function is shared with them.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub app: AppName,
    pub app_config: Arc<Config>,
    pub function: Arc<Function>,
    pub version: Arc<Version>,
    pub call: CallId,
    /// From 1; the function sees it as `AFN_ATTEMPT`.
    pub attempt: u32,
    /// What the call's place in its batch adds to the environment of its process.
    pub env: Vec<(String, String)>,
    pub headers: BTreeMap<String, String>,
    pub content_type: Option<String>,
    pub payload: Body,
    /// Filled by the executor.
    pub execution_log: ExecutionLog,
}

/// What calls belong to.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    pub app: &'a AppName,
    pub function: &'a FunctionName,
    pub version: &'a Version,
    /// `None`: a single call.
    pub batch: Option<BatchId>,
}

impl Work<'_> {
    pub fn of(invocation: &Invocation) -> Work<'_> {
        let Invocation { app, function, version, call, .. } = invocation;
        Work { app, function: &function.name, version, batch: call.batch() }
    }
}

/// An execution that the function has begun.
#[derive(Debug, Clone)]
pub struct Execution {
    pub verdict: Verdict,
    /// stdout and stderr as the format has them, cut at the limit.
    pub log: Bytes,
    pub started_at: Time,
    /// The function's own time.
    pub took: Duration,
}

#[derive(Debug, Clone)]
pub enum Verdict {
    /// It answered.
    Success { content_type: Option<String>, body: Body },
    /// `exit code 3`, `out of memory: limit 128 MiB`, or the reason that the function gave.
    Error { reason: String },
    /// It failed for the moment and asks to be tried again: exit code 75 (`EX_TEMPFAIL`), or an answer with status 503 or 429
    /// and `Retry-After`. `None`: after the usual back-off.
    Busy { reason: String, retry_after: Option<RetryAfter> },
    /// Its time ran out.
    Timeout,
}

/// When a function wants to be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    Wait(Duration),
    Until(Time),
}

impl RetryAfter {
    pub fn wait(self, now: Time) -> Duration {
        match self {
            RetryAfter::Wait(wait) => wait,
            RetryAfter::Until(time) => Duration::from_millis(time.since_ms(now)),
        }
    }
}

/// What `sysexits.h` calls a temporary failure.
const EX_TEMPFAIL: i64 = 75;

impl Verdict {
    /// Of a process that failed. `None`: it has no exit code of its own.
    pub fn of_exit(exit_code: Option<i64>, reason: String) -> Verdict {
        match exit_code {
            Some(EX_TEMPFAIL) => Verdict::Busy { reason, retry_after: None },
            _ => Verdict::Error { reason },
        }
    }
}

/// A failure that shows nothing about the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The function's: image absent, cannot start, never listened. Recorded after a few tries.
    Function(String),
    /// The worker's: Docker down, disk full. Never recorded; the message goes back and the worker stops receiving.
    Worker(String),
    /// This version cannot run on this worker.
    Mismatch(Mismatch),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Function(why) | Fault::Worker(why) => f.write_str(why),
            Fault::Mismatch(mismatch) => mismatch.fmt(f),
        }
    }
}

/// What a version needs that this worker has not: `linux/arm64 image, this worker runs linux/amd64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch(pub String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
