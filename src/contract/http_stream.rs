//! The `http-stream` format, Fn's contract with its FDKs: the function listens on a unix socket and answers one
//! `POST /call` after another. A call costs no task and no hop between threads: the task that waits for its answer also
//! sends and reads it, asleep in the runtime, or, for a moment, in the kernel.

mod answer;
mod request;

use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::time::{Instant, sleep, timeout_at};

use self::answer::Reading;
use self::request::Sending;
pub use super::socket::SOCKET_NAME;
use super::socket::{ConnectError, SocketDir};
use crate::limits;
use crate::model::Time;
use crate::seam::ExecutionLog;
use crate::seam::executor::{Fault, Invocation, Verdict};

/// Idle connections are closed on our side after this, as Fn does: some servers close older ones themselves.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// A function that answers within this is waited for in the kernel.
pub const QUICK_MAX: Duration = Duration::from_millis(2);
/// The wait between two attempts to connect.
const RETRY_MIN: Duration = Duration::from_millis(1);
const RETRY_MAX: Duration = Duration::from_millis(20);

/// The environment variable that tells a function where to listen, for a folder as the sandbox sees it.
pub fn listener(dir: &str) -> (String, String) {
    ("FN_LISTENER".to_owned(), format!("unix:{dir}/{SOCKET_NAME}"))
}

/// Why a sandbox never became ready.
#[derive(Debug, PartialEq, Eq)]
pub enum NotReady {
    /// It ended before it listened.
    Exited,
    /// It did not listen in time.
    TimedOut,
    /// It broke the contract.
    Broken(String),
}

impl NotReady {
    /// The fault, with how the sandbox ended, if it has, and the last line that it wrote.
    pub fn fault(self, exit: Option<String>, execution_log: &ExecutionLog) -> Fault {
        let why = match (self, exit) {
            (NotReady::Exited, Some(exit)) => format!("ended before it listened: {exit}"),
            (NotReady::Exited, None) => "ended before it listened".to_owned(),
            (NotReady::TimedOut, _) => {
                format!("did not listen on FN_LISTENER within {} s", limits::START_MAX.as_secs())
            }
            (NotReady::Broken(why), _) => why,
        };
        Fault::Function(match execution_log.last_line() {
            Some(line) => format!("{why}: {line}"),
            None => why,
        })
    }
}

/// What came of a call.
#[derive(Debug)]
pub enum Answer {
    /// `keep`: the sandbox can take the next call.
    Verdict { verdict: Verdict, keep: bool },
    /// The answer broke off. How the sandbox ended tells more, if it has.
    Broken(String),
    /// Nothing listens any more: the function has not seen this call.
    Gone(String),
}

/// The worker's end of the contract with one sandbox.
#[derive(Debug)]
pub struct Connection {
    dir: SocketDir,
    link: Option<UnixStream>,
    /// When its last answer came.
    pub used_at: Instant,
    /// The buffer for reading.
    inbox: Box<[u8]>,
    /// The buffer that the last call was sent from.
    outbox: Vec<u8>,
}

const INBOX_BYTES: usize = 64 * 1024;

/// A call on its way to the function and back.
#[derive(Debug)]
pub struct Exchange {
    pub started_at: Time,
    pub begun_at: Instant,
    timeout: Duration,
    sending: Sending,
    reading: Reading,
    /// The link is that of an earlier call: the function may have closed it.
    reuses_link: bool,
    /// Known already, before it is waited for.
    answer: Option<Result<Answer, Fault>>,
}

/// How far an exchange came.
enum Progress {
    Answered(Answer),
    /// Nothing of the call was sent: the function has closed the connection.
    Unsent,
    Blocked,
}

impl Connection {
    /// Waits until the function listens in `dir`, no longer than [`limits::START_MAX`] and not past `exited`.
    pub async fn establish(dir: &Path, exited: impl Future<Output = ()>) -> Result<Connection, NotReady> {
        Connection::establish_within(dir, limits::START_MAX, exited).await
    }

    async fn establish_within(
        dir: &Path,
        limit: Duration,
        exited: impl Future<Output = ()>,
    ) -> Result<Connection, NotReady> {
        let dir =
            SocketDir::open(dir).map_err(|error| NotReady::Broken(format!("no socket folder: {error}")))?;
        let mut exited = pin!(exited);
        let begun = Instant::now();
        let mut wait = RETRY_MIN;
        loop {
            match dir.connect().await {
                Ok(link) => {
                    let (inbox, used_at) = (vec![0; INBOX_BYTES].into(), Instant::now());
                    return Ok(Connection { dir, link: Some(link), used_at, inbox, outbox: Vec::new() });
                }
                Err(ConnectError::NotYet) => {}
                Err(ConnectError::Broken(why)) => return Err(NotReady::Broken(why)),
            }
            if begun.elapsed() >= limit {
                return Err(NotReady::TimedOut);
            }
            tokio::select! { biased;
                () = &mut exited => return Err(NotReady::Exited),
                () = sleep(wait) => {}
            }
            // Most functions listen within milliseconds; a slower one is not tried a thousand times a second.
            wait = (begun.elapsed() / 16).clamp(RETRY_MIN, RETRY_MAX);
        }
    }

    /// Sends one call and waits for its answer, within the version's timeout. Dropped midway, the connection is of no more
    /// use.
    pub async fn call(&mut self, invocation: &Invocation, started_at: Time) -> Result<Answer, Fault> {
        let exchange = self.begin(invocation, started_at);
        self.finish(exchange).await
    }

    /// For a call that [`Connection::answer_now`] may answer at once, and that [`Connection::finish`] waits for otherwise.
    pub fn begin(&mut self, invocation: &Invocation, started_at: Time) -> Exchange {
        let begun_at = Instant::now();
        let timeout_ms = invocation.version.limits.timeout_ms;
        if begun_at.duration_since(self.used_at) > IDLE_MAX {
            self.link = None;
        }
        let outbox = std::mem::take(&mut self.outbox);
        Exchange {
            started_at,
            begun_at,
            timeout: Duration::from_millis(timeout_ms),
            sending: Sending::new(invocation, started_at.plus_ms(timeout_ms), outbox),
            reading: Reading::default(),
            reuses_link: self.link.is_some(),
            answer: None,
        }
    }

    pub async fn finish(&mut self, mut exchange: Exchange) -> Result<Answer, Fault> {
        if let Some(answer) = exchange.answer {
            return answer;
        }
        match timeout_at(exchange.begun_at + exchange.timeout, self.wait(&mut exchange)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.link = None;
                Ok(Answer::Verdict { verdict: Verdict::Timeout, keep: false })
            }
        }
    }

    /// Whether the function has closed the link, or sent something without a request.
    fn is_closed(&self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let Some(link) = &self.link else { return false };
        !matches!(recv(link, &mut [0u8; 1], RecvFlags::PEEK), Err(Errno::AGAIN | Errno::INTR))
    }

    /// Whether [`Connection::answer_now`] waits in the kernel, for about [`QUICK_MAX`]. It must not while anything else is
    /// called. `None` while no connection is open, or when the kernel refuses.
    pub fn wait_in_kernel(&self, waits: bool) -> Option<()> {
        let link = self.link.as_ref()?;
        let limit = waits.then_some(QUICK_MAX);
        let set = link.set_read_timeout(limit).and_then(|()| link.set_write_timeout(limit));
        set.and_then(|()| link.set_nonblocking(!waits)).ok()
    }

    /// Sends the call and reads its answer, if that takes no longer than [`QUICK_MAX`] and leaves the sandbox ready for the
    /// next call. `None`: the exchange has to be finished.
    pub fn answer_now(&mut self, exchange: &mut Exchange) -> Option<Verdict> {
        match self.step(exchange, None) {
            Ok(Progress::Answered(Answer::Verdict { verdict, keep: true })) => return Some(verdict),
            Ok(Progress::Answered(answer)) => exchange.answer = Some(Ok(answer)),
            Ok(Progress::Unsent | Progress::Blocked) => {}
            Err(fault) => exchange.answer = Some(Err(fault)),
        }
        None
    }

    async fn wait(&mut self, exchange: &mut Exchange) -> Result<Answer, Fault> {
        // The function has closed the connection since it was used.
        if !exchange.sending.begun && self.is_closed() {
            self.link = None;
        }
        loop {
            if self.link.is_none() {
                match self.dir.connect().await {
                    Ok(link) => self.link = Some(link),
                    Err(ConnectError::NotYet) => return Ok(Answer::Gone("it no longer listens".to_owned())),
                    Err(ConnectError::Broken(why)) => return Ok(Answer::Gone(why)),
                }
            }
            match self.wait_on_link(exchange).await? {
                Some(answer) => return Ok(answer),
                None if std::mem::take(&mut exchange.reuses_link) => {}
                None => {
                    let why = "it closes connections before it has read a call";
                    return Ok(Answer::Gone(why.to_owned()));
                }
            }
        }
    }

    /// `None`: nothing was sent, and the link is closed.
    async fn wait_on_link(&mut self, exchange: &mut Exchange) -> Result<Option<Answer>, Fault> {
        // The runtime watches a duplicate of the link, and forgets it when the call is over: then the next call, which may
        // be answered at once, wakes no task.
        let mut watched: Option<tokio::net::UnixStream> = None;
        loop {
            match self.step(exchange, watched.as_ref())? {
                Progress::Answered(answer) => return Ok(Some(answer)),
                Progress::Unsent => return Ok(None),
                Progress::Blocked => {}
            }
            if watched.is_none() {
                let Some(link) = &self.link else { return Ok(None) };
                let link = link.try_clone().and_then(tokio::net::UnixStream::from_std);
                watched = Some(link.map_err(|error| unwatched(&error))?);
            }
            if let Some(watched) = &watched {
                let interest = match exchange.sending.is_over() {
                    true => Interest::READABLE,
                    false => Interest::READABLE | Interest::WRITABLE,
                };
                watched.ready(interest).await.map_err(|error| unwatched(&error))?;
            }
        }
    }

    /// Sends and reads until both would block; without the runtime, for [`QUICK_MAX`] at most.
    fn step(
        &mut self,
        exchange: &mut Exchange,
        watched: Option<&tokio::net::UnixStream>,
    ) -> Result<Progress, Fault> {
        let Some(link) = &self.link else { return Ok(Progress::Unsent) };
        let sending = &mut exchange.sending;
        let sent = attempt(watched, Interest::WRITABLE, || match sending.send(link) {
            Ok(true) if !sending.is_over() => Poll::Pending,
            sent => Poll::Ready(sent),
        });
        if let Poll::Ready(false) = sent? {
            self.link = None;
            return Ok(Progress::Unsent);
        }
        loop {
            match attempt(watched, Interest::READABLE, || self.read(exchange))? {
                Poll::Ready(Some(answer)) => return Ok(Progress::Answered(answer)),
                Poll::Ready(None) if watched.is_some() || exchange.begun_at.elapsed() < QUICK_MAX => {}
                Poll::Ready(None) | Poll::Pending => return Ok(Progress::Blocked),
            }
        }
    }

    /// Reads a piece of the answer. `None`: more is to come.
    fn read(&mut self, exchange: &mut Exchange) -> Poll<Result<Option<Answer>, Fault>> {
        let Some(link) = &self.link else { return Poll::Pending };
        let answer = match rustix::io::retry_on_intr(|| rustix::io::read(link, &mut *self.inbox)) {
            Ok(0) => exchange.reading.end(),
            Ok(length) => match exchange.reading.push(&self.inbox[..length])? {
                Some(answer) => answer,
                None => return Poll::Ready(Ok(None)),
            },
            Err(Errno::AGAIN) => return Poll::Pending,
            Err(error) => Answer::Broken(format!("cannot read its answer: {error}")),
        };
        self.used_at = Instant::now();
        let is_whole = matches!(answer, Answer::Verdict { keep: true, .. });
        if !is_whole || !exchange.reading.keeps_alive() || !exchange.sending.is_over() {
            self.link = None;
        }
        self.outbox = exchange.sending.take_buffer();
        Poll::Ready(Ok(Some(answer)))
    }
}

/// `Pending`: it would block. The runtime wakes a task only for what blocked under its watch.
fn attempt<T>(
    watched: Option<&tokio::net::UnixStream>,
    interest: Interest,
    operation: impl FnOnce() -> Poll<T>,
) -> Poll<T> {
    let Some(watched) = watched else { return operation() };
    let done = watched.try_io(interest, || match operation() {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    });
    done.map_or(Poll::Pending, Poll::Ready)
}

fn unwatched(error: &io::Error) -> Fault {
    Fault::Worker(format!("cannot watch a socket: {error}"))
}

#[cfg(test)]
mod tests;
