//! A chunk: the calls of a batch that share one payload object. Persisted, keep stable.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use bytes::Bytes;
use parquet::data_type::ByteArray;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::table::{Group, GroupWriter, Layout, Table, TableEnd, TableWriter, end_of, fill};
use crate::error::{Error, Result};
use crate::limits;
use crate::model::checked::{checked, within};
use crate::model::id::NUMBER_MAX;
use crate::model::{BucketName, Digest, SourceObject};

#[cfg(test)]
mod tests;

/// Payloads of some records are objects of the user where `with_objects`. `payload` has gaps then, so an afn that knows only
/// version 1 cannot read the chunk: it would run these calls on empty payloads.
fn schema(with_keys: bool, with_objects: bool) -> String {
    let payload = if with_objects { "optional" } else { "required" };
    let keys = if with_keys { "optional binary key (UTF8);" } else { "" };
    let objects = if with_objects { OBJECT_COLUMNS } else { "" };
    format!(
        "message chunk {{
            required int64 number;
            {payload} binary payload;
            optional binary content_type (UTF8);
            optional binary headers (UTF8);
            optional binary refused (UTF8);
            optional int64 source_line;
            optional binary input_sha256 (UTF8);
            {keys}
            {objects}
        }}"
    )
}

const OBJECT_COLUMNS: &str = "
    optional binary object_bucket (UTF8);
    optional binary object_key (UTF8);
    optional int64 object_bytes;
    optional binary object_etag (UTF8);
    optional binary object_version (UTF8);";

/// In the footer.
#[derive(Serialize, Deserialize)]
struct Footer {
    v: u32,
}

const VERSION: u32 = 1;
const FETCH_VERSION: u32 = 2;

/// Every byte of a header may be escaped, and has a few others around it.
const HEADERS_JSON_BYTES_MAX: u64 = 12 * limits::HEADERS_BYTES_MAX;
/// What a header takes in memory beside its text.
const HEADER_OVERHEAD_BYTES: u64 = 64;

const GROUP_ROWS: usize = limits::CHUNK_GROUP_ROWS;

/// One call of a chunk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    pub number: u64,
    pub payload: Bytes,
    pub content_type: Option<String>,
    pub headers: BTreeMap<String, String>,
    /// Why it is not to be run: the record was bad. Its call is decided `error` with this reason.
    pub refused: Option<String>,
    pub source_line: Option<u64>,
    /// The payload is too big for the chunk and lies under `inputs/{number}`; this is its digest, `payload` is empty.
    pub input: Option<Digest>,
    /// Its name in the user's own words, which no other record of its batch has that is not refused.
    pub key: Option<String>,
    /// The payload is this object, which the worker reads; `payload` is empty.
    pub object: Option<SourceObject>,
}

/// The header that names the file or object that a record is of; percent-encoded where it is not ASCII.
pub const NAME_HEADER: &str = "Afn-Name";

impl Record {
    /// The file or object that it is of.
    pub fn name(&self) -> Option<Cow<'_, str>> {
        if let Some(object) = &self.object {
            return Some(Cow::Borrowed(&object.key));
        }
        let mut named = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(NAME_HEADER));
        named.next().and_then(|(_, name)| percent_decode_str(name).decode_utf8().ok())
    }

    /// What the function gets. An object has its name in the chunk once, as its key.
    pub fn all_headers(&self) -> BTreeMap<String, String> {
        let mut headers = self.headers.clone();
        // A key that is too long for a header is left out.
        if let Some(Ok(name)) = self.object.as_ref().map(|object| name_header(&object.key)) {
            headers.insert(NAME_HEADER.to_owned(), name);
        }
        headers
    }
}

/// The value of [`NAME_HEADER`] for a name, or why it has none.
pub fn name_header(name: &str) -> Result<String, String> {
    const PLAIN: &AsciiSet = &CONTROLS.add(b'%');
    let header = utf8_percent_encode(name, PLAIN).to_string();
    let bytes = header.len() + NAME_HEADER.len();
    if bytes as u64 > limits::HEADERS_BYTES_MAX {
        let most = limits::HEADERS_BYTES_MAX;
        return Err(format!("its name takes {bytes} bytes as a header, the most is {most}"));
    }
    Ok(header)
}

/// The metadata of a chunk's object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct ChunkFacts {
    pub first: u64,
    pub last: u64,
    /// Of the records as they came from the source: tells a changed source from the same one (H3).
    pub source: Digest,
}

checked!(ChunkFacts);

impl ChunkFacts {
    fn check(&self) -> Result<(), String> {
        within("last", self.last, 1..=NUMBER_MAX)?;
        within("first", self.first, chunk_first_min(self.last)..=self.last)
    }
}

/// The least number that a chunk can begin with which ends with `last`.
pub fn chunk_first_min(last: u64) -> u64 {
    last.saturating_sub(limits::RANGE_CALLS_MAX - 1).max(1)
}

/// The metadata of the object of a payload that is too big for its chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFacts {
    pub sha256: Digest,
}

/// Numbers ascend; there are no gaps.
pub fn encode(records: &[Record]) -> Result<Bytes> {
    let with_keys = records.iter().any(|record| record.key.is_some());
    let with_objects = records.iter().any(|record| record.object.is_some());
    let bulk = |record: &Record| record.payload.len() + record.object.as_ref().map_or(0, |of| of.key.len());
    let bytes: usize = records.iter().map(bulk).sum();
    let layout = Layout {
        schema: &schema(with_keys, with_objects),
        bulk: &["payload", "headers", "refused", "object_etag"],
        alike: &["key", "object_bucket", "object_key"],
        looked_up: if with_keys { &["key"] } else { &[] },
    };
    let mut table = TableWriter::new(&layout, bytes as u64)?;
    for rows in records.chunks(GROUP_ROWS) {
        table.group(|group| {
            group.column(rows.iter().map(|row| row.number as i64))?;
            match with_objects {
                true => group.column(rows.iter().map(|row| row.object.is_none().then(|| payload(row))))?,
                false => group.column(rows.iter().map(payload))?,
            }
            common_columns(group, rows)?;
            if with_keys {
                group.column(rows.iter().map(|row| row.key.as_deref().map(ByteArray::from)))?;
            }
            match with_objects {
                true => object_columns(group, rows),
                false => Ok(()),
            }
        })?;
    }
    table.finish(footer(if with_objects { FETCH_VERSION } else { VERSION }))
}

fn payload(row: &Record) -> ByteArray {
    ByteArray::from(row.payload.clone())
}

fn object_columns(group: &mut GroupWriter<'_>, rows: &[Record]) -> Result<()> {
    let text = |of: fn(&SourceObject) -> Option<&str>| {
        rows.iter().map(move |row| row.object.as_ref().and_then(of).map(ByteArray::from))
    };
    group.column(text(|object| Some(object.bucket.as_str())))?;
    group.column(text(|object| Some(&object.key)))?;
    group.column(rows.iter().map(|row| row.object.as_ref().map(|object| object.bytes as i64)))?;
    group.column(text(|object| Some(&object.etag)))?;
    group.column(text(|object| object.version.as_deref()))
}

/// The columns behind `payload` that every chunk has.
fn common_columns(group: &mut GroupWriter<'_>, rows: &[Record]) -> Result<()> {
    group.column(rows.iter().map(|row| row.content_type.as_deref().map(ByteArray::from)))?;
    group.column(rows.iter().map(|row| {
        let headers = &row.headers;
        (!headers.is_empty()).then(|| ByteArray::from(serde_json::to_vec(headers).expect("text keys")))
    }))?;
    group.column(rows.iter().map(|row| row.refused.as_deref().map(ByteArray::from)))?;
    group.column(rows.iter().map(|row| row.source_line.map(|line| line as i64)))?;
    group.column(rows.iter().map(|row| row.input.as_ref().map(|input| ByteArray::from(input.as_str()))))
}

fn footer(v: u32) -> String {
    serde_json::to_string(&Footer { v }).expect("a number")
}

pub fn decode(name: impl Display, file: Bytes) -> Result<Vec<Record>> {
    let table = Table::open(&name, file)?;
    let mut records: Vec<Record> = Vec::new();
    let unreadable = |why: String| Error::internal(format!("object `{name}` cannot be read: {why}"));
    let Footer { v } =
        serde_json::from_str(&table.footer()?).map_err(|error| unreadable(format!("footer: {error}")))?;
    if !(VERSION..=FETCH_VERSION).contains(&v) {
        let what = format!("object `{name}` has version {v}, this afn reads versions up to {FETCH_VERSION}");
        return Err(Error::internal(what).with_hint("a newer afn wrote it: upgrade this one"));
    }
    let (mut bytes, budget) = (0, table.budget());
    for index in 0..table.groups() {
        let group = table.group(index, &budget)?;
        let begin = records.len();
        for number in group.numbers("number", NUMBER_MAX)? {
            let before = records.last().map_or(number.wrapping_sub(1), |record| record.number);
            if !(1..=NUMBER_MAX).contains(&number) || number != before + 1 {
                return Err(unreadable(format!("number {number} follows number {before}")));
            }
            records.push(Record { number, ..Record::default() });
        }
        let rows = &mut records[begin..];
        bytes += decode_common(&group, rows, &unreadable)?;
        if table.has("key") {
            decode_keys(&group, rows, &unreadable)?;
        }
        bytes += match v {
            FETCH_VERSION => decode_objects(&group, rows, &unreadable)?,
            _ => decode_payloads(&group, rows)?,
        };
        if bytes > limits::CHUNK_OBJECT_BYTES_MAX {
            let most = limits::CHUNK_OBJECT_BYTES_MAX;
            return Err(unreadable(format!("its records have more than {most} bytes")));
        }
    }
    Ok(records)
}

/// The names of records in the user's own words.
fn decode_keys(group: &Group<'_>, rows: &mut [Record], unreadable: &dyn Fn(String) -> Error) -> Result<()> {
    fill(rows, group.optional_texts("key")?, |record, key| record.key = key);
    let bad = |record: &&Record| record.key.as_ref().is_some_and(|key| !key_bytes().contains(&key.len()));
    let Some(record) = rows.iter().find(bad) else { return Ok(()) };
    let (least, most) = key_bytes().into_inner();
    Err(unreadable(format!("the key of number {} has not {least} to {most} bytes", record.number)))
}

fn key_bytes() -> RangeInclusive<usize> {
    1..=limits::KEY_BYTES_MAX
}

/// Whether a chunk may have this key, by its last bytes. `bytes`: of the whole object. A filter that is not among them tells
/// nothing.
pub fn may_have_key(name: impl Display, end: &[u8], bytes: u64, key: &str) -> Result<bool> {
    match end_of(name, end)? {
        TableEnd::Complete(table) => Ok(table.may_have("key", key, end, bytes)),
        TableEnd::Needs(_) => Ok(true),
    }
}

/// Returns the bytes of the headers.
fn decode_common(
    group: &Group<'_>,
    rows: &mut [Record],
    unreadable: &dyn Fn(String) -> Error,
) -> Result<u64> {
    let mut bytes = 0;
    fill(rows, group.optional_texts("content_type")?, |record, text| record.content_type = text);
    fill(rows, group.optional_texts("refused")?, |record, text| record.refused = text);
    fill(rows, group.optional_numbers("source_line", u64::MAX)?, |record, n| record.source_line = n);
    let headers = group.optional_bytes("headers")?;
    let inputs = group.optional_texts("input_sha256")?;
    for ((record, headers), input) in rows.iter_mut().zip(headers).zip(inputs) {
        if let Some(json) = headers {
            let number = record.number;
            if json.len() as u64 > HEADERS_JSON_BYTES_MAX {
                let most = limits::HEADERS_BYTES_MAX;
                return Err(unreadable(format!(
                    "the headers of number {number} have more than {most} bytes"
                )));
            }
            bytes += json.len() as u64;
            record.headers =
                serde_json::from_slice(&json).map_err(|error| unreadable(format!("headers: {error}")))?;
            group.take("headers", record.headers.len() as u64 * HEADER_OVERHEAD_BYTES)?;
        }
        let bad = |error: Error| unreadable(error.message().to_owned());
        record.input = input.map(|digest| digest.parse()).transpose().map_err(bad)?;
    }
    Ok(bytes)
}

/// Returns the bytes of the payloads.
fn decode_payloads(group: &Group<'_>, rows: &mut [Record]) -> Result<u64> {
    let payloads = group.bytes("payload")?;
    let bytes = payloads.iter().map(|payload| payload.len() as u64).sum();
    fill(rows, payloads, |record, payload| record.payload = payload);
    Ok(bytes)
}

/// Returns the bytes of payloads and of what names objects. A record has a payload or names an object, never both.
fn decode_objects(
    group: &Group<'_>,
    rows: &mut [Record],
    unreadable: &dyn Fn(String) -> Error,
) -> Result<u64> {
    let (mut buckets, mut keys) =
        (group.optional_texts("object_bucket")?.into_iter(), group.optional_texts("object_key")?.into_iter());
    let mut sizes = group.optional_numbers("object_bytes", limits::BODY_BYTES_MAX)?.into_iter();
    let mut etags = group.optional_texts("object_etag")?.into_iter();
    let mut versions = group.optional_texts("object_version")?.into_iter();
    let mut bytes = 0;
    let mut last: Option<BucketName> = None;
    for (record, payload) in rows.iter_mut().zip(group.optional_bytes("payload")?) {
        let number = record.number;
        let bad = |why: String| unreadable(format!("record {number}: {why}"));
        let named = (buckets.next(), keys.next(), sizes.next(), etags.next(), versions.next());
        let named =
            (named.0.flatten(), named.1.flatten(), named.2.flatten(), named.3.flatten(), named.4.flatten());
        match (payload, named) {
            (Some(payload), (None, None, None, None, None)) => {
                bytes += payload.len() as u64;
                record.payload = payload;
            }
            (None, (Some(bucket), Some(key), Some(size), Some(etag), version)) => {
                let bucket = match last.take().filter(|last| last.as_str() == bucket) {
                    Some(same) => same,
                    None => bucket.parse().map_err(|error: Error| bad(error.message().to_owned()))?,
                };
                last = Some(bucket.clone());
                bytes += (key.len() + etag.len()) as u64;
                let object = SourceObject { bucket, key, bytes: size, etag, version };
                object.check().map_err(bad)?;
                if record.input.is_some() || record.refused.is_some() {
                    return Err(bad("it names an object beside another payload".to_owned()));
                }
                record.object = Some(object);
            }
            _ => return Err(bad("it has to have either a payload or an object".to_owned())),
        }
    }
    Ok(bytes)
}
