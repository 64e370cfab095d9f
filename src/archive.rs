//! Unpacks a function's archive: a gzipped tar, as `deploy::pack` makes it. The archive is not trusted. Every entry is
//! checked: it stays inside the folder, nothing is written through a link, and size and number are bounded.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use tar::EntryType;

use crate::error::{Error, Result};
use crate::folder;
use crate::limits;

/// Unpacks into a folder, which is made when it is missing and has to be empty. Blocks. After an error the folder
/// holds a part.
///
/// Files keep whether they can be executed; owners and times are the unpacker's own. All of it is its user's alone, and
/// nothing can be written: [`folder::remove`] removes it.
pub fn unpack(archive: impl Read, folder: &Path) -> Result<()> {
    make(folder)?;
    let mut tar = tar::Archive::new(GzDecoder::new(archive));
    // Raw: the crate would read long names into memory whatever their size. They are read below, with a limit.
    let entries = tar.entries().map_err(broken)?.raw(true);
    let mut left = limits::ARCHIVE_UNPACKED_BYTES_MAX;
    let mut long = LongNames::default();
    // Made after all files are written: until then no path leads through a link of the archive.
    let mut links: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let mut tree = Tree::default();
    for entry in entries {
        let mut entry = entry.map_err(broken)?;
        left = left.checked_sub(entry.size()).ok_or_else(|| {
            Error::invalid(format!(
                "the archive holds more than {} MiB",
                limits::ARCHIVE_UNPACKED_BYTES_MAX / limits::MIB
            ))
        })?;
        let kind = entry.header().entry_type();
        if long.take(kind, &mut entry)? {
            continue;
        }
        let path = match long.path.take() {
            Some(path) => path,
            None => entry.path().map_err(broken)?.into_owned(),
        };
        let inside = inside(&path)?;
        let is_new = tree.add(&inside);
        if !is_new.map_err(|excess| Error::invalid(format!("the archive has {excess}")))? {
            return Err(bad(&path, "comes twice"));
        }
        let target = folder.join(&inside);
        match kind {
            EntryType::Directory => make(&target)?,
            EntryType::Regular => {
                make(target.parent().unwrap_or(folder))?;
                let can_execute = entry.header().mode().map_err(broken)? & 0o100 != 0;
                write(&target, &mut entry, if can_execute { 0o500 } else { 0o400 })?;
            }
            EntryType::Symlink => {
                let to = match long.link.take() {
                    Some(to) => to,
                    None => entry.link_name().map_err(broken)?.unwrap_or_default().into_owned(),
                };
                if !stays_inside(&inside, &to) {
                    let why = format!("is a link that leads out of the folder: {}", to.display());
                    return Err(bad(&path, &why));
                }
                links.insert(inside, to);
            }
            _ => return Err(bad(&path, "is neither file nor folder nor link")),
        }
    }
    // After the end of the tar come padding and gzip's checksum.
    io::copy(&mut tar.into_inner().take(limits::MIB), &mut io::sink()).map_err(broken)?;
    make_links(folder, &links)?;
    seal(folder).map_err(|error| local(folder, error))
}

fn make(folder: &Path) -> Result<()> {
    folder::make(folder).map_err(|error| local(folder, error))
}

/// Makes the links. Each must be in a real folder: inside another link, it would not be the link that was checked.
fn make_links(folder: &Path, links: &BTreeMap<PathBuf, PathBuf>) -> Result<()> {
    for (link, to) in links {
        if let Some(around) = link.ancestors().skip(1).find(|above| links.contains_key(*above)) {
            return Err(bad(link, &format!("lies in a link, `{}`", around.display())));
        }
        let target = folder.join(link);
        make(target.parent().unwrap_or(folder))?;
        symlink(to, &target).map_err(|error| local(&target, error))?;
    }
    Ok(())
}

/// Makes every folder read-only, so that no process can leave anything there for the next one.
fn seal(folder: &Path) -> io::Result<()> {
    for name in folder::names(folder)? {
        let inner = folder.join(name);
        if fs::symlink_metadata(&inner)?.is_dir() {
            seal(&inner)?;
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o500))
}

/// Whether a link at `link`, a path inside a folder, can only lead to what is inside it too. Steps up may stand at the
/// front alone: there they leave real folders, while after a name they may leave what another link leads to.
pub fn stays_inside(link: &Path, to: &Path) -> bool {
    let mut above = link.components().count().saturating_sub(1);
    let mut named = false;
    for component in to.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if !named && above > 0 => above -= 1,
            Component::Normal(_) => named = true,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    !to.as_os_str().is_empty()
}

/// An entry's path as one inside the folder.
fn inside(path: &Path) -> Result<PathBuf> {
    let mut inside = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => inside.push(name),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(bad(path, "leads out of the folder"));
            }
        }
    }
    if inside.as_os_str().is_empty() {
        return Err(bad(path, "has no name"));
    }
    Ok(inside)
}

fn write(target: &Path, from: &mut impl Read, mode: u32) -> Result<()> {
    // `create_new` follows no link and takes over no file.
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(target);
    let mut file = file.map_err(|error| local(target, error))?;
    let mut buffer = [0; 64 * 1024];
    loop {
        match from.read(&mut buffer).map_err(broken)? {
            0 => return Ok(()),
            bytes => {
                io::Write::write_all(&mut file, &buffer[..bytes]).map_err(|error| local(target, error))?
            }
        }
    }
}

/// The paths of an archive. Packing adds them up as unpacking does, so that what was deployed can be run.
#[derive(Debug, Default)]
pub struct Tree {
    /// Each path, and whether it is an entry: a folder may be there only because others lie in it.
    paths: BTreeMap<PathBuf, bool>,
    bytes: usize,
}

impl Tree {
    /// Adds an entry and the folders that it lies in. False: it is there already.
    ///
    /// Errors: what there is too much of, and the limit.
    pub fn add(&mut self, path: &Path) -> std::result::Result<bool, String> {
        let (bytes, depth) = (path.as_os_str().len(), path.components().count());
        if bytes > limits::ARCHIVE_PATH_BYTES_MAX {
            return Err(format!("a path of {bytes} bytes, the most is {}", limits::ARCHIVE_PATH_BYTES_MAX));
        }
        if depth > limits::ARCHIVE_DEPTH_MAX {
            let shown: PathBuf = path.iter().take(4).collect();
            let most = limits::ARCHIVE_DEPTH_MAX;
            return Err(format!("a path of {depth} names in `{}`, the most is {most}", shown.display()));
        }
        if let Some(is_entry) = self.paths.get_mut(path) {
            return Ok(!std::mem::replace(is_entry, true));
        }
        // The last of `ancestors` is the empty path.
        let missing = path.ancestors().take(depth).take_while(|above| !self.paths.contains_key(*above));
        let missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        self.bytes += missing.iter().map(|path| path.as_os_str().len()).sum::<usize>();
        self.paths.extend(missing.into_iter().enumerate().map(|(above, path)| (path, above == 0)));
        if self.paths.len() > limits::ARCHIVE_ENTRIES_MAX {
            return Err(format!("more than {} files and folders", limits::ARCHIVE_ENTRIES_MAX));
        }
        if self.bytes > limits::ARCHIVE_PATHS_BYTES_MAX {
            let most = limits::ARCHIVE_PATHS_BYTES_MAX as u64 / limits::MIB;
            return Err(format!("paths of more than {most} MiB together"));
        }
        Ok(true)
    }
}

/// Names of the next entry that are too long for its header (GNU's way).
#[derive(Default)]
struct LongNames {
    path: Option<PathBuf>,
    link: Option<PathBuf>,
}

impl LongNames {
    /// Whether the entry was such a name.
    fn take(&mut self, kind: EntryType, entry: &mut impl Read) -> Result<bool> {
        let name = match kind {
            EntryType::GNULongName => &mut self.path,
            EntryType::GNULongLink => &mut self.link,
            _ => return Ok(false),
        };
        // Else an archive could consist of names alone, which nothing counts.
        if name.is_some() {
            return Err(Error::invalid("the archive has two names for one entry"));
        }
        let mut bytes = Vec::new();
        entry.take(limits::ARCHIVE_PATH_BYTES_MAX as u64 + 2).read_to_end(&mut bytes).map_err(broken)?;
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        if bytes.len() > limits::ARCHIVE_PATH_BYTES_MAX {
            return Err(Error::invalid("the archive has a path that is too long"));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::invalid("the archive has a path that is not UTF-8"))?;
        *name = Some(text.into());
        Ok(true)
    }
}

fn bad(path: &Path, why: &str) -> Error {
    Error::invalid(format!("the archive's entry `{}` {why}", path.display()))
}

fn broken(error: io::Error) -> Error {
    Error::invalid(format!("the archive cannot be read: {error}"))
}

/// This machine's failure, unless two entries of the archive conflict, or no file can have such a name or so many links.
fn local(path: &Path, error: io::Error) -> Error {
    use io::ErrorKind::{
        AlreadyExists, InvalidFilename, InvalidInput, IsADirectory, NotADirectory, TooManyLinks,
    };
    let message = format!("cannot write {}: {error}", path.display());
    match error.kind() {
        AlreadyExists | InvalidFilename | InvalidInput | IsADirectory | NotADirectory | TooManyLinks => {
            Error::invalid(message)
        }
        // A file system that knows the encoding of names.
        _ if error.raw_os_error() == Some(libc::EILSEQ) => Error::invalid(message),
        _ => Error::internal(message),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use tar::Header;

    use super::*;

    /// An archive as no honest packer makes it: names go into the header as they are.
    fn archive(entries: &[(&str, EntryType, &str, &[u8])]) -> Vec<u8> {
        let mut tar = Vec::new();
        for (path, kind, link, body) in entries {
            let mut header = Header::new_gnu();
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            header.set_size(body.len() as u64);
            header.set_cksum();
            tar.extend_from_slice(header.as_bytes());
            tar.extend_from_slice(body);
            tar.resize(tar.len().next_multiple_of(512), 0);
        }
        tar.resize(tar.len() + 1024, 0);
        gzip(&tar)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    fn refusal(archive: &[u8]) -> String {
        let outer = tempfile::tempdir().unwrap();
        let error = unpack(archive, &outer.path().join("a/b")).expect_err("must be refused");
        let outside: Vec<_> =
            fs::read_dir(outer.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(outside, ["a"], "nothing is written outside");
        error.to_string()
    }

    const FILE: EntryType = EntryType::Regular;
    const LINK: EntryType = EntryType::Symlink;

    #[test]
    fn nothing_leaves_the_folder() {
        for (path, kind, link, why) in [
            ("../x", FILE, "", "the archive's entry `../x` leads out of the folder"),
            ("a/../../x", FILE, "", "the archive's entry `a/../../x` leads out of the folder"),
            ("/etc/x", FILE, "", "the archive's entry `/etc/x` leads out of the folder"),
            (".", FILE, "", "the archive's entry `.` has no name"),
            ("l", LINK, "/etc", "the archive's entry `l` is a link that leads out of the folder: /etc"),
            ("l", LINK, "..", "the archive's entry `l` is a link that leads out of the folder: .."),
            ("d/l", LINK, "../..", "the archive's entry `d/l` is a link that leads out of the folder: ../.."),
            ("l", LINK, "x/..", "the archive's entry `l` is a link that leads out of the folder: x/.."),
            (
                "h",
                EntryType::Link,
                "/etc/passwd",
                "the archive's entry `h` is neither file nor folder nor link",
            ),
            ("p", EntryType::Fifo, "", "the archive's entry `p` is neither file nor folder nor link"),
            ("b", EntryType::Block, "", "the archive's entry `b` is neither file nor folder nor link"),
        ] {
            assert_eq!(refusal(&archive(&[(path, kind, link, b"")])), why);
        }
    }

    #[test]
    fn nothing_is_written_through_a_link_or_over_a_file() {
        let through =
            archive(&[("l", LINK, "d", b""), ("d", EntryType::Directory, "", b""), ("l/x", FILE, "", b"1")]);
        let folder = tempfile::tempdir().unwrap();
        let error = unpack(&through[..], folder.path()).unwrap_err();
        assert!(error.message().starts_with("cannot write"), "{error}");
        assert!(!folder.path().join("d/x").exists());
        let twice = archive(&[("x", FILE, "", b"1"), ("./x", FILE, "", b"2")]);
        assert_eq!(refusal(&twice), "the archive's entry `./x` comes twice");
    }

    /// Each link stays inside by its own path; the second is made where the first leads to, two folders higher.
    #[test]
    fn links_do_not_lead_out_through_links() {
        let chain = archive(&[("a/b/up", LINK, "../..", b""), ("a/b/up/out", LINK, "../../../outside", b"")]);
        assert_eq!(refusal(&chain), "the archive's entry `a/b/up/out` lies in a link, `a/b/up`");
    }

    #[test]
    fn what_is_unpacked_is_its_users_alone_and_read_only() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("code");
        let packed = archive(&[("d", EntryType::Directory, "", b""), ("d/x", FILE, "", b"1")]);
        unpack(&packed[..], &folder).unwrap();
        let mode = |path: &str| fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(""), mode("d"), mode("d/x")), (0o500, 0o500, 0o400));
        folder::remove(&folder).unwrap();
    }

    #[test]
    fn bombs_do_not_go_off() {
        let mut header = Header::new_gnu();
        header.set_path("x").unwrap();
        header.set_size(u64::MAX / 2);
        header.set_cksum();
        assert!(refusal(&gzip(header.as_bytes())).starts_with("the archive holds more than"));
        let long = vec![b'a'; limits::ARCHIVE_PATH_BYTES_MAX + 2];
        let long = archive(&[("././@LongLink", EntryType::GNULongName, "", &long)]);
        assert_eq!(refusal(&long), "the archive has a path that is too long");
        let mut many = Vec::new();
        for index in 0..=limits::ARCHIVE_ENTRIES_MAX {
            let mut header = Header::new_gnu();
            header.set_path(format!("l{index}")).unwrap();
            header.set_entry_type(LINK);
            header.set_link_name("x").unwrap();
            header.set_size(0);
            header.set_cksum();
            many.extend_from_slice(header.as_bytes());
        }
        assert_eq!(refusal(&gzip(&many)), "the archive has more than 100000 files and folders");
    }

    /// An entry of a file makes all folders of its path; archives of some hundred bytes made millions.
    #[test]
    fn folders_that_only_paths_name_count() {
        let deep = format!("{}f", "a/".repeat(limits::ARCHIVE_DEPTH_MAX));
        assert_eq!(
            refusal(&archive(&[
                ("././@LongLink", EntryType::GNULongName, "", deep.as_bytes()),
                ("f", FILE, "", b"")
            ])),
            "the archive has a path of 65 names in `a/a/a/a`, the most is 64"
        );
        let mut tree = Tree::default();
        let fan = |number: usize| PathBuf::from(format!("{number}/{}f", "a/".repeat(48)));
        let held = (0..).take_while(|number| tree.add(&fan(*number)).is_ok()).count();
        assert_eq!(held, limits::ARCHIVE_ENTRIES_MAX / 50);
        // Whichever comes first, a folder counts once, and may be an entry once.
        for order in [["d", "d/x"], ["d/x", "d"]] {
            let mut tree = Tree::default();
            assert!(order.iter().all(|path| tree.add(Path::new(path)).unwrap()));
            assert!(!order.iter().any(|path| tree.add(Path::new(path)).unwrap()));
            assert_eq!(tree.paths.len(), 2);
        }
        let long = |number: usize| PathBuf::from(format!("{number:0>200}/").repeat(15));
        let mut tree = Tree::default();
        let excess = (0..).find_map(|number| tree.add(&long(number)).err()).unwrap();
        assert_eq!(excess, "paths of more than 32 MiB together");
    }

    #[test]
    fn what_no_file_can_be_called_is_the_archives_fault() {
        for long in ["a\0b".as_bytes(), &[b'n'; 300]] {
            let packed =
                archive(&[("././@LongLink", EntryType::GNULongName, "", long), ("f", FILE, "", b"")]);
            let folder = tempfile::tempdir().unwrap();
            let error = unpack(&packed[..], folder.path()).unwrap_err();
            assert_eq!(error.code(), crate::error::Code::Invalid, "{error}");
        }
        let twice = ("././@LongLink", EntryType::GNULongName, "", &b"x"[..]);
        assert_eq!(refusal(&archive(&[twice, twice])), "the archive has two names for one entry");
    }

    #[test]
    fn what_is_cut_or_no_archive_is_an_error() {
        let whole = archive(&[("x", FILE, "", &[7; 4000])]);
        for cut in [whole.len() / 2, whole.len() - 9] {
            assert!(refusal(&whole[..cut]).starts_with("the archive cannot be read"), "{cut}");
        }
    }

    #[test]
    fn links_that_stay_inside() {
        for (link, to, stays) in [
            ("l", "x", true),
            ("l", "./x/y", true),
            ("d/l", "../x", true),
            ("d/e/l", "../../x/y", true),
            ("d/l", "..", true),
            ("d/l", "../../x", false),
            ("d/l", "x/../y", false),
            ("l", "", false),
            ("l", "/x", false),
        ] {
            assert_eq!(stays_inside(Path::new(link), Path::new(to)), stays, "{link} -> {to}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), zipped: bool) {
            let bytes = if zipped { gzip(&bytes) } else { bytes };
            let folder = tempfile::tempdir().unwrap();
            let _ = unpack(&bytes[..], folder.path());
        }
    }
}
