//! Where a function of the `http-stream` format listens: `lsnr.sock` in a folder that sandbox and worker share. The
//! sandbox writes that folder and is not trusted: nothing outside it is ever connected to.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
#[cfg(target_os = "linux")]
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The name that the contract gives the socket.
pub const SOCKET_NAME: &str = "lsnr.sock";

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// Nothing listens yet.
    NotYet,
    /// What lies there breaks the contract, or refuses us.
    Broken(String),
}

/// The shared folder, held open, so that it cannot be exchanged for another.
#[derive(Debug)]
pub struct SocketDir {
    #[cfg(target_os = "linux")]
    dir: std::os::fd::OwnedFd,
    #[cfg(not(target_os = "linux"))]
    dir: PathBuf,
}

impl SocketDir {
    #[cfg(target_os = "linux")]
    pub fn open(dir: &Path) -> io::Result<SocketDir> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(SocketDir { dir: rustix::fs::open(dir, flags, Mode::empty())? })
    }

    #[cfg(not(target_os = "linux"))]
    pub fn open(dir: &Path) -> io::Result<SocketDir> {
        Ok(SocketDir { dir: dir.to_owned() })
    }

    /// A connection that does not block, and that the runtime does not know.
    pub async fn connect(&self) -> Result<UnixStream, ConnectError> {
        let Some((_held, path)) = self.find()? else { return Err(ConnectError::NotYet) };
        let connected =
            tokio::net::UnixStream::connect(path).await.and_then(tokio::net::UnixStream::into_std);
        connected.map_err(|error| match error.kind() {
            // Bound, but not listening yet; or the listener's queue is full.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock => ConnectError::NotYet,
            _ => ConnectError::Broken(format!("cannot connect to {SOCKET_NAME}: {error}")),
        })
    }

    /// FDKs bind another name and link it, relative and in the same folder, to the expected one. Such a link is followed
    /// once; anything else is refused. On Linux the socket that was found is held open and named by its descriptor: the
    /// one that was checked is the one that is connected to, and a long path is no problem.
    fn find(&self) -> Result<Option<(Found, PathBuf)>, ConnectError> {
        let Some(mut found) = self.look(SOCKET_NAME)? else { return Ok(None) };
        if found.kind == FileType::Symlink {
            let target = found.target().map_err(broken)?;
            match self.look(link_target(&target)?)? {
                Some(linked) => found = linked,
                None => return Ok(None),
            }
        }
        if found.kind != FileType::Socket {
            return Err(ConnectError::Broken(format!("{SOCKET_NAME} is not a socket")));
        }
        let path = found.path();
        Ok(Some((found, path)))
    }

    #[cfg(target_os = "linux")]
    fn look(&self, name: &str) -> Result<Option<Found>, ConnectError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.dir, name, flags, Mode::empty()) {
            Ok(fd) => {
                let stat = rustix::fs::fstat(&fd).map_err(broken)?;
                Ok(Some(Found { at: fd, kind: FileType::from_raw_mode(stat.st_mode) }))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(broken(error)),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn look(&self, name: &str) -> Result<Option<Found>, ConnectError> {
        let path = self.dir.join(name);
        match rustix::fs::lstat(&path) {
            Ok(stat) => Ok(Some(Found { at: path, kind: FileType::from_raw_mode(stat.st_mode) })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(broken(error)),
        }
    }
}

/// An entry of the shared folder.
struct Found {
    #[cfg(target_os = "linux")]
    at: std::os::fd::OwnedFd,
    #[cfg(not(target_os = "linux"))]
    at: PathBuf,
    kind: FileType,
}

impl Found {
    /// Where a link leads.
    fn target(&self) -> rustix::io::Result<Vec<u8>> {
        #[cfg(target_os = "linux")]
        let target = rustix::fs::readlinkat(&self.at, "", Vec::new());
        #[cfg(not(target_os = "linux"))]
        let target = rustix::fs::readlink(&self.at, Vec::new());
        target.map(std::ffi::CString::into_bytes)
    }

    fn path(&self) -> PathBuf {
        #[cfg(target_os = "linux")]
        return format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.at)).into();
        #[cfg(not(target_os = "linux"))]
        self.at.clone()
    }
}

/// A link may lead to another name in the same folder, and nowhere else.
fn link_target(target: &[u8]) -> Result<&str, ConnectError> {
    let plain = std::str::from_utf8(target).ok().map(|name| name.strip_prefix("./").unwrap_or(name));
    match plain {
        Some(name) if !name.is_empty() && !name.contains('/') && name != "." && name != ".." => Ok(name),
        _ => Err(ConnectError::Broken(format!(
            "{SOCKET_NAME} is a link to `{}`, which leads out of its folder",
            String::from_utf8_lossy(target)
        ))),
    }
}

fn broken(error: impl std::fmt::Display) -> ConnectError {
    ConnectError::Broken(format!("cannot look at {SOCKET_NAME}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::net::UnixListener;

    use super::*;

    async fn refusal(prepare: impl FnOnce(&Path)) -> String {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        match SocketDir::open(dir.path()).unwrap().connect().await {
            Err(ConnectError::Broken(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_socket_is_found_by_name_and_by_a_link_in_its_folder() {
        for (bound, link) in
            [("lsnr.sock", None), ("phony.sock", Some("phony.sock")), ("tmp.sock", Some("./tmp.sock"))]
        {
            let dir = tempfile::tempdir().unwrap();
            let socket_dir = SocketDir::open(dir.path()).unwrap();
            assert!(matches!(socket_dir.connect().await, Err(ConnectError::NotYet)));
            let _listener = UnixListener::bind(dir.path().join(bound)).unwrap();
            if let Some(target) = link {
                assert!(matches!(socket_dir.connect().await, Err(ConnectError::NotYet)));
                symlink(target, dir.path().join(SOCKET_NAME)).unwrap();
            }
            socket_dir.connect().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_socket_nobody_listens_on_is_not_there_yet() {
        let dir = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap());
        let found = SocketDir::open(dir.path()).unwrap().connect().await;
        assert!(matches!(found, Err(ConnectError::NotYet)), "{found:?}");
    }

    #[tokio::test]
    async fn nothing_outside_the_folder_is_connected_to() {
        let outside = tempfile::tempdir().unwrap();
        let victim = outside.path().join("docker.sock");
        let _listener = UnixListener::bind(&victim).unwrap();

        let why = refusal(|dir| symlink(&victim, dir.join(SOCKET_NAME)).unwrap()).await;
        assert!(why.contains("leads out of its folder"), "{why}");
        let why = refusal(|dir| symlink("..", dir.join(SOCKET_NAME)).unwrap()).await;
        assert!(why.contains("leads out of its folder"), "{why}");
        // A link to a link is not followed.
        let why = refusal(|dir| {
            symlink(&victim, dir.join("b.sock")).unwrap();
            symlink("b.sock", dir.join(SOCKET_NAME)).unwrap();
        })
        .await;
        assert!(why.contains("is not a socket"), "{why}");
        let why = refusal(|dir| std::fs::write(dir.join(SOCKET_NAME), "").unwrap()).await;
        assert!(why.contains("is not a socket"), "{why}");
    }
}
