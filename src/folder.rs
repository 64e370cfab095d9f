//! The folders that afn makes for itself. Each is private to its user (mode 0700). Where root gives functions users of
//! their own, some folders let one group pass. What a user asks for by name (a function's boilerplate, an export) is the
//! user's document and is not made here.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat};
use rustix::fs::{chmodat, fchmod, fchown, fstat, mkdirat, open, openat};
use rustix::io::Errno;

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
    if is_ours && (is_link || is_last || sticky || !mode.contains(Mode::WOTH)) {
        return Ok(());
    }
    let why = match is_ours {
        false => format!("`{}` belongs to another user (uid {})", shown.display(), stat.st_uid),
        true => format!("everybody may exchange what lies in `{}`", shown.display()),
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

/// Lets a group read and execute what the owner can, in a whole tree that this user alone can write. Links are left alone.
pub fn let_read(path: &Path, group: u32) -> io::Result<()> {
    let about = fs::symlink_metadata(path)?;
    if about.is_symlink() {
        return Ok(());
    }
    if about.is_dir() {
        // Read as a whole first: folders may be nested deeper than the limit of open files.
        let entries: Vec<fs::DirEntry> = fs::read_dir(path)?.collect::<io::Result<_>>()?;
        entries.iter().try_for_each(|entry| let_read(&entry.path(), group))?;
    }
    lchown(path, None, Some(group))?;
    let owners = about.mode() & 0o500;
    fs::set_permissions(path, fs::Permissions::from_mode(about.mode() & 0o700 | owners >> 3))
}

/// Removes a folder with all that is in it, also what its owner made unreadable or read-only. Links are not followed.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path);
            fs::remove_dir_all(path)
        }
        removed => removed,
    }
}

fn open_up(path: &Path) {
    let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    if !is_folder(path) || fs::set_permissions(path, fs::Permissions::from_mode(MODE)).is_err() {
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        open_up(&entry.path());
    }
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
    fn what_is_read_only_is_removed_and_what_a_link_leads_to_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(dir.path(), "s-").unwrap();
        let deep = scratch.path().join("a/b");
        make(&deep).unwrap();
        fs::write(deep.join("x"), "").unwrap();
        fs::write(dir.path().join("outside"), "").unwrap();
        symlink(dir.path(), deep.join("out")).unwrap();
        for folder in [&deep, deep.parent().unwrap()] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o500)).unwrap();
        }
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists() && dir.path().join("outside").exists());
    }
}
