//! Packing a function's folder. The same tree gives the same bytes, on any machine: entries are in order, owners and
//! times are zero, and of the modes only whether a file can be executed is kept (as git does, so that a checkout under
//! another umask is the same function).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bytes::Bytes;
use flate2::{Compression, GzBuilder, write::GzEncoder};
use tar::{Builder, EntryType, Header};

use super::ignore::{self, Found, FoundKind, Ignore};
use crate::archive::stays_inside;
use crate::error::{Error, Result};
use crate::limits;

/// What is not to be packed, in the syntax of `.dockerignore`. Where there is none, `.dockerignore` itself says it;
/// this one is for folders whose image build makes anew what the packed folder needs (`node_modules`).
pub const IGNORE_FILE: &str = ".afnignore";

/// Never part of a function.
const NEVER: &str = ".git";

/// Packs a folder. Blocks.
pub fn pack(dir: &Path) -> Result<Bytes> {
    let found = contents(dir)?;
    check_size(dir, &found)?;
    let gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    let mut tar = Builder::new(gzip);
    for Found { path, kind } in &found {
        append(&mut tar, dir, path, *kind)?;
        if tar.get_ref().get_ref().len() as u64 > limits::ARCHIVE_BYTES_MAX {
            return Err(too_large(dir, &found, limits::ARCHIVE_BYTES_MAX, "packed"));
        }
    }
    let packed = tar.into_inner().and_then(GzEncoder::finish);
    let packed =
        packed.map_err(|error| Error::internal(format!("cannot pack {}: {error}", dir.display())))?;
    if packed.len() as u64 > limits::ARCHIVE_BYTES_MAX {
        return Err(too_large(dir, &found, limits::ARCHIVE_BYTES_MAX, "packed"));
    }
    Ok(packed.into())
}

/// What would be packed, in order.
pub fn contents(dir: &Path) -> Result<Vec<Found>> {
    let own = dir.join(IGNORE_FILE);
    let rules = match fs::read_to_string(&own) {
        Ok(text) => Ignore::parse(&text).map_err(|error| error.context(own.display()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ignore::load(dir)?,
        Err(error) => return Err(unreadable(&own, error)),
    };
    let mut found = rules.walk(dir)?;
    found.retain(|found| {
        let top = found.path.split('/').next().unwrap_or_default();
        ![NEVER, IGNORE_FILE, ignore::FILE].contains(&top)
    });
    Ok(found)
}

fn append(tar: &mut Builder<GzEncoder<Vec<u8>>>, dir: &Path, path: &str, kind: FoundKind) -> Result<()> {
    let full = dir.join(path);
    let unreadable = |error| unreadable(&full, error);
    let mut header = Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    match kind {
        FoundKind::Folder => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            tar.append_data(&mut header, path, io::empty()).map_err(unreadable)
        }
        FoundKind::Link => {
            let to = fs::read_link(&full).map_err(unreadable)?;
            if !stays_inside(Path::new(path), &to) {
                return Err(Error::invalid(format!(
                    "`{}` is a link that leads out of the folder: {}",
                    full.display(),
                    to.display()
                ))
                .hint(format!(
                    "a worker has the folder alone: put a copy there, or name `{path}` in {IGNORE_FILE}"
                )));
            }
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            tar.append_link(&mut header, path, to).map_err(unreadable)
        }
        FoundKind::File => {
            let file = File::open(&full).map_err(unreadable)?;
            let about = file.metadata().map_err(unreadable)?;
            header.set_entry_type(EntryType::Regular);
            header.set_mode(if about.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 });
            header.set_size(about.len());
            // A file that grows or shrinks meanwhile must not shift what comes behind it.
            let mut body = Exactly { file, left: about.len() };
            tar.append_data(&mut header, path, &mut body).map_err(unreadable)
        }
    }
}

/// As many bytes as were promised, or an error.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        match self.file.read(&mut buffer[..most])? {
            0 => Err(io::Error::other("it became shorter while it was packed")),
            bytes => {
                self.left -= bytes as u64;
                Ok(bytes)
            }
        }
    }
}

fn check_size(dir: &Path, found: &[Found]) -> Result<()> {
    if found.len() > limits::ARCHIVE_ENTRIES_MAX {
        return Err(Error::invalid(format!(
            "{} has {} files and folders, the most that can be packed is {}",
            dir.display(),
            found.len(),
            limits::ARCHIVE_ENTRIES_MAX
        ))
        .hint(format!("name what the function does not need in {IGNORE_FILE}")));
    }
    if let Some(long) = found.iter().find(|found| found.path.len() > limits::ARCHIVE_PATH_BYTES_MAX) {
        return Err(Error::invalid(format!("the path `{}` is too long to be packed", long.path)));
    }
    let bytes: u64 = found.iter().map(|found| size(dir, found)).sum();
    if bytes > limits::ARCHIVE_UNPACKED_BYTES_MAX {
        return Err(too_large(dir, found, limits::ARCHIVE_UNPACKED_BYTES_MAX, "as it lies"));
    }
    Ok(())
}

fn size(dir: &Path, found: &Found) -> u64 {
    match found.kind {
        FoundKind::File => fs::metadata(dir.join(&found.path)).map_or(0, |about| about.len()),
        FoundKind::Folder | FoundKind::Link => 0,
    }
}

/// Names the files that weigh most, and the top folders, since it is mostly one folder that was not meant.
fn too_large(dir: &Path, found: &[Found], most: u64, how: &str) -> Error {
    let mut weights: BTreeMap<String, u64> = BTreeMap::new();
    for found in found {
        let size = size(dir, found);
        *weights.entry(found.path.clone()).or_default() += size;
        if let Some((top, _)) = found.path.split_once('/') {
            *weights.entry(format!("{top}/")).or_default() += size;
        }
    }
    let mut heaviest: Vec<(String, u64)> = weights.into_iter().collect();
    heaviest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let named: Vec<String> = heaviest
        .iter()
        .take(3)
        .map(|(path, bytes)| format!("{path} ({} MiB)", bytes.div_ceil(limits::MIB)))
        .collect();
    Error::invalid(format!(
        "{} is too large for an archive: over {} MiB {how}; most of it is {}",
        dir.display(),
        most / limits::MIB,
        named.join(", ")
    ))
    .hint(format!("name what the function does not need in {IGNORE_FILE}, or deploy it as an image"))
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::invalid(format!("cannot pack {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::archive::unpack;

    fn write(dir: &Path, path: &str, body: impl AsRef<[u8]>, mode: u32) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, body).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Path → what it is, for a whole tree.
    fn tree(dir: &Path) -> BTreeMap<String, String> {
        let found = Ignore::default().walk(dir).unwrap();
        let describe = |found: &Found| {
            let path = dir.join(&found.path);
            match found.kind {
                FoundKind::Folder => "folder".to_owned(),
                FoundKind::Link => format!("link to {}", fs::read_link(path).unwrap().display()),
                FoundKind::File => {
                    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
                    format!("{mode:o} {:?}", fs::read(path).unwrap())
                }
            }
        };
        found.iter().map(|found| (found.path.clone(), describe(found))).collect()
    }

    #[test]
    fn what_is_packed_unpacks_to_the_same_tree() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "func.yaml", "name: f\n", 0o644);
        write(dir.path(), "func.sh", "#!/bin/sh\ncat\n", 0o755);
        write(dir.path(), "data/empty", "", 0o644);
        write(dir.path(), "data/ünïcode", [0, 255, 10], 0o644);
        let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
        write(dir.path(), &long, "long", 0o644);
        fs::create_dir(dir.path().join("nothing")).unwrap();
        symlink("../func.sh", dir.path().join("data/link")).unwrap();
        symlink(&long, dir.path().join("longlink")).unwrap();
        let packed = pack(dir.path()).unwrap();
        let out = tempfile::tempdir().unwrap();
        unpack(&packed[..], out.path()).unwrap();
        assert_eq!(tree(out.path()), tree(dir.path()));
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes() {
        let [one, two] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for path in ["b", "a/c", "a/b"] {
            write(one.path(), path, path, 0o600);
        }
        for path in ["a/b", "a/c", "b"] {
            write(two.path(), path, path, 0o664);
        }
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
        File::options().write(true).open(two.path().join("b")).unwrap().set_modified(old).unwrap();
        assert_eq!(pack(one.path()).unwrap(), pack(two.path()).unwrap());
        write(two.path(), "b", "b", 0o755);
        assert_ne!(pack(one.path()).unwrap(), pack(two.path()).unwrap());
    }

    #[test]
    fn what_is_ignored_stays_at_home() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["func.yaml", ".git/HEAD", "node_modules/a.js", "secret.key", "a/.git"] {
            write(dir.path(), path, path, 0o644);
        }
        write(dir.path(), ".dockerignore", "node_modules\n*.key\n", 0o644);
        let paths =
            |dir| -> Vec<String> { contents(dir).unwrap().into_iter().map(|found| found.path).collect() };
        assert_eq!(paths(dir.path()), ["a", "a/.git", "func.yaml"]);
        write(dir.path(), ".afnignore", "*.key\n", 0o644);
        assert_eq!(paths(dir.path()), ["a", "a/.git", "func.yaml", "node_modules", "node_modules/a.js"]);
    }

    #[test]
    fn a_link_out_of_the_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/usr/bin/python3", dir.path().join("python")).unwrap();
        let error = pack(dir.path()).unwrap_err();
        assert!(
            error.message().ends_with("is a link that leads out of the folder: /usr/bin/python3"),
            "{error}"
        );
        assert!(error.hint_text().unwrap().contains("name `python` in .afnignore"));
    }

    #[test]
    fn what_is_too_large_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "small", "x", 0o644);
        write(dir.path(), "target/huge", "", 0o644);
        // Sparse: takes no room on the disk.
        let huge = File::options().write(true).open(dir.path().join("target/huge")).unwrap();
        huge.set_len(limits::ARCHIVE_UNPACKED_BYTES_MAX).unwrap();
        let error = pack(dir.path()).unwrap_err();
        let named = "over 2048 MiB as it lies; most of it is target/ (2048 MiB), target/huge (2048 MiB), small (1 MiB)";
        assert!(error.message().ends_with(named), "{error}");
    }
}
