//! A process of the `default` format: it runs one call and ends.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::Folder;
use super::group::Group;
use crate::contract::default::take_in;
use crate::contract::exit_reason;
use crate::executor::sandbox::Sandbox;
use crate::limits;
use crate::seam::body::{BodyWriter, Pieces};
use crate::seam::executor::{Fault, Run, Verdict, Work};
use crate::seam::{Clock, Heard};

/// When a process has ended its group is killed, so its pipes end too, unless it gave them to a session of its own.
const PIPES_END_MAX: Duration = Duration::from_millis(500);
const PIECE_BYTES: usize = 64 * 1024;

pub struct Once {
    group: Group,
    _folder: Folder,
    clock: Arc<dyn Clock>,
}

/// What ends a run before the process does.
type Cut = Result<Verdict, Fault>;

impl Once {
    pub fn new(group: Group, folder: Folder, clock: Arc<dyn Clock>) -> Once {
        Once { group, _folder: folder, clock }
    }

    async fn run(
        &mut self,
        payload: Pieces,
        answer: &mut BodyWriter,
        heard: &Heard,
    ) -> Result<ExitStatus, Cut> {
        let child = self.group.child();
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(Err(Fault::Function("a process of the default format runs one call".to_owned())));
        };
        let lost = |error: io::Error| Err(Fault::Worker(format!("lost sight of a process: {error}")));
        // All at once, or a full pipe would hold up the others.
        let pipes = async {
            tokio::try_join!(
                feed(stdin, payload),
                take(stdout, |piece| take_in(answer, piece)),
                take(stderr, |piece| {
                    heard.say(piece);
                    Ok(())
                })
            )
        };
        let mut pipes = std::pin::pin!(pipes);
        tokio::select! { biased;
            ended = &mut pipes => {
                ended?;
                self.group.wait().await.map_err(lost)
            }
            status = self.group.wait() => {
                if let Ok(ended) = timeout(PIPES_END_MAX, pipes).await {
                    ended?;
                }
                status.map_err(lost)
            }
        }
    }
}

#[async_trait]
impl Sandbox for Once {
    async fn invoke(&mut self, work: &Work) -> Result<Run, Fault> {
        let mut answer = BodyWriter::new(limits::RESULT_BYTES_MAX);
        let started_at = self.clock.now();
        work.heard.begins(started_at);
        let begun = Instant::now();
        let limit = Duration::from_millis(work.version.limits.timeout_ms);
        let ended = timeout(limit, self.run(work.payload.pieces(), &mut answer, &work.heard)).await;
        let took = begun.elapsed();
        self.group.kill();
        let verdict = match ended {
            Ok(Ok(status)) if status.success() => {
                Verdict::Success { content_type: None, body: answer.finish() }
            }
            Ok(Ok(status)) => Verdict::Error { reason: exit_reason(status) },
            Ok(Err(cut)) => cut?,
            Err(_) => Verdict::Timeout,
        };
        Ok(Run { verdict, log: work.heard.take_log(), started_at, took })
    }

    fn is_reusable(&self) -> bool {
        false
    }

    async fn stop(self: Box<Self>) {
        self.group.stop().await;
    }
}

/// Writes the payload and closes the pipe. A function need not read it.
async fn feed(mut stdin: impl AsyncWrite + Unpin, payload: Pieces) -> Result<(), Cut> {
    for piece in payload {
        let piece = piece.map_err(|error| Err(Fault::Worker(format!("cannot read a payload: {error}"))))?;
        if stdin.write_all(&piece).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Reads to the end. A pipe that cannot be read has ended.
async fn take(
    mut pipe: impl AsyncRead + Unpin,
    mut take: impl FnMut(&[u8]) -> Result<(), Cut>,
) -> Result<(), Cut> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match pipe.read(&mut piece).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(length) => take(&piece[..length])?,
        }
    }
}
