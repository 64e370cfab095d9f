//! The folders of one process: a working folder, one for temporary files, and, when it listens, one for its socket. They
//! belong to the call in the `default` format, and to the sandbox, which runs many calls, in `http-stream`.
//!
//! The working folder has one link for each top entry of the function's code: nothing is copied, relative paths lead to
//! the code, and what the function writes beside it is private. The code itself is read-only. A process that has a user of
//! its own owns its folders.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::cached_archive::CachedArchive;
use super::user::{FunctionUser, Identity};
use crate::folder;

/// Removed with what the process has left in it.
pub struct Folder {
    pub work: PathBuf,
    pub tmp: PathBuf,
    pub socket: Option<PathBuf>,
    /// Stays as long as the process runs.
    pub code: CachedArchive,
    user: Option<FunctionUser>,
}

impl Folder {
    /// `calls` and `sockets` are folders of this worker's; `number` is used once.
    pub fn make(
        calls: &Path,
        sockets: Option<&Path>,
        number: u64,
        code: CachedArchive,
        user: Option<FunctionUser>,
    ) -> io::Result<Folder> {
        // From here on a failure removes what exists already.
        let folder = Folder {
            work: calls.join(number.to_string()),
            tmp: calls.join(format!("{number}.tmp")),
            socket: sockets.map(|sockets| sockets.join(number.to_string())),
            code,
            user,
        };
        for dir in [Some(&folder.work), Some(&folder.tmp), folder.socket.as_ref()].into_iter().flatten() {
            match folder.identity() {
                None => folder::make(dir)?,
                Some(identity) => folder::make_for(dir, identity.user)?,
            }
        }
        for entry in fs::read_dir(&folder.code.path)? {
            let entry = entry?;
            symlink(entry.path(), folder.work.join(entry.file_name()))?;
        }
        Ok(folder)
    }

    /// Who the process is, if it is not this worker's user.
    pub fn identity(&self) -> Option<Identity> {
        self.user.as_ref().map(|user| user.identity)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A small one is removed at once; a function may leave so much, or still run, that a thread of the runtime must not
        // wait for it.
        let mut left = vec![self.tmp.clone(), self.work.clone()];
        left.extend(self.socket.take());
        let user = self.user.take_if(|user| user.has_processes());
        if user.is_none() {
            left.retain(|dir| !remove_small(dir));
        }
        if left.is_empty() {
            return;
        }
        let remove = move || {
            user.iter().for_each(FunctionUser::kill);
            left.iter().for_each(|dir| drop(folder::remove(dir)));
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// Removes a folder that has only a few links and files. False: it still exists.
fn remove_small(dir: &Path) -> bool {
    const ENTRIES_MAX: usize = 64;
    if fs::remove_dir(dir).is_ok() {
        return true;
    }
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().take(ENTRIES_MAX);
    entries.for_each(|entry| drop(fs::remove_file(entry.path())));
    match fs::remove_dir(dir) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
