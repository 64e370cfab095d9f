//! The first process of a process namespace (of a container, mostly) becomes the parent of orphans, and each stays a zombie
//! until that parent waits for it. Functions leave orphans. A worker cannot wait for processes that it does not know
//! without taking the exit codes of those that it does; so, if afn is that first process, it forks: the child is afn, and
//! the first process only waits.

/// Called before there is any thread. Returns in the process that is to do the work.
#[cfg(not(target_os = "linux"))]
pub fn wait_if_first() {}

#[cfg(target_os = "linux")]
pub use self::linux::wait_if_first;

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::MaybeUninit;
    use std::ptr;

    use rustix::process::{DumpableBehavior, Pid, set_dumpable_behavior};

    /// Passed on. The kernel keeps them from a first process that does not ask for them.
    const FORWARDED: [libc::c_int; 6] =
        [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

    pub fn wait_if_first() {
        if rustix::process::getpid() != Pid::INIT {
            return;
        }
        // SAFETY: the sets are initialised before they are read; without other threads the child of a fork may do what it
        // likes.
        unsafe {
            let (mut signals, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
            libc::sigemptyset(signals.as_mut_ptr());
            for signal in FORWARDED.into_iter().chain([libc::SIGCHLD]) {
                libc::sigaddset(signals.as_mut_ptr(), signal);
            }
            libc::sigprocmask(libc::SIG_BLOCK, signals.as_ptr(), before.as_mut_ptr());
            match libc::fork() {
                child @ 1.. => wait_for_all(child, signals.assume_init_ref()),
                // A first process that cannot fork works without a child.
                _ => libc::sigprocmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()),
            };
        }
    }

    /// Until the child that works has ended. Its exit code becomes this process's.
    fn wait_for_all(child: libc::pid_t, signals: &libc::sigset_t) -> ! {
        // It has the environment that the worker hides from functions.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        loop {
            let mut about = MaybeUninit::<libc::siginfo_t>::zeroed();
            // SAFETY: waits for one of the blocked signals, and writes what it is about.
            let (signal, about) =
                unsafe { (libc::sigwaitinfo(signals, about.as_mut_ptr()), about.assume_init()) };
            // What a terminal sends comes from the kernel, and goes to its whole group: the child has it, too.
            if FORWARDED.contains(&signal) && about.si_code != libc::SI_KERNEL {
                // SAFETY: sends a signal. The child was not waited for: the number is its own.
                unsafe { libc::kill(child, signal) };
            }
            let mut status = 0;
            // SAFETY: writes the status of a child that has ended.
            while let ended @ 1.. = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
                if ended == child {
                    std::process::exit(match libc::WIFEXITED(status) {
                        true => libc::WEXITSTATUS(status),
                        false => 128 + libc::WTERMSIG(status),
                    });
                }
            }
        }
    }
}
