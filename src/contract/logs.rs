//! What a function says on stdout and stderr during one call, cut at the limit.

use bytes::Bytes;

use crate::limits;

/// Takes in a log; past the limit the rest is dropped and one line says so.
#[derive(Debug)]
pub struct LogBuffer {
    bytes: Vec<u8>,
    bytes_max: usize,
    cut: bool,
}

impl Default for LogBuffer {
    fn default() -> LogBuffer {
        LogBuffer::new(limits::LOG_BYTES_MAX)
    }
}

impl LogBuffer {
    pub fn new(bytes_max: u64) -> LogBuffer {
        LogBuffer { bytes: Vec::new(), bytes_max: bytes_max as usize, cut: false }
    }

    pub fn push(&mut self, piece: &[u8]) {
        if self.cut {
            return;
        }
        let room = self.bytes_max - self.bytes.len();
        self.bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            self.cut = true;
            let note = format!("\n----- log cut: it has more than {} bytes -----\n", self.bytes_max);
            self.bytes.extend_from_slice(note.as_bytes());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.cut = false;
    }

    /// The log so far; the buffer begins anew.
    pub fn take(&mut self) -> Bytes {
        self.cut = false;
        std::mem::take(&mut self.bytes).into()
    }

    /// The last line that says something, for an error's reason.
    pub fn last_line(&self) -> Option<String> {
        const CHARS_MAX: usize = 300;
        let text = String::from_utf8_lossy(&self.bytes);
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
        Some(line.chars().take(CHARS_MAX).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_once_and_says_so() {
        let mut log = LogBuffer::new(8);
        log.push(b"12345");
        log.push(b"678");
        assert_eq!(log.last_line().as_deref(), Some("12345678"));
        log.push(b"9");
        log.push(b"0");
        let text = String::from_utf8(log.take().to_vec()).unwrap();
        assert_eq!(text, "12345678\n----- log cut: it has more than 8 bytes -----\n");

        log.push(b"next\n\n");
        assert_eq!(log.last_line().as_deref(), Some("next"));
        assert_eq!(&log.take()[..], b"next\n\n");
        assert!(log.is_empty());
    }

    #[test]
    fn a_log_of_exactly_the_limit_is_whole() {
        let mut log = LogBuffer::new(4);
        log.push(b"1234");
        log.push(b"");
        assert_eq!(&log.take()[..], b"1234");
    }
}
