//! An executor that runs nothing: a script says what each execution comes to. For tests and simulation.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::Version;
use crate::seam::executor::{Execution, Executor, Fault, Invocation, Mismatch, RetryAfter, Verdict};
use crate::seam::{Body, Clock};

/// What one execution comes to.
#[derive(Debug, Clone)]
pub struct Act {
    /// The function's own time.
    pub takes: Duration,
    pub ends: Result<Verdict, Fault>,
    pub log: Bytes,
}

impl Act {
    pub fn answer(body: impl Into<Body>) -> Act {
        let ends = Ok(Verdict::Success { content_type: None, body: body.into() });
        Act { takes: Duration::ZERO, ends, log: Bytes::new() }
    }

    pub fn error(reason: impl Into<String>) -> Act {
        let ends = Ok(Verdict::Error { reason: reason.into() });
        Act { takes: Duration::ZERO, ends, log: Bytes::new() }
    }

    /// It asks to be tried again, after the usual back-off if it does not say when.
    pub fn busy(reason: impl Into<String>, retry_after: Option<RetryAfter>) -> Act {
        let ends = Ok(Verdict::Busy { reason: reason.into(), retry_after });
        Act { takes: Duration::ZERO, ends, log: Bytes::new() }
    }

    pub fn fault(fault: Fault) -> Act {
        Act { takes: Duration::ZERO, ends: Err(fault), log: Bytes::new() }
    }

    pub fn takes(self, takes: Duration) -> Act {
        Act { takes, ..self }
    }
}

type Script = dyn Fn(&Invocation) -> Act + Send + Sync;
type Suits = dyn Fn(&Version) -> Result<(), Mismatch> + Send + Sync;
type Probe = dyn Fn() -> Result<(), String> + Send + Sync;

pub struct Scripted {
    clock: Arc<dyn Clock>,
    script: Box<Script>,
    suits: Box<Suits>,
    probe: Box<Probe>,
}

impl Scripted {
    pub fn new(
        clock: Arc<dyn Clock>,
        script: impl Fn(&Invocation) -> Act + Send + Sync + 'static,
    ) -> Scripted {
        Scripted { clock, script: Box::new(script), suits: Box::new(|_| Ok(())), probe: Box::new(|| Ok(())) }
    }

    pub fn suits(self, suits: impl Fn(&Version) -> Result<(), Mismatch> + Send + Sync + 'static) -> Scripted {
        Scripted { suits: Box::new(suits), ..self }
    }

    pub fn probe(self, probe: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Scripted {
        Scripted { probe: Box::new(probe), ..self }
    }
}

#[async_trait]
impl Executor for Scripted {
    fn suits(&self, version: &Version) -> Result<(), Mismatch> {
        (self.suits)(version)
    }

    async fn run(&self, invocation: Invocation) -> Result<Execution, Fault> {
        let started_at = self.clock.now();
        let act = (self.script)(&invocation);
        match act.ends {
            Err(Fault::Function(_)) => {}
            _ => invocation.execution_log.begins(started_at),
        }
        invocation.execution_log.append(&act.log);
        let limit = Duration::from_millis(invocation.version.limits.timeout_ms);
        self.clock.sleep(act.takes.min(limit)).await;
        let verdict = if act.takes > limit { Verdict::Timeout } else { act.ends? };
        Ok(Execution {
            verdict,
            log: invocation.execution_log.take_log(),
            started_at,
            took: act.takes.min(limit),
        })
    }

    async fn probe(&self) -> Result<(), String> {
        (self.probe)()
    }

    async fn close(&self) {}
}
