//! Starting processes so that none outlives this one, however it ends.
//!
//! Two nets, each with a hole that the other covers. The kernel kills a child when the thread that forked it ends:
//! at once, but only that child, and only while that thread is the one that must not end. So one thread does all the
//! forking, and does nothing else. And a guardian, a shell that is no child's child, reads from a pipe which groups
//! are alive; when the pipe ends, so has this process, and it kills what is left, grandchildren included. A function
//! that moves into a session of its own escapes both; the process executor is no sandbox.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::Pid;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::group::Group;
use super::limits::confine;

/// What a unix socket's path may have on Linux; macOS allows a few less.
const SOCKET_PATH_BYTES_MAX: usize = 103;
/// What follows the run folder in a socket's path, with room for large numbers.
const SOCKET_TAIL: &str = "/00000000000000000000/lsnr.sock";
/// Another thread's fork may hold a program open for writing until its exec.
const BUSY_TRIES: u32 = 20;
const BUSY_WAIT: Duration = Duration::from_millis(5);

const GUARDIAN: &str = r#"
trap '' HUP INT TERM
alive=
while read -r sign group; do
    case $sign in
    +) alive="$alive $group" ;;
    -)
        others=
        for other in $alive; do [ "$other" = "$group" ] || others="$others $other"; done
        alive=$others
        ;;
    esac
done
for group in $alive; do kill -9 "-$group"; done
rm -rf "$1"
"#;

pub enum Order {
    Spawn {
        command: Box<Command>,
        runtime: Handle,
        orders: Sender<Order>,
        reply: oneshot::Sender<io::Result<Group>>,
    },
    /// A group is no more.
    Ended(Pid),
}

pub struct Spawner {
    orders: Sender<Order>,
    run_dir: TempDir,
}

impl Spawner {
    pub fn start() -> io::Result<Spawner> {
        let run_dir = tempfile::Builder::new().prefix("afn-").tempdir_in(short_temp_dir())?;
        let (orders, inbox) = channel();
        let dir = run_dir.path().to_owned();
        thread::Builder::new().name("afn-spawn".to_owned()).spawn(move || serve(inbox, &dir))?;
        Ok(Spawner { orders, run_dir })
    }

    /// A short path for what running processes need; nobody else can look into it.
    pub fn run_dir(&self) -> &Path {
        self.run_dir.path()
    }

    /// Starts a process in a group of its own. When the future is dropped, so is the process.
    pub async fn spawn(&self, mut command: Command) -> io::Result<Group> {
        confine(&mut command);
        let (reply, answer) = oneshot::channel();
        let orders = self.orders.clone();
        let order = Order::Spawn { command: Box::new(command), runtime: Handle::current(), orders, reply };
        let gone = || io::Error::other("the thread that starts processes has ended");
        self.orders.send(order).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// The system's folder for temporary files, unless its path is too long for a socket in it.
fn short_temp_dir() -> PathBuf {
    let dir = std::env::temp_dir();
    let longest = dir.as_os_str().len() + "/afn-000000".len() + SOCKET_TAIL.len();
    if longest <= SOCKET_PATH_BYTES_MAX { dir } else { PathBuf::from("/tmp") }
}

fn serve(inbox: Receiver<Order>, run_dir: &Path) {
    let mut guardian = Guardian::start(run_dir);
    for order in inbox {
        match order {
            Order::Spawn { mut command, runtime, orders, reply } => {
                let _runtime = runtime.enter();
                let group = spawn(&mut command).map(|(child, pid)| {
                    guardian.tell('+', pid);
                    Group::new(child, pid, orders)
                });
                // Nobody waits any more: the group is dropped here, and killed.
                let _ = reply.send(group);
            }
            Order::Ended(pid) => guardian.tell('-', pid),
        }
    }
}

fn spawn(command: &mut Command) -> io::Result<(tokio::process::Child, Pid)> {
    let mut tries = 1;
    loop {
        match command.spawn() {
            Ok(child) => {
                let pid = child.id().and_then(|id| Pid::from_raw(id as i32));
                return Ok((child, pid.expect("a child that was not waited for has a number")));
            }
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                tries += 1;
                thread::sleep(BUSY_WAIT);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Where there is no shell (in a bare image) there is none; the container then ends with its worker.
struct Guardian(Option<(std::process::Child, ChildStdin)>);

impl Guardian {
    fn start(run_dir: &Path) -> Guardian {
        use std::os::unix::process::CommandExt as _;
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", GUARDIAN, "afn-guardian"]).arg(run_dir);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0);
        let started = command.spawn().ok();
        Guardian(started.and_then(|mut child| child.stdin.take().map(|pipe| (child, pipe))))
    }

    fn tell(&mut self, sign: char, pid: Pid) {
        if let Some((_, pipe)) = &mut self.0 {
            // If it was killed, the kernel's half still holds.
            let _ = pipe.write_all(format!("{sign} {}\n", pid.as_raw_nonzero()).as_bytes());
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        if let Some((mut child, pipe)) = self.0.take() {
            drop(pipe);
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests;
