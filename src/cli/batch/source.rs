//! Opens the source that a command names, and weighs one without submitting it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::cli::args::{BatchRunArgs, PolicyFlags, SourceFlags};
use crate::cli::session::Session;
use crate::cli::traits::millis;
use crate::deploy::FuncFile;
use crate::error::{Error, Result};
use crate::layout::batch::Chunking;
use crate::limits;
use crate::seam::Store;
use crate::submit::batch::{BatchOptions, OnBadRecord};
use crate::submit::chunker::Chunker;
use crate::submit::source::{self, Format, Kind, Pass, Source};

/// Opens what `--input` names.
pub async fn open(session: &Session, input: &str, flags: &SourceFlags) -> Result<Box<dyn Source>> {
    let source = source::open(input, flags.format, flags.pass, bucket(session, input).await?).await?;
    let origin = source.origin();
    let is_path = origin.pass == Pass::Ref && origin.format == Format::plain(Kind::Files).to_string();
    if is_path && session.context()?.kind.is_remote() {
        return Err(Error::invalid(format!("a path below `{input}` means nothing to workers elsewhere")).hint(
            "put the files into a bucket and name that as the source; paths are passed in a `local` context",
        ));
    }
    Ok(source)
}

/// The bucket of an `s3://` source, wherever the context's own store is.
pub async fn bucket(session: &Session, location: &str) -> Result<Option<Arc<dyn Store>>> {
    match source::bucket_of(location)? {
        Some(bucket) => session.open_bucket(bucket).await.map(Some),
        None => Ok(None),
    }
}

/// `--input`, else what func.yaml says, which is in the function's folder.
pub fn input_of(args: &BatchRunArgs) -> Result<String> {
    if let Some(input) = &args.input {
        return Ok(input.clone());
    }
    let Some(dir) = &args.dir else {
        return Err(Error::invalid("there is nothing to run the command on")
            .hint("`--input FILE` names the records, `--input -` reads them from stdin"));
    };
    let file = FuncFile::load(dir)?;
    match file.batch.input {
        Some(input) if input.starts_with("s3://") => Ok(input),
        Some(input) => {
            Ok(file.path.parent().unwrap_or(Path::new(".")).join(input).to_string_lossy().into_owned())
        }
        None => Err(Error::invalid(format!("{} names no records", file.path.display()))
            .hint("`--input FILE` does, or `batch: {input: FILE}` in it")),
    }
}

pub fn options(flags: &SourceFlags, policy: PolicyFlags) -> BatchOptions {
    BatchOptions {
        on_bad_record: flags.on_bad_record.unwrap_or_default(),
        then: policy.then,
        on_complete: policy.on_complete,
        max_failures: policy.max_failures,
        attempts_max: policy.retries.map(|retries| retries + 1),
        retry_backoff_ms: policy.retry_backoff.map(millis),
        chunking: Chunking::default(),
    }
}

/// Pointer, definition, seal, summary, follow-ups.
const BATCH_FACTS: u64 = 5;

/// What a source comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weight {
    pub calls: u64,
    pub chunks: u64,
    pub bytes: u64,
    /// Payloads that lie in objects of their own.
    pub inputs: u64,
    pub refused: u64,
    /// The first bad record.
    pub bad: Option<String>,
}

/// Reads a source to its end, or to the bad record that would end the batch.
pub async fn weigh(mut source: Box<dyn Source>, on_bad_record: OnBadRecord) -> Result<Weight> {
    let mut chunker = Chunker::new(Chunking::default())?;
    let mut weight = Weight::default();
    'source: loop {
        let items = source.next().await?;
        if items.is_empty() {
            break;
        }
        let mut cuts = Vec::new();
        for item in items {
            if let Some(bad) = &item.bad {
                weight.bad.get_or_insert_with(|| bad.to_string());
                if on_bad_record == OnBadRecord::Stop {
                    break 'source;
                }
            }
            chunker.push(item, &mut cuts)?;
        }
        cuts.iter().for_each(|cut| weight.add(cut));
    }
    chunker.finish().iter().for_each(|cut| weight.add(cut));
    Ok(weight)
}

impl Weight {
    /// What it would take at the least: chunks that are done in one go, and collected. Calls that take long cost a little
    /// more, for the time.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let messages = self.chunks.div_ceil(limits::QUEUE_BATCH_MAX as u64) + 1;
        [
            // Chunk and outcomes; what the batch itself has.
            ("put", 2 * self.chunks + self.inputs + BATCH_FACTS),
            // Read by who runs them; outcomes by who supervises and who collects.
            ("get", 3 * self.chunks + self.inputs + BATCH_FACTS),
            ("list", 2 + self.chunks.div_ceil(limits::LIST_PAGE_MAX as u64)),
            ("send", messages),
            ("receive", self.chunks + 1),
            ("delete_message", messages),
        ]
        .map(|(operation, count)| (operation.to_owned(), count))
        .into()
    }

    fn add(&mut self, cut: &crate::submit::chunker::Cut) {
        self.calls += cut.last - cut.first + 1;
        self.chunks += 1;
        self.bytes += cut.bytes;
        self.inputs += cut.inputs.len() as u64;
        self.refused += cut.refused;
    }
}
