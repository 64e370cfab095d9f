//! A call as a request. Its body is chunked, even when it is empty: FDKs know nothing else.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use rustix::io::Errno;

use crate::limits;
use crate::model::Time;
use crate::seam::Body;
use crate::seam::executor::{Fault, Invocation};

/// Of a body, what is copied for sending at a time.
const PIECE_BYTES: usize = 64 * limits::KIB as usize;

/// Room for a head without headers of the caller's, and for a small body.
const HEAD_BYTES: usize = 512;

/// What is still to be sent.
#[derive(Debug)]
pub struct Sending {
    body: Body,
    offset: u64,
    buffer: Vec<u8>,
    /// Of the buffer.
    sent: usize,
    pub begun: bool,
    /// The end of the body is in the buffer, or the function has stopped reading.
    ended: bool,
}

impl Sending {
    /// `buffer`: of an earlier request, to be used again.
    pub fn new(invocation: &Invocation, deadline: Time, mut buffer: Vec<u8>) -> Sending {
        buffer.clear();
        head(&mut buffer, invocation, deadline);
        Sending { body: invocation.payload.clone(), offset: 0, buffer, sent: 0, begun: false, ended: false }
    }

    /// Whether all of it is sent, or was given up.
    pub fn is_over(&self) -> bool {
        self.ended && self.sent == self.buffer.len()
    }

    pub fn take_buffer(&mut self) -> Vec<u8> {
        self.sent = 0;
        std::mem::take(&mut self.buffer)
    }

    /// Sends until that would block. False: the other end was closed before anything was sent. One that closes later may
    /// have answered before, which reading shows.
    pub fn send(&mut self, link: &UnixStream) -> Result<bool, Fault> {
        loop {
            self.fill()?;
            if self.is_over() {
                return Ok(true);
            }
            match rustix::io::write(link, &self.buffer[self.sent..]) {
                Ok(length) => {
                    self.sent += length;
                    self.begun = true;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(true),
                Err(_) if !self.begun => return Ok(false),
                Err(_) => {
                    (self.ended, self.sent) = (true, self.buffer.len());
                    return Ok(true);
                }
            }
        }
    }

    /// Adds a chunk, and after the last one the end.
    fn fill(&mut self) -> Result<(), Fault> {
        // The head is sent with the first chunk.
        if self.ended || (self.begun && self.sent < self.buffer.len()) || self.offset > 0 && !self.begun {
            return Ok(());
        }
        if self.begun {
            self.buffer.clear();
            self.sent = 0;
        }
        let piece = self.body.read_at(self.offset, PIECE_BYTES);
        let piece = piece.map_err(|error| Fault::Worker(format!("cannot read a payload: {error}")))?;
        if !piece.is_empty() {
            let _ = write!(self.buffer, "{:x}\r\n", piece.len());
            self.buffer.extend_from_slice(&piece);
            self.buffer.extend_from_slice(b"\r\n");
            self.offset += piece.len() as u64;
        }
        if self.offset >= self.body.len() {
            self.buffer.extend_from_slice(b"0\r\n\r\n");
            self.ended = true;
        }
        Ok(())
    }
}

fn head(head: &mut Vec<u8>, invocation: &Invocation, deadline: Time) {
    head.reserve(HEAD_BYTES);
    head.extend_from_slice(b"POST /call HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n");
    let _ = write!(
        head,
        "fn-call-id: {}\r\nfn-deadline: {deadline}\r\nafn-attempt: {}\r\n",
        invocation.call, invocation.attempt
    );
    let mut kept = HeaderMap::new();
    for (name, value) in &invocation.headers {
        keep_header(&mut kept, name, value);
    }
    let content_type =
        invocation.content_type.as_deref().filter(|value| HeaderValue::from_str(value).is_ok());
    if content_type.is_some() {
        kept.remove(CONTENT_TYPE);
    }
    let kept = kept.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let content_type = content_type.map(|value| (CONTENT_TYPE.as_str(), value.as_bytes()));
    for (name, value) in kept.chain(content_type) {
        for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
            head.extend_from_slice(piece);
        }
    }
    head.extend_from_slice(b"\r\n");
}

/// Adds a caller's header, unless it is about the caller's connection, is one of ours, or cannot be sent.
fn keep_header(headers: &mut HeaderMap, name: &str, value: &str) {
    const OURS_OR_HOP_BY_HOP: &str = "afn-attempt connection content-length expect fn-call-id fn-deadline host keep-alive \
        proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade";
    let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else { return };
    // Many servers treat `_` as `-`.
    let plain = name.as_str().replace('_', "-");
    let is_type = plain == CONTENT_TYPE.as_str() && name != CONTENT_TYPE;
    if !is_type && OURS_OR_HOP_BY_HOP.split(' ').all(|reserved| reserved != plain) {
        headers.insert(name, value);
    }
}
