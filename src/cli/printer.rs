//! Decides what a person or a program gets to see, and where: answers on stdout, everything else on stderr. Nothing
//! else in the program writes to either.

use std::fmt;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use serde::Serialize;
use serde_json::json;
use tokio::io::AsyncWrite;

use super::args::{Global, Output};
use super::style::{Palette, Role};
use crate::error::{Error, Result};

/// Cheap to clone; all clones speak for one process.
#[derive(Debug, Clone)]
pub struct Printer {
    output: Output,
    quiet: bool,
    verbose: bool,
    palette: Palette,
    /// Who read stdout has gone, as `head` does: the rest is of no interest, and no failure.
    unread: Arc<AtomicBool>,
    /// What stands on the last line of the terminal and is drawn over.
    bar: Arc<Mutex<Option<String>>>,
}

impl Printer {
    pub fn new(global: &Global) -> Printer {
        Printer {
            output: global.output.clone(),
            quiet: global.quiet,
            verbose: global.verbose,
            palette: Palette::of(&io::stderr()),
            unread: Arc::default(),
            bar: Arc::default(),
        }
    }

    pub fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// What was asked for, to the byte.
    pub fn data(&self, bytes: impl AsRef<[u8]>) -> Result<()> {
        if self.unread.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(bytes.as_ref()).and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.unread.store(true, Ordering::Relaxed);
                Ok(())
            }
            written => written.map_err(|error| Error::unreachable(format!("write to stdout: {error}"))),
        }
    }

    /// What was asked for, a line of it.
    pub fn line(&self, line: impl fmt::Display) -> Result<()> {
        self.data(format!("{line}\n"))
    }

    /// What was asked for, as one JSON document.
    pub fn json<T: Serialize>(&self, value: &T) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(value)
            .map_err(|error| Error::internal(format!("encode the answer: {error}")))?;
        json.push(b'\n');
        self.data(json)
    }

    /// That something was done: a line for people, which `--quiet` leaves out, or its record for programs.
    pub fn done<T: Serialize>(&self, line: impl fmt::Display, record: &T) -> Result<()> {
        match (self.is_json(), self.quiet) {
            (true, _) => self.json(record),
            (false, true) => Ok(()),
            (false, false) => self.line(line),
        }
    }

    /// A big answer, piece by piece.
    pub fn stdout(&self) -> Stdout {
        Stdout { inner: tokio::io::stdout(), unread: self.unread.clone() }
    }

    /// The same for writers that block.
    pub fn writer(&self) -> Blocking {
        Blocking(self.clone())
    }

    /// How it goes.
    pub fn note(&self, line: impl fmt::Display) {
        if !self.quiet {
            self.say(line);
        }
    }

    /// How it goes in detail, with `--verbose`.
    pub fn detail(&self, line: impl fmt::Display) {
        if self.verbose {
            self.say(self.palette.paint(Role::Faint, &line.to_string()));
        }
    }

    /// What was asked for beside the answer.
    pub fn beside(&self, line: impl fmt::Display) {
        self.say(line);
    }

    pub fn hint(&self, text: impl fmt::Display) {
        self.note(format!("{} {text}", self.palette.paint(Role::Hint, "hint:")));
    }

    pub fn warning(&self, text: impl fmt::Display) {
        self.say(format!("{} {text}", self.palette.paint(Role::Warning, "warning:")));
    }

    /// Why the command failed and, unless quiet, what to do about it. For programs a line of JSON, the last on stderr:
    /// stdout has an answer or nothing.
    pub fn error(&self, error: &Error) {
        if self.is_json() {
            let (code, message) = (error.code().as_str(), error.message());
            self.say(json!({ "error": { "code": code, "message": message, "hint": error.hint_text() } }));
            return;
        }
        self.say(format!("{} {error}", self.palette.paint(Role::Error, "error:")));
        if let Some(hint) = error.hint_text() {
            self.hint(hint);
        }
    }

    pub fn palette(&self) -> Palette {
        self.palette
    }

    /// Draws over the last line of the terminal; with `None` that line is free again.
    pub fn bar(&self, text: Option<String>) {
        let mut bar = self.bar.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if bar.is_none() && text.is_none() {
            return;
        }
        let _ = write!(io::stderr().lock(), "{CLEAR}{}", text.as_deref().unwrap_or_default());
        *bar = text;
    }

    /// A stderr that nobody reads is no reason to fail.
    fn say(&self, line: impl fmt::Display) {
        let bar = self.bar.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = match bar.as_deref() {
            Some(bar) => {
                writeln!(io::stderr().lock(), "{CLEAR}{line}").and_then(|()| write!(io::stderr(), "{bar}"))
            }
            None => writeln!(io::stderr().lock(), "{line}"),
        };
    }
}

/// To the beginning of the line, and nothing on it.
const CLEAR: &str = "\r\u{1b}[K";

/// stdout for writers that block, in pieces as they come.
pub struct Blocking(Printer);

impl io::Write for Blocking {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.data(piece).map_err(|error| io::Error::other(error.message().to_owned()))?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// stdout as the engine's readers write to it; a reader that has gone swallows the rest.
pub struct Stdout {
    inner: tokio::io::Stdout,
    unread: Arc<AtomicBool>,
}

impl Stdout {
    fn settle<T>(&self, polled: Poll<io::Result<T>>, swallowed: T) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.unread.store(true, Ordering::Relaxed);
                Poll::Ready(Ok(swallowed))
            }
            polled => polled,
        }
    }
}

impl AsyncWrite for Stdout {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<usize>> {
        if self.unread.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(piece.len()));
        }
        let polled = Pin::new(&mut self.inner).poll_write(cx, piece);
        self.settle(polled, piece.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.settle(polled, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.settle(polled, ())
    }
}
