//! What a build is given: the folder less what it ignores, and the Dockerfile, packed for Docker.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bytes::Bytes;
use futures_util::stream;

use crate::deploy::ignore::Ignore;
use crate::deploy::pack::append;
use crate::error::{Error, Result};
use crate::limits;
use crate::seam::Body;
use crate::seam::body::{BodyWriter, BodyWriterError};

/// What the Dockerfile is called on the way, whether it lies in the folder or was made for it.
pub(super) const DOCKERFILE: &str = ".afn.Dockerfile";

/// Packs a folder as a tar. Files belong to root, as with Docker's own client.
pub(super) fn pack(dir: &Path, dockerfile: &str) -> Result<Body> {
    let failed = |what: &str, error: io::Error| {
        Error::invalid(format!("cannot pack {what} of {}: {error}", dir.display()))
    };
    let entries = Ignore::load(dir)?.walk(dir)?.entries;
    let mut tar = tar::Builder::new(Sink(BodyWriter::new(u64::MAX)));
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(dockerfile.len() as u64);
    tar.append_data(&mut header, DOCKERFILE, dockerfile.as_bytes())
        .map_err(|error| failed("the Dockerfile", error))?;
    for entry in entries.iter().filter(|entry| entry.path != DOCKERFILE) {
        let appended =
            header_of(&dir.join(&entry.path)).and_then(|header| append(&mut tar, dir, entry, header));
        appended.map_err(|error| failed(&entry.path, error))?;
    }
    let sink = tar.into_inner().map_err(|error| failed("the end", error))?;
    Ok(sink.0.finish())
}

fn header_of(path: &Path) -> io::Result<tar::Header> {
    let info = fs::symlink_metadata(path)?;
    let mut header = tar::Header::new_gnu();
    // The function's user in the container is not the owner of its files: it gets the owner's right to read and execute.
    let owner = info.permissions().mode() & 0o500;
    header.set_mode(info.permissions().mode() & 0o777 | owner >> 3 | owner >> 6);
    header.set_mtime(info.modified().map_or(0, |time| crate::model::Time::from(time).0 / 1_000));
    Ok(header)
}

/// A body, piece by piece, as the client wants it.
pub(super) fn pieces(body: Body) -> impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::unfold((body, 0), |(body, offset)| async move {
        if offset >= body.len() {
            return None;
        }
        let piece = body.read_at(offset, limits::MIB as usize);
        let next = offset + piece.as_ref().map_or(u64::MAX / 2, |piece| piece.len() as u64);
        Some((piece, (body, next)))
    })
}

struct Sink(BodyWriter);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(BodyWriterError::Io(error)) => Err(error),
            Err(BodyWriterError::TooLarge { .. }) => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_goes_without_what_it_ignores_and_with_its_dockerfile() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("{}/{}", "d".repeat(80), "f".repeat(120));
        fs::create_dir_all(dir.path().join("d".repeat(80))).unwrap();
        fs::create_dir(dir.path().join("target")).unwrap();
        for (path, content) in [("run.sh", "#!/bin/sh"), ("target/big", "x"), (&long, "long")] {
            fs::write(dir.path().join(path), content).unwrap();
        }
        fs::write(dir.path().join(".dockerignore"), "target\n").unwrap();
        fs::set_permissions(dir.path().join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(dir.path().join(&long), fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink("run.sh", dir.path().join("link")).unwrap();

        let body = pack(dir.path(), "FROM scratch\n").unwrap().to_bytes().unwrap();
        let mut archive = tar::Archive::new(&body[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let mode = entry.header().mode().unwrap();
            let kind = entry.header().entry_type();
            seen.push((entry.path().unwrap().display().to_string(), kind, mode));
        }
        let names: Vec<&str> = seen.iter().map(|(name, ..)| name.as_str()).collect();
        let folder = "d".repeat(80);
        assert_eq!(names, [DOCKERFILE, ".dockerignore", &folder, &long, "link", "run.sh"]);
        assert_eq!(seen[4].1, tar::EntryType::Symlink);
        assert_eq!((seen[3].2, seen[5].2), (0o644, 0o755));
    }

    #[tokio::test]
    async fn a_large_context_is_sent_in_pieces() {
        use futures_util::TryStreamExt as _;
        let text = vec![7; 2 * limits::MIB as usize + 5];
        let sent: Vec<Bytes> = pieces(Body::from(text.clone())).try_collect().await.unwrap();
        assert_eq!(sent.iter().map(Bytes::len).collect::<Vec<_>>(), [1 << 20, 1 << 20, 5]);
        assert_eq!(sent.concat(), text);
    }
}
