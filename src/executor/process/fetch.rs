//! Archives on this machine: downloaded once, checked, unpacked beside their final place and renamed into it. So a folder
//! under its final name is complete, even when several workers unpack it at once.

use std::fs::File;
use std::io::{self, BufReader, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::cached_archive::{CachedArchive, Unpacking, evict};
use super::user::UserRange;
use crate::archive;
use crate::error::{Code, Error};
use crate::folder;
use crate::layout::Key;
use crate::limits;
use crate::model::{AppName, Digest};
use crate::seam::executor::Fault;
use crate::seam::store::{ByteRange, Store, StoreError};

const PAGE_BYTES: u64 = 8 * limits::MIB;

pub struct Archives {
    store: Arc<dyn Store>,
    dir: PathBuf,
    /// Of the processes that read them, where they are not this user's.
    users: Option<UserRange>,
    /// One at a time: the second caller finds what the first has fetched.
    fetching: Mutex<()>,
}

impl Archives {
    pub fn new(store: Arc<dyn Store>, work_dir: &Path, users: Option<UserRange>) -> Archives {
        Archives { store, dir: work_dir.join("archives"), users, fetching: Mutex::new(()) }
    }

    /// The folder of an archive. It is shared by all processes of its version, over time and at once, but not by apps: who
    /// knows a digest has not yet the right to run what another app deployed.
    pub async fn fetch(&self, app: &AppName, digest: &Digest, bytes: u64) -> Result<CachedArchive, Fault> {
        let folder = self.dir.join(format!("{digest}.{app}"));
        if let Some(cached) = self.cached(&folder)? {
            return Ok(cached);
        }
        let _turn = self.fetching.lock().await;
        loop {
            if let Some(cached) = self.cached(&folder)? {
                return Ok(cached);
            }
            // Again, in case another worker removes it before it is locked.
            self.download_and_unpack(app, digest, bytes, &folder).await?;
        }
    }

    fn cached(&self, folder: &Path) -> Result<Option<CachedArchive>, Fault> {
        CachedArchive::hold(folder).map_err(|error| self.cannot_keep(&error))
    }

    /// Removes archives that have not been used for long, to make room.
    async fn download_and_unpack(
        &self,
        app: &AppName,
        digest: &Digest,
        bytes: u64,
        folder: &Path,
    ) -> Result<(), Fault> {
        self.own().map_err(|error| self.cannot_keep(&error))?;
        let packed = self.download(app, digest, bytes).await?;
        let (dir, target, users) = (self.dir.clone(), folder.to_owned(), self.users);
        let unpacked = spawn_blocking(move || {
            // Before there is a new one, which nobody has locked yet.
            let _ = evict(&dir, limits::ARCHIVES_KEPT_MAX - 1);
            unpack(packed, &dir, &target, users)
        });
        match unpacked.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.code() == Code::Invalid => {
                Err(Fault::Function(format!("cannot unpack archive {digest}: {error}")))
            }
            Ok(Err(error)) => Err(Fault::Worker(error.to_string())),
            Err(error) if error.is_panic() => {
                Err(Fault::Function(format!("cannot unpack archive {digest}: {error}")))
            }
            Err(error) => Err(Fault::Worker(format!("unpacking archive {digest} was cut off: {error}"))),
        }
    }

    /// Page by page into a file without a name, so that a large archive takes no memory.
    async fn download(&self, app: &AppName, digest: &Digest, bytes: u64) -> Result<File, Fault> {
        let key = Key::Archive(app.clone(), digest.clone());
        let mut file = tempfile::tempfile_in(&self.dir).map_err(|error| self.cannot_keep(&error))?;
        let mut hasher = Sha256::new();
        let mut offset = 0;
        let wrong = |why: &str| Fault::Function(format!("archive `{key}` {why}; deploy again"));
        if bytes > limits::ARCHIVE_BYTES_MAX {
            let limit = limits::ARCHIVE_BYTES_MAX / limits::MIB;
            return Err(wrong(&format!("is said to have {bytes} bytes, the most is {limit} MiB")));
        }
        while offset < bytes {
            let length = PAGE_BYTES.min(bytes - offset);
            let range = ByteRange::Part { offset, length };
            let page = self.store.get(&key, range).await.map_err(|error| match error {
                StoreError::NotFound => Fault::Function(format!("archive not found: `{key}`; deploy again")),
                other => Fault::Worker(format!("cannot fetch archive `{key}`: {other}")),
            })?;
            if page.body.is_empty() {
                break;
            }
            if page.body.len() as u64 > length {
                return Err(wrong("is longer than was asked for"));
            }
            file.write_all(&page.body).map_err(|error| self.cannot_keep(&error))?;
            hasher.update(&page.body);
            offset += page.body.len() as u64;
        }
        if Digest::from_bytes(hasher.finalize().into()) != *digest {
            return Err(wrong("is not what its name says"));
        }
        file.rewind().map_err(|error| self.cannot_keep(&error))?;
        Ok(file)
    }

    /// Whether something can be written where archives are kept.
    pub async fn probe(&self) -> Result<(), String> {
        self.own().map_err(|error| cannot_keep(&self.dir, &error))?;
        let dir = self.dir.clone();
        let tried = spawn_blocking(move || {
            // What a killed worker left may be what fills the disk.
            let _ = evict(&dir, limits::ARCHIVES_KEPT_MAX);
            tempfile::tempfile_in(&dir)?.write_all(&[0; 4096])
        });
        let tried = tried.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        tried.map_err(|error| cannot_keep(&self.dir, &error))
    }

    fn own(&self) -> io::Result<()> {
        match self.users {
            None => folder::own(&self.dir),
            Some(users) => folder::own_for(&self.dir, users.group()),
        }
    }

    fn cannot_keep(&self, error: &io::Error) -> Fault {
        Fault::Worker(cannot_keep(&self.dir, error))
    }
}

fn unpack(packed: File, dir: &Path, target: &Path, users: Option<UserRange>) -> Result<(), Error> {
    let failed = |error: io::Error| Error::internal(cannot_keep(dir, &error));
    let unpacked = Unpacking::new(dir).map_err(failed)?;
    archive::unpack(BufReader::new(packed), unpacked.path())?;
    if let Some(users) = users {
        users.archive_group().and_then(|group| folder::let_read(unpacked.path(), group)).map_err(failed)?;
    }
    // On disk before it can be found: a power cut must not leave a folder of empty files under a final name.
    #[cfg(target_os = "linux")]
    File::open(unpacked.path()).and_then(|dir| Ok(rustix::fs::syncfs(dir)?)).map_err(failed)?;
    unpacked.finish(target).map_err(failed)
}

fn cannot_keep(dir: &Path, error: &io::Error) -> String {
    format!("cannot keep archives in `{}`: {error}", dir.display())
}
