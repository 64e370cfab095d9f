//! A child process that is this test binary again, running the same test: it finds its part in the environment.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

const FILE: &str = "AFN_TEST_FILE";
const NUMBER: &str = "AFN_TEST_NUMBER";
/// Begins the lines that a child says to its parent, among those of the test harness.
const SAYS: &str = "child: ";
const SIGKILL: i32 = 9;

/// This process's part, if it is a child.
pub struct Part {
    pub path: PathBuf,
    pub number: u64,
}

impl Part {
    pub fn of_this_process() -> Option<Part> {
        let number = std::env::var(NUMBER).ok()?.parse().expect("a number");
        Some(Part { path: std::env::var_os(FILE).expect("a file").into(), number })
    }

    pub fn say(&self, what: impl std::fmt::Display) {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{SAYS}{what}").and_then(|()| out.flush()).expect("the parent listens");
    }
}

/// The whole name of a test, given `module_path!()` and its own name.
pub fn name_of(module: &str, test: &str) -> String {
    let (_, module) = module.split_once("::").expect("a module of a test target");
    format!("{module}::{test}")
}

/// A child that is killed when it is dropped.
pub struct Spawned {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Spawned {
    /// `test`: as [`name_of`] says it.
    pub fn new(test: &str, path: &Path, number: u64) -> Spawned {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
        command.env(FILE, path).env(NUMBER, number.to_string());
        let mut process = command.stdout(Stdio::piped()).spawn().expect("spawn a child");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        Spawned { process, lines }
    }

    /// What it says next; `None` when it has ended.
    pub fn hear(&mut self) -> Option<String> {
        loop {
            // A line that a kill cut short may end inside a character; it was not said.
            let line = self.lines.next()?.ok()?;
            // The harness begins the line on which the first word lands.
            if let Some((_, said)) = line.split_once(SAYS) {
                return Some(said.to_owned());
            }
        }
    }

    /// All that it still says; it must end well.
    pub fn hear_out(mut self) -> Vec<String> {
        let said = std::iter::from_fn(|| self.hear()).collect();
        let status = self.process.wait().expect("wait");
        assert!(status.success(), "a child failed: {status}");
        said
    }

    /// It must not have ended by itself.
    pub fn kill(&mut self) {
        self.process.kill().expect("kill");
        let status = self.process.wait().expect("wait");
        assert_eq!(status.signal(), Some(SIGKILL), "a child ended by itself: {status}");
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
