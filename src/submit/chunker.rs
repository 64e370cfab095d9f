//! Cuts records into chunks. The cuts are a pure function of the records, the chunk's index and the batch's `chunking`
//! (H3), however the records come in. A pause of a pipe is the exception: a pipe is never read a second time.

use std::collections::BTreeMap;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::source::{NAME_HEADER, SourceRecord};
use super::submission::Progress;
use crate::error::{Error, Result};
use crate::layout::batch::Chunking;
use crate::layout::chunk::Record;
use crate::limits;
use crate::model::id::NUMBER_MAX;
use crate::model::{BatchId, Digest};
use crate::seam::Body;

/// The version of the rule in this file.
const RULE: u32 = 1;

/// The records of one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub first: u64,
    pub last: u64,
    pub records: Vec<Record>,
    /// Payloads that are too big for the chunk.
    pub inputs: Vec<Input>,
    /// Of all records, those of `inputs` included.
    pub bytes: u64,
    /// The number of bad records.
    pub refused: u64,
    /// The digest of the records: shows whether a source has changed.
    pub source: Digest,
}

impl Cut {
    pub(super) fn progress(&self, batch: BatchId) -> Progress {
        let calls = self.last - self.first + 1;
        Progress { batch, calls, chunks: 1, bytes: self.bytes, refused: self.refused }
    }
}

/// A payload that lies in an object of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    pub number: u64,
    pub payload: Body,
    pub sha256: Digest,
}

pub struct Chunker {
    chunking: Chunking,
    /// Stored chunks, first number to last: they are cut the same way again.
    stored: BTreeMap<u64, u64>,
    index: u64,
    next: u64,
    open: Open,
}

/// The chunk that is being filled.
#[derive(Default)]
struct Open {
    records: Vec<Record>,
    inputs: Vec<Input>,
    bytes: u64,
    refused: u64,
    digest: Sha256,
}

impl Chunker {
    pub fn new(chunking: Chunking) -> Result<Chunker> {
        Chunker::resume(chunking, BTreeMap::new())
    }

    /// Cuts the gaps between chunks that are stored already.
    pub fn resume(chunking: Chunking, stored: BTreeMap<u64, u64>) -> Result<Chunker> {
        let sane = chunking.calls_min >= 1 && chunking.calls_max >= 1 && chunking.chunks_per_doubling >= 1;
        if chunking.v != RULE || !sane {
            return Err(Error::invalid(format!(
                "the batch is cut by rule {}, this program knows rule {RULE}",
                chunking.v
            ))
            .with_hint("use the version of afn that began it, or a newer one"));
        }
        Ok(Chunker { chunking, stored, index: 0, next: 1, open: Open::default() })
    }

    /// The number of records so far.
    pub fn records(&self) -> u64 {
        self.next - 1
    }

    /// Adds the next record; chunks that it completes are appended to `cuts`.
    pub fn push(&mut self, item: SourceRecord, cuts: &mut Vec<Cut>) -> Result<()> {
        if self.next > NUMBER_MAX {
            return Err(Error::invalid(format!("the source has more than {NUMBER_MAX} records")));
        }
        let bytes = record_bytes(&item);
        let stored = self.stored_last();
        let overflows = self.open.bytes + bytes > self.chunking.bytes_max && !self.open.records.is_empty();
        if overflows && stored.is_none() {
            cuts.extend(self.finish());
        }
        self.open.take(self.next, item, bytes)?;
        self.next += 1;
        if self.next > self.last() {
            cuts.extend(self.finish());
        }
        Ok(())
    }

    /// The number of the first record of the chunk that is not full yet.
    pub fn waiting(&self) -> Option<u64> {
        (!self.open.records.is_empty()).then(|| self.first())
    }

    /// The chunk that is not full yet, at the end of the records or where they pause.
    pub fn finish(&mut self) -> Option<Cut> {
        if self.open.records.is_empty() {
            return None;
        }
        self.index += 1;
        let (first, last) = (self.first(), self.next - 1);
        let Open { records, inputs, bytes, refused, digest } = std::mem::take(&mut self.open);
        let source = Digest::from_bytes(digest.finalize().into());
        Some(Cut { first, last, records, inputs, bytes, refused, source })
    }

    fn first(&self) -> u64 {
        self.next - self.open.records.len() as u64
    }

    /// The last number of the chunk that is being filled, if it is a stored one.
    fn stored_last(&self) -> Option<u64> {
        self.stored.get(&self.first()).copied()
    }

    /// The last number that the chunk which is being filled can have.
    fn last(&self) -> u64 {
        if let Some(last) = self.stored_last() {
            return last;
        }
        let first = self.first();
        let by_rule = first.saturating_add(self.chunking.calls(self.index) - 1);
        match self.stored.range(first..).next() {
            Some((next, _)) => by_rule.min(next - 1),
            None => by_rule,
        }
    }
}

/// The bytes that a record adds to its chunk.
fn record_bytes(item: &SourceRecord) -> u64 {
    let headers: usize = item.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let object = item.object.as_ref().map_or(0, |object| object.key.len() + object.etag.len());
    let key = item.key.as_ref().map_or(0, String::len);
    item.payload.len() + (headers + object + key) as u64
}

impl Open {
    fn take(&mut self, number: u64, item: SourceRecord, bytes: u64) -> Result<()> {
        let sha256 = self.hash(&item)?;
        self.bytes += bytes;
        self.refused += u64::from(item.bad.is_some());
        let mut record = Record {
            number,
            payload: Bytes::new(),
            content_type: item.content_type.map(|content_type| content_type.into_owned()),
            headers: item.headers,
            refused: item.bad.map(|bad| bad.to_string()),
            source_line: item.line,
            input: None,
            key: item.key,
            object: item.object,
        };
        match sha256 {
            Some(sha256) => {
                record.input = Some(sha256.clone());
                self.inputs.push(Input { number, payload: item.payload, sha256 });
            }
            None => {
                record.payload = item.payload.to_bytes().map_err(|error| {
                    Error::internal(format!("cannot read the spooled record {number}: {error}"))
                })?
            }
        }
        self.records.push(record);
        Ok(())
    }

    /// Adds each part with its length, so that the parts are unambiguous. The reason of a bad record is left out: another
    /// release may word it differently. Returns the digest of a payload that is too large for the chunk.
    fn hash(&mut self, item: &SourceRecord) -> Result<Option<Digest>> {
        let mut alone = (item.payload.len() > limits::RECORD_INLINE_BYTES_MAX).then(Sha256::new);
        self.digest.update(item.payload.len().to_le_bytes());
        for piece in item.payload.pieces() {
            let piece = piece.map_err(|error| {
                let name = item.headers.get(NAME_HEADER).map_or("a record", String::as_str);
                Error::conflict(format!("`{name}` has changed while it was read: {error}"))
            })?;
            self.digest.update(&piece);
            if let Some(alone) = &mut alone {
                alone.update(&piece);
            }
        }
        let mut part = |bytes: &[u8]| {
            self.digest.update((bytes.len() as u64).to_le_bytes());
            self.digest.update(bytes);
        };
        match &item.bad {
            Some(bad) => part(&bad.bytes.to_le_bytes()),
            None => part(&[]),
        }
        for (name, value) in &item.headers {
            part(name.as_bytes());
            part(value.as_bytes());
        }
        if let Some(key) = &item.key {
            part(b"key");
            part(key.as_bytes());
        }
        if let Some(object) = &item.object {
            part(object.location().as_bytes());
            part(&object.bytes.to_le_bytes());
            part(object.etag.as_bytes());
            part(object.version.as_deref().unwrap_or_default().as_bytes());
        }
        part(&[u8::MAX]);
        Ok(alone.map(|alone| Digest::from_bytes(alone.finalize().into())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::SourceObject;

    fn item(bytes: usize) -> SourceRecord {
        SourceRecord { payload: vec![b'x'; bytes].into(), ..SourceRecord::default() }
    }

    fn cut(mut chunker: Chunker, items: impl IntoIterator<Item = SourceRecord>) -> Vec<Cut> {
        let mut cuts = Vec::new();
        for item in items {
            chunker.push(item, &mut cuts).unwrap();
        }
        cuts.extend(chunker.finish());
        cuts
    }

    fn ranges(cuts: &[Cut]) -> Vec<(u64, u64)> {
        cuts.iter().map(|cut| (cut.first, cut.last)).collect()
    }

    const SMALL: Chunking =
        Chunking { v: 1, calls_min: 2, calls_max: 8, chunks_per_doubling: 2, bytes_max: 20, first_calls: 0 };

    #[test]
    fn chunks_grow_by_index_and_end_before_too_many_bytes() {
        let cuts = cut(Chunker::new(SMALL).unwrap(), (0..30).map(|_| item(1)));
        assert_eq!(ranges(&cuts), [(1, 2), (3, 4), (5, 8), (9, 12), (13, 20), (21, 28), (29, 30)]);
        let cuts = cut(Chunker::new(SMALL).unwrap(), [15, 5, 1, 20, 30, 1, 19, 1].map(item));
        assert_eq!(ranges(&cuts), [(1, 2), (3, 3), (4, 4), (5, 5), (6, 7), (8, 8)]);
        assert_eq!(cut(Chunker::new(SMALL).unwrap(), []), []);
        let thousand = cut(Chunker::new(Chunking::default()).unwrap(), (0..1_000).map(|_| item(1)));
        assert_eq!(thousand.len(), 12);
    }

    #[test]
    fn a_big_payload_lies_outside_its_chunk() {
        let big = limits::RECORD_INLINE_BYTES_MAX as usize;
        let cuts = cut(Chunker::new(Chunking::default()).unwrap(), [big, big + 1].map(item));
        assert_eq!(cuts[0].records[0].input, None);
        assert_eq!(cuts[0].records[1].input, Some(Digest::of(&vec![b'x'; big + 1])));
        assert_eq!((cuts[0].records[1].payload.len(), cuts[0].inputs[0].payload.len()), (0, big as u64 + 1));
    }

    #[test]
    fn an_object_is_a_part_of_the_digest_and_takes_room_by_its_names() {
        let object = |etag: &str| SourceObject {
            bucket: "b".parse().unwrap(),
            key: "k".repeat(10),
            bytes: 1 << 20,
            etag: etag.to_owned(),
            version: None,
        };
        let of = |object| SourceRecord { object: Some(object), ..SourceRecord::default() };
        let cuts = |etag: &str| cut(Chunker::new(SMALL).unwrap(), [of(object(etag)), of(object("e2"))]);
        let (one, other) = (cuts("e1"), cuts("e9"));
        assert_eq!(ranges(&one), [(1, 1), (2, 2)], "two keys and ETags have more than 20 bytes");
        assert_eq!(one[0].records[0].object, Some(object("e1")));
        assert_eq!((one[0].bytes, one[0].records[0].payload.len()), (12, 0));
        assert_ne!(one[0].source, other[0].source);
        assert_eq!(one[1].source, other[1].source);
        let empty = cut(Chunker::new(SMALL).unwrap(), [item(0)]);
        assert_ne!(one[0].source, empty[0].source);
    }

    #[test]
    fn a_newer_rule_is_refused() {
        assert!(Chunker::new(Chunking { v: 2, ..SMALL }).is_err());
        assert!(Chunker::new(Chunking { chunks_per_doubling: 0, ..SMALL }).is_err());
    }

    proptest! {
        #[test]
        fn stored_chunks_and_derived_gaps_are_the_cuts_of_the_whole(
            sizes in proptest::collection::vec(0usize..12, 1..60),
            kept in any::<u64>(),
        ) {
            let whole = cut(Chunker::new(SMALL).unwrap(), sizes.iter().map(|size| item(*size)));
            prop_assert!(whole.iter().all(|cut| cut.bytes <= SMALL.bytes_max || cut.first == cut.last));
            let numbers: Vec<u64> = whole.iter().flat_map(|cut| cut.records.iter().map(|record| record.number)).collect();
            prop_assert_eq!(numbers, (1..=sizes.len() as u64).collect::<Vec<_>>());
            let stored = whole.iter().enumerate().filter(|(at, _)| kept >> (at % 64) & 1 == 1);
            let stored = stored.map(|(_, cut)| (cut.first, cut.last)).collect();
            let again = cut(Chunker::resume(SMALL, stored).unwrap(), sizes.iter().map(|size| item(*size)));
            prop_assert_eq!(again, whole);
        }

        #[test]
        fn another_source_has_another_digest(sizes in proptest::collection::vec(0usize..12, 1..20), at in any::<usize>()) {
            let whole = cut(Chunker::new(SMALL).unwrap(), sizes.iter().map(|size| item(*size)));
            let mut edited: Vec<SourceRecord> = sizes.iter().map(|size| item(*size)).collect();
            let at = at % edited.len();
            edited[at].payload = vec![b'y'; sizes[at] + 1].into();
            let stored = whole.iter().map(|cut| (cut.first, cut.last)).collect();
            let again = cut(Chunker::resume(SMALL, stored).unwrap(), edited);
            let differing = whole.iter().zip(&again).filter(|(old, new)| old.source != new.source);
            prop_assert_eq!(differing.count(), 1);
        }
    }
}
