//! A home, a store and a folder to work in, for one test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longer than anything here takes on a busy machine; a test that meets it fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    dir: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Its answer, of a command that has to succeed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.stdout
    }

    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// What it says of its failure; nothing may be on stdout.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:#?}");
        self.stderr
    }
}

impl World {
    pub fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("work")).unwrap();
        World { dir }
    }

    /// Where commands are run.
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.work().join(path)).unwrap()
    }

    pub fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afn"));
        command
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("AFN_HOME", self.dir.path().join("home"))
            .env("AFN_DATA_DIR", self.dir.path().join("data"))
            // The same on a machine with Docker and on one without.
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command line that needs no quoting.
    pub fn afn(&self, line: &str) -> Ran {
        self.args(&line.split_whitespace().collect::<Vec<_>>())
    }

    pub fn args(&self, args: &[&str]) -> Ran {
        self.run_in("", args, b"")
    }

    pub fn run_in(&self, folder: &str, args: &[&str], stdin: &[u8]) -> Ran {
        let mut command = self.command(&self.work().join(folder));
        if !stdin.is_empty() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.args(args).spawn().unwrap();
        if let Some(mut to) = child.stdin.take() {
            // One that does not read all of it says so by its exit.
            let _ = to.write_all(stdin);
        }
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// A command that goes on until it is told to end.
    pub fn spawn(&self, line: &str) -> Running {
        let mut child = self.command(&self.work()).args(line.split_whitespace()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines() {
                let Ok(line) = line else { return };
                let _ = sender.send(line);
            }
        });
        Running { child, lines, seen: Vec::new() }
    }

    /// A function whose code is this shell script, deployed to `app`.
    #[track_caller]
    pub fn deploy(&self, name: &str, app: &str, more: &str, script: &str) {
        self.write(
            &format!("{name}/func.yaml"),
            format!("name: {name}\nversion: 0.0.1\nruntime: shell\n{more}"),
        );
        self.write(&format!("{name}/func.sh"), script);
        self.run_in(name, &["deploy", "--local", "--app", app], b"").ok();
    }

    /// The store and the queues themselves: what no command shows.
    pub async fn open(&self) -> afn::context::Opened {
        let home = self.dir.path().display().to_string();
        let data = self.dir.path().join("data").display().to_string();
        let env: afn::context::Env =
            [("HOME", home.as_str()), ("AFN_DATA_DIR", data.as_str())].into_iter().collect();
        let context = afn::context::resolve(&afn::context::Flags::default(), &env).unwrap();
        afn::context::open(&context, std::sync::Arc::new(afn::event::Silent)).await.unwrap()
    }

    /// Puts a body on the queue of calls, as a stranger would.
    pub fn send(&self, body: &str) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sent = runtime.block_on(async {
            let opened = self.open().await;
            let message = afn::seam::queue::Outgoing::new(body.to_owned());
            opened.seams.queues.calls.live.send(vec![message]).await.unwrap()
        });
        assert_eq!(sent, [Ok(())]);
    }

    /// Runs what is queued, until nothing is.
    #[track_caller]
    pub fn drain(&self) -> String {
        let ran = self.afn("worker --drain -j 2");
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:#?}");
        ran.stderr
    }
}

pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Reads what it says until a line has this in it.
    #[track_caller]
    pub fn until(&mut self, part: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(why) => panic!("{why} while waiting for {part:?}; it said {:#?}", self.seen),
            }
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Its exit code and its answer.
    #[track_caller]
    pub fn end(mut self) -> Ran {
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let mut seen = std::mem::take(&mut self.seen);
        seen.extend(self.lines.iter());
        Ran { code, stdout, stderr: seen.join("\n") }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
