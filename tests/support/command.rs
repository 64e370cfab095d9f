//! The `afn` binary: commands that end, and processes that go on until they are told to.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::proc;

/// For whatever has to happen. Only a test that fails waits this long: machines may be busy.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    /// Bytes that are no UTF-8 are replaced.
    pub stdout: String,
    pub stderr: String,
    bytes: Vec<u8>,
}

impl Ran {
    fn new(code: Option<i32>, bytes: Vec<u8>, stderr: String) -> Ran {
        let stdout = String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: code.unwrap_or(-1), stdout, stderr, bytes }
    }

    /// The answer of a command that has to succeed.
    #[track_caller]
    pub fn bytes(self) -> Vec<u8> {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.bytes
    }

    #[track_caller]
    pub fn ok(self) -> String {
        String::from_utf8(self.bytes()).expect("an answer in UTF-8")
    }

    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// What a command says of its failure; it must not write to stdout.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        self.stderr
    }
}

/// Runs a command to its end.
pub async fn run(mut command: Command, stdin: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().expect("the command starts");
    let mut input = child.stdin.take().expect("a pipe");
    let fed = async {
        // A command that does not read all of it says so by its exit.
        let _ = input.write_all(stdin).await;
        drop(input);
    };
    let (output, ()) = tokio::join!(
        async {
            let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
            output.expect("the command ends").expect("its end can be waited for")
        },
        fed
    );
    Ran::new(output.status.code(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A process that goes on, and what it has written. Killed when it is dropped.
pub struct Running {
    child: Child,
    said: Arc<Said>,
    readers: JoinSet<()>,
    /// Lines before this one were looked at by [`Running::next`].
    next: AtomicUsize,
}

#[derive(Default)]
struct Said {
    stdout: Mutex<Vec<u8>>,
    lines: Mutex<Vec<String>>,
    more: Notify,
    over: AtomicBool,
}

impl Running {
    pub fn start(mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the process starts");
        let said = Arc::new(Said::default());
        let mut stdout = child.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut readers = JoinSet::new();
        let execution_log = said.clone();
        readers.spawn(async move {
            let mut bytes = Vec::new();
            let _ = stdout.read_to_end(&mut bytes).await;
            *execution_log.stdout.lock().expect("no panic") = bytes;
        });
        let execution_log = said.clone();
        readers.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                execution_log.lines.lock().expect("no panic").push(line);
                execution_log.more.notify_waiters();
            }
            execution_log.over.store(true, Ordering::SeqCst);
            execution_log.more.notify_waiters();
        });
        Running { child, said, readers, next: AtomicUsize::new(0) }
    }

    /// What it has written to stderr.
    pub fn lines(&self) -> Vec<String> {
        self.said.lines.lock().expect("no panic").clone()
    }

    /// The first line with this in it, as soon as there is one.
    pub async fn said(&self, part: &str) -> String {
        self.said_all(&[part]).await
    }

    /// The first line with all of these in it.
    pub async fn said_all(&self, parts: &[&str]) -> String {
        self.line_from(0, parts).await.1
    }

    /// The first line with this in it after the line that this function found last.
    pub async fn next(&self, part: &str) -> String {
        let (at, line) = self.line_from(self.next.load(Ordering::SeqCst), &[part]).await;
        self.next.store(at + 1, Ordering::SeqCst);
        line
    }

    async fn line_from(&self, from: usize, parts: &[&str]) -> (usize, String) {
        let has_all = |line: &String| parts.iter().all(|part| line.contains(part));
        let found = || self.lines().into_iter().enumerate().skip(from).find(|(_, line)| has_all(line));
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let more = self.said.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            let over = self.said.over.load(Ordering::SeqCst);
            if let Some(line) = found() {
                return line;
            }
            let in_time = !over && tokio::time::timeout_at(deadline, more).await.is_ok();
            assert!(in_time, "waited for {parts:?}; it said {:#?}", self.lines());
        }
    }

    pub fn signal(&self, signal: Signal) {
        proc::signal(self.pid(), signal);
    }

    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops the process; all of its threads have stopped when this returns.
    pub async fn pause(&self) {
        proc::pause(self.pid()).await;
    }

    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits for its end, however long that takes.
    pub async fn gone(&mut self) {
        self.child.wait().await.expect("its end can be waited for");
    }

    /// The most memory that it has had.
    pub fn peak_bytes(&self) -> u64 {
        proc::peak_bytes(self.pid())
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("the process runs")
    }

    /// Its exit code.
    pub async fn ended(&mut self) -> i32 {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("it does not end; it said {:#?}", self.lines()));
        while self.readers.join_next().await.is_some() {}
        status.expect("its end can be waited for").code().unwrap_or(-1)
    }

    /// Waits for its end; how it ended and all that it wrote.
    pub async fn end(mut self) -> Ran {
        let code = self.ended().await;
        let stdout = std::mem::take(&mut *self.said.stdout.lock().expect("no panic"));
        Ran::new(Some(code), stdout, self.lines().join("\n"))
    }

    /// As in a power cut. What it has said.
    pub async fn kill(mut self) -> Vec<String> {
        self.signal(Signal::KILL);
        self.ended().await;
        self.lines()
    }
}
