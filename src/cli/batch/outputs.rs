//! Checks of the files that a run writes, before any work: none of them destroys what the run reads.

use std::fs::{self, File, Metadata};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::receipt::{Receipts, RunReceipt};
use crate::cli::parse::Destination;
use crate::cli::session::Session;
use crate::error::{Error, Result};
use crate::model::BatchId;
use crate::submit::source::{STDIN, bucket_of};

/// What a run reads on this machine.
#[derive(Debug, Default)]
pub struct RunInputs {
    /// Of the records.
    source: Option<Input>,
    /// The function's folder, or the folder in which the command runs. Outputs may lie in it.
    folder: Option<Input>,
}

#[derive(Debug)]
struct Input {
    name: String,
    /// `None` for a file that has no path here: the standard input.
    path: Option<PathBuf>,
    id: FileId,
}

/// The same for all names of a file: links, hard links, `..`, and case where the file system ignores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }

    fn at(path: &Path) -> Option<FileId> {
        fs::metadata(path).ok().map(|metadata| FileId::of(&metadata))
    }

    /// `None` for what is no file: a pipe, a terminal.
    fn of_open(stream: impl AsFd) -> Option<FileId> {
        let stream: OwnedFd = stream.as_fd().try_clone_to_owned().ok()?;
        let metadata = File::from(stream).metadata().ok()?;
        metadata.is_file().then(|| FileId::of(&metadata))
    }
}

impl RunInputs {
    /// `folder`: see [`RunInputs::folder`].
    pub fn new(location: &str, folder: Option<&Path>) -> RunInputs {
        let source = match location {
            STDIN => FileId::of_open(std::io::stdin()).map(|id| Input {
                name: "the standard input".to_owned(),
                path: None,
                id,
            }),
            location if !matches!(bucket_of(location), Ok(None)) => None,
            location => Input::at(Path::new(location)),
        };
        RunInputs { source, folder: folder.and_then(Input::at) }
    }

    /// What a batch was submitted from, if that was done on this machine.
    pub fn of_batch(session: &Session, batch: BatchId) -> Result<RunInputs> {
        let source = Receipts::of(session)?.find(batch)?.and_then(|receipt| receipt.source);
        Ok(source.map(|location| RunInputs::new(&location, None)).unwrap_or_default())
    }

    /// Refuses outputs of a run that would destroy what it reads, or one another.
    pub fn check(&self, run: &RunReceipt) -> Result<()> {
        let output = match run.destination() {
            Some(Destination::Stdout) => {
                self.check_stdout()?;
                None
            }
            Some(Destination::File(path)) => Some(path),
            None => None,
        };
        let errors = run.errors();
        let named = [
            ("the file of errors", errors.as_ref()),
            ("--output", output.as_ref()),
            ("--joblog", run.joblog.as_ref()),
            ("--report", run.report.as_ref()),
        ];
        let named: Vec<(&str, &PathBuf)> =
            named.into_iter().filter_map(|(option, path)| Some((option, path?))).collect();
        for (index, (option, path)) in named.iter().enumerate() {
            self.check_path(option, path)?;
            if let Some((other, _)) = named[..index].iter().find(|(_, other)| is_same_name(path, other)) {
                return Err(Error::invalid(format!("{other} and {option} both name {}", path.display()))
                    .with_hint("name two files"));
            }
        }
        Ok(())
    }

    /// A shell has emptied the file behind `>` before, but with `>>` the records would never end.
    fn check_stdout(&self) -> Result<()> {
        match (&self.source, FileId::of_open(std::io::stdout())) {
            (Some(source), Some(stdout)) if source.id == stdout => Err(Error::invalid(format!(
                "--output - writes to {}, from which the records come",
                source.name
            ))
            .with_hint("write to another file")),
            _ => Ok(()),
        }
    }

    pub fn check_path(&self, option: &str, path: &Path) -> Result<()> {
        let destroys = |how: &str, input: &Input| {
            Error::conflict(format!(
                "{option} {} would destroy what the batch reads: it {how} {}",
                path.display(),
                input.name
            ))
            .with_hint("name another place; `--force` does not allow this one")
        };
        let own = FileId::at(path);
        for input in self.source.iter().chain(&self.folder) {
            if own == Some(input.id) {
                return Err(destroys("is", input));
            }
            if own.is_some_and(|own| input.folders().contains(&own)) {
                return Err(destroys("holds", input));
            }
        }
        let Some(source) = &self.source else { return Ok(()) };
        if folders_of(path).contains(&source.id) {
            return Err(destroys("lies in", source));
        }
        match (&source.path, own) {
            (Some(folder), Some(own)) if folder.is_dir() && has_file(folder, own) => {
                Err(destroys("is also a file in", source))
            }
            _ => Ok(()),
        }
    }
}

impl Input {
    fn at(path: &Path) -> Option<Input> {
        let id = FileId::at(path)?;
        Some(Input { name: path.display().to_string(), path: Some(path.to_owned()), id })
    }

    fn folders(&self) -> Vec<FileId> {
        self.path.as_deref().map(folders_of).unwrap_or_default()
    }
}

/// The folders that a path lies in: those above its name, and, if it is a link, those above what it leads to.
fn folders_of(path: &Path) -> Vec<FileId> {
    let plain: PathBuf = path.components().collect();
    let named = plain.parent().and_then(|folder| folder.canonicalize().ok());
    let led_to = plain.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
    let folders = named.iter().chain(&led_to).flat_map(|folder| folder.ancestors());
    folders.filter_map(FileId::at).collect()
}

/// Whether both are the same name in the same folder, or the same file.
fn is_same_name(one: &Path, other: &Path) -> bool {
    let folder = |path: &Path| FileId::at(path.parent().unwrap_or(path));
    let is_same_file = FileId::at(one).is_some_and(|id| Some(id) == FileId::at(other) && one.is_file());
    is_same_file || (one.file_name() == other.file_name() && folder(one) == folder(other))
}

/// Whether a folder of records has this file under any name. Links to folders are not followed, as when records are read.
fn has_file(folder: &Path, file: FileId) -> bool {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ if FileId::at(&entry.path()) == Some(file) => return true,
                _ => {}
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn output(path: PathBuf) -> RunReceipt {
        RunReceipt { output: Some(path), force: true, ..RunReceipt::default() }
    }

    #[test]
    fn an_output_does_not_destroy_the_records_under_any_name() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("data/deep")).unwrap();
        fs::create_dir(at("other")).unwrap();
        fs::write(at("data/in.jsonl"), "1").unwrap();
        fs::write(at("data/deep/x.jsonl"), "1").unwrap();
        fs::hard_link(at("data/in.jsonl"), at("hard.jsonl")).unwrap();
        symlink(at("data/in.jsonl"), at("link.jsonl")).unwrap();
        symlink(at("data"), at("linked")).unwrap();
        symlink(at("other/none"), at("data/dangling.jsonl")).unwrap();
        let refused = |inputs: &RunInputs, name: &str| {
            inputs.check(&output(at(name))).err().map(|error| {
                let (_, how) = error.message().split_once("reads: it ").expect("why");
                how.split(" /").next().expect("words").to_owned()
            })
        };
        let says = |text: &str| Some(text.to_owned());

        let file = RunInputs::new(at("data/in.jsonl").to_str().unwrap(), None);
        for name in ["data/in.jsonl", "other/../data/in.jsonl", "hard.jsonl", "link.jsonl", "linked/in.jsonl"]
        {
            assert_eq!(refused(&file, name), says("is"), "{name}");
        }
        for name in ["data/", "data", "linked/", "", "data/deep/.."] {
            assert_eq!(refused(&file, name), says("holds"), "{name}");
        }
        for name in ["data/out.jsonl", "data/deep/", "other/", "new/", "hard2.jsonl", "missing/out.jsonl"] {
            assert_eq!(refused(&file, name), None, "{name}");
        }
        let by_link = RunInputs::new(at("link.jsonl").to_str().unwrap(), None);
        assert_eq!(refused(&by_link, "data/"), says("holds"));
        assert_eq!(refused(&by_link, "hard.jsonl"), says("is"));

        let folder = RunInputs::new(at("linked").to_str().unwrap(), None);
        for (name, how) in [
            ("data/", "is"),
            ("data/out.jsonl", "lies in"),
            ("data/deep/new/", "lies in"),
            ("data/dangling.jsonl", "lies in"),
            ("hard.jsonl", "is also a file in"),
            ("", "holds"),
        ] {
            assert_eq!(refused(&folder, name), says(how), "{name}");
        }
        assert_eq!(refused(&folder, "other/out.jsonl"), None);
    }

    #[test]
    fn an_output_is_not_the_functions_folder_but_may_lie_in_it() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("f/code")).unwrap();
        let inputs = RunInputs::new("s3://bucket/f", Some(&at("f/code")));
        let is_refused = |name: &str| inputs.check(&output(at(name))).is_err();
        assert!(is_refused("f/code/") && is_refused("f/"));
        assert!(!is_refused("f/code/out.jsonl") && !is_refused("f/out/"));
        let twice = RunReceipt { joblog: Some(at("f/../f/out.jsonl")), ..output(at("f/out.jsonl")) };
        let error = inputs.check(&twice).expect_err("one name");
        assert!(error.message().starts_with("--output and --joblog both name "), "{error}");
        let two =
            RunReceipt { joblog: Some(at("f/log")), report: Some(at("f/r.html")), ..output(at("f/o.csv")) };
        assert_eq!(inputs.check(&two), Ok(()));
    }
}
