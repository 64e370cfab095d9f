//! Where the records of a batch come from, read as a stream: memory does not grow with the source. The same source read
//! again gives the same items in the same order; that is what a resume relies on. Knows no batch and no chunk.

mod csv;
mod files;
mod format;
mod frame;
mod inflate;
mod input;
mod jsonl;
mod lines;
mod objects;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use format::{Compression, Format, Kind, Pass};

use crate::error::{Error, Result};
pub use crate::layout::chunk::NAME_HEADER;
use crate::limits;
use crate::seam::{Body, Store};
use input::Input;

/// Records, one after another.
#[async_trait]
pub trait Source: Send {
    /// What a later [`open`] needs to read the same again.
    fn origin(&self) -> Origin;

    /// The next items, about [`limits::SOURCE_BLOCK_BYTES`] of them; none at the end. An error ends the source:
    /// what came before it stands.
    async fn next(&mut self) -> Result<Vec<Item>>;
}

/// One record: what becomes one call. Its number is its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Item {
    /// Of a bad record what there is of it, or nothing where it is too long to be held.
    pub payload: Body,
    pub content_type: Option<Cow<'static, str>>,
    /// Under [`NAME_HEADER`] a file's or object's name.
    pub headers: BTreeMap<String, String>,
    /// The line of the source that it begins on, from 1.
    pub line: Option<u64>,
    pub bad: Option<Box<Bad>>,
}

/// Why a record is not to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// The file, as it was named.
    pub name: String,
    pub line: Option<u64>,
    /// In bytes, from 1.
    pub column: Option<u64>,
    pub reason: String,
    /// What it has in the source.
    pub bytes: u64,
}

impl fmt::Display for Bad {
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

/// What was opened, in words that open it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// A path (absolute, so that it can be resumed from anywhere), `s3://bucket/prefix`, `-`.
    pub location: String,
    pub format: String,
    pub pass: Pass,
}

/// The standard input.
pub const STDIN: &str = "-";

/// The bucket that a location like `s3://bucket/prefix` names; `None` of any other.
pub fn bucket_of(location: &str) -> Result<Option<&str>> {
    match split(location) {
        Some(("", _)) => {
            Err(Error::invalid(format!("`{location}` names no bucket")).hint("write `s3://bucket/prefix`"))
        }
        Some((bucket, _)) => Ok(Some(bucket)),
        None => Ok(None),
    }
}

/// `s3://bucket/key` → bucket and key.
fn split(location: &str) -> Option<(&str, &str)> {
    let rest = location.strip_prefix("s3://")?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

/// Opens what a person names. The format follows from the suffix unless it is given; `pass` is for files and objects.
/// `bucket` is the one of [`bucket_of`], where there is one.
pub async fn open(
    location: &str,
    format: Option<Format>,
    pass: Option<Pass>,
    bucket: Option<Arc<dyn Store>>,
) -> Result<Box<dyn Source>> {
    if let Some((name, key)) = split(location) {
        let store = bucket.ok_or_else(|| {
            Error::invalid(format!("`{location}` cannot be read without a connection to S3"))
        })?;
        let bucket = objects::Bucket { name: name.to_owned(), store };
        return open_objects(location, key, format, pass, bucket);
    }
    if location == STDIN {
        let format = format.unwrap_or(Format::plain(Kind::Lines));
        if !format.kind.is_records() {
            return Err(Error::invalid(format!("the standard input cannot be read as `{format}`"))
                .hint("take jsonl, csv or lines"));
        }
        let origin = Origin {
            location: location.to_owned(),
            format: format.to_string(),
            pass: pass_of_records(pass)?,
        };
        return Ok(records(Box::new(input::stdin()), format, "stdin".to_owned(), origin));
    }
    open_path(location, format, pass).await
}

fn open_objects(
    location: &str,
    key: &str,
    format: Option<Format>,
    pass: Option<Pass>,
    bucket: objects::Bucket,
) -> Result<Box<dyn Source>> {
    let format = match format {
        Some(format) => format.or_suffix(key),
        None => Format::of_suffix(key)?.unwrap_or(Format::plain(Kind::Objects)),
    };
    match format.kind {
        Kind::Objects => {
            let pass = pass_of_whole(pass, location)?;
            Ok(Box::new(objects::Objects::new(bucket, key.to_owned(), pass)))
        }
        Kind::Files => {
            Err(Error::invalid(format!("`{location}` is no folder of files")).hint("take `--format objects`"))
        }
        _ => {
            let input = objects::ObjectInput::new(bucket, key.to_owned());
            let origin = Origin {
                location: location.to_owned(),
                format: format.to_string(),
                pass: pass_of_records(pass)?,
            };
            Ok(records(Box::new(input), format, location.to_owned(), origin))
        }
    }
}

async fn open_path(location: &str, format: Option<Format>, pass: Option<Pass>) -> Result<Box<dyn Source>> {
    let cannot = |error: std::io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => {
                "there is no such file or folder here; a source is one of these, or s3://bucket/prefix, or - for stdin"
            }
            io::ErrorKind::PermissionDenied => "who runs this must be allowed to read it",
            _ => "a source is a file, a folder, s3://bucket/prefix, or - for stdin",
        };
        Error::invalid(format!("cannot read `{location}`: {error}")).hint(hint)
    };
    let path = std::path::absolute(Path::new(location)).map_err(cannot)?;
    let metadata = tokio::fs::metadata(&path).await.map_err(cannot)?;
    let absolute = path
        .to_str()
        .ok_or_else(|| Error::invalid(format!("the path of `{location}` is not UTF-8")))?
        .to_owned();
    if metadata.is_dir() {
        let format = format.unwrap_or(Format::plain(Kind::Files));
        if format.kind != Kind::Files {
            return Err(Error::invalid(format!("`{location}` is a folder, it cannot be read as `{format}`"))
                .hint("name a file, or leave `--format` out to make a call of each file"));
        }
        return Ok(Box::new(files::Files::new(path, absolute, pass_of_whole(pass, location)?)));
    }
    let format = match format {
        Some(format) => format.or_suffix(location),
        None => Format::of_suffix(location)?.unwrap_or(Format::plain(Kind::Lines)),
    };
    if !format.kind.is_records() {
        return Err(Error::invalid(format!("`{location}` is a file, it cannot be read as `{format}`"))
            .hint("take jsonl, csv or lines"));
    }
    let origin = Origin { location: absolute, format: format.to_string(), pass: pass_of_records(pass)? };
    let file = tokio::fs::File::open(&path).await.map_err(cannot)?;
    Ok(records(Box::new(input::file(location, file)), format, location.to_owned(), origin))
}

/// Records of a text, given as it comes: what is read of a file, an object, the standard input.
fn records(input: Box<dyn Input>, format: Format, name: String, origin: Origin) -> Box<dyn Source> {
    let input = match format.compression {
        Some(compression) => Box::new(inflate::Inflate::new(input, compression, name.clone())),
        None => input,
    };
    match format.kind {
        Kind::Jsonl => Box::new(jsonl::Jsonl::new(input, name, origin)),
        Kind::Csv => Box::new(csv::Csv::new(input, name, origin)),
        _ => Box::new(lines::Lines::new(input, name, origin)),
    }
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
    let origin = Origin { location: name.to_owned(), format: format.to_string(), pass: Pass::Record };
    records(Box::new(input::Memory::pieces(pieces)), format, name.to_owned(), origin)
}

fn pass_of_records(pass: Option<Pass>) -> Result<Pass> {
    match pass {
        None | Some(Pass::Record) => Ok(Pass::Record),
        Some(pass) => Err(Error::invalid(format!("records cannot be passed as `{pass}`"))
            .hint("`--pass` is for folders and objects")),
    }
}

fn pass_of_whole(pass: Option<Pass>, location: &str) -> Result<Pass> {
    match pass {
        None => Ok(Pass::Body),
        Some(Pass::Record) => Err(Error::invalid(format!("`{location}` has no records to pass"))
            .hint("`--pass body` sends each content, `--pass ref` where it lies")),
        Some(pass) => Ok(pass),
    }
}

/// Enough to hand on.
fn is_full(items: &[Item], bytes: u64) -> bool {
    items.len() >= limits::SOURCE_ITEMS_MAX || bytes >= limits::SOURCE_BLOCK_BYTES
}

/// The name of a file or object, as it travels beside what is sent of it.
fn headers(name: &str) -> Result<BTreeMap<String, String>, String> {
    const PLAIN: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');
    let header = percent_encoding::utf8_percent_encode(name, PLAIN).to_string();
    let bytes = header.len() + NAME_HEADER.len();
    if bytes as u64 > limits::HEADERS_BYTES_MAX {
        return Err(format!(
            "its name takes {bytes} bytes as a header, the most is {}",
            limits::HEADERS_BYTES_MAX
        ));
    }
    Ok(BTreeMap::from([(NAME_HEADER.to_owned(), header)]))
}

/// A file or object whose content is the payload.
fn whole(name: &str, payload: Body) -> Result<Item, String> {
    let content_type = Some(Cow::Borrowed("application/octet-stream"));
    Ok(Item { payload, content_type, headers: headers(name)?, ..Item::default() })
}

/// Where a file or object lies is the payload.
fn reference(name: &str, place: &serde_json::Value) -> Item {
    Item {
        payload: place.to_string().into(),
        content_type: Some(Cow::Borrowed("application/json")),
        // One whose name is too long for a header is found by its place.
        headers: headers(name).unwrap_or_default(),
        ..Item::default()
    }
}

/// A file or object that cannot be a call.
fn bad_whole(name: &str, bytes: u64, reason: String) -> Item {
    let bad = Bad { name: name.to_owned(), line: None, column: None, reason, bytes };
    Item { bad: Some(Box::new(bad)), headers: headers(name).unwrap_or_default(), ..Item::default() }
}

fn too_big(what: &str, bytes: u64) -> String {
    format!(
        "the {what} has {bytes} bytes, the most of a payload is {}; `--pass ref` hands over where it lies",
        limits::BODY_BYTES_MAX
    )
}
