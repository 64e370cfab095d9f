//! The folders that afn makes for itself. Each is private to its user (mode 0700). Where root gives functions users of
//! their own, some folders let one group pass. What a user asks for by name (a function's boilerplate, an export) is the
//! user's document and is not made here.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat};
use rustix::fs::{chmodat, fchmod, fchown, fstat, mkdirat, open, openat, unlinkat};
use rustix::io::Errno;
use rustix::path::Arg;

const MODE: u32 = 0o700;
/// For a group that has to reach what lies in a folder: its members pass, and list nothing.
const PASS: u32 = 0o710;
/// A folder on the way to those of groups, which holds nothing else.
const WAY: u32 = 0o711;
/// Ancestors are only walked through: they need not be readable.
#[cfg(target_os = "linux")]
const WALK: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const WALK: OFlags = OFlags::empty();
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Makes a folder and its missing parents. One that exists stays as it is.
pub fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(MODE).create(path)
}

/// Makes a private folder, or takes the one that exists. Every component is opened by itself and without following links:
/// it has to belong to this user or to root, and no other user may be able to replace it. The folder itself has to belong
/// to this user; its mode becomes 0700.
///
/// Errors: `PermissionDenied` names the component that belongs to somebody else.
pub fn own(path: &Path) -> io::Result<()> {
    own_with(path, None)
}

/// Like [`own`], for a folder that a group passes through (mode 0710): its members reach what is theirs in it.
///
/// Errors: `PermissionDenied` also names a component that keeps the group from getting there.
pub fn own_for(path: &Path, group: u32) -> io::Result<()> {
    own_with(path, Some(group))
}

fn own_with(path: &Path, group: Option<u32>) -> io::Result<()> {
    let way = if group.is_some() { WAY } else { MODE };
    let path = std::path::absolute(path)?;
    let names = path.components().filter(|component| matches!(component, Component::Normal(_)));
    let mut here = open("/", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut shown = PathBuf::from("/");
    let last = names.clone().count();
    for (index, name) in names.enumerate() {
        let name = name.as_os_str();
        shown.push(name);
        let is_last = index + 1 == last;
        let kind = if is_last { OFlags::empty() } else { WALK } | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let step = |flags: OFlags| openat(&here, name, flags | kind, Mode::empty());
        let found = match step(OFlags::NOFOLLOW) {
            Err(Errno::NOENT) => {
                let mode = Mode::from_raw_mode(if is_last { MODE } else { way } as _);
                match mkdirat(&here, name, mode) {
                    // Whatever the umask.
                    Ok(()) => chmodat(&here, name, mode, AtFlags::empty())?,
                    // Another process of this user was faster; another user's folder is refused below.
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(named(&shown, error)),
                }
                step(OFlags::NOFOLLOW)
            }
            // Links of root's (`/var/run`) and of this user's are followed; those of other users are refused.
            Err(Errno::NOTDIR | Errno::LOOP) if !is_last => {
                let link = rustix::fs::statat(&here, name, AtFlags::SYMLINK_NOFOLLOW);
                check(&link.map_err(|error| named(&shown, error))?, &shown, false)?;
                step(OFlags::empty())
            }
            found => found,
        };
        here = found.map_err(|error| named(&shown, error))?;
        let stat = fstat(&here)?;
        check(&stat, &shown, is_last)?;
        if let Some(group) = group.filter(|_| !is_last) {
            check_pass(&stat, &shown, group)?;
        }
    }
    let Some(group) = group else { return Ok(fchmod(&here, Mode::from_raw_mode(MODE as _))?) };
    fchown(&here, None, Some(Gid::from_raw(group)))?;
    Ok(fchmod(&here, Mode::from_raw_mode(PASS as _))?)
}

/// Whether a group gets through a folder on the way.
fn check_pass(stat: &Stat, shown: &Path, group: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.contains(if stat.st_gid == group { Mode::XGRP } else { Mode::XOTH }) {
        return Ok(());
    }
    let why = format!("functions' users cannot pass through `{}`", shown.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

fn check(stat: &Stat, shown: &Path, is_last: bool) -> io::Result<()> {
    let user = rustix::process::geteuid().as_raw();
    let is_ours = stat.st_uid == user || (stat.st_uid == 0 && !is_last);
    let mode = Mode::from_raw_mode(stat.st_mode);
    let sticky = mode.contains(Mode::SVTX);
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    // A user's own group mostly has no other member, and its folders are often made with a umask that trusts it.
    let is_own_group = stat.st_gid == rustix::process::getegid().as_raw();
    let others = match () {
        () if mode.contains(Mode::WOTH) => Some("everybody".to_owned()),
        () if mode.contains(Mode::WGRP) && !is_own_group => Some(format!("group {}", stat.st_gid)),
        () => None,
    };
    let why = match others {
        _ if !is_ours => format!("`{}` belongs to another user (uid {})", shown.display(), stat.st_uid),
        Some(others) if !(is_link || is_last || sticky) => {
            format!("{others} may exchange what lies in `{}`", shown.display())
        }
        _ => return Ok(()),
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

fn named(path: &Path, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

/// A new folder with a random name.
pub fn fresh(within: &Path, prefix: &str) -> io::Result<PathBuf> {
    let mode = fs::Permissions::from_mode(MODE);
    tempfile::Builder::new().prefix(prefix).permissions(mode).tempdir_in(within).map(tempfile::TempDir::keep)
}

/// Makes a folder that one user other than this one has for itself (mode 0700).
pub fn make_for(path: &Path, user: u32) -> io::Result<()> {
    make(path)?;
    lchown(path, Some(user), Some(user))
}

/// Lets a group pass through a folder.
pub fn let_pass(path: &Path, group: u32) -> io::Result<()> {
    lchown(path, None, Some(group))?;
    fs::set_permissions(path, fs::Permissions::from_mode(PASS))
}

/// The names of what lies in a folder, which is closed again: a [`fs::DirEntry`] keeps its folder open.
pub fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// Lets a group read and execute what the owner can, in a whole tree that this user alone can write, and whose depth is
/// bounded, as that of an archive. Links are left alone.
pub fn let_read(path: &Path, group: u32) -> io::Result<()> {
    let about = fs::symlink_metadata(path)?;
    if about.is_symlink() {
        return Ok(());
    }
    if about.is_dir() {
        names(path)?.iter().try_for_each(|name| let_read(&path.join(name), group))?;
    }
    lchown(path, None, Some(group))?;
    let owners = about.mode() & 0o500;
    fs::set_permissions(path, fs::Permissions::from_mode(about.mode() & 0o700 | owners >> 3))
}

/// Removes a folder with all that is in it, also what its owner made unreadable or read-only. Links are not followed.
///
/// The folder is not trusted: no nesting of folders takes more than three open ones, or any of the stack. Another thread or
/// process may remove it, too.
pub fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_symlink() {
        return fs::remove_file(path);
    }
    empty(open_to_empty(CWD, path)?)?;
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// What a folder is, whatever its name.
type Id = (u64, u64);

fn id(folder: impl AsFd) -> io::Result<Id> {
    let stat = fstat(folder)?;
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

/// Walks down to a folder without folders, empties it, and walks up by `..`.
fn empty(top: OwnedFd) -> io::Result<()> {
    let (mut here, mut above) = (top, Vec::<Id>::new());
    let mut emptied = None;
    loop {
        match remove_entries(&here)? {
            Some(inner) if emptied == Some(id(&inner)?) => return Err(Errno::NOTEMPTY.into()),
            Some(inner) => {
                above.push(id(&here)?);
                here = inner;
            }
            None => {
                let Some(parent) = above.pop() else { return Ok(()) };
                emptied = Some(id(&here)?);
                here = openat(&here, "..", FOLDER, Mode::empty())?;
                if id(&here)? != parent {
                    return Err(io::Error::other("a folder was moved while it was removed"));
                }
            }
        }
    }
}

/// Removes files and empty folders, up to the first folder that is not empty, which is returned.
fn remove_entries(here: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    for entry in Dir::read_from(here)? {
        let entry = match entry {
            // The folder itself was removed meanwhile.
            Err(Errno::NOENT) => return Ok(None),
            entry => entry?,
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let is_folder = match entry.file_type() {
            // Some file systems do not tell.
            FileType::Unknown => {
                let stat = rustix::fs::statat(here, name, AtFlags::SYMLINK_NOFOLLOW);
                stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
            }
            known => known == FileType::Directory,
        };
        let how = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match unlinkat(here, name, how) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) if is_folder => match open_to_empty(here, name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened.map(Some),
            },
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Opens a folder, and lets its owner change it.
fn open_to_empty(within: impl AsFd, name: impl Arg + Copy) -> io::Result<OwnedFd> {
    let open = || openat(&within, name, FOLDER, Mode::empty());
    let folder = match open() {
        Err(Errno::ACCESS) => {
            let_owner_in(&within, name)?;
            open()?
        }
        opened => opened?,
    };
    // Fails where the owner is another user; then the mode has to do.
    let _ = fchmod(&folder, Mode::from_raw_mode(MODE as _));
    Ok(folder)
}

/// Linux changes no mode by a name without following links; but it opens what cannot be read, and has a name for that.
#[cfg(target_os = "linux")]
fn let_owner_in(within: impl AsFd, name: impl Arg) -> rustix::io::Result<()> {
    let folder = openat(within, name, FOLDER | OFlags::PATH, Mode::empty())?;
    let by_descriptor = format!("/proc/self/fd/{}", folder.as_raw_fd());
    chmodat(CWD, by_descriptor, Mode::from_raw_mode(MODE as _), AtFlags::empty())
}

#[cfg(not(target_os = "linux"))]
fn let_owner_in(within: impl AsFd, name: impl Arg) -> rustix::io::Result<()> {
    chmodat(within, name, Mode::from_raw_mode(MODE as _), AtFlags::SYMLINK_NOFOLLOW)
}

/// A new folder that is removed with this.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(within: &Path, prefix: &str) -> io::Result<Scratch> {
        fresh(within, prefix).map(Scratch)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves it to the caller.
    pub fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = remove(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, chown, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn what_is_made_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join("a/b")).unwrap();
        own(&dir.path().join("c/d")).unwrap();
        let fresh = fresh(dir.path(), "f-").unwrap();
        for path in ["a", "a/b", "c", "c/d"].map(|path| dir.path().join(path)).iter().chain([&fresh]) {
            assert_eq!(mode(path), 0o700, "{}", path.display());
        }
        fs::set_permissions(dir.path().join("c/d"), fs::Permissions::from_mode(0o755)).unwrap();
        own(&dir.path().join("c/d")).unwrap();
        assert_eq!(mode(&dir.path().join("c/d")), 0o700);
    }

    #[test]
    fn a_group_passes_through_and_reads_what_is_meant_for_it() {
        let group = rustix::process::getegid().as_raw();
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let place = dir.path().join("way/place");
        let why = own_for(&place, group).unwrap_err().to_string();
        assert_eq!(why, format!("functions' users cannot pass through `{}`", dir.path().display()));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        own_for(&place, group).unwrap();
        assert_eq!((mode(&dir.path().join("way")), mode(&place)), (0o711, 0o710));
        own_for(&place, group).unwrap();

        let code = place.join("code");
        make(&code).unwrap();
        for (name, before) in [("run", 0o500), ("text", 0o400)] {
            fs::write(code.join(name), "").unwrap();
            fs::set_permissions(code.join(name), fs::Permissions::from_mode(before)).unwrap();
        }
        symlink(dir.path(), code.join("out")).unwrap();
        let_read(&code, group).unwrap();
        assert_eq!((mode(&code), mode(&code.join("run")), mode(&code.join("text"))), (0o750, 0o550, 0o440));
        assert_eq!(mode(dir.path()), 0o711);
    }

    #[test]
    fn what_others_can_exchange_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let open_to_all = dir.path().join("open");
        fs::create_dir(&open_to_all).unwrap();
        fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o777)).unwrap();
        let why = own(&open_to_all.join("run")).unwrap_err().to_string();
        assert_eq!(why, format!("everybody may exchange what lies in `{}`", open_to_all.display()));
        fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o1777)).unwrap();
        own(&open_to_all.join("run")).unwrap();

        // The last component may be no link, not even one of our own.
        symlink(dir.path(), dir.path().join("link")).unwrap();
        assert!(own(&dir.path().join("link")).is_err());
        own(&dir.path().join("link/below")).unwrap();
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // As root we can play the other user, who was here first.
        let theirs = open_to_all.join("afn-0");
        fs::create_dir(&theirs).unwrap();
        chown(&theirs, Some(4711), None).unwrap();
        for path in [theirs.clone(), theirs.join("docker")] {
            let why = own(&path).unwrap_err().to_string();
            assert_eq!(why, format!("`{}` belongs to another user (uid 4711)", theirs.display()));
        }
        symlink(dir.path(), open_to_all.join("l")).unwrap();
        std::os::unix::fs::lchown(open_to_all.join("l"), Some(4711), None).unwrap();
        assert!(own(&open_to_all.join("l/x")).unwrap_err().to_string().contains("belongs to another user"));
    }

    #[test]
    fn a_group_that_others_are_in_may_exchange_nothing() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let shared = dir.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o775)).unwrap();
        own(&shared.join("mine")).unwrap();
        chown(&shared, None, Some(4711)).unwrap();
        let why = own(&shared.join("mine")).unwrap_err().to_string();
        assert_eq!(why, format!("group 4711 may exchange what lies in `{}`", shared.display()));
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o1775)).unwrap();
        own(&shared.join("mine")).unwrap();
    }

    /// Far deeper than a stack or the open files of a process would bear.
    #[test]
    fn folders_within_folders_are_removed_however_deep() {
        const DEPTH: usize = 50_000;
        // On some disks so many folders take minutes.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = tempfile::tempdir_in(place).unwrap();
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        let mut here = open(&top, FOLDER, Mode::empty()).unwrap();
        for _ in 0..DEPTH {
            mkdirat(&here, "d", Mode::from_raw_mode(0o700)).unwrap();
            mkdirat(&here, "beside", Mode::from_raw_mode(0o700)).unwrap();
            here = openat(&here, "d", FOLDER, Mode::empty()).unwrap();
        }
        rustix::fs::symlinkat(dir.path(), &here, "out").unwrap();
        fs::write(dir.path().join("outside"), "").unwrap();
        drop(here);
        std::thread::Builder::new()
            .stack_size(64 * 1024)
            .spawn(move || {
                remove(&top).unwrap();
                assert!(!top.exists());
            })
            .unwrap()
            .join()
            .unwrap();
        assert!(dir.path().join("outside").exists());
    }

    /// A worker that ends removes its folder while its threads still remove those of calls.
    #[test]
    fn several_may_remove_one_folder() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        for number in 0..400 {
            make(&top.join(format!("{}/{}/{number}", number % 7, number % 11))).unwrap();
        }
        std::thread::scope(|scope| {
            let all = [top.clone(), top.join("3"), top.join("5"), top.clone()];
            for result in
                all.map(|path| scope.spawn(move || remove(&path))).map(|thread| thread.join().unwrap())
            {
                // It may have been gone before the first look.
                assert!(result.err().is_none_or(|error| error.kind() == io::ErrorKind::NotFound));
            }
        });
        assert!(!top.exists());
    }

    #[test]
    fn what_is_read_only_is_removed_and_what_a_link_leads_to_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(dir.path(), "s-").unwrap();
        let deep = scratch.path().join("a/b");
        make(&deep).unwrap();
        fs::write(deep.join("x"), "").unwrap();
        fs::write(dir.path().join("outside"), "").unwrap();
        symlink(dir.path(), deep.join("out")).unwrap();
        for (folder, mode) in [(&*deep, 0), (deep.parent().unwrap(), 0o500)] {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
        }
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists() && dir.path().join("outside").exists());
    }
}
