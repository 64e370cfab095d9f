//! What is remembered, on this machine, of a batch that was submitted from it: in which context it lies, and what a
//! `batch run` was to do with its results, so that `batch resume` need not be told again.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cli::session::Session;
use crate::error::{Error, Result};
use crate::model::{AppName, BatchId};

const FOLDER: &str = "receipts";
/// Older ones are forgotten.
const KEPT_MAX: usize = 200;

/// Persisted as `receipts/{batch}.json` in the user's data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub v: u32,
    pub batch: BatchId,
    pub app: AppName,
    pub context: String,
    /// Of `batch run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunReceipt>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReceipt {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<PathBuf>,
    #[serde(default)]
    pub to_stdout: bool,
    #[serde(default)]
    pub include_input: bool,
    #[serde(default)]
    pub flatten: bool,
    #[serde(default)]
    pub force: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joblog: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u16>,
    /// All of it was written.
    #[serde(default)]
    pub collected: bool,
}

/// The receipts of this machine's user.
pub struct Receipts(PathBuf);

impl Receipts {
    pub fn of(session: &Session) -> Result<Receipts> {
        Ok(Receipts(session.env.data_dir()?.join(FOLDER)))
    }

    /// Small, and once per batch. Written beside its name first: a receipt that is there can be read.
    pub fn keep(&self, receipt: &Receipt) -> Result<()> {
        let path = self.path(receipt.batch);
        let failed = |error: std::io::Error| Error::invalid(format!("write {}: {error}", path.display()));
        let text = serde_json::to_vec_pretty(receipt)
            .map_err(|error| Error::internal(format!("encode a receipt: {error}")))?;
        fs::create_dir_all(&self.0).map_err(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.0).map_err(failed)?;
        std::io::Write::write_all(&mut file, &text).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        let known = self.all()?;
        for old in known.iter().rev().skip(KEPT_MAX) {
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
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::invalid(format!("read {}: {error}", path.display()))),
        }
    }

    /// The newest of this context: ids begin with their time.
    pub fn newest(&self, context: &str) -> Result<Option<Receipt>> {
        for batch in self.all()?.into_iter().rev() {
            match self.find(batch)? {
                Some(receipt) if receipt.context == context => return Ok(Some(receipt)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// In the order of their times.
    fn all(&self) -> Result<Vec<BatchId>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
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

    #[cfg(test)]
    fn at(folder: &std::path::Path) -> Receipts {
        Receipts(folder.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Time;

    #[test]
    fn the_newest_receipt_of_a_context_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let receipts = Receipts::at(&dir.path().join("deep"));
        assert_eq!(receipts.newest("local").unwrap(), None);
        let receipt = |time, context: &str| Receipt {
            v: 1,
            batch: BatchId::new(Time(time), 7 << 60),
            app: "a".parse().unwrap(),
            context: context.to_owned(),
            run: None,
        };
        for receipt in [receipt(2_000, "local"), receipt(1_000, "local"), receipt(3_000, "aws")] {
            receipts.keep(&receipt).unwrap();
        }
        let newest = receipts.newest("local").unwrap().unwrap();
        assert_eq!(newest, receipt(2_000, "local"));
        assert_eq!(receipts.find(newest.batch).unwrap(), Some(newest));
    }
}
