//! Packs a function's folder. The same tree gives the same bytes on any machine: entries are sorted, owners and times are
//! zero, and of the modes only the right to execute is kept (as git does, so that a checkout under another umask is the
//! same function).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bytes::Bytes;
use flate2::{Compression, GzBuilder, write::GzEncoder};
use tar::{Builder, EntryType, Header};

use super::ignore::{self, Contents, Entry, EntryKind, Ignore};
use crate::archive::{Tree, stays_inside};
use crate::error::{Error, Result};
use crate::limits;

/// Names what is not packed, in the syntax of `.dockerignore`, which is read when this file is missing. It is for folders
/// whose image build makes again what the packed folder needs (`node_modules`).
pub const IGNORE_FILE: &str = ".afnignore";

/// Packs a folder. Blocks.
pub fn pack(dir: &Path) -> Result<Bytes> {
    pack_entries(dir, &contents(dir, &[])?.entries)
}

/// Packs the entries that [`contents`] has found. Blocks.
pub fn pack_entries(dir: &Path, entries: &[Entry]) -> Result<Bytes> {
    check_size(dir, entries)?;
    let gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    let mut tar = Builder::new(gzip);
    for entry in entries {
        let path = dir.join(&entry.path);
        let header = header(&path, entry)?;
        append(&mut tar, dir, entry, header).map_err(cannot_pack(&path))?;
        check_packed_size(dir, entries, tar.get_ref().get_ref())?;
    }
    let packed = tar.into_inner().and_then(GzEncoder::finish);
    let packed =
        packed.map_err(|error| Error::internal(format!("cannot pack {}: {error}", dir.display())))?;
    check_packed_size(dir, entries, &packed)?;
    Ok(packed.into())
}

/// What would be packed, in order; `built` are paths that the function's build has made.
pub fn contents(dir: &Path, built: &[String]) -> Result<Contents> {
    let rules = match Ignore::load_file(&dir.join(IGNORE_FILE))? {
        Some(rules) => rules,
        None => Ignore::load(dir)?,
    };
    let mut contents = rules.with_built(built).walk(dir)?;
    contents.entries.retain(|entry| ![IGNORE_FILE, ignore::FILE].contains(&entry.path.as_str()));
    Ok(contents)
}

fn header(full: &Path, Entry { path, kind }: &Entry) -> Result<Header> {
    let mode = match kind {
        EntryKind::Folder => 0o755,
        EntryKind::Link => {
            let to = fs::read_link(full).map_err(cannot_pack(full))?;
            if !stays_inside(Path::new(path), &to) {
                return Err(Error::invalid(format!(
                    "`{}` is a link that leads out of the folder: {}",
                    full.display(),
                    to.display()
                ))
                .with_hint(format!(
                    "a worker has the folder alone: put a copy there, or name `{path}` in {IGNORE_FILE}"
                )));
            }
            0o777
        }
        EntryKind::File => {
            let mode = fs::metadata(full).map_err(cannot_pack(full))?.permissions().mode();
            if mode & 0o100 != 0 { 0o755 } else { 0o644 }
        }
    };
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    Ok(header)
}

/// Appends an entry of a folder to a tar. `header` has its mode, owner and time.
pub fn append(
    tar: &mut Builder<impl io::Write>,
    dir: &Path,
    Entry { path, kind }: &Entry,
    mut header: Header,
) -> io::Result<()> {
    let full = dir.join(path);
    header.set_size(0);
    match kind {
        EntryKind::Folder => {
            header.set_entry_type(EntryType::Directory);
            tar.append_data(&mut header, path, io::empty())
        }
        EntryKind::Link => {
            header.set_entry_type(EntryType::Symlink);
            tar.append_link(&mut header, path, fs::read_link(&full)?)
        }
        EntryKind::File => {
            let file = File::open(&full)?;
            let bytes = file.metadata()?.len();
            header.set_entry_type(EntryType::Regular);
            header.set_size(bytes);
            // A file that grows or shrinks meanwhile must not shift the entries after it.
            tar.append_data(&mut header, path, &mut Exactly { file, left: bytes })
        }
    }
}

/// A file that gives as many bytes as its header announces, or an error.
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

fn check_size(dir: &Path, entries: &[Entry]) -> Result<()> {
    let mut tree = Tree::default();
    for entry in entries {
        tree.add(Path::new(&entry.path)).map_err(|excess| {
            Error::invalid(format!("{} cannot be packed: it has {excess}", dir.display()))
                .with_hint(format!("name what the function does not need in {IGNORE_FILE}"))
        })?;
    }
    let bytes: u64 = entries.iter().map(|entry| entry.bytes(dir)).sum();
    match bytes > limits::ARCHIVE_UNPACKED_BYTES_MAX {
        true => Err(too_large(dir, entries, limits::ARCHIVE_UNPACKED_BYTES_MAX, "unpacked")),
        false => Ok(()),
    }
}

fn check_packed_size(dir: &Path, entries: &[Entry], packed: &[u8]) -> Result<()> {
    match packed.len() as u64 > limits::ARCHIVE_BYTES_MAX {
        true => Err(too_large(dir, entries, limits::ARCHIVE_BYTES_MAX, "packed")),
        false => Ok(()),
    }
}

/// Names the largest files and top folders: mostly it is one folder that was packed by mistake.
fn too_large(dir: &Path, entries: &[Entry], most: u64, how: &str) -> Error {
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for entry in entries {
        let bytes = entry.bytes(dir);
        *sizes.entry(entry.path.clone()).or_default() += bytes;
        if let Some((top, _)) = entry.path.split_once('/') {
            *sizes.entry(format!("{top}/")).or_default() += bytes;
        }
    }
    let mut largest: Vec<(String, u64)> = sizes.into_iter().collect();
    largest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let named: Vec<String> = largest
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
    .with_hint(format!("name what the function does not need in {IGNORE_FILE}, or deploy it as an image"))
}

fn cannot_pack(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::invalid(format!("cannot pack {}: {error}", path.display()))
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
        let entries = Ignore::default().walk(dir).unwrap().entries;
        let describe = |entry: &Entry| {
            let path = dir.join(&entry.path);
            match entry.kind {
                EntryKind::Folder => "folder".to_owned(),
                EntryKind::Link => format!("link to {}", fs::read_link(path).unwrap().display()),
                EntryKind::File => {
                    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
                    format!("{} {:?}", mode & 0o100 != 0, fs::read(path).unwrap())
                }
            }
        };
        entries.iter().map(|entry| (entry.path.clone(), describe(entry))).collect()
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
        for path in ["func.yaml", ".git/HEAD", "node_modules/a.js", "secret.txt", "a/.gitkeep", ".env"] {
            write(dir.path(), path, path, 0o644);
        }
        write(dir.path(), ".dockerignore", "node_modules\n*.txt\n", 0o644);
        let paths = |dir| -> Vec<String> {
            contents(dir, &[]).unwrap().entries.into_iter().map(|entry| entry.path).collect()
        };
        assert_eq!(paths(dir.path()), ["a", "a/.gitkeep", "func.yaml"]);
        write(dir.path(), ".afnignore", "*.txt\n!.env\n", 0o644);
        assert_eq!(
            paths(dir.path()),
            [".env", "a", "a/.gitkeep", "func.yaml", "node_modules", "node_modules/a.js"]
        );
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
    fn what_no_worker_unpacks_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &format!("{}f", "d/".repeat(limits::ARCHIVE_DEPTH_MAX)), "x", 0o644);
        let error = pack(dir.path()).unwrap_err();
        let why = "cannot be packed: it has a path of 65 names in `d/d/d/d`, the most is 64";
        assert!(error.message().ends_with(why), "{error}");
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
        let named =
            "over 2048 MiB unpacked; most of it is target/ (2048 MiB), target/huge (2048 MiB), small (1 MiB)";
        assert!(error.message().ends_with(named), "{error}");
    }
}
