//! A worker's own folder, locked for as long as the worker lives: its containers' sockets lie in it, and whoever gets
//! the lock knows that the worker is gone. Unlike a process id, a lock cannot be taken over by a stranger, holds across
//! process namespaces, and is let go by a crash.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

#[derive(Debug)]
pub(super) struct Owner {
    dir: PathBuf,
    _lock: File,
}

/// What is known of the owner of a folder.
#[derive(Debug)]
pub(super) enum Life {
    Alive,
    /// Dead; as long as this lock is held nobody makes the folder their own.
    Dead(File),
    /// There is no such folder (any more, or on this machine).
    Unknown,
}

impl Owner {
    /// Makes a folder of one's own under `root`, which is made if need be and must belong to this user.
    pub(super) fn new(root: &Path) -> Result<Owner, String> {
        let failed = |what: &Path, error: io::Error| format!("cannot use {}: {error}", what.display());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(|error| failed(root, error))?;
        let found = fs::symlink_metadata(root).map_err(|error| failed(root, error))?;
        if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
            return Err(format!("{} is not a folder of this user", root.display()));
        }
        loop {
            let dir = tempfile::Builder::new()
                .prefix("w")
                .permissions(fs::Permissions::from_mode(0o700))
                .tempdir_in(root)
                .map_err(|error| failed(root, error))?
                .keep();
            // Between making and locking, somebody may have taken it for a dead worker's: then another one is made.
            match lock(&dir, FlockOperation::NonBlockingLockExclusive).map_err(|error| failed(&dir, error))? {
                Life::Dead(lock) if lock.metadata().is_ok_and(|found| found.nlink() > 0) => {
                    return Ok(Owner { dir, _lock: lock });
                }
                _ => continue,
            }
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder that a container and its worker share: anybody in the container may write there, and only this user
    /// gets to it from outside.
    pub(super) fn shared_dir(&self, number: u32) -> io::Result<PathBuf> {
        let dir = self.dir.join(format!("c{number}"));
        fs::create_dir(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
        Ok(dir)
    }
}

/// Looks whether the worker of a folder lives. The lock that tells is shared: several may look at once, and none of them
/// takes another for the worker.
pub(super) fn look(dir: &Path) -> io::Result<Life> {
    lock(dir, FlockOperation::NonBlockingLockShared)
}

fn lock(dir: &Path, how: FlockOperation) -> io::Result<Life> {
    let file = match File::open(dir) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Life::Unknown),
        Err(error) => return Err(error),
    };
    match rustix::fs::flock(&file, how) {
        Ok(()) => Ok(Life::Dead(file)),
        Err(Errno::WOULDBLOCK) => Ok(Life::Alive),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_lives_as_long_as_its_lock() {
        let root = tempfile::tempdir().unwrap();
        let owner = Owner::new(root.path()).unwrap();
        let dir = owner.dir().to_owned();
        assert!(matches!(look(&dir).unwrap(), Life::Alive));
        drop(owner);
        let one_who_looks = look(&dir).unwrap();
        assert!(matches!(one_who_looks, Life::Dead(_)));
        assert!(matches!(look(&dir).unwrap(), Life::Dead(_)), "who looks is no worker");
        fs::remove_dir(&dir).unwrap();
        assert!(matches!(look(&dir).unwrap(), Life::Unknown));
    }

    #[test]
    fn a_shared_folder_is_open_to_all_within_a_closed_one() {
        let root = tempfile::tempdir().unwrap();
        let owner = Owner::new(root.path()).unwrap();
        let shared = owner.shared_dir(1).unwrap();
        assert_eq!(fs::metadata(&shared).unwrap().permissions().mode() & 0o7777, 0o777);
        assert_eq!(fs::metadata(owner.dir()).unwrap().permissions().mode() & 0o7777, 0o700);
    }
}
