//! The log and the start time of an execution, filled while it runs. They outlive the execution: a function that never
//! starts, or a call that is abandoned midway, leaves what it has written until then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::limits;
use crate::model::Time;

/// Clones share one execution's log. The executor fills it, and its caller reads it.
#[derive(Debug, Clone, Default)]
pub struct ExecutionLog(Arc<Mutex<LogState>>);

#[derive(Debug, Default)]
struct LogState {
    started_at: Option<Time>,
    log: LogBuffer,
}

impl ExecutionLog {
    fn state(&self) -> MutexGuard<'_, LogState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The function gets its payload now. What its sandbox wrote while it was started belongs to no call.
    pub fn begins(&self, at: Time) {
        let mut state = self.state();
        state.started_at = Some(at);
        state.log = LogBuffer::default();
    }

    /// Appends a piece of stdout or stderr. Past the limit the rest is dropped, and one line reports that.
    pub fn append(&self, piece: &[u8]) {
        self.state().log.push(piece);
    }

    /// When the function got its payload, if it has.
    pub fn started_at(&self) -> Option<Time> {
        self.state().started_at
    }

    /// Takes the log so far; the next piece begins another.
    pub fn take_log(&self) -> Bytes {
        self.state().log.take()
    }

    /// The last line that is not blank, for an error's reason.
    pub fn last_line(&self) -> Option<String> {
        last_line(&self.state().log.bytes)
    }
}

#[derive(Debug)]
struct LogBuffer {
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
    fn new(bytes_max: u64) -> LogBuffer {
        LogBuffer { bytes: Vec::new(), bytes_max: bytes_max as usize, cut: false }
    }

    fn push(&mut self, piece: &[u8]) {
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

    fn take(&mut self) -> Bytes {
        self.cut = false;
        std::mem::take(&mut self.bytes).into()
    }
}

const LAST_LINE_CHARS_MAX: usize = 300;

/// The last line of a log that is not blank, without control characters.
pub fn last_line(log: &[u8]) -> Option<String> {
    // Its end is enough, even when every character takes the most bytes.
    let end = &log[log.len().saturating_sub(8 * LAST_LINE_CHARS_MAX)..];
    let end = String::from_utf8_lossy(end);
    let line = end.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    Some(line.chars().take(LAST_LINE_CHARS_MAX).map(plain).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the log comes in, and however much of it.
        #[test]
        fn a_log_is_what_was_said_up_to_its_limit(
            said in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..12), limit in 0u64..120,
        ) {
            let mut log = LogBuffer::new(limit);
            said.iter().for_each(|piece| log.push(piece));
            let said = said.concat();
            let kept = said.len().min(limit as usize);
            let (text, note) = log.bytes.split_at(kept);
            prop_assert_eq!(text, &said[..kept]);
            prop_assert_eq!(note.is_empty(), said.len() as u64 <= limit);
            prop_assert!(note.is_empty() || note.starts_with(b"\n----- log cut: "));
        }
    }

    #[test]
    fn a_log_is_cut_once_and_says_so() {
        let mut log = LogBuffer::new(8);
        log.push(b"12345");
        log.push(b"678");
        assert_eq!(last_line(&log.bytes).as_deref(), Some("12345678"));
        log.push(b"9");
        log.push(b"0");
        let text = String::from_utf8(log.take().to_vec()).unwrap();
        assert_eq!(text, "12345678\n----- log cut: it has more than 8 bytes -----\n");

        log.push(b"next\n\n");
        assert_eq!(&log.take()[..], b"next\n\n");
        assert!(log.bytes.is_empty());
    }

    #[test]
    fn what_was_said_before_the_call_is_not_its_log() {
        let execution_log = ExecutionLog::default();
        execution_log.append(b"starting\n");
        assert_eq!(
            (execution_log.started_at(), execution_log.last_line().as_deref()),
            (None, Some("starting"))
        );
        execution_log.begins(Time(7));
        execution_log.clone().append(b"running\n");
        assert_eq!(
            (execution_log.started_at(), &execution_log.take_log()[..]),
            (Some(Time(7)), &b"running\n"[..])
        );
    }

    #[test]
    fn the_last_line_is_the_last_that_says_something() {
        let last = |log: &str| last_line(log.as_bytes());
        assert_eq!(last("begun\nno such file\n\n").as_deref(), Some("no such file"));
        assert_eq!(last("\u{1b}[31mred").as_deref(), Some(" [31mred"));
        assert_eq!(last(&"x".repeat(5_000)).unwrap().len(), LAST_LINE_CHARS_MAX);
        assert_eq!((last(""), last(" \n")), (None, None));
    }

    #[test]
    fn a_log_of_exactly_the_limit_is_whole() {
        let mut log = LogBuffer::new(4);
        log.push(b"1234");
        log.push(b"");
        assert_eq!(&log.take()[..], b"1234");
    }
}
