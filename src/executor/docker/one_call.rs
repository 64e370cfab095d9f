//! The `default` format in a container: created and attached to before the call, started and ended with it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::container::{AttachContainerResults, LogOutput};
use futures_util::StreamExt as _;

use super::client;
use super::container::Container;
use crate::contract::default::{Cut, converse, take_in};
use crate::executor::sandbox::Sandbox;
use crate::limits;
use crate::seam::Clock;
use crate::seam::body::BodyWriter;
use crate::seam::executor::{Execution, Fault, Invocation, Verdict};

pub(super) struct OneCallContainer {
    pub(super) container: Container,
    pub(super) clock: Arc<dyn Clock>,
    /// None once it ran.
    pub(super) attached: Option<AttachContainerResults>,
}

impl OneCallContainer {
    /// Writes the payload and reads answer and log, until the container ends.
    async fn run(
        &mut self,
        attached: AttachContainerResults,
        invocation: &Invocation,
    ) -> Result<Verdict, Cut> {
        let AttachContainerResults { output: mut pieces, input } = attached;
        let mut answer = BodyWriter::new(limits::RESULT_BYTES_MAX);
        let output = async {
            while let Some(piece) = pieces.next().await {
                match piece
                    .map_err(|error| Err(client::fault("lost the connection to a container", &error)))?
                {
                    LogOutput::StdOut { message } => take_in(&mut answer, &message)?,
                    LogOutput::StdErr { message } | LogOutput::Console { message } => {
                        invocation.execution_log.append(&message)
                    }
                    LogOutput::StdIn { .. } => {}
                }
            }
            Ok(())
        };
        let grace = self.clock.sleep(limits::LAST_WORDS_MAX);
        let payload = invocation.payload.pieces();
        match converse(input, payload, output, self.container.ended(), grace).await? {
            (_, false) => {
                // What is missing might be part of the answer.
                Err(Err(Fault::Worker("docker did not deliver all that a container wrote".to_owned())))
            }
            (exit, true) if exit.exit_code == 0 => Ok(Verdict::Success {
                content_type: invocation.version.content_type.clone(),
                body: answer.finish(),
            }),
            (exit, true) => Ok(exit.verdict(invocation.version.limits.memory_mib)),
        }
    }
}

#[async_trait]
impl Sandbox for OneCallContainer {
    async fn invoke(&mut self, invocation: &Invocation) -> Result<Execution, Fault> {
        let Some(attached) = self.attached.take() else {
            return Err(Fault::Worker("a container of the default format was used twice".to_owned()));
        };
        let attached = self.container.start(attached).await?;
        let started_at = self.clock.now();
        let begun_at = self.clock.monotonic();
        let limit = Duration::from_millis(invocation.version.limits.timeout_ms);
        invocation.execution_log.begins(started_at);
        let clock = Arc::clone(&self.clock);
        let verdict = tokio::select! {
            biased;
            verdict = self.run(attached, invocation) => verdict.or_else(|cut| cut)?,
            () = clock.sleep(limit) => Verdict::Timeout,
        };
        let took = self.clock.monotonic().saturating_sub(begun_at);
        Ok(Execution { verdict, log: invocation.execution_log.take_log(), started_at, took })
    }

    fn is_reusable(&self) -> bool {
        false
    }

    async fn stop(self: Box<Self>) {
        self.container.remove().await;
    }
}
