//! A chunk: the calls of a batch that share one payload object. Persisted, keep stable.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use bytes::Bytes;
use parquet::data_type::ByteArray;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::table::{Layout, Table, TableEnd, TableWriter, end_of, fill};
use crate::error::{Error, Result};
use crate::limits;
use crate::model::Digest;
use crate::model::checked::{checked, within};
use crate::model::id::NUMBER_MAX;

const LAYOUT: Layout =
    Layout { schema: SCHEMA, bulk: &["payload", "headers", "refused"], alike: &[], looked_up: &[] };

const SCHEMA: &str = "message chunk {
    required int64 number;
    required binary payload;
    optional binary content_type (UTF8);
    optional binary headers (UTF8);
    optional binary refused (UTF8);
    optional int64 source_line;
    optional binary input_sha256 (UTF8);
}";

/// Records with keys: the same columns, and one more. What is on disk finds a key by the Bloom filters of its column.
const KEYED_LAYOUT: Layout =
    Layout { schema: KEYED_SCHEMA, bulk: LAYOUT.bulk, alike: &["key"], looked_up: &["key"] };

const KEYED_SCHEMA: &str = "message chunk {
    required int64 number;
    required binary payload;
    optional binary content_type (UTF8);
    optional binary headers (UTF8);
    optional binary refused (UTF8);
    optional int64 source_line;
    optional binary input_sha256 (UTF8);
    optional binary key (UTF8);
}";

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
    let has_keys = records.iter().any(|record| record.key.is_some());
    let mut table = TableWriter::new(if has_keys { &KEYED_LAYOUT } else { &LAYOUT }, bytes)?;
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
            )?;
            match has_keys {
                true => group.column(rows.iter().map(|row| row.key.as_deref().map(ByteArray::from))),
                false => Ok(()),
            }
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
        if table.has("key") {
            fill(rows, group.optional_texts("key")?, |record, key| record.key = key);
        }
        let bad = |record: &&Record| record.key.as_ref().is_some_and(|key| !key_bytes().contains(&key.len()));
        if let Some(record) = rows.iter().find(bad) {
            let (least, most) = key_bytes().into_inner();
            return Err(unreadable(format!(
                "the key of number {} has not {least} to {most} bytes",
                record.number
            )));
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(keyed: f64) -> impl Strategy<Value = Record> {
        let text = || proptest::option::of(".{0,12}");
        let headers = proptest::collection::btree_map("[a-z-]{1,8}", ".{0,8}", 0..3);
        let payload = proptest::collection::vec(any::<u8>(), 0..40);
        let input = proptest::option::of(any::<u64>().prop_map(|n| Digest::of(&n.to_le_bytes())));
        let key = proptest::option::weighted(keyed, "\\PC{1,20}");
        (payload, text(), headers, text(), proptest::option::of(0u64..1_000_000), input, key).prop_map(
            |(payload, content_type, headers, refused, source_line, input, key)| Record {
                number: 0,
                payload: payload.into(),
                content_type,
                headers,
                refused,
                source_line,
                input,
                key,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn reads_back_as_written(
            records in proptest::collection::vec(record(0.001), 1..150),
            keyed in proptest::collection::vec(record(0.9), 1..150),
            first in 1u64..1_000_000_000,
        ) {
            for mut records in [records, keyed] {
                for (number, record) in (first..).zip(&mut records) {
                    record.number = number;
                }
                let file = encode(&records).unwrap();
                let bytes = file.len() as u64;
                for key in records.iter().filter_map(|record| record.key.as_deref()) {
                    prop_assert!(may_have_key("chunk", &file, bytes, key).unwrap());
                }
                prop_assert_eq!(decode("chunk", file).unwrap(), records);
            }
        }
    }

    fn keyed(first: u64, count: u64) -> Vec<Record> {
        let record = |number: u64| Record {
            number,
            payload: vec![b'x'; 500].into(),
            key: Some(format!("customer-{number}")),
            ..Record::default()
        };
        (first..first + count).map(record).collect()
    }

    #[test]
    fn the_end_of_a_chunk_tells_which_keys_it_may_have() {
        let file = encode(&keyed(1, limits::CHUNK_CALLS_MAX)).unwrap();
        let bytes = file.len() as u64;
        let end = &file[file.len().saturating_sub(limits::CHUNK_END_BYTES as usize)..];
        let may_have =
            |end: &[u8], number: u64| may_have_key("c", end, bytes, &format!("customer-{number}")).unwrap();
        assert!((1..=2_000).all(|number| may_have(end, number)));
        let wrong = (2_001..12_001).filter(|number| may_have(end, *number)).count();
        assert!(wrong < 400, "{wrong} of 10000 other keys may be there");
        // Without the filters any key may be there, and without the footer too.
        let footer_alone = &file[file.len() - 3_000..];
        assert!(may_have(footer_alone, 9_999) && may_have(&file[file.len() - 20..], 9_999));
        let plain = encode(&[Record { number: 1, ..Record::default() }]).unwrap();
        assert!(!may_have_key("c", &plain, plain.len() as u64, "customer-1").unwrap());
        assert!(may_have_key("c", b"what is no table at all", 23, "x").is_err());
    }

    #[test]
    fn a_key_has_as_many_bytes_as_a_key_may() {
        for key in [String::new(), "x".repeat(limits::KEY_BYTES_MAX + 1)] {
            let file = encode(&[Record { number: 3, key: Some(key), ..Record::default() }]).unwrap();
            let error = decode("c", file).unwrap_err();
            assert!(error.message().ends_with("the key of number 3 has not 1 to 1024 bytes"), "{error}");
        }
    }
}
