//! Exports the rows of a batch: as JSON Lines, CSV, Parquet, or a file for each result. Bodies in objects of their own are
//! read on the way, several at a time.

mod columns;
mod csv;
mod dir;
mod failed_inputs;
pub mod file;
#[cfg(test)]
mod flat_tests;
pub mod joblog;
mod jsonl;
mod members;
mod number;
mod openai;
mod parquet;
mod row_columns;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use tokio::sync::Semaphore;

use self::columns::TableColumns;
use self::csv::Csv;
use self::dir::Folder;
pub use self::failed_inputs::{FailedInputs, write_inputs};
use self::file::Output;
use self::jsonl::JsonLines;
use self::members::Members;
use self::openai::OpenAi;
pub use self::openai::errors_path;
use self::parquet::ParquetFile;
use super::body::Pages;
use super::rows::{ResultRow, Rows};
use super::view::Unreadable;
use crate::error::{Code, Error, Result};
use crate::layout::Key;
use crate::layout::part::RowResult;
use crate::limits;
use crate::model::text::{text_json, words};
use crate::model::{Digest, State};
use crate::seam::Deps;

/// Lines are written when there are so many bytes of them.
const BUFFER_BYTES: usize = 256 * 1024;

/// Writes rows in order, with their bodies.
trait RowWriter: Send {
    /// Whether payloads are written.
    fn writes_inputs(&self) -> bool {
        true
    }

    fn row(&mut self, row: &ResultRow) -> Result<()>;

    /// Called after the last row.
    fn finish(&mut self) -> Result<()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    JsonLines,
    Csv,
    Parquet,
    /// A file for each result.
    Folder,
}

words!(Format, "format of results": JsonLines = "jsonl", Csv = "csv", Parquet = "parquet", Folder = "dir");

impl Format {
    /// By the suffix of the path. A path that is a folder, or ends in a slash, is one of files.
    pub fn of(path: &Path) -> Result<Format> {
        if path.is_dir() || path.to_string_lossy().ends_with('/') {
            return Ok(Format::Folder);
        }
        match path.extension().and_then(|suffix| suffix.to_str()) {
            Some("jsonl" | "ndjson" | "json") => Ok(Format::JsonLines),
            Some("csv") => Ok(Format::Csv),
            Some("parquet") => Ok(Format::Parquet),
            _ if file::is_stream(path) => Ok(Format::JsonLines),
            _ => Err(Error::invalid(format!("the name `{}` does not show a format", path.display()))
                .with_hint(
                    "end it in .jsonl, .csv or .parquet, or in / for a folder with a file for each result",
                )),
        }
    }
}

/// What CSV has in place of text that a spreadsheet would run as a formula.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CsvText {
    /// The text behind an apostrophe.
    #[default]
    Escaped,
    /// The text as it is.
    Raw,
}

words!(CsvText, "text in CSV": Escaped = "escaped", Raw = "raw");
text_json!(CsvText);

/// What a row looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RowForm {
    /// The columns of afn.
    #[default]
    Rows,
    /// The lines of OpenAI's batch API: a file of responses, and a file of errors.
    OpenAi,
}

words!(RowForm, "form of rows": Rows = "rows", OpenAi = "openai");
text_json!(RowForm);

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Columns of the members of results, and of payloads, that are JSON objects.
    pub flatten: bool,
    /// Replaces an existing file or folder.
    pub force: bool,
    pub csv: CsvText,
    pub form: RowForm,
}

/// What was written.
#[derive(Debug, Default)]
pub struct Exported {
    pub rows: u64,
    pub counts: BTreeMap<State, u64>,
    /// Names the objects that cannot be read. What only they hold is missing.
    pub incomplete: Option<Error>,
}

/// Checks before any work that a path can be written and that no existing file is lost.
pub fn check(path: &Path, form: RowForm, force: bool) -> Result<()> {
    let format = Format::of(path)?;
    if form == RowForm::OpenAi {
        if format != Format::JsonLines {
            return Err(Error::invalid(format!(
                "`--as openai` writes lines of JSON, not {}",
                path.display()
            ))
            .with_hint("end the name in .jsonl"));
        }
        if !file::is_stream(path) {
            file::check(&errors_path(path), force)?;
        }
    }
    match format {
        Format::Folder => dir::check(path, force),
        Format::JsonLines | Format::Csv | Format::Parquet => file::check(path, force),
    }
}

/// Writes to a path, atomically. What cannot be read is left out, and named in the answer.
pub async fn to_path(
    deps: &Deps,
    rows: Rows,
    path: &Path,
    format: Format,
    options: Options,
) -> Result<Exported> {
    if format == Format::Folder {
        let mut folder = Folder::create(path, options.force)?;
        let exported = write(deps, rows, &mut folder).await?;
        folder.commit()?;
        return Ok(exported);
    }
    if options.form == RowForm::OpenAi && !file::is_stream(path) {
        check_keys(&rows)?;
        let mut responses = Output::create(path, options.force)?;
        let mut errors = Output::create(&errors_path(path), options.force)?;
        let mut writer = OpenAi::new(responses.writer(), Some(errors.writer()));
        let exported = write(deps, rows, &mut writer).await?;
        drop(writer);
        errors.commit()?;
        responses.commit()?;
        return Ok(exported);
    }
    let mut output = Output::create(path, options.force)?;
    let exported = to_writer(deps, rows, output.writer(), format, options).await?;
    output.commit()?;
    Ok(exported)
}

/// Writes to an open file or stdout. What cannot be read is left out, and named in the answer.
pub async fn to_writer(
    deps: &Deps,
    rows: Rows,
    out: &mut (dyn std::io::Write + Send),
    format: Format,
    options: Options,
) -> Result<Exported> {
    if options.form == RowForm::OpenAi {
        check_keys(&rows)?;
        return write(deps, rows, &mut OpenAi::new(out, None)).await;
    }
    // A table needs all its columns before the first row.
    let members = match format {
        Format::Csv | Format::Parquet if options.flatten => Members::gather(deps, rows.again()).await?,
        _ => Vec::new(),
    };
    let columns = TableColumns::new(&rows, members);
    match format {
        Format::JsonLines => write(deps, rows, &mut JsonLines::new(out, options.flatten)).await,
        Format::Csv => write(deps, rows, &mut Csv::new(out, columns, options.csv)?).await,
        Format::Parquet => write(deps, rows, &mut ParquetFile::new(out, columns)?).await,
        Format::Folder => Err(Error::invalid("a folder of results needs a path, not a stream")),
    }
}

fn check_keys(rows: &Rows) -> Result<()> {
    if rows.has_keys() {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "the records of batch `{}` have no keys, which `custom_id` is",
        rows.batch()
    ))
    .with_hint("submit them with `--format openai`, or with `--key FIELD`"))
}

/// Writes every row with its bodies.
async fn write(deps: &Deps, mut rows: Rows, writer: &mut dyn RowWriter) -> Result<Exported> {
    let mut exported = Exported::default();
    let mut unreadable = Vec::new();
    while let Some(mut block) = rows.next_readable().await? {
        if !writer.writes_inputs() {
            block.iter_mut().filter_map(|row| row.input.as_mut()).for_each(|record| record.input = None);
        }
        for row in &block {
            *exported.counts.entry(row.status).or_default() += 1;
        }
        exported.rows += block.len() as u64;
        with_bodies(deps, &rows, block, &mut unreadable, &mut |row| writer.row(row)).await?;
    }
    writer.finish()?;
    exported.incomplete = rows.check_complete(&unreadable).err();
    Ok(exported)
}

/// Calls `each` with every row in order. Bodies in objects of their own are read into the row, several at a time.
async fn with_bodies(
    deps: &Deps,
    rows: &Rows,
    block: Vec<ResultRow>,
    unreadable: &mut Vec<Unreadable>,
    each: &mut (dyn FnMut(&ResultRow) -> Result<()> + Send),
) -> Result<()> {
    let memory = &Semaphore::new(limits::EXPORT_BODIES_BYTES as usize);
    let mut reads = stream::iter(block)
        .map(|row| async move {
            let bytes = object_bytes(&row).min(limits::EXPORT_BODIES_BYTES) as u32;
            let permit = memory.acquire_many(bytes).await;
            (read_bodies(deps, rows, row).await, permit)
        })
        .buffered(limits::READ_AHEAD_MAX);
    while let Some((read, _permit)) = reads.next().await {
        let (row, bodies) = read;
        for (key, read) in bodies {
            Unreadable::note(unreadable, key.to_string(), read)?;
        }
        each(&row)?;
    }
    Ok(())
}

/// The bytes of the objects that a row refers to.
fn object_bytes(row: &ResultRow) -> u64 {
    let result = match row.outcome.as_ref().map(|outcome| &outcome.result) {
        Some(RowResult::Stored { bytes, .. }) => *bytes,
        _ => 0,
    };
    let has_input = row.input.as_ref().is_some_and(|record| record.input.is_some());
    result + if has_input { limits::BODY_BYTES_MAX } else { 0 }
}

/// A row with its bodies, and the objects that were read for it. A body that cannot be read is left out.
async fn read_bodies(deps: &Deps, rows: &Rows, mut row: ResultRow) -> (ResultRow, Vec<(Key, Result<()>)>) {
    let mut objects = Vec::new();
    if let Some(outcome) = &mut row.outcome
        && let RowResult::Stored { attempt, sha256, .. } = &outcome.result
        // Of a retry, if the row comes from one.
        && let (Some(batch), Some(number)) = (row.call.batch(), row.call.number())
    {
        let key = Key::BatchResult(rows.app().clone(), batch, number, *attempt);
        let (result, read) = match body(deps, &key, sha256).await {
            Ok(body) => (RowResult::Inline(body), Ok(())),
            Err(error) => (RowResult::None, Err(error)),
        };
        outcome.result = result;
        objects.push((key, read));
    }
    // The object itself stays where it is.
    if let Some(record) = &mut row.input
        && let Some(object) = &record.object
    {
        record.payload = object.reference().to_string().into();
    }
    if let Some(record) = &mut row.input
        && let Some(sha256) = record.input.take()
    {
        let key = Key::Input(rows.app().clone(), rows.batch(), row.number);
        let read = body(deps, &key, &sha256).await.map(|body| record.payload = body);
        objects.push((key, read));
    }
    (row, objects)
}

async fn body(deps: &Deps, key: &Key, sha256: &Digest) -> Result<Bytes> {
    let mut pages = Pages::of_object(deps, key.clone(), sha256.clone());
    let body = pages.next().await?.unwrap_or_default();
    let mut all = BytesMut::from(body);
    while let Some(page) = pages.next().await? {
        all.extend_from_slice(&page);
    }
    Ok(all.freeze())
}

fn answer(row: &ResultRow) -> Option<&Bytes> {
    match row.outcome.as_ref().map(|outcome| &outcome.result) {
        Some(RowResult::Inline(bytes)) => Some(bytes),
        _ => None,
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::new(Code::Stopped, format!("write the results: {error}"))
}
