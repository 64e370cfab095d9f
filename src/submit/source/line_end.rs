//! What ends the lines of a text: a line feed, with or without a carriage return before it, or a carriage return alone, as
//! on an old Mac. The first line end of a text decides; then a carriage return within a line of the other kind is a
//! character like any other.

use bytes::Bytes;
use memchr::{memchr, memchr_iter, memchr2, memchr2_iter, memrchr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// LF, CR LF
    Feed,
    /// CR. A line feed ends a line here too: files are joined from several.
    Return,
}

impl LineEnd {
    /// By the first line end of a text. `None` if there is none, or if it is a carriage return whose next byte is unknown.
    pub(super) fn first(text: &[u8], ended: bool) -> Option<LineEnd> {
        let at = memchr2(b'\r', b'\n', text)?;
        match (text[at], text.get(at + 1)) {
            (b'\n', _) | (_, Some(b'\n')) => Some(LineEnd::Feed),
            (_, Some(_)) => Some(LineEnd::Return),
            (_, None) => ended.then_some(LineEnd::Return),
        }
    }

    /// Where the first line ends.
    pub(super) fn find(self, text: &[u8]) -> Option<usize> {
        match self {
            LineEnd::Feed => memchr(b'\n', text),
            LineEnd::Return => memchr2(b'\r', b'\n', text),
        }
    }

    /// Where the last of several lines begins.
    pub(super) fn last(self, text: &[u8]) -> Option<usize> {
        match self {
            LineEnd::Feed => memrchr(b'\n', text),
            LineEnd::Return => memchr::memrchr2(b'\r', b'\n', text),
        }
        .map(|at| at + 1)
    }

    /// The number of line ends.
    pub(super) fn count(self, text: &[u8]) -> u64 {
        let count = match self {
            LineEnd::Feed => memchr_iter(b'\n', text).count(),
            LineEnd::Return => memchr2_iter(b'\r', b'\n', text)
                .filter(|at| text[*at] == b'\r' || *at == 0 || text[*at - 1] != b'\r')
                .count(),
        };
        count as u64
    }

    /// Takes the end off a line.
    pub(super) fn strip(self, line: &mut Bytes) {
        let without = match (self, line.as_ref()) {
            (LineEnd::Feed, [.., b'\r', b'\n']) => 2,
            (LineEnd::Feed, [.., b'\n']) | (LineEnd::Return, [.., b'\r' | b'\n']) => 1,
            _ => 0,
        };
        line.truncate(line.len() - without);
    }
}
