//! What a child is bound by between fork and exec.

use rustix::process::{Pid, Resource, Rlimit, setrlimit, setsid};
use tokio::process::Command;

/// A session of its own (no terminal, no Ctrl-C, one group to kill), no core dumps, manners towards the worker, and
/// death with its parent.
pub fn confine(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only system calls are made, by functions that neither allocate nor lock.
    unsafe {
        command.pre_exec(move || {
            setsid()?;
            setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
            give_way();
            die_with(parent)
        });
    }
}

/// A function that is woken does not take the processor from who runs: above all from the worker, which has answers to
/// read and leases to keep. Whoever has the processor all the same loses nothing by it. Where it is refused, all is as
/// it was.
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
fn die_with(parent: Pid) -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have died before it could be said.
    if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
}

/// Elsewhere the guardian alone sees to it.
#[cfg(not(target_os = "linux"))]
fn die_with(_parent: Pid) -> std::io::Result<()> {
    Ok(())
}
