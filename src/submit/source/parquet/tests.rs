//! Files that are written here, read back: by all types, by nested columns, in pieces, damaged.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use serde_json::json;

use super::super::tests::all;
use super::super::{OpenOptions, open};
use super::*;
use crate::backend::memory::MemoryStore;
use crate::layout::Key;
use crate::seam::Store;
use crate::seam::clock::SystemClock;
use crate::seam::store::PutObject;

/// A column of one row group: values, definition levels, repetition levels.
type Levels = (Option<Vec<i16>>, Option<Vec<i16>>);

enum Data {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Int96(Vec<Int96>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<&'static [u8]>),
    Fixed(Vec<&'static [u8]>),
}

fn properties(compression: Compression) -> WriterProperties {
    // Small pages, so that a block of rows spans several.
    WriterProperties::builder()
        .set_compression(compression)
        .set_data_page_row_count_limit(7)
        .set_write_batch_size(3)
        .set_encoding(Encoding::PLAIN)
        .build()
}

fn file(schema: &str, compression: Compression, groups: &[Vec<(Data, Levels)>]) -> Bytes {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer =
        SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties(compression))).unwrap();
    for columns in groups {
        let mut group = writer.next_row_group().unwrap();
        for (data, (def, rep)) in columns {
            let mut column = group.next_column().unwrap().unwrap();
            let (def, rep) = (def.as_deref(), rep.as_deref());
            match (column.untyped(), data) {
                (ColumnWriter::BoolColumnWriter(writer), Data::Bool(values)) => {
                    writer.write_batch(values, def, rep)
                }
                (ColumnWriter::Int32ColumnWriter(writer), Data::Int32(values)) => {
                    writer.write_batch(values, def, rep)
                }
                (ColumnWriter::Int64ColumnWriter(writer), Data::Int64(values)) => {
                    writer.write_batch(values, def, rep)
                }
                (ColumnWriter::Int96ColumnWriter(writer), Data::Int96(values)) => {
                    writer.write_batch(values, def, rep)
                }
                (ColumnWriter::FloatColumnWriter(writer), Data::Float(values)) => {
                    writer.write_batch(values, def, rep)
                }
                (ColumnWriter::DoubleColumnWriter(writer), Data::Double(values)) => {
                    writer.write_batch(values, def, rep)
                }
                (ColumnWriter::ByteArrayColumnWriter(writer), Data::Bytes(values)) => {
                    let values: Vec<ByteArray> =
                        values.iter().map(|value| ByteArray::from(value.to_vec())).collect();
                    writer.write_batch(&values, def, rep)
                }
                (ColumnWriter::FixedLenByteArrayColumnWriter(writer), Data::Fixed(values)) => {
                    let values: Vec<FixedLenByteArray> =
                        values.iter().map(|value| FixedLenByteArray::from(value.to_vec())).collect();
                    writer.write_batch(&values, def, rep)
                }
                _ => panic!("the data is of another type"),
            }
            .unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.into_inner().unwrap().into()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn read(file: &[u8]) -> Result<Vec<SourceRecord>> {
    let mut at = tempfile::Builder::new().suffix(".PARQUET").tempfile().unwrap();
    at.write_all(file).unwrap();
    block_on(async { all(open(at.path().to_str().unwrap(), OpenOptions::default(), None).await?).await })
}

fn texts(rows: &[SourceRecord]) -> Vec<String> {
    let text = |row: &SourceRecord| String::from_utf8(row.payload.to_bytes().unwrap().to_vec()).unwrap();
    rows.iter().map(text).collect()
}

fn required(data: Data) -> (Data, Levels) {
    (data, (None, None))
}

fn optional(data: Data, def: &[i16]) -> (Data, Levels) {
    (data, (Some(def.to_vec()), None))
}

#[test]
fn every_type_is_exact() {
    let schema = "message m {
        required boolean b; required int32 i (INTEGER(8,true)); required int32 u (INTEGER(32,false));
        required int64 l; required int64 ul (INTEGER(64,false)); required float f; required double d;
        required int32 day (DATE); required int32 t (TIME(MILLIS,true)); required int64 at (TIMESTAMP(MICROS,true));
        required int64 local (TIMESTAMP(NANOS,false)); required int96 old; required int32 few (DECIMAL(9,2));
        required fixed_len_byte_array(16) many (DECIMAL(38,10)); required binary s (UTF8); required binary raw;
        required fixed_len_byte_array(16) id (UUID); required fixed_len_byte_array(2) h (FLOAT16);
        optional binary none (UTF8);
    }";
    let mut old = Int96::new();
    old.set_data(1_000_000_001, 0, 2_440_588);
    let many: &[u8] =
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x85];
    let row = vec![
        required(Data::Bool(vec![true])),
        required(Data::Int32(vec![-7])),
        required(Data::Int32(vec![-1])),
        required(Data::Int64(vec![9_007_199_254_740_993])),
        required(Data::Int64(vec![-1])),
        required(Data::Float(vec![0.1])),
        required(Data::Double(vec![f64::NAN])),
        required(Data::Int32(vec![19_782])),
        required(Data::Int32(vec![45_296_007])),
        required(Data::Int64(vec![1_709_210_096_007_001])),
        required(Data::Int64(vec![1])),
        required(Data::Int96(vec![old])),
        required(Data::Int32(vec![-110])),
        required(Data::Fixed(vec![many])),
        required(Data::Bytes(vec!["é\"\n".as_bytes()])),
        required(Data::Bytes(vec![b"\xff\0"])),
        required(Data::Fixed(vec![b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef"])),
        required(Data::Fixed(vec![b"\x00\x3e"])),
        optional(Data::Bytes(vec![]), &[0]),
    ];
    let rows = read(&file(schema, Compression::SNAPPY, &[row])).unwrap();
    let expected = concat!(
        r#"{"b":true,"i":-7,"u":4294967295,"l":9007199254740993,"ul":18446744073709551615,"f":0.1,"d":"NaN","#,
        r#""day":"2024-02-29","t":"12:34:56.007","at":"2024-02-29T12:34:56.007001Z","#,
        r#""local":"1970-01-01T00:00:00.000000001","old":"1970-01-01T00:00:01.000000001","few":-1.10,"#,
        r#""many":"-0.0000000123","s":"é\"\n","raw":"/wA=","id":"01234567-89ab-cdef-0123-456789abcdef","h":1.5,"none":null}"#
    );
    assert_eq!(texts(&rows), [expected]);
    assert_eq!((rows[0].line, rows[0].content_type.as_deref()), (Some(1), Some("application/json")));
}

#[test]
fn lists_maps_and_groups_are_json() {
    let schema = "message m {
        optional group l (LIST) { repeated group list { optional int32 element; } }
        optional group old (LIST) { repeated int32 array; }
        optional group pairs (LIST) { repeated group array { required int32 x; } }
        repeated int32 bare;
        optional group m (MAP) { repeated group key_value { required int32 key; optional binary value (UTF8); } }
        optional group g { optional int32 a; optional group deep { required int32 b; } }
    }";
    let levels = |def: &[i16], rep: &[i16]| (Some(def.to_vec()), Some(rep.to_vec()));
    let columns = vec![
        // null, [], [null], [1,null,2]
        (Data::Int32(vec![1, 2]), levels(&[0, 1, 2, 3, 2, 3], &[0, 0, 0, 0, 1, 1])),
        // null, [], [5], [6,7]
        (Data::Int32(vec![5, 6, 7]), levels(&[0, 1, 2, 2, 2], &[0, 0, 0, 0, 1])),
        (Data::Int32(vec![5, 6, 7]), levels(&[0, 1, 2, 2, 2], &[0, 0, 0, 0, 1])),
        // [], [8], [9,10], []
        (Data::Int32(vec![8, 9, 10]), levels(&[0, 1, 1, 1, 0], &[0, 0, 0, 1, 0])),
        // null, {}, {1:"a"}, {2:null,3:"b"}
        (Data::Int32(vec![1, 2, 3]), levels(&[0, 1, 2, 2, 2], &[0, 0, 0, 0, 1])),
        (Data::Bytes(vec![b"a", b"b"]), levels(&[0, 1, 3, 2, 3], &[0, 0, 0, 0, 1])),
        // null, {a:null,deep:null}, {a:1,deep:null}, {a:2,deep:{b:3}}
        optional(Data::Int32(vec![1, 2]), &[0, 1, 2, 2]),
        optional(Data::Int32(vec![3]), &[0, 1, 1, 2]),
    ];
    let rows = read(&file(schema, Compression::UNCOMPRESSED, &[columns])).unwrap();
    assert_eq!(
        texts(&rows),
        [
            r#"{"l":null,"old":null,"pairs":null,"bare":[],"m":null,"g":null}"#,
            r#"{"l":[],"old":[],"pairs":[],"bare":[8],"m":{},"g":{"a":null,"deep":null}}"#,
            r#"{"l":[null],"old":[5],"pairs":[{"x":5}],"bare":[9,10],"m":{"1":"a"},"g":{"a":1,"deep":null}}"#,
            r#"{"l":[1,null,2],"old":[6,7],"pairs":[{"x":6},{"x":7}],"bare":[],"m":{"2":null,"3":"b"},"g":{"a":2,"deep":{"b":3}}}"#,
        ]
    );
}

#[test]
fn a_text_that_is_none_spoils_its_row_alone() {
    let schema = "message m { required binary s (UTF8); required int32 n; }";
    let columns =
        vec![required(Data::Bytes(vec![b"a", b"b\xff", b"c"])), required(Data::Int32(vec![1, 2, 3]))];
    let rows = read(&file(schema, Compression::SNAPPY, &[columns])).unwrap();
    assert_eq!([&texts(&rows)[0], &texts(&rows)[2]], [r#"{"s":"a","n":1}"#, r#"{"s":"c","n":3}"#]);
    let bad = rows[1].bad.as_ref().unwrap().to_string();
    assert!(bad.ends_with(".PARQUET:2: column s: the text is not UTF-8 behind 1 bytes"), "{bad}");
}

fn many_groups(compression: Compression) -> (Bytes, Vec<String>) {
    let group = |first: i64| vec![required(Data::Int64((first..first + 1_500).collect()))];
    let file = file(
        "message m { required int64 n; }",
        compression,
        &[group(0), vec![required(Data::Int64(vec![]))], group(1_500)],
    );
    (file, (0..3_000).map(|n| json!({ "n": n }).to_string()).collect())
}

#[test]
fn row_groups_and_pages_follow_one_another() {
    use parquet::basic::{GzipLevel, ZstdLevel};
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
    ] {
        let (file, expected) = many_groups(compression);
        let rows = read(&file).unwrap();
        assert!(texts(&rows) == expected, "{compression}");
        assert!(rows.iter().zip(1..).all(|(row, line)| row.line == Some(line)));
    }
}

#[test]
fn an_object_is_read_as_a_file_is() {
    let (file, expected) = many_groups(Compression::SNAPPY);
    block_on(async {
        let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        store.put(&Key::text("deep/x.parquet"), PutObject::create(file)).await.unwrap();
        let bucket: Arc<dyn Store> = store.clone();
        let source =
            open("s3://b/deep/x.parquet", OpenOptions::default(), Some(bucket.clone())).await.unwrap();
        assert_eq!(source.origin().format, "parquet");
        assert!(texts(&all(source).await.unwrap()) == expected);

        let mut source = open("s3://b/deep/x.parquet", OpenOptions::default(), Some(bucket)).await.unwrap();
        store.delete(&[Key::text("deep/x.parquet")]).await.unwrap();
        let error = source.next().await.unwrap_err();
        assert_eq!(error.message(), "cannot read `s3://b/deep/x.parquet`: no such object");
        assert!(source.next().await.unwrap().is_empty());
    });
}

#[test]
fn a_damaged_file_is_an_error() {
    let (file, expected) = many_groups(Compression::SNAPPY);
    let text = read(b"{\"n\":1}\n").unwrap_err();
    assert!(text.message().ends_with("is no Parquet: its first bytes are not those of Parquet"), "{text}");
    for cut in [4, 100, file.len() - 1] {
        let error = read(&file[..cut]).unwrap_err();
        assert!(error.message().contains(" as Parquet: "), "{error}");
    }
    let mut wrong = 0;
    for at in (4..file.len()).step_by(file.len() / 61) {
        let mut damaged = file.to_vec();
        damaged[at] ^= 0xff;
        match read(&damaged) {
            Err(error) => assert!(error.message().contains(" as Parquet: "), "{error}"),
            Ok(rows) => wrong += usize::from(rows.len() != expected.len()),
        }
    }
    assert_eq!(wrong, 0, "rows are missing, and nothing is said");
}

type Nested = Option<Vec<Option<Vec<Option<i32>>>>>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn lists_of_lists_are_what_was_written(rows in prop::collection::vec(nested(), 1..60)) {
        let (mut values, mut def, mut rep) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            let mut entry = |level: i16, repetition: i16| { def.push(level); rep.push(repetition); };
            match row.as_deref() {
                None => entry(0, 0),
                Some([]) => entry(1, 0),
                Some(outer) => for (at, inner) in outer.iter().enumerate() {
                    let first = if at == 0 { 0 } else { 1 };
                    match inner.as_deref() {
                        None => entry(2, first),
                        Some([]) => entry(3, first),
                        Some(inner) => for (at, value) in inner.iter().enumerate() {
                            values.extend(*value);
                            entry(if value.is_some() { 5 } else { 4 }, if at == 0 { first } else { 2 });
                        },
                    }
                },
            }
        }
        let schema = "message m { optional group v (LIST) { repeated group list { optional group element (LIST) {
            repeated group list { optional int32 element; } } } } }";
        let file = file(schema, Compression::SNAPPY, &[vec![(Data::Int32(values), (Some(def), Some(rep)))]]);
        let expected: Vec<String> = rows.iter().map(|row| json!({ "v": row }).to_string()).collect();
        prop_assert_eq!(texts(&read(&file).unwrap()), expected);
    }
}

fn nested() -> impl Strategy<Value = Nested> {
    let inner = prop::option::of(prop::collection::vec(prop::option::of(any::<i32>()), 0..4));
    prop::option::of(prop::collection::vec(inner, 0..4))
}
