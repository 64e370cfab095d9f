//! The `afn` binary: commands that end, and workers that go on until they are told to.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Longer than anything here takes on a busy machine; a test that meets it fails.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    /// Its answer, of a command that has to succeed.
    #[track_caller]
    pub fn bytes(self) -> Vec<u8> {
        assert_eq!(self.code, 0, "{}{}", self.text(), self.stderr);
        self.stdout
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

    /// What it says of its failure.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.text(), self.stderr);
        self.stderr
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs a command to its end.
pub async fn run(mut command: Command, stdin: &[u8]) -> Ran {
    let mut child = command.kill_on_drop(true).spawn().expect("the command starts");
    let mut input = child.stdin.take().expect("a pipe");
    let fed = async {
        // One that does not read all of it says so by its exit.
        let _ = input.write_all(stdin).await;
        drop(input);
    };
    let (output, ()) = tokio::join!(
        async {
            let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
            output.expect("the command ends").expect("it can be waited for")
        },
        fed
    );
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A process that goes on, and what it has said on stderr. Killed when it is dropped.
pub struct Running {
    child: Child,
    said: Arc<Said>,
    reader: JoinSet<()>,
}

#[derive(Default)]
struct Said {
    lines: Mutex<Vec<String>>,
    more: Notify,
    over: std::sync::atomic::AtomicBool,
}

impl Running {
    pub fn start(mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().expect("the process starts");
        let said = Arc::new(Said::default());
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let heard = said.clone();
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                heard.lines.lock().expect("no panic").push(line);
                heard.more.notify_waiters();
            }
            heard.over.store(true, std::sync::atomic::Ordering::SeqCst);
            heard.more.notify_waiters();
        });
        Running { child, said, reader }
    }

    pub fn lines(&self) -> Vec<String> {
        self.said.lines.lock().expect("no panic").clone()
    }

    /// The first line with this in it, as soon as there is one.
    pub async fn said(&self, part: &str) -> String {
        self.said_all(&[part]).await
    }

    /// The first line with all of these in it.
    pub async fn said_all(&self, parts: &[&str]) -> String {
        let found = || self.lines().into_iter().find(|line| parts.iter().all(|part| line.contains(part)));
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let more = self.said.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            let over = self.said.over.load(std::sync::atomic::Ordering::SeqCst);
            if let Some(line) = found() {
                return line;
            }
            let in_time = !over && tokio::time::timeout_at(deadline, more).await.is_ok();
            assert!(in_time, "waited for {parts:?}; it said {:#?}", self.lines());
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid as i32)).expect("it runs");
        kill_process(pid, signal).expect("it can be told");
    }

    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for its end, however long that takes.
    pub async fn gone(&mut self) {
        self.child.wait().await.expect("it can be waited for");
    }

    /// The most memory that it has had.
    pub fn peak_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id().expect("it runs"));
        let status = std::fs::read_to_string(path).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024
    }

    /// Its exit code.
    pub async fn ended(&mut self) -> i32 {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("it does not end; it said {:#?}", self.lines()));
        while self.reader.join_next().await.is_some() {}
        status.expect("it can be waited for").code().unwrap_or(-1)
    }

    /// As in a power cut. What it has said.
    pub async fn kill(mut self) -> Vec<String> {
        self.signal(Signal::KILL);
        self.ended().await;
        self.lines()
    }
}
