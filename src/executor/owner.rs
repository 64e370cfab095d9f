//! A worker's own folder, which has the sockets and working folders of its sandboxes. It is locked while the worker lives:
//! a process that gets the lock knows that the worker is dead. Unlike a process id, a lock cannot pass to another process,
//! holds across process namespaces, and is released by a crash.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::folder_lock::FolderLock;
use crate::folder;

#[derive(Debug)]
pub struct Owner {
    dir: PathBuf,
    _lock: FolderLock,
}

/// Whether the owner of a folder is alive.
#[derive(Debug)]
pub enum Life {
    Alive,
    /// Dead. As long as this lock is held, no other worker takes the folder.
    Dead(FolderLock),
    /// There is no such folder (any more, or on this machine).
    Unknown,
}

impl Owner {
    /// Makes a folder under `root`, which is made if need be and must belong to this user. A group may pass through both.
    pub fn new(root: &Path, group: Option<u32>) -> Result<Owner, String> {
        let failed = |what: &Path, error: io::Error| format!("cannot use {}: {error}", what.display());
        let (made, advice) = match group {
            None => (folder::own(root), "XDG_RUNTIME_DIR or AFN_DATA_DIR"),
            Some(group) => (folder::own_for(root, group), "AFN_FUNCTION_DIR"),
        };
        made.map_err(|error| format!("{} ({advice} names another place)", failed(root, error)))?;
        loop {
            let dir = folder::fresh(root, "w").map_err(|error| failed(root, error))?;
            if let Some(group) = group {
                folder::let_pass(&dir, group).map_err(|error| failed(&dir, error))?;
            }
            // Before it was locked, another process may have removed it as a dead worker's: then make another one.
            match lock(&dir, FlockOperation::NonBlockingLockExclusive).map_err(|error| failed(&dir, error))? {
                Life::Dead(lock) if lock.metadata().is_ok_and(|found| found.nlink() > 0) => {
                    return Ok(Owner { dir, _lock: lock });
                }
                _ => continue,
            }
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes the folders beside this one whose workers have died, by `remove`.
    pub fn remove_dead(&self, remove: impl Fn(&Path)) {
        let siblings = self.dir.parent().map(fs::read_dir).into_iter().flatten().flatten().flatten();
        for dir in siblings.map(|entry| entry.path()).filter(|dir| dir.is_dir()) {
            if let Ok(Life::Dead(_lock)) = look(&dir) {
                remove(&dir);
            }
        }
    }
}

/// Looks whether the worker of a folder is alive. It takes a shared lock: several processes may look at once without
/// taking one another for the worker.
pub fn look(dir: &Path) -> io::Result<Life> {
    lock(dir, FlockOperation::NonBlockingLockShared)
}

fn lock(dir: &Path, how: FlockOperation) -> io::Result<Life> {
    match FolderLock::take(dir, how) {
        Ok(lock) => Ok(Life::Dead(lock)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Life::Unknown),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Life::Alive),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_lives_as_long_as_its_lock() {
        let root = tempfile::tempdir().unwrap();
        let owner = Owner::new(root.path(), None).unwrap();
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
    fn what_the_dead_left_is_removed_and_what_lives_stays() {
        let root = tempfile::tempdir().unwrap();
        let [dead, alive, own] = [(); 3].map(|()| Owner::new(root.path(), None).unwrap());
        let gone = dead.dir().to_owned();
        drop(dead);
        own.remove_dead(|dir| folder::remove(dir).unwrap());
        assert!(!gone.exists() && alive.dir().exists() && own.dir().exists());
    }
}
