//! The folder that a container and its worker share for the function's socket. The function can write to it. Where the
//! worker may mount, it is a small tmpfs without device files and set-user-id programs; elsewhere it is a plain folder in
//! the worker's run folder.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::folder;

/// Whether Docker, which listens on this socket, has the same namespace of this kind (`mnt`, `net`) as we have. Elsewhere
/// than on Linux, Docker runs in a virtual machine.
pub(super) fn is_beside(docker: &Path, kind: &str) -> bool {
    #[cfg(target_os = "linux")]
    {
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{kind}")).ok();
        let theirs = std::os::unix::net::UnixStream::connect(docker).ok().and_then(|socket| {
            let credentials = rustix::net::sockopt::socket_peercred(&socket).ok()?;
            of(&credentials.pid.as_raw_nonzero().to_string())
        });
        theirs.is_some() && theirs == of("self")
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (docker, kind);
        false
    }
}

/// Makes and removes shared folders.
#[derive(Debug, Clone, Copy)]
pub(super) struct SharedDirs {
    mounts: bool,
}

impl SharedDirs {
    /// `docker`: the socket on which Docker listens.
    pub(super) fn new(docker: &Path) -> SharedDirs {
        SharedDirs { mounts: is_beside(docker, "mnt") }
    }

    /// Every user in the container may write there; outside of it only this user can reach it.
    pub(super) fn make(self, owner_dir: &Path, number: u32) -> io::Result<PathBuf> {
        let dir = owner_dir.join(format!("c{number}"));
        folder::make(&dir)?;
        if !(self.mounts && mount(&dir)) {
            fs::set_permissions(&dir, Permissions::from_mode(0o777))?;
        }
        Ok(dir)
    }

    /// What cannot be removed now (it may belong to the container's user) is removed with the worker's folder.
    pub(super) fn remove(dir: PathBuf) {
        unmount(&dir);
        // The function may have left so much that a thread of the runtime must not wait for it.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || folder::remove(&dir))),
            Err(_) => drop(folder::remove(&dir)),
        }
    }

    /// Removes a worker's folder with all shared ones in it. Blocks.
    pub(super) fn remove_all(owner_dir: &Path) {
        for dir in fs::read_dir(owner_dir).into_iter().flatten().flatten() {
            unmount(&dir.path());
        }
        let _ = folder::remove(owner_dir);
    }
}

#[cfg(target_os = "linux")]
fn mount(dir: &Path) -> bool {
    use rustix::mount::MountFlags;
    /// A socket takes an inode and no bytes; FDKs make a socket and a link.
    const OPTIONS: &std::ffi::CStr = c"size=64k,nr_inodes=64,mode=0777";
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("afn", dir, "tmpfs", flags, OPTIONS).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn mount(_dir: &Path) -> bool {
    false
}

fn unmount(dir: &Path) {
    // Fails where nothing is mounted.
    #[cfg(target_os = "linux")]
    let _ = rustix::mount::unmount(
        dir,
        rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW,
    );
    let _ = dir;
}
