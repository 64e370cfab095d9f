//! An answer as it comes in, in whatever pieces: head, body in one of HTTP's three framings, verdict.

use hyper::StatusCode;

use crate::contract::default::take_in;
use crate::contract::http_stream::Answer;
use crate::limits;
use crate::seam::body::BodyWriter;
use crate::seam::executor::{Fault, Verdict};

/// Of a failed function's message.
const REASON_CHARS_MAX: usize = 1_000;
const REASON_BYTES_MAX: usize = 8 * limits::KIB as usize;
/// Of a head, of trailers, of the line before a chunk.
const HEAD_BYTES_MAX: usize = 256 * limits::KIB as usize;
const HEADERS_MAX: usize = 100;

/// What has come of an answer.
#[derive(Debug, Default)]
pub struct Reading {
    /// Came and is not understood yet.
    rest: Vec<u8>,
    place: Place,
    body: Option<Taking>,
    content_type: Option<String>,
    /// The function leaves the connection open.
    stays: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Place {
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

/// What a body is for.
#[derive(Debug)]
enum Taking {
    Result(BodyWriter),
    Reason(Vec<u8>),
    /// Its status says it all.
    TimedOut,
}

/// Why there is nothing more to read.
enum Stop {
    Broken(String),
    Verdict(Verdict),
    Fault(Fault),
}

impl Reading {
    /// Whether the connection is good for another call, once there is an answer.
    pub fn leaves_open(&self) -> bool {
        self.place == Place::Over && self.stays && self.rest.is_empty()
    }

    /// `None`: more is to come.
    pub fn take_in(&mut self, piece: &[u8]) -> Result<Option<Answer>, Fault> {
        let taken = match self.rest.is_empty() {
            true => self.read(piece),
            false => {
                let mut all = std::mem::take(&mut self.rest);
                all.extend_from_slice(piece);
                self.read(&all)
            }
        };
        match taken {
            Ok(()) if self.place == Place::Over => Ok(Some(self.verdict())),
            Ok(()) => Ok(None),
            Err(Stop::Broken(why)) => Ok(Some(Answer::Broken(why))),
            Err(Stop::Verdict(verdict)) => Ok(Some(Answer::Verdict { verdict, keep: false })),
            Err(Stop::Fault(fault)) => Err(fault),
        }
    }

    /// The function has closed the connection.
    pub fn end(&mut self) -> Answer {
        match self.place {
            Place::UntilClosed => self.verdict(),
            Place::Head if self.rest.is_empty() => {
                Answer::Broken("the connection was closed before an answer".to_owned())
            }
            _ => Answer::Broken("the connection was closed in the middle of an answer".to_owned()),
        }
    }

    fn verdict(&mut self) -> Answer {
        let verdict = match self.body.take() {
            Some(Taking::Result(body)) => {
                Verdict::Success { content_type: self.content_type.take(), body: body.finish() }
            }
            Some(Taking::Reason(said)) => Verdict::Error { reason: reason(&said) },
            Some(Taking::TimedOut) | None => Verdict::Timeout,
        };
        Answer::Verdict { verdict, keep: true }
    }

    /// Goes as far as it can, and remembers what it could not understand yet.
    fn read(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        loop {
            let used = match self.place {
                Place::Head => self.head(bytes)?,
                Place::Counted(left) => {
                    let used = self.body(bytes, left)?;
                    self.place =
                        if used as u64 == left { Place::Over } else { Place::Counted(left - used as u64) };
                    // A body without a byte is over as it begins.
                    if self.place == Place::Over { Some(used) } else { (used > 0).then_some(used) }
                }
                Place::ChunkSize => self.chunk_size(bytes)?,
                Place::Chunk(left) => {
                    let used = self.body(bytes, left)?;
                    let left = left - used as u64;
                    self.place = if left == 0 { Place::ChunkEnd } else { Place::Chunk(left) };
                    (used > 0).then_some(used)
                }
                Place::ChunkEnd => match bytes {
                    [b'\r', b'\n', ..] => {
                        self.place = Place::ChunkSize;
                        Some(2)
                    }
                    [] | [b'\r'] => None,
                    _ => return Err(Stop::Broken("a chunk of it is longer than it says".to_owned())),
                },
                Place::Trailers => self.trailers(bytes)?,
                Place::UntilClosed => {
                    let used = self.body(bytes, u64::MAX)?;
                    (used > 0).then_some(used)
                }
                Place::Over => None,
            };
            let Some(used) = used else { break };
            bytes = &bytes[used..];
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(Stop::Broken(format!("a head of more than {HEAD_BYTES_MAX} bytes")));
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
            Err(error) => return Err(Stop::Broken(format!("no head of an answer: {error}"))),
        };
        let status = head.code.unwrap_or_default();
        // Only says that there will be an answer; but another protocol is none.
        if (100..200).contains(&status) && status != 101 {
            return Ok(Some(used));
        }
        let is_new = head.version == Some(1);
        self.stays = is_new;
        let mut length: Option<u64> = None;
        let mut chunked: Option<bool> = None;
        for header in head.headers.iter() {
            let value = header.value;
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let parts = || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            if is("content-type") {
                self.content_type = Some(String::from_utf8_lossy(value).into_owned());
            } else if is("content-length") {
                for said in parts().map(number) {
                    if said.is_none() || length.is_some_and(|length| Some(length) != said) {
                        return Err(Stop::Broken("its content-length is no number".to_owned()));
                    }
                    length = said;
                }
            } else if is("transfer-encoding") {
                chunked = parts().next_back().map(|last| last.eq_ignore_ascii_case(b"chunked"));
            } else if is("connection") {
                for said in parts() {
                    if said.eq_ignore_ascii_case(b"close") {
                        self.stays = false;
                    } else if said.eq_ignore_ascii_case(b"keep-alive") && !is_new {
                        self.stays = true;
                    }
                }
            }
        }
        self.body = Some(match StatusCode::from_u16(status) {
            Ok(StatusCode::OK) => Taking::Result(BodyWriter::new(limits::RESULT_BYTES_MAX)),
            Ok(StatusCode::BAD_GATEWAY) => Taking::Reason(Vec::new()),
            Ok(StatusCode::GATEWAY_TIMEOUT) => Taking::TimedOut,
            _ => {
                let reason = format!("invalid function response: status {status}");
                return Err(Stop::Verdict(Verdict::Error { reason }));
            }
        });
        self.place = match (chunked, length) {
            (Some(_), _) if !is_new => {
                return Err(Stop::Broken("HTTP/1.0 knows no transfer-encoding".to_owned()));
            }
            (Some(true), _) => Place::ChunkSize,
            (None, Some(length)) => Place::Counted(length),
            (Some(false), _) | (None, None) => {
                self.stays = false;
                Place::UntilClosed
            }
        };
        Ok(Some(used))
    }

    fn chunk_size(&mut self, bytes: &[u8]) -> Result<Option<usize>, Stop> {
        match httparse::parse_chunk_size(bytes) {
            Ok(httparse::Status::Complete((used, size))) => {
                self.place = if size == 0 { Place::Trailers } else { Place::Chunk(size) };
                Ok(Some(used))
            }
            Ok(httparse::Status::Partial) => Ok(None),
            Err(_) => Err(Stop::Broken("a chunk of it does not say how long it is".to_owned())),
        }
    }

    fn trailers(&mut self, bytes: &[u8]) -> Result<Option<usize>, Stop> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        match httparse::parse_headers(bytes, &mut headers) {
            Ok(httparse::Status::Complete((used, _))) => {
                self.place = Place::Over;
                Ok(Some(used))
            }
            Ok(httparse::Status::Partial) => Ok(None),
            Err(error) => Err(Stop::Broken(format!("its trailers cannot be read: {error}"))),
        }
    }

    /// Takes in as much of the body as there is, and says how much that was.
    fn body(&mut self, bytes: &[u8], left: u64) -> Result<usize, Stop> {
        let used = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match &mut self.body {
            Some(Taking::Result(body)) => take_in(body, &bytes[..used]).map_err(|failure| match failure {
                Ok(verdict) => Stop::Verdict(verdict),
                Err(fault) => Stop::Fault(fault),
            })?,
            Some(Taking::Reason(said)) => {
                let room = REASON_BYTES_MAX - said.len();
                said.extend_from_slice(&bytes[..used.min(room)]);
            }
            Some(Taking::TimedOut) | None => {}
        }
        Ok(used)
    }
}

/// Digits and nothing else.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What a failed function said: the `message` of a JSON object, else its text.
pub(super) fn reason(said: &[u8]) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(said).ok();
    let message = json.as_ref().and_then(|json| json.get("message")?.as_str());
    let text = message.map_or_else(|| String::from_utf8_lossy(said), Into::into);
    let text: String = text.trim().chars().take(REASON_CHARS_MAX).collect();
    if text.is_empty() { "the function failed and did not say why".to_owned() } else { text }
}
