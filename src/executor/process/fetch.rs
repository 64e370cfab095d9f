//! Archives on this machine: fetched once, checked, unpacked next to their final place and renamed into it, so that a
//! folder that is there is whole, whoever else is at it.

use std::fs::{self, File};
use std::io::{self, BufReader, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::kept::{self, Kept};
use crate::archive;
use crate::error::{Code, Error};
use crate::layout::Key;
use crate::limits;
use crate::model::{AppName, Digest};
use crate::seam::executor::Fault;
use crate::seam::store::{Range, Store, StoreError};

const PAGE_BYTES: u64 = 8 * limits::MIB;

pub struct Archives {
    store: Arc<dyn Store>,
    dir: PathBuf,
    /// One at a time: the second caller finds what the first has fetched.
    fetching: Mutex<()>,
}

impl Archives {
    pub fn new(store: Arc<dyn Store>, work_dir: &Path) -> Archives {
        Archives { store, dir: work_dir.join("archives"), fetching: Mutex::new(()) }
    }

    /// The folder of an archive. It is shared by all processes of its version, over time and at once.
    pub async fn fetch(&self, app: &AppName, digest: &Digest, bytes: u64) -> Result<Kept, Fault> {
        let folder = self.dir.join(digest.as_str());
        if let Some(kept) = self.kept(&folder)? {
            return Ok(kept);
        }
        let _turn = self.fetching.lock().await;
        loop {
            if let Some(kept) = self.kept(&folder)? {
                return Ok(kept);
            }
            // Again, should another worker throw it away before it is held.
            self.bring(app, digest, bytes, &folder).await?;
        }
    }

    fn kept(&self, folder: &Path) -> Result<Option<Kept>, Fault> {
        Kept::hold(folder).map_err(|error| self.sick(&error))
    }

    /// Fetches and unpacks it, in the place of what has not been used for long.
    async fn bring(&self, app: &AppName, digest: &Digest, bytes: u64, folder: &Path) -> Result<(), Fault> {
        fs::create_dir_all(&self.dir).map_err(|error| self.sick(&error))?;
        let packed = self.download(app, digest, bytes).await?;
        let (dir, target) = (self.dir.clone(), folder.to_owned());
        let unpacked = spawn_blocking(move || {
            // Before there is a new one, which nobody holds yet.
            let _ = kept::evict(&dir, limits::ARCHIVES_KEPT_MAX - 1);
            unpack(packed, &dir, &target)
        });
        match unpacked.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.code() == Code::Invalid => {
                Err(Fault::Function(format!("cannot unpack archive {digest}: {error}")))
            }
            Ok(Err(error)) => Err(Fault::Worker(error.to_string())),
            Err(error) => Err(Fault::Worker(format!("unpacking archive {digest} was cut off: {error}"))),
        }
    }

    /// Page by page into a file without a name, so that a large archive takes no memory.
    async fn download(&self, app: &AppName, digest: &Digest, bytes: u64) -> Result<File, Fault> {
        let key = Key::Archive(app.clone(), digest.clone()).to_string();
        let mut file = tempfile::tempfile_in(&self.dir).map_err(|error| self.sick(&error))?;
        let mut hasher = Sha256::new();
        let mut offset = 0;
        while offset < bytes {
            let range = Range::Part { offset, length: PAGE_BYTES.min(bytes - offset) };
            let page = self.store.get(&key, range).await.map_err(|error| match error {
                StoreError::NotFound => Fault::Function(format!("archive not found: `{key}`; deploy again")),
                other => Fault::Worker(format!("cannot fetch archive `{key}`: {other}")),
            })?;
            if page.body.is_empty() {
                break;
            }
            file.write_all(&page.body).map_err(|error| self.sick(&error))?;
            hasher.update(&page.body);
            offset += page.body.len() as u64;
        }
        if Digest::from_bytes(hasher.finalize().into()) != *digest {
            return Err(Fault::Function(format!("archive `{key}` is not what its name says; deploy again")));
        }
        file.rewind().map_err(|error| self.sick(&error))?;
        Ok(file)
    }

    /// Whether something can be written where archives are kept.
    pub async fn probe(&self) -> Result<(), String> {
        let try_it = || {
            fs::create_dir_all(&self.dir)?;
            tempfile::tempfile_in(&self.dir)?.write_all(&[0; 4096])
        };
        try_it().map_err(|error| cannot_keep(&self.dir, &error))
    }

    fn sick(&self, error: &io::Error) -> Fault {
        Fault::Worker(cannot_keep(&self.dir, error))
    }
}

fn unpack(packed: File, dir: &Path, target: &Path) -> Result<(), Error> {
    let sick = |error: io::Error| Error::internal(cannot_keep(dir, &error));
    let unpacked = tempfile::Builder::new().prefix(".unpack-").tempdir_in(dir).map_err(sick)?;
    archive::unpack(BufReader::new(packed), unpacked.path())?;
    // On disk before it can be found: a power cut must not leave a folder of empty files under a final name.
    #[cfg(target_os = "linux")]
    File::open(unpacked.path()).and_then(|dir| Ok(rustix::fs::syncfs(dir)?)).map_err(sick)?;
    let unpacked = unpacked.keep();
    match fs::rename(&unpacked, target) {
        Ok(()) => Ok(()),
        Err(error) => {
            let _ = fs::remove_dir_all(&unpacked);
            // Another worker was first; what it has is the same.
            if target.is_dir() { Ok(()) } else { Err(sick(error)) }
        }
    }
}

fn cannot_keep(dir: &Path, error: &io::Error) -> String {
    format!("cannot keep archives in `{}`: {error}", dir.display())
}
