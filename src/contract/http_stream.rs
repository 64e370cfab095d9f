//! The `http-stream` format, Fn's contract with its FDKs: the function listens on a unix socket and answers one
//! `POST /call` after another. A call costs no task and no hop between threads: it is carried by whoever waits for it,
//! asleep in the runtime, or, for a moment, in the kernel.

mod answer;
mod request;

use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::time::{Instant, sleep, timeout_at};

use self::answer::Reading;
use self::request::{Sending, Sent};
pub use super::socket::SOCKET_NAME;
use super::socket::{ConnectError, SocketDir};
use crate::limits;
use crate::model::Time;
use crate::seam::executor::{Fault, Verdict, Work};

/// Idle connections are closed on our side after this, as Fn does: some servers do not like them older.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// A function that answers within this is waited for in the kernel.
pub const QUICK_MAX: Duration = Duration::from_millis(2);
/// The wait between two looks for the socket.
const LOOK_MIN: Duration = Duration::from_millis(1);
const LOOK_MAX: Duration = Duration::from_millis(20);

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

/// What came of handing a call over.
#[derive(Debug)]
pub enum Answer {
    /// `keep`: the sandbox can take the next call.
    Verdict { verdict: Verdict, keep: bool },
    /// The answer broke off. How the sandbox ended tells more, if it has.
    Broken(String),
    /// Nothing listens any more: the function has not seen this call.
    Gone(String),
}

/// One sandbox's end of the contract.
#[derive(Debug)]
pub struct Connection {
    dir: SocketDir,
    link: Option<UnixStream>,
    used_at: Instant,
    /// What is read into.
    inbox: Box<[u8]>,
    /// What the last call was sent from.
    outbox: Vec<u8>,
}

const INBOX_BYTES: usize = 64 * 1024;

/// A call that is being handed over.
#[derive(Debug)]
pub struct Exchange {
    sending: Sending,
    reading: Reading,
    /// The link was there before.
    kept: bool,
    ends_at: Instant,
    /// Known already.
    answer: Option<Result<Answer, Fault>>,
}

/// How far an exchange came.
enum Progress {
    Answered(Answer),
    /// Nothing of it was sent: the function has closed the connection.
    Unsent,
    Blocked,
}

/// What came of looking for a piece of an answer.
enum Read {
    Answer(Answer),
    Some,
    Nothing,
}

impl Connection {
    /// Waits until the function listens in `dir`, no longer than [`limits::START_MS_MAX`] and not past `exited`.
    pub async fn establish(dir: &Path, exited: impl Future<Output = ()>) -> Result<Connection, NotReady> {
        Connection::establish_within(dir, Duration::from_millis(limits::START_MS_MAX), exited).await
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
        let mut wait = LOOK_MIN;
        loop {
            match dir.connect().await {
                Ok(link) => {
                    let inbox = vec![0; INBOX_BYTES].into();
                    return Ok(Connection {
                        dir,
                        link: Some(link),
                        used_at: Instant::now(),
                        inbox,
                        outbox: Vec::new(),
                    });
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
            // Most functions listen within milliseconds; whoever takes long is not looked at a thousand times a second.
            wait = (begun.elapsed() / 16).clamp(LOOK_MIN, LOOK_MAX);
        }
    }

    /// Hands one call over and takes its answer in, within the version's timeout. Dropped midway, the connection is
    /// of no more use.
    pub async fn call(&mut self, work: &Work, started_at: Time) -> Result<Answer, Fault> {
        let exchange = self.begin(work, started_at, Instant::now());
        self.finish(exchange).await
    }

    /// For a call that is handed over by [`Connection::send`] and [`Connection::receive`] as far as nobody has to wait,
    /// and then by [`Connection::finish`].
    pub fn begin(&mut self, work: &Work, started_at: Time, now: Instant) -> Exchange {
        let timeout_ms = work.version.limits.timeout_ms;
        if now.duration_since(self.used_at) > IDLE_MAX {
            self.link = None;
        }
        Exchange {
            sending: Sending::new(work, started_at.plus_ms(timeout_ms), std::mem::take(&mut self.outbox)),
            reading: Reading::default(),
            kept: self.link.is_some(),
            ends_at: now + Duration::from_millis(timeout_ms),
            answer: None,
        }
    }

    pub async fn finish(&mut self, mut exchange: Exchange) -> Result<Answer, Fault> {
        if let Some(answer) = exchange.answer {
            return answer;
        }
        match timeout_at(exchange.ends_at, self.carry(&mut exchange)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.link = None;
                Ok(Answer::Verdict { verdict: Verdict::Timeout, keep: false })
            }
        }
    }

    /// When its last answer came.
    pub fn used_at(&self) -> Instant {
        self.used_at
    }

    /// Whether the function has closed the link, or said something unasked.
    fn is_closed(&self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let Some(link) = &self.link else { return false };
        !matches!(recv(link, &mut [0u8; 1], RecvFlags::PEEK), Err(Errno::AGAIN | Errno::INTR))
    }

    /// Lets [`Connection::send`] and [`Connection::receive`] wait in the kernel, each for about [`QUICK_MAX`]; or not, as
    /// everything else needs it. `None`: it cannot be, or there is no connection yet.
    pub fn waits(&self, waits: bool) -> Option<()> {
        let link = self.link.as_ref()?;
        let limit = waits.then_some(QUICK_MAX);
        let set = link.set_read_timeout(limit).and_then(|()| link.set_write_timeout(limit));
        set.and_then(|()| link.set_nonblocking(!waits)).ok()
    }

    /// Sends all of a call at once. `None`: it has to be finished.
    pub fn send(&mut self, exchange: &mut Exchange) -> Option<()> {
        match exchange.sending.send(self.link.as_ref()?) {
            Ok(Sent::Some) => exchange.sending.is_over().then_some(()),
            // Sent again by whoever finishes it.
            Ok(Sent::Nothing) => None,
            Err(fault) => {
                exchange.answer = Some(Err(fault));
                None
            }
        }
    }

    /// Takes in the next piece of an answer. `Some(None)`: more is to come; `None`: it has to be finished.
    pub fn receive(&mut self, exchange: &mut Exchange) -> Option<Option<Verdict>> {
        match self.read(exchange) {
            Ok(Read::Some) => Some(None),
            Ok(Read::Nothing) => None,
            Ok(Read::Answer(Answer::Verdict { verdict, keep: true })) => Some(Some(verdict)),
            Ok(Read::Answer(answer)) => {
                exchange.answer = Some(Ok(answer));
                None
            }
            Err(fault) => {
                exchange.answer = Some(Err(fault));
                None
            }
        }
    }

    async fn carry(&mut self, exchange: &mut Exchange) -> Result<Answer, Fault> {
        // The function has closed the connection since it was used.
        if !exchange.sending.has_begun() && self.is_closed() {
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
            match self.step_through(exchange).await? {
                Some(answer) => return Ok(answer),
                None if std::mem::take(&mut exchange.kept) => {}
                None => {
                    let why = "it closes connections before it has read a call";
                    return Ok(Answer::Gone(why.to_owned()));
                }
            }
        }
    }

    /// `None`: nothing was sent, and there is no link any more.
    async fn step_through(&mut self, exchange: &mut Exchange) -> Result<Option<Answer>, Fault> {
        // A link of its own for the runtime, which forgets it when the call is over: nobody is woken for the next one.
        let mut watched: Option<tokio::net::UnixStream> = None;
        loop {
            if let Some(watched) = &watched {
                let interest = match exchange.sending.is_over() {
                    true => Interest::READABLE,
                    false => Interest::READABLE | Interest::WRITABLE,
                };
                watched.ready(interest).await.map_err(|error| unwatched(&error))?;
            }
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
        }
    }

    /// Sends and reads until neither goes on.
    fn step(
        &mut self,
        exchange: &mut Exchange,
        watched: Option<&tokio::net::UnixStream>,
    ) -> Result<Progress, Fault> {
        let Some(link) = &self.link else { return Ok(Progress::Unsent) };
        let sending = &mut exchange.sending;
        let sent = attempt(watched, Interest::WRITABLE, || match sending.send(link) {
            Ok(Sent::Some) if !sending.is_over() => None,
            sent => Some(sent),
        });
        if let Some(Sent::Nothing) = sent.transpose()? {
            self.link = None;
            return Ok(Progress::Unsent);
        }
        loop {
            let read = attempt(watched, Interest::READABLE, || match self.read(exchange) {
                Ok(Read::Nothing) => None,
                read => Some(read),
            });
            match read.transpose()? {
                Some(Read::Answer(answer)) => return Ok(Progress::Answered(answer)),
                Some(Read::Some) => {}
                Some(Read::Nothing) | None => return Ok(Progress::Blocked),
            }
        }
    }

    fn read(&mut self, exchange: &mut Exchange) -> Result<Read, Fault> {
        let Some(link) = &self.link else { return Ok(Read::Nothing) };
        let answer = match rustix::io::retry_on_intr(|| rustix::io::read(link, &mut *self.inbox)) {
            Ok(0) => exchange.reading.end(),
            Ok(length) => match exchange.reading.take_in(&self.inbox[..length])? {
                Some(answer) => answer,
                None => return Ok(Read::Some),
            },
            Err(Errno::AGAIN) => return Ok(Read::Nothing),
            Err(error) => Answer::Broken(format!("cannot read its answer: {error}")),
        };
        self.used_at = Instant::now();
        let whole = matches!(answer, Answer::Verdict { keep: true, .. });
        if !whole || !exchange.reading.leaves_open() || !exchange.sending.is_over() {
            self.link = None;
        }
        self.outbox = exchange.sending.take_buffer();
        Ok(Read::Answer(answer))
    }
}

/// `None`: it would block. The runtime wakes only for what it was told of.
fn attempt<T>(
    watched: Option<&tokio::net::UnixStream>,
    interest: Interest,
    operation: impl FnOnce() -> Option<T>,
) -> Option<T> {
    let Some(watched) = watched else { return operation() };
    watched.try_io(interest, || operation().ok_or_else(|| io::ErrorKind::WouldBlock.into())).ok()
}

fn unwatched(error: &io::Error) -> Fault {
    Fault::Worker(format!("cannot watch a socket: {error}"))
}

#[cfg(test)]
mod tests;
