//! Writes the rows of a batch where a person wants them: as JSON Lines, CSV, Parquet, or a file each. Bodies that lie in
//! objects of their own are fetched on the way, a few at a time.

pub mod csv;
pub mod dir;
pub mod file;
pub mod flatten;
pub mod jsonl;
pub mod parquet;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use self::csv::Csv;
use self::dir::Folder;
use self::file::Output;
use self::flatten::Columns;
use self::jsonl::JsonLines;
use self::parquet::ParquetFile;
use super::body::Pages;
use super::reasons::Reasons;
use super::rows::{ResultRow, Rows};
use crate::error::{Code, Error, Result};
use crate::layout::Key;
use crate::layout::part::RowResult;
use crate::limits;
use crate::model::{BatchId, CallId, Digest, State};
use crate::seam::Seams;

/// Takes rows in order; their bodies are at hand.
pub trait RowWriter: Send {
    /// Whether what was sent is needed, beside what is known of it.
    fn writes_inputs(&self) -> bool {
        true
    }

    fn row(&mut self, row: &ResultRow) -> Result<()>;

    /// After the last row: what is missing is written.
    fn finish(&mut self) -> Result<()>;
}

/// Columns of a table that not every batch has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beside {
    pub source: bool,
    pub input: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    JsonLines,
    Csv,
    Parquet,
    /// A file for each result.
    Folder,
}

impl Format {
    const ALL: [(Format, &'static str); 4] = [
        (Format::JsonLines, "jsonl"),
        (Format::Csv, "csv"),
        (Format::Parquet, "parquet"),
        (Format::Folder, "dir"),
    ];

    /// By its suffix; a folder is one that is there, or that ends in a slash.
    pub fn of(path: &Path) -> Result<Format> {
        if path.is_dir() || path.to_string_lossy().ends_with('/') {
            return Ok(Format::Folder);
        }
        match path.extension().and_then(|suffix| suffix.to_str()) {
            Some("jsonl" | "ndjson" | "json") => Ok(Format::JsonLines),
            Some("csv") => Ok(Format::Csv),
            Some("parquet") => Ok(Format::Parquet),
            _ if file::is_stream(path) => Ok(Format::JsonLines),
            _ => Err(Error::invalid(format!("`{}` does not tell its format", path.display())).hint(
                "end it in .jsonl, .csv or .parquet, or in / for a folder with a file for each result",
            )),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Format::ALL.iter().find(|(format, _)| format == self).map_or("", |(_, name)| name);
        f.pad(name)
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Format> {
        let found = Format::ALL.iter().find(|(_, name)| *name == text).map(|(format, _)| *format);
        found.ok_or_else(|| {
            Error::invalid(format!("`{text}` is not a format of results"))
                .hint("known: jsonl, csv, parquet, dir")
        })
    }
}

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Columns of the members of results that are JSON objects.
    pub flatten: bool,
    /// Over what is there.
    pub force: bool,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    pub rows: u64,
    pub counts: BTreeMap<State, u64>,
    /// Why calls failed.
    pub reasons: Reasons,
}

/// Writes to a path, whole or not at all; `on_rows` hears how many rows are written so far.
pub async fn to_path(
    seams: &Seams,
    rows: Rows,
    path: &Path,
    format: Format,
    options: Options,
    on_rows: impl FnMut(u64),
) -> Result<Exported> {
    if format == Format::Folder {
        let mut folder = Folder::create(path, options.force)?;
        let exported = write(seams, rows, &mut folder, on_rows).await?;
        folder.commit()?;
        return Ok(exported);
    }
    let mut output = Output::create(path, options.force)?;
    let exported = to_writer(seams, rows, output.writer(), format, options.flatten, on_rows).await?;
    output.commit()?;
    Ok(exported)
}

/// Writes to what is open already: a file, or stdout.
pub async fn to_writer(
    seams: &Seams,
    rows: Rows,
    out: &mut (dyn std::io::Write + Send),
    format: Format,
    flatten: bool,
    on_rows: impl FnMut(u64),
) -> Result<Exported> {
    let beside = Beside { source: rows.has_names(), input: rows.has_input() };
    let mut columns = None;
    // Columns have to be known before the first row is written; lines of JSON need none.
    if flatten && matches!(format, Format::Csv | Format::Parquet) {
        columns = Some(Columns::gather(seams, rows.again()).await?);
    }
    match format {
        Format::JsonLines => write(seams, rows, &mut JsonLines::new(out, flatten), on_rows).await,
        Format::Csv => write(seams, rows, &mut Csv::new(out, beside, columns)?, on_rows).await,
        Format::Parquet => write(seams, rows, &mut ParquetFile::new(out, beside, columns)?, on_rows).await,
        Format::Folder => Err(Error::invalid("a folder of results needs a path, not a stream")),
    }
}

/// Hands every row to a writer, with its bodies.
pub async fn write(
    seams: &Seams,
    mut rows: Rows,
    writer: &mut dyn RowWriter,
    mut on_rows: impl FnMut(u64),
) -> Result<Exported> {
    let mut exported = Exported::default();
    while let Some(mut block) = rows.next().await? {
        let count = block.len() as u64;
        if !writer.writes_inputs() {
            block.iter_mut().filter_map(|row| row.input.as_mut()).for_each(|record| record.input = None);
        }
        for row in &block {
            *exported.counts.entry(row.status).or_default() += 1;
            exported.reasons.take_in(row);
        }
        with_bodies(seams, &rows, block, &mut |row| writer.row(row)).await?;
        exported.rows += count;
        on_rows(exported.rows);
    }
    writer.finish()?;
    Ok(exported)
}

/// Calls `each` with every row in order, bodies that lie elsewhere in it.
async fn with_bodies(
    seams: &Seams,
    rows: &Rows,
    block: Vec<ResultRow>,
    each: &mut (dyn FnMut(&ResultRow) -> Result<()> + Send),
) -> Result<()> {
    let mut together: Vec<ResultRow> = Vec::new();
    let mut bytes = 0;
    for row in block {
        let elsewhere = elsewhere(&row);
        if elsewhere == 0 && together.is_empty() {
            each(&row)?;
            continue;
        }
        if bytes + elsewhere > limits::EXPORT_BODIES_BYTES && !together.is_empty() {
            fetch_all(seams, rows, std::mem::take(&mut together), each).await?;
            bytes = 0;
        }
        bytes += elsewhere;
        together.push(row);
    }
    fetch_all(seams, rows, together, each).await
}

/// Bytes of a row that are to be fetched.
fn elsewhere(row: &ResultRow) -> u64 {
    let result = match row.outcome.as_ref().map(|outcome| &outcome.result) {
        Some(RowResult::Stored { bytes, .. }) => *bytes,
        _ => 0,
    };
    let has_input = row.input.as_ref().is_some_and(|record| record.input.is_some());
    result + if has_input { limits::BODY_BYTES_MAX } else { 0 }
}

async fn fetch_all(
    seams: &Seams,
    rows: &Rows,
    together: Vec<ResultRow>,
    each: &mut (dyn FnMut(&ResultRow) -> Result<()> + Send),
) -> Result<()> {
    let mut fetches =
        stream::iter(together).map(|row| fetch(seams, rows, row)).buffered(limits::READ_AHEAD_MAX);
    while let Some(row) = fetches.try_next().await? {
        each(&row)?;
    }
    Ok(())
}

async fn fetch(seams: &Seams, rows: &Rows, mut row: ResultRow) -> Result<ResultRow> {
    if let Some(outcome) = &mut row.outcome
        && let RowResult::Stored { attempt, sha256, .. } = &outcome.result
    {
        let (batch, number) = place_of(row.call)?;
        let key = Key::BatchResult(rows.app().clone(), batch, number, *attempt).to_string();
        outcome.result = RowResult::Inline(body(seams, key, sha256).await?);
    }
    if let Some(record) = &mut row.input
        && let Some(sha256) = record.input.take()
    {
        let key = Key::Input(rows.app().clone(), rows.batch(), row.number).to_string();
        record.payload = body(seams, key, &sha256).await?;
    }
    Ok(row)
}

/// The batch and number that a row's outcome is of, which may be a retry's.
fn place_of(call: CallId) -> Result<(BatchId, u64)> {
    let place = call.batch().zip(call.number());
    place.ok_or_else(|| Error::internal(format!("call `{call}` is not of a batch")))
}

async fn body(seams: &Seams, key: String, sha256: &Digest) -> Result<Bytes> {
    let mut pages = Pages::of_object(seams, key, sha256.clone());
    let mut body = pages.next().await?.unwrap_or_default();
    let mut rest = Vec::new();
    while let Some(page) = pages.next().await? {
        rest.extend_from_slice(&page);
    }
    if !rest.is_empty() {
        body = [&body[..], &rest[..]].concat().into();
    }
    Ok(body)
}

/// The answer of a row, if there is one.
fn answer(row: &ResultRow) -> Option<&Bytes> {
    match row.outcome.as_ref().map(|outcome| &outcome.result) {
        Some(RowResult::Inline(bytes)) => Some(bytes),
        _ => None,
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::new(Code::Stopped, format!("write the results: {error}"))
}
