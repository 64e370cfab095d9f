//! Decides what a person or a program gets to see, and where: answers on stdout, everything else on stderr. Nothing
//! else in the program writes to either.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use serde::Serialize;
use serde_json::json;
use tokio::io::AsyncWrite;

use super::format::table;
use super::options::{Global, LogFormat};
use super::parse::Output;
use super::text::{Line, Palette, Role, Text, visible_lines};
use crate::error::{Error, Result};
use crate::event::Level;
use crate::seam::Clock as _;
use crate::seam::clock::SystemClock;

/// Cheap to clone. All clones share the two streams.
#[derive(Debug, Clone)]
pub struct Printer {
    output: Output,
    pub is_quiet: bool,
    pub is_verbose: bool,
    pub log_format: LogFormat,
    palette: Palette,
    /// stdout is a terminal, and bytes are not to steer it.
    shows_bytes: bool,
    /// The reader of stdout is gone, as `head` is after its last line. The rest is dropped; that is no failure.
    unread: Arc<AtomicBool>,
    /// The progress bar on the last line of the terminal.
    bar: Arc<Mutex<Option<String>>>,
}

impl Printer {
    pub fn new(global: &Global, log_format: LogFormat) -> Printer {
        Printer {
            output: global.output.clone(),
            is_quiet: global.quiet,
            is_verbose: global.verbose,
            log_format,
            palette: match log_format {
                LogFormat::Text => Palette::of(&io::stderr()),
                LogFormat::Json => Palette::NONE,
            },
            shows_bytes: io::stdout().is_terminal() && !global.raw,
            unread: Arc::default(),
            bar: Arc::default(),
        }
    }

    pub fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Writes data to stdout: byte for byte, but visible on a terminal.
    pub fn data(&self, bytes: impl AsRef<[u8]>) -> Result<()> {
        match self.shows_bytes {
            true => self.write_stdout(visible_lines(bytes.as_ref()).as_bytes()),
            false => self.write_stdout(bytes.as_ref()),
        }
    }

    fn write_stdout(&self, bytes: &[u8]) -> Result<()> {
        if self.unread.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.unread.store(true, Ordering::Relaxed);
                Ok(())
            }
            written => written.map_err(|error| Error::unreachable(format!("write to stdout: {error}"))),
        }
    }

    /// A line of the answer.
    pub fn line(&self, line: impl Display) -> Result<()> {
        self.text(&Text::from_iter([line]))
    }

    pub fn text(&self, text: &Text) -> Result<()> {
        self.write_stdout(text.as_str().as_bytes())
    }

    /// The answer: a record for programs, lines of text for people.
    pub fn answer<T: Serialize>(&self, record: &T, text: &Text) -> Result<()> {
        if self.is_json() { self.json(record) } else { self.text(text) }
    }

    /// The answer as rows under a head. People get the note `none` instead of an empty table.
    pub fn table<T: Serialize, const N: usize>(
        &self,
        record: &T,
        head: [&str; N],
        rows: &[[String; N]],
        none: &str,
    ) -> Result<()> {
        if rows.is_empty() && !self.is_json() {
            self.note(none);
            return Ok(());
        }
        self.answer(record, &table(head, rows))
    }

    /// The answer as one JSON document.
    pub fn json<T: Serialize>(&self, value: &T) -> Result<()> {
        let json = serde_json::to_string_pretty(value)
            .map_err(|error| Error::internal(format!("encode the answer: {error}")))?;
        self.text(&json.lines().collect())
    }

    /// Confirms what the command did: a line for people, which `--quiet` leaves out, or its record for programs.
    pub fn done<T: Serialize>(&self, line: impl Display, record: &T) -> Result<()> {
        self.done_all([line], record)
    }

    pub fn done_all<T: Serialize>(
        &self,
        lines: impl IntoIterator<Item = impl Display>,
        record: &T,
    ) -> Result<()> {
        match (self.is_json(), self.is_quiet) {
            (true, _) => self.json(record),
            (false, true) => Ok(()),
            (false, false) => self.text(&lines.into_iter().collect()),
        }
    }

    /// stdout for an answer that is too large to be held.
    pub fn stdout(&self) -> Stdout {
        Stdout { inner: tokio::io::stdout(), printer: self.clone() }
    }

    /// A step of the work.
    pub fn note(&self, line: impl Into<Line>) {
        if !self.is_quiet {
            self.emit(Level::Info, None, line);
        }
    }

    /// A line of the log, in the log's format already.
    pub fn log(&self, line: impl Into<Line>) {
        if !self.is_quiet {
            self.write_stderr(line.into());
        }
    }

    /// A step of the work that only `--verbose` shows.
    pub fn detail(&self, line: impl Into<Line>) {
        if self.is_verbose {
            self.emit(Level::Debug, None, line.into().all(Role::Faint));
        }
    }

    /// An answer on stderr, because stdout has another one.
    pub fn second_answer(&self, line: impl Display) {
        self.write_stderr(line.into());
    }

    pub fn hint(&self, text: impl Display) {
        if !self.is_quiet {
            self.emit(Level::Info, Some((Role::Hint, "hint:")), text);
        }
    }

    pub fn warning(&self, text: impl Display) {
        self.emit(Level::Warning, Some((Role::Warning, "warning:")), text);
    }

    /// Why the command failed and, unless quiet, what to do about it. For programs this is a line of JSON, the last one
    /// on stderr.
    pub fn error(&self, error: &Error) {
        if self.is_json() {
            let (code, message) = (error.code().as_str(), error.message());
            let record = json!({ "error": { "code": code, "message": message, "hint": error.hint_text() } });
            return self.write_stderr(record.into());
        }
        self.emit(Level::Error, Some((Role::Error, "error:")), error);
        if let Some(hint) = error.hint_text() {
            self.hint(hint);
        }
    }

    /// Draws the progress bar, or removes it with `None`.
    pub fn bar(&self, text: Option<impl Into<Line>>) {
        let text = text.map(|text| text.into().shown(self.palette));
        let mut bar = self.bar.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if bar.is_none() && text.is_none() {
            return;
        }
        let _ = write!(io::stderr().lock(), "{CLEAR}{}", text.as_deref().unwrap_or_default());
        *bar = text;
    }

    /// A line for people behind its label, or an object of the JSON log.
    fn emit(&self, level: Level, label: Option<(Role, &str)>, line: impl Into<Line>) {
        let line = line.into();
        self.write_stderr(match (self.log_format, label) {
            (LogFormat::Text, Some((role, label))) => {
                Line::default().painted(role, label).and(" ").followed_by(line)
            }
            (LogFormat::Text, None) => line,
            (LogFormat::Json, _) => {
                json!({ "time": SystemClock.now(), "level": level, "message": line.plain() }).into()
            }
        });
    }

    /// Errors are ignored: a command does not fail because nobody reads its stderr.
    fn write_stderr(&self, line: Line) {
        let line = line.shown(self.palette);
        let bar = self.bar.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut stderr = io::stderr().lock();
        let _ = match bar.as_deref() {
            Some(bar) => writeln!(stderr, "{CLEAR}{line}").and_then(|()| write!(stderr, "{bar}")),
            None => writeln!(stderr, "{line}"),
        };
    }
}

/// To the beginning of the line, and nothing on it.
const CLEAR: &str = "\r\u{1b}[K";

/// stdout for code that blocks.
impl io::Write for Printer {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.data(piece).map_err(|error| io::Error::other(error.message().to_owned()))?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// stdout for the engine's readers. Once the reader of stdout is gone, the rest is dropped.
pub struct Stdout {
    inner: tokio::io::Stdout,
    printer: Printer,
}

impl Stdout {
    fn ignore_broken_pipe<T>(&self, polled: Poll<io::Result<T>>, dropped: T) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.printer.unread.store(true, Ordering::Relaxed);
                Poll::Ready(Ok(dropped))
            }
            polled => polled,
        }
    }
}

impl AsyncWrite for Stdout {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<usize>> {
        if self.printer.unread.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(piece.len()));
        }
        if self.printer.shows_bytes {
            // A terminal is fast, and its user waits for this.
            return Poll::Ready(io::Write::write(&mut self.printer, piece));
        }
        let polled = Pin::new(&mut self.inner).poll_write(cx, piece);
        self.ignore_broken_pipe(polled, piece.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.ignore_broken_pipe(polled, ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
