//! Where the records of a batch come from, read as a stream: memory does not grow with the source. The same source read
//! again gives the same items in the same order; that is what a resume relies on. Knows no batch and no chunk.
//!
//! A text goes through the steps of a pipeline, a file each: bytes (`input`, `objects`), `decompress`, `transcode`, `frame`
//! into records, check (`records`, and a file for each format). `identify` refuses what is no text. `parquet` reads tables.

mod array;
mod csv;
mod decompress;
mod delimiter;
mod files;
mod format;
mod frame;
mod head;
mod identify;
mod input;
mod json;
mod key_set;
mod keyed;
mod line_end;
mod objects;
mod openai;
mod parquet;
mod record_key;
mod records;
#[cfg(test)]
mod tests;
mod text;
mod transcode;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use format::{Compression, Delimiter, Format, Kind, Pass};
pub use keyed::keyed;

use crate::error::{Error, Result};
pub use crate::layout::chunk::NAME_HEADER;
use crate::layout::chunk::name_header;
use crate::limits;
use crate::model::{BucketName, FetchSource, IndexRange, Region, SourceObject};
use crate::seam::{Body, Store};
use input::Input;

/// Records, one after another.
#[async_trait]
pub trait Source: Send {
    /// What a later [`open`] needs to read the same records again. Known in full when the first items are read.
    fn origin(&self) -> Origin;

    /// What a person should know of how the source is read, when the first items are read: a guess about its format.
    fn notice(&self) -> Option<&str> {
        None
    }

    /// The next items, about [`limits::SOURCE_BLOCK_BYTES`] of them; none at the end. An error ends the source:
    /// the items before it are valid.
    async fn next(&mut self) -> Result<Vec<SourceRecord>>;
}

/// One record: what becomes one call. Its number is its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceRecord {
    /// For a bad record the bytes as they are, or none if it is too long.
    pub payload: Body,
    pub content_type: Option<Cow<'static, str>>,
    /// Under [`NAME_HEADER`] a file's or object's name.
    pub headers: BTreeMap<String, String>,
    /// The line of the source that it begins on, from 1.
    pub line: Option<u64>,
    pub bad: Option<Box<BadRecord>>,
    /// Its name in the user's own words, which no other record of the source has.
    pub key: Option<String>,
    /// The payload is this object, and `payload` is empty.
    pub object: Option<SourceObject>,
}

/// Why a record cannot be a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// The file, as it was named.
    pub name: String,
    pub line: Option<u64>,
    /// In bytes, from 1.
    pub column: Option<u64>,
    pub reason: String,
    /// Its size in the source.
    pub bytes: u64,
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// A source that can be opened again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// A path (absolute, so that it can be resumed from anywhere), `s3://bucket/prefix`, `-`.
    pub location: String,
    pub format: String,
    pub pass: Pass,
    /// What was said to separate the fields.
    pub delimiter: Option<Delimiter>,
    /// The field that was said to have the keys.
    pub key: Option<String>,
    /// Where workers read the payloads, if these are objects.
    pub fetch: Option<FetchSource>,
}

impl Origin {
    pub(super) fn new(location: impl Into<String>, format: Format, pass: Pass) -> Origin {
        let (format, location) = (format.to_string(), location.into());
        Origin { location, format, pass, delimiter: None, key: None, fetch: None }
    }
}

impl Origin {
    /// Whether the records have keys.
    pub fn has_keys(&self) -> bool {
        self.key.is_some() || self.format.parse::<Format>().is_ok_and(|format| format.kind == Kind::OpenAi)
    }

    /// The range of an array.
    pub(super) fn array(&self) -> Option<IndexRange> {
        let is_array = self.format == Format::plain(Kind::Array).to_string();
        is_array.then(|| self.location.parse().ok()).flatten()
    }
}

/// How a source is to be read, as far as a person says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Else it follows from the suffix, and from the first bytes.
    pub format: Option<Format>,
    /// Of files and objects.
    pub pass: Option<Pass>,
    /// Of the fields of a CSV.
    pub delimiter: Option<Delimiter>,
    /// The region of a bucket, for the workers that read objects of it.
    pub region: Option<Region>,
}

/// The standard input.
pub const STDIN: &str = "-";

/// The bucket that a location like `s3://bucket/prefix` names; `None` of any other.
pub fn bucket_of(location: &str) -> Result<Option<BucketName>> {
    match split(location) {
        Some(("", _)) => {
            Err(Error::invalid(format!("`{location}` names no bucket"))
                .with_hint("write `s3://bucket/prefix`"))
        }
        Some((bucket, _)) => bucket.parse().map(Some),
        None => Ok(None),
    }
}

/// `s3://bucket/key` → bucket and key.
fn split(location: &str) -> Option<(&str, &str)> {
    let rest = location.strip_prefix("s3://")?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

/// Opens what a person names. `bucket` is the one of [`bucket_of`], where there is one.
pub async fn open(
    location: &str,
    options: OpenOptions,
    bucket: Option<Arc<dyn Store>>,
) -> Result<Box<dyn Source>> {
    if options.format == Some(Format::plain(Kind::Array)) {
        return Ok(array(location.parse()?));
    }
    if let Some((name, key)) = split(location) {
        let store = bucket.ok_or_else(|| {
            Error::invalid(format!("`{location}` cannot be read without a connection to S3"))
        })?;
        let (bucket, key) = (objects::Bucket { name: name.parse()?, store }, key.to_owned());
        let format = options.format_of(&key, Kind::Objects, location)?;
        return match format.kind {
            Kind::Objects => {
                let pass = pass_of_whole(options.pass, Pass::Fetch, location)?;
                Ok(Box::new(objects::Objects::new(bucket, key, pass, options.region)))
            }
            Kind::Files => Err(Error::invalid(format!("`{location}` is no folder of files"))
                .with_hint("take `--format objects`")),
            Kind::Parquet => {
                let origin =
                    Origin::new(location, check_table(format, location)?, pass_of_records(options.pass)?);
                Ok(Box::new(parquet::ParquetRows::of_object(bucket, key, location.to_owned(), origin)))
            }
            _ => {
                records(Box::new(objects::ObjectInput::new(bucket, key)), format, location, location, options)
            }
        };
    }
    if location == STDIN {
        let format = check_text(options.format_of("", Kind::Lines, "stdin")?, "the standard input")?;
        return records(Box::new(input::stdin()), format, "stdin", location, options);
    }
    open_path(location, options).await
}

async fn open_path(location: &str, options: OpenOptions) -> Result<Box<dyn Source>> {
    let cannot = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => {
                "there is no such file or folder here; a source is one of these, or s3://bucket/prefix, or - for stdin"
            }
            io::ErrorKind::PermissionDenied => "the user who runs this must be allowed to read it",
            _ => "a source is a file, a folder, s3://bucket/prefix, or - for stdin",
        };
        Error::invalid(format!("cannot read `{location}`: {error}")).with_hint(hint)
    };
    let path = std::path::absolute(location).map_err(cannot)?;
    let metadata = tokio::fs::metadata(&path).await.map_err(cannot)?;
    let absolute =
        path.to_str().ok_or_else(|| Error::invalid(format!("the path of `{location}` is not UTF-8")))?;
    if metadata.is_dir() {
        if let Some(format) = options.format.filter(|format| format.kind != Kind::Files) {
            return Err(Error::invalid(format!("`{location}` is a folder, it cannot be read as `{format}`"))
                .with_hint("name a file, or leave `--format` out to make a call of each file"));
        }
        let pass = pass_of_whole(options.pass, Pass::Body, location)?;
        return Ok(Box::new(files::Files::new(Origin::new(absolute, Format::plain(Kind::Files), pass))));
    }
    let format = options.format_of(location, Kind::Lines, location)?;
    if format.kind == Kind::Parquet {
        let origin = Origin::new(absolute, check_table(format, location)?, pass_of_records(options.pass)?);
        let file = std::fs::File::open(&path).map_err(cannot)?;
        return Ok(Box::new(parquet::ParquetRows::of_file(file, location.to_owned(), origin)));
    }
    let format = check_text(format, &format!("`{location}` is a file, it"))?;
    let file = tokio::fs::File::open(&path).await.map_err(cannot)?;
    records(Box::new(input::file(location, file)), format, location, absolute, options)
}

impl OpenOptions {
    /// The format by what was said, and by the name. `default` is that of names that say nothing.
    fn format_of(&self, name: &str, default: Kind, location: &str) -> Result<Format> {
        let mut format = Format::given_or_of(self.format, name, default);
        // Text with a delimiter is a table.
        if self.delimiter.is_some() && self.format.is_none() && format.kind == Kind::Lines {
            format.kind = Kind::Csv;
        }
        if self.delimiter.is_some() && !format.kind.has_fields() {
            return Err(Error::invalid(format!(
                "`{location}` is read as `{}`, which has no fields",
                format.kind
            ))
            .with_hint("`--delimiter` is for `--format csv`"));
        }
        Ok(format)
    }
}

/// Parquet compresses its pages itself.
fn check_table(format: Format, location: &str) -> Result<Format> {
    match format.compression {
        None => Ok(format),
        Some(compression) => Err(Error::invalid(format!(
            "`{location}` is Parquet that is compressed again, by {}",
            compression.name()
        ))
        .with_hint("decompress it: Parquet is read from its end, and compresses its pages itself")),
    }
}

fn check_text(format: Format, subject: &str) -> Result<Format> {
    if format.kind.is_text() {
        return Ok(format);
    }
    if format.kind == Kind::Parquet {
        return Err(Error::invalid(format!("{subject} cannot be read as `parquet`"))
            .with_hint("Parquet is read from its end: name a file or an S3 object"));
    }
    Err(Error::invalid(format!("{subject} cannot be read as `{format}`"))
        .with_hint("take jsonl, json, openai, csv, tsv or lines"))
}

/// Records of a text that is read from a file, an object or the standard input.
fn records(
    input: Box<dyn Input>,
    format: Format,
    name: &str,
    location: &str,
    options: OpenOptions,
) -> Result<Box<dyn Source>> {
    let origin = Origin {
        delimiter: options.delimiter,
        ..Origin::new(location, format, pass_of_records(options.pass)?)
    };
    let records = Box::new(records::Records::new(input, format, name.to_owned(), origin));
    Ok(match format.kind {
        Kind::OpenAi => keyed::openai_requests(records, name),
        _ => records,
    })
}

/// A call for each index.
pub fn array(range: IndexRange) -> Box<dyn Source> {
    Box::new(array::Array::new(range))
}

/// Records of a text in memory.
pub fn text(text: impl Into<Bytes>, format: Format, name: &str) -> Box<dyn Source> {
    pieces_of_text([text.into()], format, name)
}

/// Records of a text in memory, given piece by piece.
pub fn pieces_of_text(
    pieces: impl IntoIterator<Item = Bytes>,
    format: Format,
    name: &str,
) -> Box<dyn Source> {
    let input = Box::new(input::Memory::pieces(pieces));
    Box::new(records::Records::new(input, format, name.to_owned(), Origin::new(name, format, Pass::Record)))
}

fn pass_of_records(pass: Option<Pass>) -> Result<Pass> {
    match pass {
        None | Some(Pass::Record) => Ok(Pass::Record),
        Some(pass) => Err(Error::invalid(format!("records cannot be passed as `{pass}`"))
            .with_hint("`--pass` is for folders and objects")),
    }
}

fn pass_of_whole(pass: Option<Pass>, default: Pass, location: &str) -> Result<Pass> {
    match pass {
        None => Ok(default),
        Some(Pass::Fetch) if default != Pass::Fetch => {
            Err(Error::invalid(format!("`{location}` is a folder, which workers elsewhere cannot read"))
                .with_hint(
                    "`--pass fetch` is for the objects of an s3:// source; `--pass body` copies each file",
                ))
        }
        Some(Pass::Record) => Err(Error::invalid(format!("`{location}` has no records to pass"))
            .with_hint("`--pass body` sends each content, `--pass ref` where it lies")),
        Some(pass) => Ok(pass),
    }
}

fn is_full(items: &[SourceRecord], bytes: u64) -> bool {
    items.len() >= limits::SOURCE_ITEMS_MAX || bytes >= limits::SOURCE_BLOCK_BYTES
}

/// The name of a file or object, as it travels beside what is sent of it.
fn headers(name: &str) -> Result<BTreeMap<String, String>, String> {
    Ok(BTreeMap::from([(NAME_HEADER.to_owned(), name_header(name)?)]))
}

/// Of the content of files and objects.
const CONTENT_TYPE: Cow<'static, str> = Cow::Borrowed("application/octet-stream");

/// A file or object whose content is the payload.
fn whole(name: &str, payload: Body) -> Result<SourceRecord, String> {
    let content_type = Some(CONTENT_TYPE);
    Ok(SourceRecord { payload, content_type, headers: headers(name)?, ..SourceRecord::default() })
}

/// Where a file or object lies is the payload.
fn reference(name: &str, place: &serde_json::Value) -> SourceRecord {
    SourceRecord {
        payload: place.to_string().into(),
        content_type: Some(Cow::Borrowed("application/json")),
        // A name that is too long for a header is in the payload.
        headers: headers(name).unwrap_or_default(),
        ..SourceRecord::default()
    }
}

/// A file or object that cannot be a call.
fn bad_whole(name: &str, bytes: u64, reason: String) -> SourceRecord {
    let bad = BadRecord { name: name.to_owned(), line: None, column: None, reason, bytes };
    SourceRecord {
        bad: Some(Box::new(bad)),
        headers: headers(name).unwrap_or_default(),
        ..SourceRecord::default()
    }
}

fn too_big(what: &str, bytes: u64) -> String {
    format!(
        "the {what} has {bytes} bytes, the most of a payload is {}; `--pass ref` hands over where it lies",
        limits::BODY_BYTES_MAX
    )
}
