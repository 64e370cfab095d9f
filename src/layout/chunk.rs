//! A chunk: the calls of a batch that share one payload object. Persisted, keep stable.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::table::{Layout, Table, TableWriter};
use crate::error::{Error, Result};
use crate::model::Digest;

const LAYOUT: Layout = Layout { schema: SCHEMA, bulk: &["payload", "headers", "refused"], alike: &[] };

const SCHEMA: &str = "message chunk {
    required int64 number;
    required binary payload;
    optional binary content_type (UTF8);
    optional binary headers (UTF8);
    optional binary refused (UTF8);
    optional int64 source_line;
    optional binary input_sha256 (UTF8);
}";

const GROUP_ROWS: usize = 1_024;

/// One call of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// The header that names the file or object that a record is of; percent-encoded where it is not ASCII.
pub const NAME_HEADER: &str = "Afn-Name";

impl Record {
    /// The file or object that it is of.
    pub fn name(&self) -> Option<Cow<'_, str>> {
        let mut named = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(NAME_HEADER));
        named.next().and_then(|(_, name)| percent_decode_str(name).decode_utf8().ok())
    }
}

/// What rides on a chunk's object as its note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkFacts {
    pub v: u32,
    pub first: u64,
    pub last: u64,
    /// Of the records as they came from the source: tells a changed source from the same one (H3).
    pub source: Digest,
}

/// What rides on the object of a payload that is too big for its chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFacts {
    pub v: u32,
    pub sha256: Digest,
}

/// Numbers ascend; there are no gaps.
pub fn encode(records: &[Record]) -> Result<Bytes> {
    let bytes = records.iter().map(|record| record.payload.len() as u64).sum();
    let mut table = TableWriter::new(&LAYOUT, bytes)?;
    for rows in records.chunks(GROUP_ROWS) {
        table.group(|group| {
            group.int64(&rows.iter().map(|row| row.number as i64).collect::<Vec<_>>())?;
            group.bytes(&rows.iter().map(|row| row.payload.clone().into()).collect::<Vec<_>>())?;
            group.optional_bytes(rows.iter().map(|row| row.content_type.as_deref().map(Into::into)))?;
            group.optional_bytes(rows.iter().map(|row| {
                let headers = &row.headers;
                (!headers.is_empty()).then(|| serde_json::to_vec(headers).expect("text keys").into())
            }))?;
            group.optional_bytes(rows.iter().map(|row| row.refused.as_deref().map(Into::into)))?;
            group.optional_int64(rows.iter().map(|row| row.source_line.map(|line| line as i64)))?;
            group.optional_bytes(rows.iter().map(|row| row.input.as_ref().map(|input| input.as_str().into())))
        })?;
    }
    table.finish("{\"v\":1}".to_owned())
}

pub fn decode(name: &str, file: Bytes) -> Result<Vec<Record>> {
    let table = Table::open(name, file)?;
    let mut records = Vec::new();
    for index in 0..table.groups() {
        let group = table.group(index)?;
        let mut payloads = group.bytes("payload")?.into_iter();
        let mut content_types = group.optional_texts("content_type")?.into_iter();
        let mut headers = group.optional_bytes("headers")?.into_iter();
        let mut refused = group.optional_texts("refused")?.into_iter();
        let mut lines = group.optional_int64("source_line")?.into_iter();
        let mut inputs = group.optional_texts("input_sha256")?.into_iter();
        for number in group.int64("number")? {
            let headers = match headers.next().flatten() {
                Some(json) => serde_json::from_slice(&json).map_err(|error| {
                    Error::internal(format!("object `{name}` cannot be read: headers: {error}"))
                })?,
                None => BTreeMap::new(),
            };
            records.push(Record {
                number: number as u64,
                payload: payloads.next().unwrap_or_default(),
                content_type: content_types.next().flatten(),
                headers,
                refused: refused.next().flatten(),
                source_line: lines.next().flatten().map(|line| line as u64),
                input: inputs.next().flatten().map(|digest| digest.parse()).transpose()?,
            });
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = Record> {
        let text = || proptest::option::of(".{0,12}");
        let headers = proptest::collection::btree_map("[a-z-]{1,8}", ".{0,8}", 0..3);
        let payload = proptest::collection::vec(any::<u8>(), 0..40);
        let input = proptest::option::of(any::<u64>().prop_map(|n| Digest::of(&n.to_le_bytes())));
        (payload, text(), headers, text(), proptest::option::of(0u64..1_000_000), input).prop_map(
            |(payload, content_type, headers, refused, source_line, input)| Record {
                number: 0,
                payload: payload.into(),
                content_type,
                headers,
                refused,
                source_line,
                input,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn reads_back_as_written(records in proptest::collection::vec(record(), 1..150), first in 1u64..1_000_000_000) {
            let mut records = records;
            for (number, record) in (first..).zip(&mut records) {
                record.number = number;
            }
            prop_assert_eq!(decode("chunk", encode(&records).unwrap()).unwrap(), records);
        }
    }
}
