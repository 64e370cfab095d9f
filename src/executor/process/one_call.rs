//! A process of the `default` format: it runs one call and ends.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, sleep, timeout};

use super::folder::Folder;
use super::group::Group;
use crate::contract::default::{Cut, converse, take_in};
use crate::contract::exit_verdict;
use crate::executor::sandbox::Sandbox;
use crate::limits;
use crate::seam::Clock;
use crate::seam::body::BodyWriter;
use crate::seam::executor::{Execution, Fault, Invocation, Verdict};

/// When a process has ended its group is killed, so its pipes end too, unless it gave them to another session.
const PIPES_END_MAX: Duration = Duration::from_millis(500);
const PIECE_BYTES: usize = 64 * 1024;

pub struct OneCallProcess {
    group: Group,
    _folder: Folder,
    clock: Arc<dyn Clock>,
}

impl OneCallProcess {
    pub fn new(group: Group, folder: Folder, clock: Arc<dyn Clock>) -> OneCallProcess {
        OneCallProcess { group, _folder: folder, clock }
    }

    async fn run(&mut self, invocation: &Invocation, answer: &mut BodyWriter) -> Result<ExitStatus, Cut> {
        let child = self.group.child();
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(Err(Fault::Function("a process of the default format runs one call".to_owned())));
        };
        let output = async {
            let log = |piece: &[u8]| {
                invocation.execution_log.append(piece);
                Ok(())
            };
            tokio::try_join!(read(stdout, |piece| take_in(answer, piece)), read(stderr, log)).map(drop)
        };
        let exit = async {
            let exit = self.group.wait().await;
            exit.map_err(|error| Fault::Worker(format!("cannot wait for a process: {error}")))
        };
        let payload = invocation.payload.pieces();
        // A timer counts from its creation, and this one is to count from the exit.
        let grace = async { sleep(PIPES_END_MAX).await };
        converse(stdin, payload, output, exit, grace).await.map(|(status, _)| status)
    }
}

#[async_trait]
impl Sandbox for OneCallProcess {
    async fn invoke(&mut self, invocation: &Invocation) -> Result<Execution, Fault> {
        let mut answer = BodyWriter::new(limits::RESULT_BYTES_MAX);
        let started_at = self.clock.now();
        invocation.execution_log.begins(started_at);
        let begun_at = Instant::now();
        let limit = Duration::from_millis(invocation.version.limits.timeout_ms);
        let ended = timeout(limit, self.run(invocation, &mut answer)).await;
        let took = begun_at.elapsed();
        self.group.kill();
        let verdict = match ended {
            Ok(Ok(status)) if status.success() => {
                Verdict::Success { content_type: None, body: answer.finish() }
            }
            Ok(Ok(status)) => exit_verdict(status),
            Ok(Err(cut)) => cut?,
            Err(_) => Verdict::Timeout,
        };
        Ok(Execution { verdict, log: invocation.execution_log.take_log(), started_at, took })
    }

    fn is_reusable(&self) -> bool {
        false
    }

    async fn stop(self: Box<Self>) {
        self.group.stop().await;
    }
}

/// Reads to the end. A pipe that cannot be read has ended.
async fn read(
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
