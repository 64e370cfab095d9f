//! The `default` format in a container: made and attached to before the call, started with it, over with it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::container::{AttachContainerResults, LogOutput};
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use super::client;
use super::container::Container;
use crate::contract::default::take_in;
use crate::executor::sandbox::Sandbox;
use crate::limits;
use crate::seam::Clock;
use crate::seam::body::{BodyWriter, Pieces};
use crate::seam::executor::{Fault, Run, Verdict, Work};

pub(super) struct Once {
    container: Container,
    clock: Arc<dyn Clock>,
    attached: Option<AttachContainerResults>,
}

impl Once {
    pub(super) fn new(container: Container, attached: AttachContainerResults, clock: Arc<dyn Clock>) -> Once {
        Once { container, clock, attached: Some(attached) }
    }
}

#[async_trait]
impl Sandbox for Once {
    async fn invoke(&mut self, work: &Work) -> Result<Run, Fault> {
        let Some(attached) = self.attached.take() else {
            return Err(Fault::Worker("a container of the default format was used twice".to_owned()));
        };
        self.container.start().await?;
        let started_at = self.clock.now();
        let begun = self.clock.monotonic();
        let limit = Duration::from_millis(work.version.limits.timeout_ms);
        work.heard.begins(started_at);
        let verdict = tokio::select! {
            biased;
            verdict = converse(&self.container, &*self.clock, attached, work) => verdict?,
            () = self.clock.sleep(limit) => Verdict::Timeout,
        };
        let took = self.clock.monotonic().saturating_sub(begun);
        Ok(Run { verdict, log: work.heard.take_log(), started_at, took })
    }

    fn is_reusable(&self) -> bool {
        false
    }

    async fn stop(self: Box<Self>) {
        self.container.remove().await;
    }
}

/// Payload in, answer and log out, until the container ends.
async fn converse(
    container: &Container,
    clock: &dyn Clock,
    attached: AttachContainerResults,
    work: &Work,
) -> Result<Verdict, Fault> {
    let AttachContainerResults { mut output, input } = attached;
    let mut answer = BodyWriter::new(limits::RESULT_BYTES_MAX);
    let ending = {
        let mut fed = pin!(feed(input, work.payload.pieces()));
        let mut heard = pin!(async {
            while let Some(piece) = output.next().await {
                match piece.map_err(|error| Err(lost(&error)))? {
                    LogOutput::StdOut { message } => take_in(&mut answer, &message)?,
                    LogOutput::StdErr { message } | LogOutput::Console { message } => {
                        work.heard.say(&message)
                    }
                    LogOutput::StdIn { .. } => {}
                }
            }
            Ok::<_, Result<Verdict, Fault>>(())
        });
        let mut ended = pin!(container.ended());
        let (mut feeding, mut hearing) = (true, true);
        let ending = loop {
            tokio::select! {
                biased;
                done = &mut heard, if hearing => {
                    hearing = false;
                    if let Err(failure) = done {
                        return failure;
                    }
                }
                fed = &mut fed, if feeding => {
                    fed?;
                    feeding = false;
                }
                ending = &mut ended => break ending?,
            }
        };
        if hearing {
            let last_words = Duration::from_millis(limits::LAST_WORDS_MS_MAX);
            tokio::select! {
                biased;
                done = &mut heard => if let Err(failure) = done {
                    return failure;
                },
                // Whatever is still to come might be part of the answer.
                () = clock.sleep(last_words) => {
                    return Err(Fault::Worker("docker did not hand over all that a container said".to_owned()));
                }
            }
        }
        ending
    };
    if ending.exit_code == 0 {
        return Ok(Verdict::Success {
            content_type: work.version.content_type.clone(),
            body: answer.finish(),
        });
    }
    Ok(Verdict::Error { reason: ending.reason(work.version.limits.memory_mib) })
}

fn lost(error: &bollard::errors::Error) -> Fault {
    client::fault("lost the connection to a container", error)
}

/// A function need not read its payload, so a failure here is none.
async fn feed(
    mut input: std::pin::Pin<Box<dyn tokio::io::AsyncWrite + Send>>,
    payload: Pieces,
) -> Result<(), Fault> {
    for piece in payload {
        let piece = piece.map_err(|error| Fault::Worker(format!("cannot read a payload: {error}")))?;
        if input.write_all(&piece).await.is_err() {
            return Ok(());
        }
    }
    let _ = input.shutdown().await;
    Ok(())
}
