//! Receipts of the batches that were submitted from this machine: the context of each, its source, and what `batch run`
//! had to do with the results. `last` and `batch resume` read them.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cli::parse::Destination;
use crate::cli::session::Session;
use crate::embedded::Engine;
use crate::error::{Error, Result};
use crate::model::{AppName, BatchId, BucketName, Config, Region, VersionId};
use crate::results::export::{CsvText, RowForm, errors_path, file};
use crate::submit::source::bucket_of;

const FOLDER: &str = "receipts";
/// Older receipts are deleted.
const RECEIPTS_MAX: usize = 200;

/// Persisted as `receipts/{batch}.json` in the user's data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub v: u32,
    pub batch: BatchId,
    pub app: AppName,
    pub context: String,
    /// The source, which a resume opens again. `None` for standard input and for a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How a bucket is reached that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_region: Option<Region>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_profile: Option<String>,
    /// Of a batch of `batch run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunReceipt>,
    /// The source broke and its submitter ended: `seal` need not wait for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

/// A source that a resume opens again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceReceipt {
    pub location: String,
    pub region: Option<Region>,
    pub profile: Option<String>,
}

impl Receipt {
    pub fn source(&self) -> Option<SourceReceipt> {
        let (region, profile) = (self.source_region.clone(), self.source_profile.clone());
        self.source.clone().map(|location| SourceReceipt { location, region, profile })
    }
}

impl SourceReceipt {
    /// The bucket that it names, if it names one.
    pub fn bucket(&self) -> Option<BucketName> {
        bucket_of(&self.location).ok().flatten()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunReceipt {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<PathBuf>,
    pub to_stdout: bool,
    pub include_input: bool,
    pub flatten: bool,
    pub csv: CsvText,
    pub form: RowForm,
    pub force: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joblog: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u16>,
    /// The results are those of this batch, with the outcomes of its retries, of which this is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_of: Option<BatchId>,
    /// Of a command: the config that its user gave it. That of the store may have been changed by others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Config>,
    /// Of a command: the version that was published for it. Nothing else has all rights of its user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// All results were written.
    pub collected: bool,
}

impl RunReceipt {
    /// `None` where the results stay in the store.
    pub fn destination(&self) -> Option<Destination> {
        match (self.to_stdout, &self.output) {
            (true, _) => Some(Destination::Stdout),
            (false, path) => path.clone().map(Destination::File),
        }
    }

    /// Where the calls that failed are, if they are in a file of their own.
    pub fn errors(&self) -> Option<PathBuf> {
        let path =
            self.output.as_deref().filter(|path| self.form == RowForm::OpenAi && !file::is_stream(path));
        path.map(errors_path)
    }

    pub fn set_destination(&mut self, destination: Option<Destination>) {
        self.to_stdout = destination == Some(Destination::Stdout);
        self.output = destination.and_then(Destination::into_path);
    }
}

/// The receipts of this machine's user.
pub struct Receipts(PathBuf);

impl Receipts {
    pub fn of(session: &Session) -> Result<Receipts> {
        Ok(Receipts(session.env.data_dir()?.join(FOLDER)))
    }

    /// Stores a receipt. A failure is no more than a warning: the batch itself needs none.
    pub fn remember(
        session: &Session,
        engine: &Engine,
        app: &AppName,
        batch: BatchId,
        source: Option<SourceReceipt>,
        run: Option<RunReceipt>,
    ) {
        let consequence = match run {
            Some(_) => "a resume needs to know again where the results go",
            None => "`last` does not name this batch, and a resume needs its `--input`",
        };
        let context = engine.context.name.as_str().to_owned();
        let (source, source_region, source_profile) =
            source.map_or((None, None, None), |of| (Some(of.location), of.region, of.profile));
        let app = app.clone();
        let receipt =
            Receipt { v: 1, batch, app, context, source, source_region, source_profile, run, ended: false };
        if let Err(error) = Receipts::of(session).and_then(|receipts| receipts.write(&receipt)) {
            session.printer.warning(format!("{error}; {consequence}"));
        }
    }

    /// Notes that the submitter of a batch ended before the source did. A failure is no more than a warning: `seal` waits
    /// then as it does for a submitter that it does not know.
    pub fn note_ended(session: &Session, batch: BatchId) {
        let noted = Receipts::of(session).and_then(|receipts| match receipts.find(batch)? {
            Some(receipt) => receipts.write(&Receipt { ended: true, ..receipt }),
            None => Ok(()),
        });
        if let Err(error) = noted {
            session.printer.warning(format!("{error}; `afn batch seal {batch}` has to wait"));
        }
    }

    /// Writes to another name first, so that no reader finds half a receipt.
    fn write(&self, receipt: &Receipt) -> Result<()> {
        let path = self.path(receipt.batch);
        let failed = |error: std::io::Error| Error::invalid(format!("write {}: {error}", path.display()));
        let text = serde_json::to_vec_pretty(receipt)
            .map_err(|error| Error::internal(format!("encode a receipt: {error}")))?;
        crate::folder::make(&self.0).map_err(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.0).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        for old in self.all()?.iter().rev().skip(RECEIPTS_MAX) {
            let _ = fs::remove_file(self.path(*old));
        }
        Ok(())
    }

    pub fn find(&self, batch: BatchId) -> Result<Option<Receipt>> {
        let path = self.path(batch);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| Error::invalid(format!("{} cannot be read: {error}", path.display()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::invalid(format!("read {}: {error}", path.display()))),
        }
    }

    /// The newest receipt of a context: ids begin with their time.
    pub fn newest(&self, context: &str) -> Result<Option<Receipt>> {
        for batch in self.all()?.into_iter().rev() {
            if let Some(receipt) = self.find(batch)?.filter(|receipt| receipt.context == context) {
                return Ok(Some(receipt));
            }
        }
        Ok(None)
    }

    /// Oldest first.
    fn all(&self) -> Result<Vec<BatchId>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::invalid(format!("read {}: {error}", self.0.display()))),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut batches: Vec<BatchId> =
            names.filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
        batches.sort_unstable();
        Ok(batches)
    }

    fn path(&self, batch: BatchId) -> PathBuf {
        self.0.join(format!("{batch}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Time;

    #[test]
    fn the_newest_receipt_of_a_context_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let receipts = Receipts(dir.path().join("deep"));
        assert_eq!(receipts.newest("local").unwrap(), None);
        let receipt = |time, context: &str| Receipt {
            v: 1,
            batch: BatchId::new(Time(time), 7 << 60),
            app: "a".parse().unwrap(),
            context: context.to_owned(),
            source: None,
            source_region: None,
            source_profile: None,
            run: None,
            ended: false,
        };
        let (region, profile) = (Some("eu-west-1".parse().unwrap()), Some("somebody".to_owned()));
        let location = "s3://b/in/".to_owned();
        let of_bucket = Receipt {
            source: Some(location.clone()),
            source_region: region.clone(),
            source_profile: profile.clone(),
            ..receipt(2_000, "local")
        };
        let source = of_bucket.source().unwrap();
        assert_eq!(source.bucket().unwrap().as_str(), "b");
        assert_eq!(source, SourceReceipt { location, region, profile });
        for receipt in [of_bucket, receipt(1_000, "local"), receipt(3_000, "aws")] {
            receipts.write(&receipt).unwrap();
        }
        let newest = receipts.newest("local").unwrap().unwrap();
        assert_eq!((newest.batch, newest.source()), (receipt(2_000, "local").batch, Some(source)));
        assert_eq!(receipts.find(newest.batch).unwrap(), Some(newest));
    }
}
