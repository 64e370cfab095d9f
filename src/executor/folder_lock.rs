//! A lock on a folder (`flock`), which the kernel releases when its process ends.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

use rustix::fs::FlockOperation;

/// A locked folder. Dropping it unlocks the folder.
#[derive(Debug)]
pub struct FolderLock(File);

impl FolderLock {
    /// An error of kind `WouldBlock` when `how` does not wait and another lock is in the way; one of kind `NotFound` when
    /// there is no such folder.
    pub fn take(path: &Path, how: FlockOperation) -> io::Result<FolderLock> {
        let folder = File::open(path)?;
        rustix::fs::flock(&folder, how)?;
        Ok(FolderLock(folder))
    }

    /// The locked folder itself, even if it has been renamed or removed since.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    pub fn folder(&self) -> &File {
        &self.0
    }
}

impl Drop for FolderLock {
    /// Closing the file is not enough. A child that another thread has just forked holds a copy of the descriptor until its
    /// exec, and a lock lasts until the last copy is closed. Unlocking works on all copies at once.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_lock_is_free_while_a_forked_child_has_a_copy_of_its_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let take = |how| FolderLock::take(dir.path(), how);
        let lock = take(FlockOperation::LockShared).unwrap();
        // What a fork does with every descriptor.
        let _copy_of_the_child = lock.folder().try_clone().unwrap();
        let refused = take(FlockOperation::NonBlockingLockExclusive).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        take(FlockOperation::NonBlockingLockExclusive).unwrap();
    }
}
