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
                give_up_privileges();
                if let Some(identity) = identity {
                    setrlimit(Resource::Nproc, Rlimit { current: Some(PIDS_MAX), maximum: Some(PIDS_MAX) })?;
                    give_pipes(identity.user)?;
                    become_user(identity)?;
                }
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

/// What root may beyond its own files (reading other processes' memory, ignoring modes, mounting), and what set-user-id
/// programs would give.
#[cfg(target_os = "linux")]
fn give_up_privileges() {
    const CAPABILITIES_MAX: libc::c_ulong = 64;
    // SAFETY: these change the process itself and touch no memory.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if libc::geteuid() == 0 {
            for capability in 0..CAPABILITIES_MAX {
                if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 {
                    break;
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn give_up_privileges() {}

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
