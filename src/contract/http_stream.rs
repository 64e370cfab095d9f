//! The `http-stream` format, Fn's contract with its FDKs: the function listens on a unix socket and answers one
//! `POST /call` after another. The connection is driven by the future that waits for the answer: a call costs no task
//! and no hop between threads.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::poll_fn;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

pub use super::socket::SOCKET_NAME;
use super::socket::{ConnectError, SocketDir};
use crate::limits;
use crate::model::Time;
use crate::seam::body::{BodyWriter, Pieces};
use crate::seam::executor::{Fault, Verdict, Work};

/// Idle connections are closed on our side after this, as Fn does: some servers do not like them older.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// Of a failed function's message.
const REASON_CHARS_MAX: usize = 1_000;
const REASON_BYTES_MAX: usize = 8 * limits::KIB as usize;
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
    link: Option<Link>,
    used_at: Instant,
}

#[derive(Debug)]
struct Link {
    sender: http1::SendRequest<Payload>,
    driver: http1::Connection<TokioIo<UnixStream>, Payload>,
    closed: bool,
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
            match Link::open(&dir).await {
                Ok(link) => return Ok(Connection { dir, link: Some(link), used_at: Instant::now() }),
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
        let timeout_ms = work.version.limits.timeout_ms;
        let deadline = started_at.plus_ms(timeout_ms);
        match timeout(Duration::from_millis(timeout_ms), self.exchange(work, deadline)).await {
            Ok(answer) => {
                self.used_at = Instant::now();
                answer
            }
            Err(_) => {
                self.link = None;
                Ok(Answer::Verdict { verdict: Verdict::Timeout, keep: false })
            }
        }
    }

    async fn exchange(&mut self, work: &Work, deadline: Time) -> Result<Answer, Fault> {
        if self.used_at.elapsed() > IDLE_MAX {
            self.link = None;
        }
        let mut request = request(work, deadline);
        loop {
            let kept = self.link.is_some();
            let link = match &mut self.link {
                Some(link) => link,
                None => match Link::open(&self.dir).await {
                    Ok(link) => self.link.insert(link),
                    Err(ConnectError::NotYet) => return Ok(Answer::Gone("it no longer listens".to_owned())),
                    Err(ConnectError::Broken(why)) => return Ok(Answer::Gone(why)),
                },
            };
            match link.send(request).await {
                Ok(response) => {
                    let answer = link.take_in(response).await;
                    let whole = matches!(answer, Ok(Answer::Verdict { keep: true, .. }));
                    if !whole || link.closed {
                        self.link = None;
                    }
                    return answer;
                }
                // The function closed the connection between two calls.
                Err(Unsent::Back(unsent)) if kept => {
                    self.link = None;
                    request = *unsent;
                }
                Err(Unsent::Back(_)) => {
                    self.link = None;
                    return Ok(Answer::Gone("it closes connections before it has read a call".to_owned()));
                }
                Err(Unsent::Broken(why)) => {
                    self.link = None;
                    return Ok(Answer::Broken(why));
                }
            }
        }
    }
}

enum Unsent {
    /// Nothing of it was sent.
    Back(Box<Request<Payload>>),
    Broken(String),
}

impl Link {
    async fn open(dir: &SocketDir) -> Result<Link, ConnectError> {
        let stream = dir.connect().await?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ConnectError::Broken(format!("cannot speak to {SOCKET_NAME}: {error}")))?;
        Ok(Link { sender, driver, closed: false })
    }

    async fn send(&mut self, request: Request<Payload>) -> Result<Response<Incoming>, Unsent> {
        let Link { sender, driver, closed } = self;
        // Sees what happened to the connection since it was last used.
        let ready = poll_fn(|cx| {
            drive(driver, closed, cx);
            if *closed { Poll::Ready(false) } else { sender.poll_ready(cx).map(|ready| ready.is_ok()) }
        })
        .await;
        if !ready {
            return Err(Unsent::Back(Box::new(request)));
        }
        let mut response = pin!(sender.try_send_request(request));
        let answer = poll_fn(|cx| {
            drive(driver, closed, cx);
            response.as_mut().poll(cx)
        });
        answer.await.map_err(|mut unsent| match unsent.take_message() {
            Some(request) => Unsent::Back(Box::new(request)),
            None => Unsent::Broken(describe(unsent.error())),
        })
    }

    async fn take_in(&mut self, response: Response<Incoming>) -> Result<Answer, Fault> {
        let (head, mut body) = response.into_parts();
        match head.status {
            StatusCode::OK => {
                let mut answer = BodyWriter::new(limits::RESULT_BYTES_MAX);
                while let Some(piece) = self.next(&mut body).await {
                    match piece.map(|piece| super::default::take_in(&mut answer, &piece)) {
                        Ok(Ok(())) => {}
                        Ok(Err(failure)) => {
                            return failure
                                .map_or_else(Err, |verdict| Ok(Answer::Verdict { verdict, keep: false }));
                        }
                        Err(why) => return Ok(Answer::Broken(why)),
                    }
                }
                let content_type = head.headers.get(CONTENT_TYPE).map(text);
                let verdict = Verdict::Success { content_type, body: answer.finish() };
                Ok(Answer::Verdict { verdict, keep: true })
            }
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
                let mut said = Vec::new();
                while let Some(piece) = self.next(&mut body).await {
                    match piece {
                        Ok(piece) => {
                            let room = REASON_BYTES_MAX - said.len();
                            said.extend_from_slice(&piece[..piece.len().min(room)]);
                        }
                        Err(why) => return Ok(Answer::Broken(why)),
                    }
                }
                let verdict = match head.status {
                    StatusCode::GATEWAY_TIMEOUT => Verdict::Timeout,
                    _ => Verdict::Error { reason: reason(&said) },
                };
                Ok(Answer::Verdict { verdict, keep: true })
            }
            other => {
                let reason = format!("invalid function response: status {}", other.as_u16());
                Ok(Answer::Verdict { verdict: Verdict::Error { reason }, keep: false })
            }
        }
    }

    async fn next(&mut self, body: &mut Incoming) -> Option<Result<Bytes, String>> {
        loop {
            let frame = poll_fn(|cx| {
                drive(&mut self.driver, &mut self.closed, cx);
                Pin::new(&mut *body).poll_frame(cx)
            });
            match frame.await? {
                Ok(frame) => {
                    if let Ok(piece) = frame.into_data() {
                        return Some(Ok(piece));
                    }
                }
                Err(error) => return Some(Err(describe(&error))),
            }
        }
    }
}

/// Lets the connection read and write. Its errors come back through the request.
fn drive(
    driver: &mut http1::Connection<TokioIo<UnixStream>, Payload>,
    closed: &mut bool,
    cx: &mut Context<'_>,
) {
    if !*closed && Pin::new(driver).poll(cx).is_ready() {
        *closed = true;
    }
}

/// Always sent in chunks, even when empty: FDKs are used to nothing else.
#[derive(Debug)]
struct Payload(Pieces);

impl hyper::body::Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.next().map(|piece| piece.map(Frame::data)))
    }
}

fn request(work: &Work, deadline: Time) -> Request<Payload> {
    let mut request = Request::new(Payload(work.payload.pieces()));
    *request.method_mut() = hyper::Method::POST;
    *request.uri_mut() = hyper::Uri::from_static("/call");
    let headers = request.headers_mut();
    for (name, value) in &work.headers {
        keep_header(headers, name, value);
    }
    if let Some(content_type) = &work.content_type {
        keep_header(headers, CONTENT_TYPE.as_str(), content_type);
    }
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    let mut own = |name: &'static str, value: String| {
        let value = HeaderValue::try_from(value).expect("ids, times and numbers are plain text");
        headers.insert(HeaderName::from_static(name), value);
    };
    own("fn-call-id", work.call.to_string());
    own("fn-deadline", deadline.to_string());
    own("afn-attempt", work.attempt.to_string());
    request
}

/// A caller's header, unless it speaks of the caller's connection or cannot be written.
fn keep_header(headers: &mut HeaderMap, name: &str, value: &str) {
    const HOP_BY_HOP: [&str; 11] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else { return };
    if !HOP_BY_HOP.contains(&name.as_str()) {
        headers.insert(name, value);
    }
}

/// What a failed function said: the `message` of a JSON object, else its text.
fn reason(said: &[u8]) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(said).ok();
    let message = json.as_ref().and_then(|json| json.get("message")?.as_str());
    let text = message.map_or_else(|| String::from_utf8_lossy(said), Into::into);
    let text: String = text.trim().chars().take(REASON_CHARS_MAX).collect();
    if text.is_empty() { "the function failed and did not say why".to_owned() } else { text }
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn describe(error: &hyper::Error) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
