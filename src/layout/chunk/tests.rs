//! Chunks read back as they were written, with keys and with objects, and nothing else is read.

use proptest::prelude::*;

use super::*;

fn object() -> impl Strategy<Value = SourceObject> {
    let version = proptest::option::of("[!-~]{1,32}");
    ("[a-z0-9.-]{1,8}", "\\PC{1,20}|[\\x00-\\x20/.]{1,9}", 0..=limits::BODY_BYTES_MAX, "[!-~]{1,40}", version)
        .prop_map(|(bucket, key, bytes, etag, version)| SourceObject {
            bucket: bucket.parse().unwrap(),
            key,
            bytes,
            etag,
            version,
        })
}

fn record(keyed: f64, objects: bool) -> impl Strategy<Value = Record> {
    let text = || proptest::option::of(".{0,12}");
    let headers = proptest::collection::btree_map("[a-z-]{1,8}", ".{0,8}", 0..3);
    let payload = proptest::collection::vec(any::<u8>(), 0..40);
    let input = proptest::option::of(any::<u64>().prop_map(|n| Digest::of(&n.to_le_bytes())));
    let key = proptest::option::weighted(keyed, "\\PC{1,20}");
    let object = if objects { proptest::option::of(object()).boxed() } else { Just(None).boxed() };
    let rest = (text(), proptest::option::of(0u64..1_000_000), input, key, object);
    (payload, text(), headers, rest).prop_map(
        |(payload, content_type, headers, (refused, source_line, input, key, object))| {
            let record = Record { content_type, headers, source_line, key, ..Record::default() };
            match object {
                Some(object) => Record { object: Some(object), ..record },
                None => Record { payload: payload.into(), refused, input, ..record },
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn reads_back_as_written(
        records in proptest::collection::vec(record(0.001, false), 1..150),
        keyed in proptest::collection::vec(record(0.9, false), 1..150),
        fetched in proptest::collection::vec(record(0.001, true), 1..150),
        keyed_and_fetched in proptest::collection::vec(record(0.9, true), 1..150),
        first in 1u64..1_000_000_000,
    ) {
        for mut records in [records, keyed, fetched, keyed_and_fetched] {
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

fn fetched(object: SourceObject) -> Record {
    Record { number: 1, object: Some(object), ..Record::default() }
}

fn an_object() -> SourceObject {
    SourceObject {
        bucket: "b".parse().unwrap(),
        key: "k".into(),
        bytes: 1,
        etag: "\"e\"".into(),
        version: None,
    }
}

/// Small objects that come to much in memory: groups that are each within bounds, one text for all rows.
#[test]
fn what_records_come_to_in_memory_is_bounded() {
    let read = |records: &[Record]| decode("c", encode(records).unwrap()).map_err(|error| error.to_string());
    let records = |count: usize, record: &Record| -> Vec<Record> {
        (1..).zip(vec![record.clone(); count]).map(|(number, record)| Record { number, ..record }).collect()
    };
    let text = Some("x".repeat(100_000));
    let long = Record { content_type: text.clone(), ..Record::default() };
    assert!(read(&records(400, &long)).is_ok());
    assert!(read(&records(1_200, &long)).unwrap_err().contains("content_type is too large"));
    let long = Record { refused: text, ..Record::default() };
    assert!(read(&records(1_200, &long)).unwrap_err().contains("refused is too large"));

    let headers = |count: usize| {
        let headers = (0..count).map(|n| (format!("{n:x}"), String::new())).collect();
        Record { headers, ..Record::default() }
    };
    assert!(read(&records(2_000, &headers(100))).is_ok());
    assert!(read(&records(2_000, &headers(1_000))).unwrap_err().contains("headers is too large"));
    let many = read(&records(1, &headers(5_000))).unwrap_err();
    assert!(many.ends_with("the headers of number 1 have more than 1024 bytes"), "{many}");
}

#[test]
fn a_digest_that_is_none_names_the_chunk() {
    let layout = Layout { schema: &schema(false, false), bulk: &[], alike: &[], looked_up: &[] };
    let mut table = TableWriter::new(&layout, 0).unwrap();
    let write = |group: &mut GroupWriter<'_>| {
        group.column([1_i64].into_iter())?;
        group.column([ByteArray::from("x")].into_iter())?;
        for _ in ["content_type", "headers", "refused"] {
            group.column([None::<ByteArray>].into_iter())?;
        }
        group.column([None::<i64>].into_iter())?;
        group.column([Some(ByteArray::from("zz"))].into_iter())
    };
    table.group(write).unwrap();
    let error = decode("c", table.finish(footer(VERSION)).unwrap()).unwrap_err();
    assert_eq!(error.code(), crate::error::Code::Internal);
    assert!(error.message().starts_with("object `c` cannot be read: "), "{error}");
}

/// What read the chunks of version 1: a payload that has gaps is an error to it, not an empty payload.
#[test]
fn a_reader_of_version_1_refuses_a_chunk_of_objects() {
    let old = |records: &[Record]| {
        let table = Table::open("chunk", encode(records).unwrap()).unwrap();
        table
            .group(0, &table.budget())
            .unwrap()
            .bytes("payload")
            .map(|payloads| payloads.len())
            .map_err(|error| error.message().to_owned())
    };
    let record = Record { number: 1, payload: "x".into(), ..Record::default() };
    assert_eq!(old(&[record]), Ok(1));
    let refused = old(&[fetched(an_object())]).unwrap_err();
    assert_eq!(refused, "object `chunk` cannot be read: column payload has gaps");
}

#[test]
fn a_record_that_names_no_whole_object_is_refused() {
    let read = |records: &[Record]| decode("c", encode(records).unwrap()).map_err(|e| e.message().to_owned());
    let long = SourceObject { key: "x".repeat(2_000), ..an_object() };
    assert_eq!(
        read(&[fetched(long)]).unwrap_err(),
        "object `c` cannot be read: record 1: an object's key has 1 to 1024 bytes, not 2000"
    );
    let large = SourceObject { bytes: limits::BODY_BYTES_MAX + 1, ..an_object() };
    assert!(read(&[fetched(large)]).unwrap_err().contains("object_bytes has a number outside"));
    let odd = SourceObject { etag: "a\nb".into(), ..an_object() };
    assert!(read(&[fetched(odd)]).unwrap_err().contains("ETag"));
    let both = Record { refused: Some("bad".into()), ..fetched(an_object()) };
    assert!(read(&[both]).unwrap_err().contains("beside another payload"));
}

#[test]
fn a_chunk_of_a_newer_version_says_so() {
    let layout = Layout { schema: &schema(false, false), bulk: &[], alike: &[], looked_up: &[] };
    let mut table = TableWriter::new(&layout, 0).unwrap();
    table
        .group(|group| {
            group.column([1_i64].into_iter())?;
            group.column([ByteArray::from("x")].into_iter())?;
            common_columns(group, &[Record::default()])
        })
        .unwrap();
    let error = decode("c", table.finish(footer(3)).unwrap()).unwrap_err();
    assert_eq!(error.message(), "object `c` has version 3, this afn reads versions up to 2");
}
