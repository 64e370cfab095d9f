//! Unpacked archives that are kept on this machine. One in use has a shared lock; removing one takes an exclusive lock. The
//! least recently used are removed first.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, Timespec, Timestamps, UTIME_NOW};

use crate::executor::folder_lock::FolderLock;
use crate::folder::{self, Scratch};

/// The prefix of a folder that is being removed, and that nobody uses any more.
const GOING: &str = ".going-";
/// The prefix of a folder into which a worker unpacks. The worker has a lock on it.
const UNPACKING: &str = ".unpack-";

/// The folder of an unpacked archive, which stays as long as this lives.
pub struct CachedArchive {
    pub path: PathBuf,
    _lock: FolderLock,
}

impl CachedArchive {
    /// `None` when there is no such folder.
    pub fn hold(path: &Path) -> io::Result<Option<CachedArchive>> {
        loop {
            let lock = match FolderLock::take(path, FlockOperation::LockShared) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                taken => taken?,
            };
            // It may have been renamed for removal before it was locked.
            let is_it = |there: fs::Metadata| Ok::<_, io::Error>(there.ino() == lock.metadata()?.ino());
            if fs::metadata(path).ok().map(is_it).transpose()? == Some(true) {
                let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
                rustix::fs::futimens(
                    lock.folder(),
                    &Timestamps { last_access: now, last_modification: now },
                )?;
                return Ok(Some(CachedArchive { path: path.to_owned(), _lock: lock }));
            }
        }
    }
}

/// A new folder to unpack into, which is removed when this is dropped. It is locked: other workers remove those that are
/// not, since nobody will finish them.
pub struct Unpacking {
    folder: Scratch,
    _lock: FolderLock,
}

impl Unpacking {
    pub fn new(dir: &Path) -> io::Result<Unpacking> {
        loop {
            let folder = Scratch::new(dir, UNPACKING)?;
            // Before it was locked, another worker may have begun to remove it: then make another one.
            match FolderLock::take(folder.path(), FlockOperation::NonBlockingLockExclusive) {
                Ok(lock) if lock.metadata()?.nlink() > 0 => return Ok(Unpacking { folder, _lock: lock }),
                Ok(_) => {}
                Err(error)
                    if [io::ErrorKind::WouldBlock, io::ErrorKind::NotFound].contains(&error.kind()) => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives it its final name. If another worker was first, its folder stays: it has the same content.
    pub fn finish(self, target: &Path) -> io::Result<()> {
        match fs::rename(self.path(), target) {
            Err(error) if !target.is_dir() => Err(error),
            Err(_) => Ok(()),
            Ok(()) => {
                let _ = self.folder.keep();
                Ok(())
            }
        }
    }
}

/// Removes the folders that have not been used for longest, beyond `max`, and what workers left that were killed while they
/// unpacked. Those in use stay, and what cannot be removed is left for the next time.
pub fn evict(dir: &Path, max: usize) -> io::Result<()> {
    let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(GOING) {
            let _ = folder::remove(&entry.path());
        } else if name.starts_with(UNPACKING) {
            let lock = FolderLock::take(&entry.path(), FlockOperation::NonBlockingLockExclusive);
            let _ = lock.and_then(|_lock| folder::remove(&entry.path()));
        } else if !name.starts_with('.')
            && let Ok(used) = entry.metadata().and_then(|folder| folder.modified())
        {
            kept.push((used, entry.path()));
        }
    }
    kept.sort();
    let excess = kept.len().saturating_sub(max);
    for (_, folder) in kept.into_iter().take(excess) {
        let Ok(lock) = FolderLock::take(&folder, FlockOperation::NonBlockingLockExclusive) else { continue };
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let going = dir.join(format!("{GOING}{name}"));
        let renamed = fs::rename(&folder, &going);
        // A caller that waits for the lock looks for the folder again, and need not wait for its removal.
        drop(lock);
        if renamed.is_ok() {
            let _ = folder::remove(&going);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    }

    #[test]
    fn the_least_recently_used_go_and_what_is_in_use_stays() {
        let dir = tempfile::tempdir().unwrap();
        for (age, name) in ["new", "used", "old", "older", "held"].into_iter().enumerate() {
            let folder = dir.path().join(name);
            fs::create_dir_all(folder.join("deep")).unwrap();
            let then = fs::metadata(&folder).unwrap().modified().unwrap();
            let then = then - std::time::Duration::from_secs(age as u64 * 60);
            File::open(&folder).unwrap().set_modified(then).unwrap();
        }
        fs::create_dir_all(dir.path().join(".unpack-x/of-one-that-was-killed")).unwrap();
        fs::create_dir(dir.path().join(".going-y")).unwrap();
        let unpacking = Unpacking::new(dir.path()).unwrap();
        let own = unpacking.path().file_name().unwrap().to_str().unwrap().to_owned();
        // Use makes young.
        drop(CachedArchive::hold(&dir.path().join("used")).unwrap().unwrap());
        let held = dir.path().join("held");
        let then = fs::metadata(&held).unwrap().modified().unwrap();
        let kept = CachedArchive::hold(&held).unwrap().unwrap();
        File::open(&held).unwrap().set_modified(then).unwrap();
        evict(dir.path(), 2).unwrap();
        assert_eq!(names(dir.path()), [&*own, "held", "new", "used"]);
        drop(kept);
        evict(dir.path(), 2).unwrap();
        assert_eq!(names(dir.path()), [&*own, "new", "used"]);
        unpacking.finish(&dir.path().join("done")).unwrap();
        Unpacking::new(dir.path()).unwrap().finish(&dir.path().join("new")).unwrap();
        assert_eq!(names(dir.path()), ["done", "new", "used"]);
        assert!(CachedArchive::hold(&held).unwrap().is_none());
    }
}
