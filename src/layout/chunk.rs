//! A chunk: the calls of a batch that share one payload object. Persisted, keep stable.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;

use bytes::Bytes;
use parquet::data_type::ByteArray;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::table::{Layout, Table, TableWriter, fill};
use crate::error::{Error, Result};
use crate::limits;
use crate::model::Digest;
use crate::model::checked::{checked, within};
use crate::model::id::NUMBER_MAX;

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
    let bytes = records.iter().map(|record| record.payload.len() as u64).sum();
    let mut table = TableWriter::new(&LAYOUT, bytes)?;
    for rows in records.chunks(GROUP_ROWS) {
        table.group(|group| {
            group.column(rows.iter().map(|row| row.number as i64))?;
            group.column(rows.iter().map(|row| ByteArray::from(row.payload.clone())))?;
            group.column(rows.iter().map(|row| row.content_type.as_deref().map(ByteArray::from)))?;
            group.column(rows.iter().map(|row| {
                let headers = &row.headers;
                (!headers.is_empty())
                    .then(|| ByteArray::from(serde_json::to_vec(headers).expect("text keys")))
            }))?;
            group.column(rows.iter().map(|row| row.refused.as_deref().map(ByteArray::from)))?;
            group.column(rows.iter().map(|row| row.source_line.map(|line| line as i64)))?;
            group.column(
                rows.iter().map(|row| row.input.as_ref().map(|input| ByteArray::from(input.as_str()))),
            )
        })?;
    }
    table.finish("{\"v\":1}".to_owned())
}

pub fn decode(name: impl Display, file: Bytes) -> Result<Vec<Record>> {
    let table = Table::open(&name, file)?;
    let mut records: Vec<Record> = Vec::new();
    let unreadable = |why: String| Error::internal(format!("object `{name}` cannot be read: {why}"));
    let mut bytes = 0;
    for index in 0..table.groups() {
        let group = table.group(index)?;
        let begin = records.len();
        for number in group.numbers("number", NUMBER_MAX)? {
            let before = records.last().map_or(number.wrapping_sub(1), |record| record.number);
            if !(1..=NUMBER_MAX).contains(&number) || number != before + 1 {
                return Err(unreadable(format!("number {number} follows number {before}")));
            }
            records.push(Record { number, ..Record::default() });
        }
        let rows = &mut records[begin..];
        fill(rows, group.bytes("payload")?, |record, payload| {
            bytes += payload.len() as u64;
            record.payload = payload;
        });
        fill(rows, group.optional_texts("content_type")?, |record, text| record.content_type = text);
        fill(rows, group.optional_texts("refused")?, |record, text| record.refused = text);
        fill(rows, group.optional_numbers("source_line", u64::MAX)?, |record, n| record.source_line = n);
        let headers = group.optional_bytes("headers")?;
        let inputs = group.optional_texts("input_sha256")?;
        for ((record, headers), input) in rows.iter_mut().zip(headers).zip(inputs) {
            if let Some(json) = headers {
                bytes += json.len() as u64;
                record.headers =
                    serde_json::from_slice(&json).map_err(|error| unreadable(format!("headers: {error}")))?;
            }
            record.input = input.map(|digest| digest.parse()).transpose()?;
        }
        if bytes > limits::CHUNK_OBJECT_BYTES_MAX {
            let most = limits::CHUNK_OBJECT_BYTES_MAX;
            return Err(unreadable(format!("its records have more than {most} bytes")));
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
