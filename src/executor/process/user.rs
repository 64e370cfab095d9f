//! The users that functions run as where the worker is root. Each process gets a user that no other process has, so that
//! it reaches nothing of root's and nothing of another call's. Each archive gets a group that its processes are in.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Uid, getpriority_user};

/// Ids of users and groups that nothing else on the machine has. The first is a group of all functions, which passes
/// through the folders above theirs; the lower half are users, the upper half groups of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserRange {
    first: u32,
    last: u32,
}

/// With fewer, one worker could take them all.
const IDS_MIN: u32 = 1_024;

impl Default for UserRange {
    /// Outside of what distributions, directories (SSSD), containers and systemd give out.
    fn default() -> UserRange {
        UserRange { first: 0x7800_0000, last: 0x7fff_fffe }
    }
}

impl fmt::Display for UserRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for UserRange {
    type Err = String;

    fn from_str(text: &str) -> Result<UserRange, String> {
        let ends =
            text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        let (first, last): (u32, u32) =
            ends.ok_or_else(|| format!("`{text}` is no range of user ids like {}", UserRange::default()))?;
        // The kernel takes the greatest for "no change".
        match first > 0 && last < u32::MAX && last.checked_sub(first).is_some_and(|more| more >= IDS_MIN - 1)
        {
            true => Ok(UserRange { first, last }),
            false => Err(format!("`{text}` are not at least {IDS_MIN} user ids above 0")),
        }
    }
}

impl UserRange {
    /// The group of all functions.
    pub fn group(self) -> u32 {
        self.first
    }

    fn middle(self) -> u32 {
        self.first + (self.last - self.first) / 2
    }

    fn users(self) -> Range<u32> {
        self.first + 1..self.middle()
    }

    /// A random group for an archive. Nobody who deploys can aim at the group of another archive.
    pub fn archive_group(self) -> io::Result<u32> {
        random(self.middle()..self.last)
    }

    /// The group of an unpacked archive.
    pub fn group_of(self, archive: &Path) -> io::Result<u32> {
        let group = fs::metadata(archive)?.gid();
        let wrong =
            || io::Error::other(format!("`{}` has the group {group}, not one of {self}", archive.display()));
        (self.middle()..self.last).contains(&group).then_some(group).ok_or_else(wrong)
    }

    /// Why this process cannot start others as these users.
    pub fn check(self) -> Result<(), String> {
        /// By the kernel's numbers.
        const NEEDED: [(u32, &str); 6] = [
            (0, "CAP_CHOWN"),
            (1, "CAP_DAC_OVERRIDE"),
            (3, "CAP_FOWNER"),
            (5, "CAP_KILL"),
            (6, "CAP_SETGID"),
            (7, "CAP_SETUID"),
        ];
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let status = read("status");
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
        if let Some((_, name)) = NEEDED.iter().find(|(bit, _)| effective & 1 << bit == 0) {
            return Err(format!("this process has no {name}"));
        }
        let is_mapped = |map: String| {
            map.lines().any(|line| {
                let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
                let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
                let (first, count) = (first.unwrap_or(0), count.unwrap_or(0));
                first <= u64::from(self.first) && u64::from(self.last) < first + count
            })
        };
        match ["uid_map", "gid_map"].into_iter().all(|name| is_mapped(read(name))) {
            true => Ok(()),
            false => Err(format!("this user namespace has no users {self}: --function-uids names others")),
        }
    }
}

fn random(ids: Range<u32>) -> io::Result<u32> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(ids.start + (u64::from_le_bytes(bytes) % u64::from(ids.end - ids.start)) as u32)
}

/// What a process is: a user and a group of the same number, in the group of all functions and in that of its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub user: u32,
    pub groups: [u32; 2],
}

/// Turns root into another user for good, without any capability. Allocates nothing.
#[cfg(target_os = "linux")]
pub fn become_user(identity: Identity) -> io::Result<()> {
    let Identity { user, groups } = identity;
    let done = |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: these change the process itself; the groups outlive the call, which only reads them.
    unsafe {
        done(libc::setgroups(groups.len(), groups.as_ptr()))?;
        done(libc::setresgid(user, user, user))?;
        done(libc::setresuid(user, user, user))
    }
}

#[cfg(not(target_os = "linux"))]
pub fn become_user(_identity: Identity) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Kills every process that this process may kill, but not itself. Returns an error in any case.
fn kill_all_of_user() -> io::Error {
    // SAFETY: sends signals, touches no memory.
    let killed = unsafe { libc::kill(-1, libc::SIGKILL) };
    if killed == 0 { io::ErrorKind::Interrupted.into() } else { io::Error::last_os_error() }
}

/// Gives users to processes.
#[derive(Debug, Clone)]
pub struct Users {
    pub range: UserRange,
    taken: Arc<Mutex<Taken>>,
}

/// The users that processes have now. Each is a locked byte of one file, so that workers of one machine, which kill all
/// processes of a user when a call ends, do not give out the same. The kernel unlocks what a killed worker had.
#[derive(Debug)]
struct Taken {
    by_this_worker: BTreeSet<u32>,
    path: PathBuf,
    locks: Option<File>,
}

impl Users {
    /// `dir` is the same for all workers that have this range. It exists when a user is taken.
    pub fn new(range: UserRange, dir: &Path) -> Users {
        let taken = Taken { by_this_worker: BTreeSet::new(), path: dir.join("uids"), locks: None };
        Users { range, taken: Arc::new(Mutex::new(taken)) }
    }

    /// A user that no other process has.
    pub fn take(&self, code: &Path) -> io::Result<FunctionUser> {
        let groups = [self.range.group(), self.range.group_of(code)?];
        let user = self.take_any()?;
        Ok(FunctionUser { identity: Identity { user, groups }, taken: self.taken.clone() })
    }

    /// A random one, so that nothing that an earlier process left behind is aimed at a later one; or else the next that is
    /// free.
    fn take_any(&self) -> io::Result<u32> {
        let users = self.range.users();
        let first = random(users.clone())?;
        let mut taken = lock(&self.taken);
        for user in (first..users.end).chain(users.start..first) {
            if taken.take(user)? {
                return Ok(user);
            }
        }
        Err(io::Error::other(format!(
            "all users of {} have processes: --function-uids names a larger range",
            self.range
        )))
    }
}

impl Taken {
    fn take(&mut self, user: u32) -> io::Result<bool> {
        let locks = match &self.locks {
            Some(locks) => locks,
            None => {
                let mut options = File::options();
                options.write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
                self.locks.insert(options.open(&self.path)?)
            }
        };
        if self.by_this_worker.contains(&user) || !lock_byte(locks, user, true)? {
            return Ok(false);
        }
        // What a killed worker left, or of a worker that has its files elsewhere.
        if has_processes(user) {
            return lock_byte(locks, user, false).map(|_| false);
        }
        Ok(self.by_this_worker.insert(user))
    }

    fn give_back(&mut self, user: u32) {
        self.by_this_worker.remove(&user);
        if let Some(locks) = &self.locks {
            let _ = lock_byte(locks, user, false);
        }
    }
}

/// Locks or unlocks a byte for this open file, whichever process has it. False: another one has locked it.
#[cfg(target_os = "linux")]
fn lock_byte(file: &File, byte: u32, locked: bool) -> io::Result<bool> {
    // SAFETY: all zeros are a valid value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = if locked { libc::F_WRLCK } else { libc::F_UNLCK } as _;
    range.l_whence = libc::SEEK_SET as _;
    range.l_start = byte.into();
    range.l_len = 1;
    // SAFETY: the range outlives the call, which only reads it.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        error => Err(error),
    }
}

#[cfg(not(target_os = "linux"))]
fn lock_byte(_file: &File, _byte: u32, _locked: bool) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether any process of a user is left.
fn has_processes(user: u32) -> bool {
    getpriority_user(Uid::from_raw(user)).is_ok()
}

/// The user of one process and of all that it starts.
#[derive(Debug)]
pub struct FunctionUser {
    pub identity: Identity,
    taken: Arc<Mutex<Taken>>,
}

impl FunctionUser {
    /// Whether any process of this user is left.
    pub fn has_processes(&self) -> bool {
        has_processes(self.identity.user)
    }

    /// Kills what is left, also what has moved into a session of its own. Blocks.
    pub fn kill(&self) {
        const TRIES_MAX: u32 = 10;
        let identity = self.identity;
        for _ in 0..TRIES_MAX {
            if !self.has_processes() {
                return;
            }
            let mut command = Command::new("/");
            // SAFETY: between fork and exec only system calls are made. It never comes to the exec.
            unsafe { command.pre_exec(move || become_user(identity).and_then(|()| Err(kill_all_of_user()))) };
            let _ = command.spawn();
        }
    }
}

impl Drop for FunctionUser {
    fn drop(&mut self) {
        lock(&self.taken).give_back(self.identity.user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_checked() {
        assert_eq!("60000-65535".parse(), Ok(UserRange { first: 60_000, last: 65_535 }));
        let default = UserRange::default();
        assert_eq!(default.to_string().parse(), Ok(default));
        for wrong in ["", "1", "5-4", "0-9999", "1000-1500", "1-4294967295", "a-b"] {
            assert!(wrong.parse::<UserRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn workers_of_one_machine_never_take_the_same_user() {
        let dir = tempfile::tempdir().unwrap();
        let range: UserRange = "1900000000-1900001023".parse().unwrap();
        let workers = [Users::new(range, dir.path()), Users::new(range, dir.path())];
        let mut taken = BTreeSet::new();
        while let Ok(user) = workers[taken.len() % 2].take_any() {
            assert!(taken.insert(user), "{user} was taken twice");
        }
        assert_eq!(taken.len(), range.users().len());
        let why = workers[0].take_any().unwrap_err().to_string();
        assert!(why.starts_with("all users of 1900000000-1900001023 have processes"), "{why}");
        // What one gives back, or had when it was killed, the other takes.
        let [first, second] = workers;
        let returned = *lock(&first.taken).by_this_worker.first().unwrap();
        lock(&first.taken).give_back(returned);
        assert_eq!(second.take_any().unwrap(), returned);
        drop(first);
        second.take_any().unwrap();
    }

    #[test]
    fn users_and_groups_of_archives_differ() {
        let range: UserRange = "1000-2023".parse().unwrap();
        for _ in 0..1_000 {
            assert!((1_001..1_511).contains(&random(range.users()).unwrap()));
            assert!((1_511..2_023).contains(&range.archive_group().unwrap()));
        }
        assert_eq!(range.group(), 1_000);
    }
}
