//! Parses an answer from the pieces in which it arrives: head, body in one of HTTP's three framings, verdict.

use std::time::Duration;

use hyper::StatusCode;

use crate::contract::default::take_in;
use crate::contract::http_stream::Answer;
use crate::limits;
use crate::model::Time;
use crate::seam::body::BodyWriter;
use crate::seam::executor::{Fault, RetryAfter, Verdict};

/// Limits of a failed function's message.
const REASON_CHARS_MAX: usize = 1_000;
const REASON_BYTES_MAX: usize = 8 * limits::KIB as usize;
/// The limit of a head, of trailers, and of the line before a chunk.
const HEAD_BYTES_MAX: usize = 256 * limits::KIB as usize;
const HEADERS_MAX: usize = 100;

/// What has been read of an answer.
#[derive(Debug, Default)]
pub struct Reading {
    /// Bytes that cannot be parsed before more of them come.
    rest: Vec<u8>,
    phase: Phase,
    body: Option<Body>,
    content_type: Option<String>,
    retry_after: Option<RetryAfter>,
    /// The function leaves the connection open.
    keep_alive: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Phase {
    #[default]
    Head,
    /// So many bytes of the body are to come.
    Counted(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    UntilClosed,
    Over,
}

#[derive(Debug)]
enum Body {
    Result(BodyWriter),
    Reason(Vec<u8>),
    /// What comes with status 503 or 429 and `Retry-After`.
    Busy {
        status: u16,
        text: Vec<u8>,
    },
    /// The status alone tells that the function timed out.
    TimedOut,
}

/// Why reading stops before the end of an answer.
type Stop = Result<Answer, Fault>;

fn broken(why: impl Into<String>) -> Stop {
    Ok(Answer::Broken(why.into()))
}

impl Reading {
    /// Whether the connection is good for another call, once there is an answer.
    pub fn keeps_alive(&self) -> bool {
        self.phase == Phase::Over && self.keep_alive && self.rest.is_empty()
    }

    /// `None`: more is to come.
    pub fn push(&mut self, piece: &[u8]) -> Result<Option<Answer>, Fault> {
        let parsed = match self.rest.is_empty() {
            true => self.parse(piece),
            false => {
                let mut all = std::mem::take(&mut self.rest);
                all.extend_from_slice(piece);
                self.parse(&all)
            }
        };
        match parsed {
            Ok(()) => Ok((self.phase == Phase::Over).then(|| self.verdict())),
            Err(stop) => stop.map(Some),
        }
    }

    /// The function has closed the connection.
    pub fn end(&mut self) -> Answer {
        match self.phase {
            Phase::UntilClosed => self.verdict(),
            Phase::Head if self.rest.is_empty() => {
                Answer::Broken("the connection was closed before an answer".to_owned())
            }
            _ => Answer::Broken("the connection was closed in the middle of an answer".to_owned()),
        }
    }

    fn verdict(&mut self) -> Answer {
        let verdict = match self.body.take() {
            Some(Body::Result(body)) => {
                Verdict::Success { content_type: self.content_type.take(), body: body.finish() }
            }
            Some(Body::Reason(text)) => Verdict::Error { reason: reason(&text) },
            Some(Body::Busy { status, text }) => Verdict::Busy {
                reason: match text.trim_ascii() {
                    [] => format!("status {status}"),
                    text => format!("status {status}: {}", reason(text)),
                },
                retry_after: self.retry_after,
            },
            Some(Body::TimedOut) | None => Verdict::Timeout,
        };
        Answer::Verdict { verdict, keep: true }
    }

    /// Parses as far as it can, and keeps the rest.
    fn parse(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        loop {
            let used = match self.phase {
                Phase::Head => self.head(bytes)?,
                Phase::Counted(left) => {
                    let used = self.body(bytes, left)?;
                    self.phase =
                        if used as u64 == left { Phase::Over } else { Phase::Counted(left - used as u64) };
                    // A body without a byte is over as it begins.
                    if self.phase == Phase::Over { Some(used) } else { (used > 0).then_some(used) }
                }
                Phase::ChunkSize => self.chunk_size(bytes)?,
                Phase::Chunk(left) => {
                    let used = self.body(bytes, left)?;
                    let left = left - used as u64;
                    self.phase = if left == 0 { Phase::ChunkEnd } else { Phase::Chunk(left) };
                    (used > 0).then_some(used)
                }
                Phase::ChunkEnd => match bytes {
                    [b'\r', b'\n', ..] => {
                        self.phase = Phase::ChunkSize;
                        Some(2)
                    }
                    [] | [b'\r'] => None,
                    _ => return Err(broken("a chunk of it is longer than it says")),
                },
                Phase::Trailers => self.trailers(bytes)?,
                Phase::UntilClosed => {
                    let used = self.body(bytes, u64::MAX)?;
                    (used > 0).then_some(used)
                }
                Phase::Over => None,
            };
            let Some(used) = used else { break };
            bytes = &bytes[used..];
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(broken(format!("a head of more than {HEAD_BYTES_MAX} bytes")));
        }
        self.rest = bytes.to_vec();
        Ok(())
    }

    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Stop> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        let used = match head.parse(bytes) {
            Ok(httparse::Status::Complete(used)) => used,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(broken(format!("no head of an answer: {error}"))),
        };
        let status = head.code.unwrap_or_default();
        // Announces an answer. But 101 changes to another protocol, which is no answer.
        if (100..200).contains(&status) && status != 101 {
            return Ok(Some(used));
        }
        let is_new = head.version == Some(1);
        self.keep_alive = is_new;
        let mut length: Option<u64> = None;
        let mut chunked: Option<bool> = None;
        for header in head.headers.iter() {
            let value = header.value;
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let parts = || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            if is("content-type") {
                self.content_type = Some(String::from_utf8_lossy(value).into_owned());
            } else if is("content-length") {
                for number in parts().map(number) {
                    if number.is_none() || length.is_some_and(|length| Some(length) != number) {
                        return Err(broken("its content-length is no number"));
                    }
                    length = number;
                }
            } else if is("retry-after") {
                self.retry_after = retry_after(value);
            } else if is("transfer-encoding") {
                chunked = parts().next_back().map(|last| last.eq_ignore_ascii_case(b"chunked"));
            } else if is("connection") {
                for option in parts() {
                    if option.eq_ignore_ascii_case(b"close") {
                        self.keep_alive = false;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") && !is_new {
                        self.keep_alive = true;
                    }
                }
            }
        }
        self.body = Some(match StatusCode::from_u16(status) {
            Ok(StatusCode::OK) => Body::Result(BodyWriter::new(limits::RESULT_BYTES_MAX)),
            Ok(StatusCode::BAD_GATEWAY) => Body::Reason(Vec::new()),
            Ok(StatusCode::GATEWAY_TIMEOUT) => Body::TimedOut,
            Ok(StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
                if self.retry_after.is_some() =>
            {
                Body::Busy { status, text: Vec::new() }
            }
            _ => {
                let reason = format!("invalid function response: status {status}");
                return Err(Ok(Answer::Verdict { verdict: Verdict::Error { reason }, keep: false }));
            }
        });
        self.phase = match (chunked, length) {
            (Some(_), _) if !is_new => {
                return Err(broken("HTTP/1.0 knows no transfer-encoding"));
            }
            (Some(true), _) => Phase::ChunkSize,
            (None, Some(length)) => Phase::Counted(length),
            (Some(false), _) | (None, None) => {
                self.keep_alive = false;
                Phase::UntilClosed
            }
        };
        Ok(Some(used))
    }

    fn chunk_size(&mut self, bytes: &[u8]) -> Result<Option<usize>, Stop> {
        match httparse::parse_chunk_size(bytes) {
            Ok(httparse::Status::Complete((used, size))) => {
                self.phase = if size == 0 { Phase::Trailers } else { Phase::Chunk(size) };
                Ok(Some(used))
            }
            Ok(httparse::Status::Partial) => Ok(None),
            Err(_) => Err(broken("a chunk of it does not say how long it is")),
        }
    }

    fn trailers(&mut self, bytes: &[u8]) -> Result<Option<usize>, Stop> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        match httparse::parse_headers(bytes, &mut headers) {
            Ok(httparse::Status::Complete((used, _))) => {
                self.phase = Phase::Over;
                Ok(Some(used))
            }
            Ok(httparse::Status::Partial) => Ok(None),
            Err(error) => Err(broken(format!("its trailers cannot be read: {error}"))),
        }
    }

    /// Takes the bytes of the body, and returns how many they are.
    fn body(&mut self, bytes: &[u8], left: u64) -> Result<usize, Stop> {
        let used = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match &mut self.body {
            Some(Body::Result(body)) => take_in(body, &bytes[..used])
                .map_err(|stop| stop.map(|verdict| Answer::Verdict { verdict, keep: false }))?,
            Some(Body::Reason(text) | Body::Busy { text, .. }) => {
                let room = REASON_BYTES_MAX - text.len();
                text.extend_from_slice(&bytes[..used.min(room)]);
            }
            Some(Body::TimedOut) | None => {}
        }
        Ok(used)
    }
}

/// Seconds, or a date in one of HTTP's formats. `None`: it is neither, and the function does not say when.
fn retry_after(value: &[u8]) -> Option<RetryAfter> {
    let value = value.trim_ascii();
    if let Some(seconds) = number(value) {
        return Some(RetryAfter::Wait(Duration::from_secs(seconds)));
    }
    let date = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    let since_epoch = date.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Some(RetryAfter::Until(Time(u64::try_from(since_epoch.as_millis()).ok()?)))
}

/// Digits and nothing else.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The reason in a failed function's answer: the `message` of a JSON object, else all of its text.
pub(super) fn reason(body: &[u8]) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let message = json.as_ref().and_then(|json| json.get("message")?.as_str());
    let text = message.map_or_else(|| String::from_utf8_lossy(body), Into::into);
    let text: String = text.trim().chars().take(REASON_CHARS_MAX).collect();
    if text.is_empty() { "the function failed and did not say why".to_owned() } else { text }
}
