//! A file for each result, with the name of its payload (`Afn-Name`: a file's path, an object's key), else with its number.
//! Names come from the source and are not trusted: none leads out of the folder. `failures.jsonl` has the calls without a
//! result.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Component, Path, PathBuf};

use tempfile::TempDir;

use super::super::rows::ResultRow;
use super::file::{cannot, check_parent, exists, folder_of};
use super::jsonl::{Body, JsonLines};
use super::{RowWriter, answer};
use crate::error::{Error, Result};
use crate::layout::chunk::Record;

const FAILURES: &str = "failures.jsonl";
const NAME_BYTES_MAX: usize = 255;
const NUMBER_DIGITS: usize = 10;

pub struct Folder {
    path: PathBuf,
    force: bool,
    temporary: TempDir,
    names: BTreeSet<PathBuf>,
    failures: Option<JsonLines<BufWriter<File>>>,
}

/// Checks before any work that the folder can be written, as [`file::check`](super::file::check) does for a file.
pub(super) fn check(path: &Path, force: bool) -> Result<()> {
    let used = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    if used && !force {
        return Err(Error::conflict(format!("the folder {} is not empty", path.display()))
            .with_hint("`--force` replaces it, with all that is in it"));
    }
    check_parent(path)?;
    Folder::create(path, force).map(drop)
}

impl Folder {
    /// An empty folder may be there already.
    pub fn create(path: &Path, force: bool) -> Result<Folder> {
        let plain: PathBuf = path.components().collect();
        if !force && fs::symlink_metadata(&plain).is_ok() && !is_empty_folder(&plain) {
            return Err(exists(&plain));
        }
        let name = plain.file_name().ok_or_else(|| {
            Error::invalid(format!("`{}` is not the name of a folder", path.display()))
                .with_hint("name one that is made for the results")
        })?;
        let temporary = tempfile::Builder::new()
            .prefix(&format!(".{}.", name.to_string_lossy()))
            .suffix(".part")
            .tempdir_in(folder_of(&plain))
            .map_err(|error| cannot(path, &error))?;
        let names = BTreeSet::from([PathBuf::from(FAILURES)]);
        Ok(Folder { path: plain, force, temporary, names, failures: None })
    }

    /// Gives the folder its name. Dropped without, it is gone.
    pub fn commit(self) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let Folder { path, force, temporary, .. } = self;
        let failed = |error: std::io::Error| cannot(&path, &error);
        // A temporary folder is private. The result gets the mode of an ordinary new folder, to which the umask applies.
        let as_made = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o777))
            .tempdir_in(temporary.path())
            .map_err(failed)?;
        let mode = fs::metadata(as_made.path()).map_err(failed)?.permissions();
        as_made.close().map_err(failed)?;
        fs::set_permissions(temporary.path(), mode).map_err(failed)?;
        let before = match fs::symlink_metadata(&path) {
            Ok(_) if force && !is_empty_folder(&path) => {
                let aside =
                    tempfile::Builder::new().prefix(".afn-").tempdir_in(folder_of(&path)).map_err(failed)?;
                fs::rename(&path, aside.path().join("before")).map_err(failed)?;
                Some(aside)
            }
            _ => None,
        };
        fs::rename(temporary.path(), &path).map_err(failed)?;
        let _ = temporary.keep();
        match before {
            Some(before) => before.close().map_err(failed),
            None => Ok(()),
        }
    }

    /// A name that no other result has.
    fn name(&mut self, row: &ResultRow, body: &[u8]) -> PathBuf {
        let name = row.input.as_ref().and_then(Record::name);
        let wanted = name.and_then(|name| safe(&name)).filter(|name| self.is_free(name));
        if let Some(name) = wanted {
            self.names.insert(name.clone());
            return name;
        }
        let suffix = match Body::of(body) {
            Body::Json(_) => "json",
            Body::Text(_) => "txt",
            Body::Binary(_) => "bin",
        };
        PathBuf::from(format!("{:0width$}.{suffix}", row.number, width = NUMBER_DIGITS))
    }

    /// Neither a file, nor a folder of others, nor in what is a file.
    fn is_free(&self, name: &Path) -> bool {
        let in_a_file = name.ancestors().any(|folder| self.names.contains(folder));
        let is_a_folder =
            self.names.range(name.to_owned()..).next().is_some_and(|next| next.starts_with(name));
        !in_a_file && !is_a_folder
    }
}

/// A path below the folder that no number is in the way of, or `None`.
fn safe(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    let plain = path.components().all(|component| match component {
        Component::Normal(part) => part.len() <= NAME_BYTES_MAX,
        Component::CurDir | Component::ParentDir | Component::RootDir | Component::Prefix(_) => false,
    });
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    let is_a_number = digits >= NUMBER_DIGITS && name[digits..].starts_with('.');
    let path: PathBuf = path.components().collect();
    let is_safe = plain && !is_a_number && !name.contains('\0') && !name.ends_with('/');
    (is_safe && path.file_name().is_some()).then_some(path)
}

fn is_empty_folder(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

impl RowWriter for Folder {
    fn writes_inputs(&self) -> bool {
        false
    }

    fn row(&mut self, row: &ResultRow) -> Result<()> {
        let root = self.temporary.path().to_owned();
        let Some(body) = answer(row) else {
            let path = root.join(FAILURES);
            let failures = match &mut self.failures {
                Some(failures) => failures,
                failures => {
                    let file = File::create(&path).map_err(|error| cannot(&path, &error))?;
                    failures.insert(JsonLines::new(BufWriter::new(file), false))
                }
            };
            return failures.row(&ResultRow { input: None, ..row.clone() });
        };
        let name = self.name(row, body);
        let path = root.join(&name);
        let write = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&path, body)
        };
        write().map_err(|error| cannot(&self.path.join(&name), &error))
    }

    fn finish(&mut self) -> Result<()> {
        self.failures.as_mut().map_or(Ok(()), JsonLines::finish)
    }
}
