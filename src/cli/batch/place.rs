//! Where results and other files go; what is there already is written over only on demand.

use std::path::{Path, PathBuf};

use crate::cli::args::Output;
use crate::error::{Error, Result};
use crate::results::export::{Format, file};

/// A place for results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Stdout,
    File(PathBuf),
}

impl Place {
    /// `None`: a format was named, or nothing.
    pub fn of(output: Option<&Output>) -> Result<Option<Place>> {
        match output {
            None | Some(Output::Text | Output::Json) => Ok(None),
            Some(Output::File(path)) if path.as_os_str() == "-" => Ok(Some(Place::Stdout)),
            Some(Output::File(path)) => Ok(Some(Place::File(absolute(path)?))),
        }
    }

    pub fn into_path(self) -> Option<PathBuf> {
        match self {
            Place::Stdout => None,
            Place::File(path) => Some(path),
        }
    }

    /// To be asked before any work is done for it.
    pub fn check(&self, force: bool) -> Result<()> {
        let Place::File(path) = self else { return Ok(()) };
        match Format::of(path)? {
            Format::Folder => check_folder(path, force),
            Format::JsonLines | Format::Csv | Format::Parquet => check(path, force),
        }
    }
}

/// Whatever is remembered of a path is read from another folder later. A slash at its end says that it is a folder.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Error::invalid(format!("cannot tell where {} is: {error}", path.display())))
}

/// Whether a file can be written here without harm.
pub fn check(path: &Path, force: bool) -> Result<()> {
    if path.is_dir() {
        return Err(Error::conflict(format!("{} is a folder", path.display())));
    }
    file::check(path, force)?;
    check_parent(path)
}

fn check_folder(path: &Path, force: bool) -> Result<()> {
    let used = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    if used && !force {
        return Err(Error::conflict(format!("the folder {} is not empty", path.display()))
            .hint("`--force` replaces it, with all that is in it"));
    }
    check_parent(path)
}

fn check_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if !parent.is_dir() => {
            Err(Error::not_found(format!("there is no folder {}", parent.display())))
        }
        _ => Ok(()),
    }
}

/// As short as a person would write it.
pub fn shown(path: &Path) -> String {
    let folder = std::env::current_dir().ok();
    let short = folder.as_deref().and_then(|folder| path.strip_prefix(folder).ok());
    short.filter(|short| !short.as_os_str().is_empty()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exists_is_refused_unless_it_is_to_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| Place::File(dir.path().join(name));
        place("x.csv").check(false).unwrap();
        std::fs::write(dir.path().join("x.csv"), "").unwrap();
        assert!(place("x.csv").check(false).is_err());
        place("x.csv").check(true).unwrap();
        assert!(place("").check(false).is_err(), "a folder that is not empty");
        assert!(place("missing/x.csv").check(false).is_err());
        assert!(place("x.what").check(false).is_err());
        place("new/").check(false).unwrap();
        assert!(check(dir.path(), true).is_err(), "a joblog is no folder");
    }
}
