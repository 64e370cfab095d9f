//! A process of the `http-stream` format: it listens, and runs one call after another.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::Folder;
use super::group::Group;
use super::output::Output;
use crate::contract::exit_reason;
use crate::contract::http_stream::{Answer, Connection, NotReady};
use crate::executor::sandbox::Sandbox;
use crate::limits;
use crate::seam::executor::{Fault, Run, Verdict, Work};
use crate::seam::{Clock, Heard};

/// How long the answer of a process that has ended may still be on its way.
const LAST_WORDS_MAX: Duration = Duration::from_millis(100);
/// How long a process may take to end after its connection broke, to be asked why.
const EXIT_MAX: Duration = Duration::from_millis(500);

pub struct Hot {
    group: Group,
    connection: Connection,
    output: Output,
    clock: Arc<dyn Clock>,
    usable: bool,
    _folder: Folder,
}

impl Hot {
    /// Waits until the process listens.
    pub async fn start(
        mut group: Group,
        mut output: Output,
        folder: Folder,
        clock: Arc<dyn Clock>,
        heard: &Heard,
    ) -> Result<Hot, Fault> {
        let exited = async {
            let _ = group.wait().await;
        };
        let ready = tokio::select! { biased;
            ready = Connection::establish(&folder.path, exited) => ready,
            () = output.collect(heard) => unreachable!("it reads until dropped"),
        };
        let connection = match ready {
            Ok(connection) => connection,
            Err(not_ready) => {
                output.drain(|piece| heard.say(piece));
                return Err(Fault::Function(why(not_ready, &mut group, heard)));
            }
        };
        Ok(Hot { group, connection, output, clock, usable: true, _folder: folder })
    }

    /// What a broken answer means, once it is known whether the process has ended.
    async fn broken(&mut self, why: String) -> Verdict {
        let reason = match timeout(EXIT_MAX, self.group.wait()).await {
            Ok(Ok(status)) if status.success() => "exit code 0 before an answer".to_owned(),
            Ok(Ok(status)) => exit_reason(status),
            Ok(Err(_)) | Err(_) => format!("broken function response: {why}"),
        };
        Verdict::Error { reason }
    }
}

fn why(not_ready: NotReady, group: &mut Group, heard: &Heard) -> String {
    let mut why = match not_ready {
        NotReady::Exited => match group.try_wait() {
            Ok(Some(status)) => format!("ended before it listened: {}", exit_reason(status)),
            Ok(None) | Err(_) => "ended before it listened".to_owned(),
        },
        NotReady::TimedOut => {
            format!("did not listen on FN_LISTENER within {} s", limits::START_MS_MAX / 1_000)
        }
        NotReady::Broken(why) => why,
    };
    if let Some(line) = heard.last_line() {
        why.push_str(": ");
        why.push_str(&line);
    }
    why
}

#[async_trait]
impl Sandbox for Hot {
    async fn invoke(&mut self, work: &Work) -> Result<Run, Fault> {
        // Costs no system call while it lives.
        if let Some(Ok(status)) = self.group.wait().now_or_never() {
            self.usable = false;
            return Err(Fault::Function(format!("ended between two calls: {}", exit_reason(status))));
        }
        // What was said since the last answer belongs to no call.
        self.output.drain(|_| {});
        // Until there is an answer: a call that is abandoned leaves nothing to go on with.
        self.usable = false;
        let started_at = self.clock.now();
        work.heard.begins(started_at);
        let begun = Instant::now();
        let ended = async {
            let _ = self.group.wait().await;
            sleep(LAST_WORDS_MAX).await;
        };
        let answer = tokio::select! { biased;
            answer = self.connection.call(work, started_at) => answer?,
            () = self.output.collect(&work.heard) => unreachable!("it reads until dropped"),
            () = ended => Answer::Broken("the process has ended".to_owned()),
        };
        let took = begun.elapsed();
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
        self.output.drain(|piece| work.heard.say(piece));
        Ok(Run { verdict, log: work.heard.take_log(), started_at, took })
    }

    fn is_reusable(&self) -> bool {
        self.usable
    }

    async fn stop(self: Box<Self>) {
        self.group.stop().await;
    }
}
