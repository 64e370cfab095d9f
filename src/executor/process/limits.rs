//! The restrictions that a child gets between fork and exec, and what the worker hides from its children.

use std::io;

use rustix::process::{Pid, Resource, Rlimit, setrlimit, setsid};
use tokio::process::Command;

use super::user::{Identity, become_user};
use crate::limits::PIDS_MAX;

/// What of its user's rights a process keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Those of a command that the user typed.
    All,
    /// A function: no privileges beyond those of its user id, and no way to get others. Where the worker is root, the user
    /// may be another one.
    Few(Option<Identity>),
}

/// Gives a child a new session (no terminal, no Ctrl-C, one group to kill), no core dumps, none of the worker's files and
/// a lower priority than the worker's, and kills it when its parent ends.
pub fn confine(command: &mut Command, rights: Rights) {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only system calls are made, by functions that neither allocate nor lock.
    unsafe {
        command.pre_exec(move || {
            setsid()?;
            setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
            close_the_workers_files();
            give_way();
            if let Rights::Few(identity) = rights {
                gain_no_privileges();
                if let Some(identity) = identity {
                    setrlimit(Resource::Nproc, Rlimit { current: Some(PIDS_MAX), maximum: Some(PIDS_MAX) })?;
                    give_pipes(identity.user)?;
                    become_user(identity)?;
                }
                // Only now: a change of the user needs some.
                drop_capabilities()?;
            }
            // Last: a change of the user takes it back.
            die_with(parent)
        });
    }
}

/// Hides the worker's memory and environment from functions without privileges, even from root's. Where the kernel
/// refuses, nothing changes.
#[cfg(target_os = "linux")]
pub fn hide() {
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

#[cfg(not(target_os = "linux"))]
pub fn hide() {}

/// Everything but the three standard ones is closed by exec, whatever library opened it and how.
#[cfg(target_os = "linux")]
fn close_the_workers_files() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: marks descriptors, touches no memory.
    let marked = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC as libc::c_uint,
        )
    };
    if marked != 0 {
        mark_each(FIRST as libc::c_int);
    }
}

#[cfg(not(target_os = "linux"))]
fn close_the_workers_files() {
    mark_each(3);
}

/// For kernels before 5.11.
fn mark_each(first: libc::c_int) {
    const MOST: u64 = 65_536;
    let limit = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(MOST).min(MOST);
    for file in first..limit as libc::c_int {
        // SAFETY: marks a descriptor; for one that is not open the error is ignored.
        unsafe { libc::fcntl(file, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// What exec would give: to root by its number, to programs by their files, and to all by inheritance. Whoever may not
/// shrink the bounding set has nothing that it bounds, once [`drop_capabilities`] is done.
#[cfg(target_os = "linux")]
fn gain_no_privileges() {
    const CAPABILITIES_MAX: libc::c_ulong = 64;
    // SAFETY: these change the process itself and touch no memory.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        for capability in 0..CAPABILITIES_MAX {
            if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 {
                break;
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn gain_no_privileges() {}

/// Permitted, effective and inheritable ones: what a process may beyond its user's own files (reading other processes'
/// memory, ignoring modes, mounting). A service manager may have given some to a worker that is not root.
#[cfg(target_os = "linux")]
fn drop_capabilities() -> io::Result<()> {
    // A service manager may refuse the call, or end who makes it: it is made where there is something to drop.
    if has_capabilities()? { set_capabilities(0, 0) } else { Ok(()) }
}

#[cfg(not(target_os = "linux"))]
fn drop_capabilities() -> io::Result<()> {
    Ok(())
}

/// `_LINUX_CAPABILITY_VERSION_3`: two halves, each effective, permitted, inheritable.
#[cfg(target_os = "linux")]
const CAPABILITIES_V3: u32 = 0x2008_0522;

#[cfg(target_os = "linux")]
fn has_capabilities() -> io::Result<bool> {
    let (mut header, mut sets) = ([CAPABILITIES_V3, 0], [[0_u32; 3]; 2]);
    // SAFETY: both outlive the call, which writes no more than they have room for.
    match unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) } {
        0 => Ok(sets != [[0; 3]; 2]),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The lower 32 capabilities; the upper ones are dropped. Allocates nothing.
#[cfg(target_os = "linux")]
fn set_capabilities(held: u32, inheritable: u32) -> io::Result<()> {
    let (header, sets) = ([CAPABILITIES_V3, 0], [[held, held, inheritable], [0; 3]]);
    // SAFETY: changes the process itself; both outlive the call, which only reads them.
    match unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives the standard pipes to a user: else it could not open them by their names (`/dev/stderr`).
fn give_pipes(user: u32) -> io::Result<()> {
    use rustix::fs::{FileType, Uid, fchown, fstat};
    for stream in 0..3 {
        // SAFETY: the three are open: whoever starts the process redirects them.
        let stream = unsafe { std::os::fd::BorrowedFd::borrow_raw(stream) };
        // Anything else, like /dev/null, is not this process's own.
        if FileType::from_raw_mode(fstat(stream)?.st_mode) == FileType::Fifo {
            fchown(stream, Some(Uid::from_raw(user)), None)?;
        }
    }
    Ok(())
}

/// Out of memory, the kernel ends a function before its worker. To be called when the child has begun its program: until
/// then its files in `/proc` are as hidden as the worker's.
pub fn prefer_to_worker(child: Pid) {
    let _ = std::fs::write(format!("/proc/{}/oom_score_adj", child.as_raw_nonzero()), "500");
}

/// A function that wakes up does not preempt other processes, above all not the worker, which has answers to read and
/// leases to keep. Where the kernel refuses, nothing changes.
#[cfg(target_os = "linux")]
fn give_way() {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter outlives the call, which only reads it.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &priority) };
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}

/// The parent here is the thread that forked: it has to live as long as the children may.
#[cfg(target_os = "linux")]
fn die_with(parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // The parent may have ended before the signal was set.
    if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
}

/// On other systems only the guardian does it.
#[cfg(not(target_os = "linux"))]
fn die_with(_parent: Pid) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const NET_ADMIN_AND_PTRACE: u32 = 1 << 12 | 1 << 19;
    /// What it takes to change the user, its pipes' owner and the bounding set.
    const OF_ROOT: u32 = 1 | 1 << 6 | 1 << 7 | 1 << 8 | NET_ADMIN_AND_PTRACE;

    /// The capabilities of a program that was started with few rights by a process of this kind; a line each.
    async fn left_by(become_it: fn() -> io::Result<()>, rights: Rights) -> String {
        let mut command = Command::new("grep");
        command.args(["^Cap", "/proc/self/status"]);
        // SAFETY: only system calls are made.
        unsafe { command.pre_exec(become_it) };
        confine(&mut command, rights);
        let ended = command.output().await.unwrap();
        assert!(ended.status.success(), "{ended:?}");
        String::from_utf8(ended.stdout).unwrap()
    }

    fn none_left(text: &str) {
        assert_eq!(text.matches("\t0000000000000000\n").count(), text.lines().count(), "{text}");
    }

    /// As root in a container of Docker before 20.10.14, or under `setpriv --inh-caps`.
    fn root_with_inheritable() -> io::Result<()> {
        set_capabilities(OF_ROOT, NET_ADMIN_AND_PTRACE)
    }

    /// As a service with `AmbientCapabilities`.
    fn another_user_with_ambient() -> io::Result<()> {
        let done = |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        // SAFETY: these change the process itself.
        unsafe {
            done(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
            done(libc::setresuid(4711, 4711, 4711))?;
            set_capabilities(NET_ADMIN_AND_PTRACE, NET_ADMIN_AND_PTRACE)?;
            for capability in (0..32).filter(|bit| NET_ADMIN_AND_PTRACE & 1 << bit != 0) {
                done(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0))?;
            }
        }
        Ok(())
    }

    #[tokio::test]
    async fn no_capability_is_left_however_the_worker_came_to_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        none_left(&left_by(root_with_inheritable, Rights::Few(None)).await);
        let identity = Identity { user: 4712, groups: [4712; 2] };
        none_left(&left_by(root_with_inheritable, Rights::Few(Some(identity))).await);
        // It may not shrink the bounding set, which gives nothing by itself.
        let text = left_by(another_user_with_ambient, Rights::Few(None)).await;
        let others: String = text.split_inclusive('\n').filter(|line| !line.starts_with("CapBnd")).collect();
        assert_eq!(others.lines().count(), 4);
        none_left(&others);
        // A command that the user typed keeps them.
        let kept = left_by(another_user_with_ambient, Rights::All).await;
        assert!(kept.contains("CapEff:\t0000000000081000"), "{kept}");
    }
}
