//! A file that is written atomically: under a temporary name beside it, and renamed. An existing file is replaced only on
//! request.

use std::fs::{self, File, Permissions};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use tempfile::NamedTempFile;

use crate::error::{Code, Error, Result};

pub struct Output {
    path: PathBuf,
    force: bool,
    to: To,
}

enum To {
    Temporary(BufWriter<NamedTempFile>),
    /// A pipe or a device, which cannot be renamed.
    Stream(BufWriter<File>),
}

/// Checks before any work that the file can be written, as far as that can be known: it makes a temporary file beside it.
pub fn check(path: &Path, force: bool) -> Result<()> {
    if path.is_dir() {
        return Err(Error::conflict(format!("{} is a folder", path.display())).with_hint("name a file"));
    }
    refuse_existing(path, force)?;
    check_parent(path)?;
    if is_stream(path) {
        // Opening a pipe would wait for its reader.
        return access(path, Access::WRITE_OK).map_err(|error| cannot(path, &error.into()));
    }
    Output::create(path, force).map(drop)
}

fn refuse_existing(path: &Path, force: bool) -> Result<()> {
    if !force && !is_stream(path) && fs::symlink_metadata(path).is_ok() {
        return Err(exists(path));
    }
    Ok(())
}

pub(super) fn check_parent(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Error::conflict(format!(
            "{} cannot be written: {} is a file, not a folder",
            path.display(),
            folder.display()
        ))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Error::not_found(format!("there is no folder {}", folder.display()))
                .with_hint(format!("`mkdir -p {}` makes it", folder.display())))
        }
        Err(error) => Err(cannot(path, &error)),
    }
}

pub(super) fn exists(path: &Path) -> Error {
    Error::conflict(format!("`{}` exists already", path.display())).with_hint("`--force` writes over it")
}

/// A pipe, a terminal, `/dev/null`.
pub fn is_stream(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|there| {
        there.file_type().is_char_device() || there.file_type().is_fifo() || there.file_type().is_socket()
    })
}

impl Output {
    pub fn create(path: &Path, force: bool) -> Result<Output> {
        refuse_existing(path, force)?;
        let to = if is_stream(path) {
            let file = File::options().write(true).open(path).map_err(|error| cannot(path, &error))?;
            To::Stream(BufWriter::new(file))
        } else {
            let name = path
                .file_name()
                .ok_or_else(|| Error::invalid(format!("`{}` is not the name of a file", path.display())))?;
            // The mode of an ordinary new file, to which the umask applies.
            let temporary = tempfile::Builder::new()
                .prefix(&format!(".{}.", name.to_string_lossy()))
                .suffix(".part")
                .permissions(Permissions::from_mode(0o666))
                .tempfile_in(folder_of(path))
                .map_err(|error| cannot(path, &error))?;
            To::Temporary(BufWriter::new(temporary))
        };
        Ok(Output { path: path.to_owned(), force, to })
    }

    pub fn writer(&mut self) -> &mut (dyn Write + Send) {
        match &mut self.to {
            To::Temporary(file) => file,
            To::Stream(file) => file,
        }
    }

    /// Gives the file its name. Dropped without, it is gone.
    pub fn commit(self) -> Result<()> {
        let cannot = |error: std::io::Error| cannot(&self.path, &error);
        match self.to {
            To::Stream(mut file) => file.flush().map_err(cannot),
            To::Temporary(file) => {
                let file = file.into_inner().map_err(|error| cannot(error.into_error()))?;
                file.as_file().sync_all().map_err(cannot)?;
                let named = match self.force {
                    true => file.persist(&self.path),
                    false => file.persist_noclobber(&self.path),
                };
                match named {
                    Ok(_) => Ok(()),
                    Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Err(exists(&self.path)),
                    Err(error) => Err(cannot(error.error)),
                }
            }
        }
    }
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn cannot(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Code::Invalid, format!("cannot write `{}`: {error}", path.display()))
}
