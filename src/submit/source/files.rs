//! The files of a folder and of the folders in it, in the order of their names. Links to files are followed, links to
//! folders are not. A file that cannot be read is a bad record: its number is taken all the same.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use async_trait::async_trait;

use super::{Origin, Pass, Source, SourceRecord, bad_whole, is_full, reference, too_big, whole};
use crate::error::{Error, Result};
use crate::limits;
use crate::seam::Body;
use crate::seam::body::Spool;

pub(super) struct Files {
    /// `None` while a blocking task uses it.
    walk: Option<FolderWalk>,
    origin: Origin,
}

struct FolderWalk {
    root: PathBuf,
    pass: Pass,
    /// The open folders, from the root on, each with its remaining names, last first.
    folders: Vec<(PathBuf, Vec<OsString>)>,
    entered: bool,
}

impl Files {
    /// `origin`: of an absolute path.
    pub(super) fn new(origin: Origin) -> Files {
        let (root, pass) = (PathBuf::from(&origin.location), origin.pass);
        Files { walk: Some(FolderWalk { root, pass, folders: Vec::new(), entered: false }), origin }
    }
}

#[async_trait]
impl Source for Files {
    fn origin(&self) -> Origin {
        self.origin.clone()
    }

    async fn next(&mut self) -> Result<Vec<SourceRecord>> {
        let Some(mut walk) = self.walk.take() else { return Ok(Vec::new()) };
        let walked = tokio::task::spawn_blocking(move || walk.next().map(|items| (items, walk))).await;
        let (items, walk) =
            walked.map_err(|error| Error::internal(format!("reading a folder ended: {error}")))??;
        self.walk = Some(walk);
        Ok(items)
    }
}

impl FolderWalk {
    fn next(&mut self) -> Result<Vec<SourceRecord>> {
        if !self.entered {
            self.enter(self.root.clone())?;
            self.entered = true;
        }
        let (mut items, mut bytes) = (Vec::new(), 0);
        while !is_full(&items, bytes) {
            let Some((folder, names)) = self.folders.last_mut() else { break };
            let Some(name) = names.pop() else {
                self.folders.pop();
                continue;
            };
            let path = folder.join(name);
            if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
                self.enter(path)?;
                continue;
            }
            let item = self.file(&path);
            bytes += item.payload.len();
            items.push(item);
        }
        Ok(items)
    }

    fn enter(&mut self, folder: PathBuf) -> Result<()> {
        if self.folders.len() >= limits::FOLDER_DEPTH_MAX {
            return Err(Error::invalid(format!(
                "folder `{}` is nested in more than {} folders",
                folder.display(),
                limits::FOLDER_DEPTH_MAX
            )));
        }
        let cannot =
            |error: io::Error| Error::invalid(format!("cannot read folder `{}`: {error}", folder.display()));
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).map_err(cannot)? {
            names.push(entry.map_err(cannot)?.file_name());
            if names.len() > limits::FOLDER_ENTRIES_MAX {
                return Err(Error::invalid(format!(
                    "folder `{}` has more than {} entries",
                    folder.display(),
                    limits::FOLDER_ENTRIES_MAX
                ))
                .with_hint("put a list of the files into a text file and take that as the source"));
            }
        }
        names.sort_unstable_by(|a, b| b.as_bytes().cmp(a.as_bytes()));
        self.folders.push((folder, names));
        Ok(())
    }

    fn file(&self, path: &PathBuf) -> SourceRecord {
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        let Some(name) = relative.to_str() else {
            return bad_whole(&relative.to_string_lossy(), 0, "its name is not UTF-8".to_owned());
        };
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return bad_whole(name, 0, format!("cannot be read: {error}")),
        };
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a link to a folder" } else { "no regular file" };
            return bad_whole(name, 0, format!("it is {what}"));
        }
        if self.pass == Pass::Ref {
            return reference(name, &serde_json::json!({ "path": path, "size": metadata.len() }));
        }
        if metadata.len() > limits::BODY_BYTES_MAX {
            return bad_whole(name, metadata.len(), too_big("file", metadata.len()));
        }
        match body(path, metadata.len()) {
            Ok(body) => whole(name, body).unwrap_or_else(|reason| bad_whole(name, metadata.len(), reason)),
            Err(error) => bad_whole(name, metadata.len(), format!("cannot be read: {error}")),
        }
    }
}

/// A large file is not copied: it is read when it is sent.
fn body(path: &PathBuf, bytes: u64) -> io::Result<Body> {
    let file = File::open(path)?;
    if bytes > limits::BODY_MEMORY_BYTES {
        return Ok(Body::Spool(Spool::of(file, bytes)));
    }
    let mut body = Vec::with_capacity(bytes as usize);
    // A file that grows meanwhile is cut at its first size.
    file.take(bytes).read_to_end(&mut body)?;
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use super::super::{NAME_HEADER, OpenOptions, open};
    use super::*;

    async fn items(root: &std::path::Path, pass: Pass) -> Vec<SourceRecord> {
        let mut source =
            open(root.to_str().unwrap(), OpenOptions { pass: Some(pass), ..OpenOptions::default() }, None)
                .await
                .unwrap();
        let mut all = Vec::new();
        loop {
            let items = source.next().await.unwrap();
            if items.is_empty() {
                return all;
            }
            all.extend(items);
        }
    }

    #[tokio::test]
    async fn files_in_the_order_of_their_names_with_those_that_cannot_be_read() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("b/deep")).unwrap();
        fs::create_dir(at("empty")).unwrap();
        for (name, text) in [("a.txt", "A"), ("b/deep/x", ""), ("b/\u{e9} 1", "E"), ("c", "C")] {
            fs::write(at(name), text).unwrap();
        }
        File::create(at("huge")).unwrap().set_len(limits::BODY_BYTES_MAX + 1).unwrap();
        let large = vec![b'L'; limits::PAYLOAD_BYTES_MAX as usize + 1];
        fs::write(at("large"), &large).unwrap();
        std::os::unix::fs::symlink(at("a.txt"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("b"), at("link-to-folder")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("link-to-nothing")).unwrap();

        let found = items(root.path(), Pass::Body).await;
        let shown: Vec<(Option<&str>, Vec<u8>, Option<String>)> = found
            .iter()
            .map(|item| {
                let name = item.headers.get(NAME_HEADER).map(String::as_str);
                (
                    name,
                    item.payload.to_bytes().unwrap().to_vec(),
                    item.bad.as_ref().map(|bad| bad.to_string()),
                )
            })
            .collect();
        let bad = |text: &str| Some(text.to_owned());
        assert_eq!(
            shown,
            [
                (Some("a.txt"), b"A".to_vec(), None),
                (Some("b/deep/x"), Vec::new(), None),
                (Some("b/%C3%A9 1"), b"E".to_vec(), None),
                (Some("c"), b"C".to_vec(), None),
                (
                    Some("huge"),
                    Vec::new(),
                    bad(
                        "huge: the file has 268435457 bytes, the most of a payload is 268435456; `--pass ref` hands over where it lies"
                    )
                ),
                (Some("large"), large.clone(), None),
                (Some("link"), b"A".to_vec(), None),
                (Some("link-to-folder"), Vec::new(), bad("link-to-folder: it is a link to a folder")),
                (
                    Some("link-to-nothing"),
                    Vec::new(),
                    bad("link-to-nothing: cannot be read: No such file or directory (os error 2)")
                ),
            ]
        );

        assert!(matches!(&found[5].payload, Body::Spool(_)), "it is held in memory");

        let refs = items(root.path(), Pass::Ref).await;
        let huge: serde_json::Value = serde_json::from_slice(&refs[4].payload.to_bytes().unwrap()).unwrap();
        assert_eq!(huge, serde_json::json!({ "path": at("huge"), "size": limits::BODY_BYTES_MAX + 1 }));
        assert_eq!(refs[4].bad, None);
        assert_eq!(refs[4].headers[NAME_HEADER], "huge");
    }
}
