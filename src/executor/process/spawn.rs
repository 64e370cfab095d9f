//! Starting processes so that none outlives this one, however it ends.
//!
//! Two nets, each with a hole that the other covers. The kernel kills a child when the thread that forked it ends:
//! at once, but only that child, and only while that thread is the one that must not end. So one thread does all the
//! forking, and does nothing else. And a guardian, a shell that is no child's child, reads from a pipe which groups
//! are alive; when the pipe ends, this process has ended, and the guardian kills what is left, grandchildren included. A
//! function that starts another session escapes both; the process executor is no sandbox.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::Pid;
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::group::Group;
use super::limits::{Rights, confine, hide, prefer_to_worker};
use crate::executor::owner::Owner;
use crate::folder::{self, Scratch};

/// What a unix socket's path may have on Linux; macOS allows a few less.
const SOCKET_PATH_BYTES_MAX: usize = 103;
/// What follows the run folder in a socket's path, with room for large numbers.
const SOCKET_TAIL: &str = "/p/w000000/0000000000/lsnr.sock";
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
chmod -R u+rwx "$@" 2>/dev/null
rm -rf "$@"
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
    sockets: Arc<Owner>,
    calls: Arc<Owner>,
    /// Around the sockets, where the run folder's path is too long.
    _short: Option<Scratch>,
}

impl Spawner {
    /// From here on the worker's memory and environment are hidden from processes of its user.
    /// `group`: of processes that are not this user's, which pass through the folders.
    pub fn start(run_dir: &Path, work_dir: &Path, group: Option<u32>) -> io::Result<Spawner> {
        hide();
        let longest = run_dir.as_os_str().len() + SOCKET_TAIL.len();
        let short = match longest <= SOCKET_PATH_BYTES_MAX {
            true => None,
            false => Some(Scratch::new(Path::new("/tmp"), "afn-")?),
        };
        if let (Some(short), Some(group)) = (&short, group) {
            folder::let_pass(short.path(), group)?;
        }
        let owner = |root: PathBuf| Owner::new(&root, group).map(Arc::new).map_err(io::Error::other);
        let sockets = owner(short.as_ref().map_or(run_dir, Scratch::path).join("p"))?;
        let calls = owner(work_dir.join("calls"))?;
        let owners = [sockets.clone(), calls.clone()];
        let (orders, inbox) = channel();
        thread::Builder::new().name("afn-spawn".to_owned()).spawn(move || serve(inbox, owners))?;
        Ok(Spawner { orders, sockets, calls, _short: short })
    }

    /// A short path.
    pub fn sockets(&self) -> &Path {
        self.sockets.dir()
    }

    /// Where processes have their files.
    pub fn calls(&self) -> &Path {
        self.calls.dir()
    }

    /// Starts a process in a new group. Dropping the future kills the process.
    pub async fn spawn(&self, mut command: Command, rights: Rights) -> io::Result<Group> {
        confine(&mut command, rights);
        let (reply, answer) = oneshot::channel();
        let orders = self.orders.clone();
        let order = Order::Spawn { command: Box::new(command), runtime: Handle::current(), orders, reply };
        let gone = || io::Error::other("the thread that starts processes has ended");
        self.orders.send(order).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        let _ = folder::remove(self.sockets.dir());
        let _ = folder::remove(self.calls.dir());
    }
}

fn serve(inbox: Receiver<Order>, owners: [Arc<Owner>; 2]) {
    let mut guardian = Guardian::start(owners.iter().map(|owner| owner.dir()));
    // In a thread of its own: what functions have left may take minutes, and processes are to start now. Afterwards the locks
    // are released when the spawner is dropped.
    let sweep = move || owners.iter().for_each(|owner| owner.remove_dead(|dir| drop(folder::remove(dir))));
    let _ = thread::Builder::new().name("afn-sweep".to_owned()).spawn(sweep);
    for order in inbox {
        match order {
            Order::Spawn { mut command, runtime, orders, reply } => {
                let _runtime = runtime.enter();
                let group = spawn(&mut command).map(|(child, pid)| {
                    guardian.tell('+', pid);
                    let on_end = move |pid| _ = orders.send(Order::Ended(pid));
                    Group::new(child, pid, Box::new(on_end))
                });
                // If the caller has stopped waiting, the group is dropped here, and killed.
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
                let pid = pid.expect("a child that was not waited for has a number");
                prefer_to_worker(pid);
                return Ok((child, pid));
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
    /// The worker's environment stays its own: a guardian can be looked into.
    fn start<'a>(dirs: impl Iterator<Item = &'a Path>) -> Guardian {
        use std::os::unix::process::CommandExt as _;
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", GUARDIAN, "afn-guardian"]).args(dirs).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
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
