//! A process of the `http-stream` format: it listens, and runs one call after another.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};

use super::Folder;
use super::group::Group;
use super::output::Output;
use crate::contract::exit_reason;
use crate::contract::http_stream::{Answer, Connection, Exchange, NotReady, QUICK_MAX};
use crate::executor::sandbox::Sandbox;
use crate::limits;
use crate::model::Time;
use crate::seam::executor::{Calls, Fault, Run, Verdict, Work};
use crate::seam::{Clock, Heard};

/// How long the answer of a process that has ended may still be on its way.
const LAST_WORDS_MAX: Duration = Duration::from_millis(100);
/// How long a process may take to end after its connection broke, to be asked why.
const EXIT_MAX: Duration = Duration::from_millis(500);
/// How long a thread is kept for a function that answers quickly.
const STINT_MAX: Duration = Duration::from_millis(10);

pub struct Hot {
    group: Group,
    connection: Connection,
    output: Output,
    clock: Arc<dyn Clock>,
    usable: bool,
    /// It answered its last call quickly.
    quick: bool,
    /// It has said something that may go on after its answer.
    speaks: bool,
    _folder: Folder,
}

/// A call that the function may have seen something of.
struct Begun {
    started_at: Time,
    at: Instant,
    exchange: Exchange,
}

/// How a stint ended.
enum Stint {
    /// There are no more calls.
    Done,
    Over,
    /// This one takes longer.
    Slow(Box<(Work, Begun)>),
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
        Ok(Hot {
            group,
            connection,
            output,
            clock,
            usable: true,
            quick: false,
            speaks: true,
            _folder: folder,
        })
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

    /// Costs no system call while it lives.
    fn is_there(&mut self) -> Result<(), Fault> {
        match self.group.wait().now_or_never() {
            Some(Ok(status)) => {
                self.usable = false;
                Err(Fault::Function(format!("ended between two calls: {}", exit_reason(status))))
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, work: &Work) -> Begun {
        // What was said since the last answer belongs to no call.
        if std::mem::take(&mut self.speaks) {
            self.output.drain(|_| {});
        }
        // Until there is an answer: a call that is abandoned leaves nothing to go on with.
        self.usable = false;
        let started_at = self.clock.now();
        work.heard.begins(started_at);
        let at = Instant::now();
        Begun { started_at, at, exchange: self.connection.begin(work, started_at, at) }
    }

    async fn go_on(&mut self, work: &Work, begun: Begun) -> Result<Run, Fault> {
        let Begun { started_at, at, exchange } = begun;
        let ended = async {
            let _ = self.group.wait().await;
            sleep(LAST_WORDS_MAX).await;
        };
        let answer = tokio::select! { biased;
            answer = self.connection.finish(exchange) => answer?,
            () = self.output.collect(&work.heard) => unreachable!("it reads until dropped"),
            () = ended => Answer::Broken("the process has ended".to_owned()),
        };
        let took = at.elapsed();
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
        self.output.drain(|piece| work.heard.say(piece));
        self.speaks = true;
        Ok(Run { verdict, log: work.heard.take_log(), started_at, took })
    }

    /// Calls that are answered quickly, one after another, without leaving the thread.
    fn stint(&mut self, calls: &mut dyn Calls) -> Stint {
        if self.connection.waits(true).is_none() {
            self.quick = false;
            return Stint::Over;
        }
        let stint = self.quick_calls(calls);
        self.connection.waits(false);
        stint
    }

    fn quick_calls(&mut self, calls: &mut dyn Calls) -> Stint {
        let ends_at = Instant::now() + STINT_MAX;
        while self.usable && self.connection.used_at() < ends_at {
            let Some(work) = calls.next() else { return Stint::Done };
            let mut begun = self.begin(&work);
            match self.quick_answer(&work, &mut begun) {
                Some(run) => calls.ended(Ok(run)),
                None => return Stint::Slow(Box::new((work, begun))),
            }
        }
        Stint::Over
    }

    /// `None`: whatever came of it so far, it goes on as one that takes longer.
    fn quick_answer(&mut self, work: &Work, begun: &mut Begun) -> Option<Run> {
        self.connection.send(&mut begun.exchange)?;
        loop {
            if let Some(verdict) = self.connection.receive(&mut begun.exchange)? {
                let (took, started_at) = (self.connection.used_at() - begun.at, begun.started_at);
                self.usable = true;
                self.output.drain(|piece| {
                    self.speaks = true;
                    work.heard.say(piece);
                });
                return Some(Run { verdict, log: work.heard.take_log(), started_at, took });
            }
            if begun.at.elapsed() >= QUICK_MAX {
                return None;
            }
        }
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
        self.is_there()?;
        let begun = self.begin(work);
        self.go_on(work, begun).await
    }

    async fn invoke_many(&mut self, calls: &mut dyn Calls) -> Option<Work> {
        // Where one thread is all there is, nobody may keep it.
        let may_block = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
        loop {
            let stint = match may_block && self.quick && self.usable {
                true => block_in_place(|| self.stint(calls)),
                false => {
                    let work = calls.next()?;
                    if !self.usable || self.is_there().is_err() {
                        return Some(work);
                    }
                    let begun = self.begin(&work);
                    Stint::Slow(Box::new((work, begun)))
                }
            };
            match stint {
                Stint::Done => return None,
                Stint::Over => tokio::task::yield_now().await,
                Stint::Slow(slow) => {
                    let (work, begun) = *slow;
                    match self.go_on(&work, begun).await {
                        Err(Fault::Function(_)) => return Some(work),
                        run => calls.ended(run),
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
