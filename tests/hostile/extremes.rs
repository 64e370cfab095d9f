//! Objects and messages at their limits: as large as they may be, with as many entries as that holds, and tables that say much
//! in few bytes.

use std::fmt::Write as _;
use std::sync::Arc;

use afn::layout::{Key, Message};
use afn::limits;
use afn::model::id::NUMBER_MAX;
use afn::model::{BatchId, CallId, Time};
use bytes::Bytes;
use parquet::basic::{Compression, Repetition, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::SchemaDescriptor;
use serde_json::{Map, Value};

use crate::honest::Honest;
use crate::systematic::{Case, Change};
use crate::world::Object;

pub fn all(honest: &Honest) -> Vec<Case> {
    [sizes(honest), messages(honest), tables(honest), data()].into_iter().flatten().collect()
}

/// The first honest object that is so.
fn find(honest: &Honest, is: impl Fn(&Key) -> bool) -> &Object {
    honest.objects.iter().find(|object| is(&object.key)).expect("an honest object of each kind")
}

/// `[a,b]` for each second number from 100 on, until they have so many bytes.
fn runs(bytes: usize, tail: &str) -> String {
    let mut text = String::with_capacity(bytes + 64);
    let mut number = 100;
    while text.len() < bytes {
        let comma = if text.is_empty() { "" } else { "," };
        write!(text, "{comma}[{number},{number}{tail}]").expect("a text takes all");
        number += 2;
    }
    text
}

/// The JSON of an object with more members in the first object of this name.
fn with_members(object: &Object, name: &str, members: Vec<(String, Value)>) -> String {
    fn find<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
        let object = value.as_object_mut()?;
        if object.get(name).is_some_and(Value::is_object) {
            return object.get_mut(name)?.as_object_mut();
        }
        object.values_mut().find_map(|value| find(value, name))
    }
    let mut json: Value = serde_json::from_slice(&object.body).expect("JSON");
    find(&mut json, name).expect("an object of this name").extend(members);
    json.to_string()
}

fn sizes(honest: &Honest) -> Vec<Case> {
    let open = honest.batches[2];
    let of = |what: &str, key: &Key, text: String| {
        let object = find(honest, |honest| honest == key);
        assert!(text.len() > 100_000 && serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok());
        Case::object(what, Object { body: text.into(), ..object.clone() })
    };
    let open_key = |is: fn(&Key) -> Option<BatchId>| find(honest, |key| is(key) == Some(open)).key.clone();
    let sealed = open_key(|key| if let Key::Sealed(_, batch) = key { Some(*batch) } else { None });
    let dispatched = open_key(|key| if let Key::Dispatched(_, batch, _) = key { Some(*batch) } else { None });
    let mark = open_key(|key| if let Key::Mark(_, batch, ..) = key { Some(*batch) } else { None });
    let app = find(honest, |key| matches!(key, Key::App(..)));
    let watermarks = honest.objects.iter().filter(|object| matches!(object.key, Key::Watermarks(..)));
    let watermarks = watermarks.max_by_key(|object| object.body.len()).expect("those with all fields");
    let summary = find(honest, |key| matches!(key, Key::Summary(..)));
    let (most, fact) = (limits::SEALED_BYTES_MAX as usize, limits::FACT_BYTES_MAX as usize);
    let (time, by) = ("2026-09-21T14:13:20.000Z", "somebody");
    let ids = (0..100_000).map(|n| (CallId::single(Time(1_700_000_000_000), n).to_string(), time.into()));
    let configs = (0..30_000).map(|n| (format!("K{n}"), "v".into()));
    let requests = (0..40_000).map(|n| (format!("r{n}"), 1.into()));
    vec![
        of(
            "a million gaps",
            &sealed,
            format!(
                r#"{{"v":1,"last":{NUMBER_MAX},"missing":[{}],"at":"{time}","by":"{by}"}}"#,
                runs(most - 1_000, "")
            ),
        ),
        of(
            "a million runs",
            &dispatched,
            format!(
                r#"{{"v":1,"sent":[{}],"through":{NUMBER_MAX},"nonce":"0000000000000007"}}"#,
                runs(most - 1_000, "")
            ),
        ),
        of(
            "as many calls as it holds",
            &mark,
            format!(
                r#"{{"v":1,"calls":[{}],"kind":"among","worker":"w","at":"{time}"}}"#,
                runs(fact - 1_000, "")
            ),
        ),
        of("as much config as it holds", &app.key, with_members(app, "config", configs.collect())),
        of(
            "as many requests as it holds",
            &summary.key,
            with_members(summary, "requests", requests.collect()),
        ),
        of("as many ids as it holds", &watermarks.key, with_members(watermarks, "open", ids.collect())),
    ]
}

/// Messages as long as a queue takes them.
fn messages(honest: &Honest) -> Vec<Case> {
    let find = |is: fn(&Message) -> bool| {
        let mut messages = honest.messages.iter().rev();
        messages.find_map(|(_, body)| Message::decode(body).ok().filter(is)).expect("one of each kind")
    };
    let mut cases = Vec::new();
    let mut add = |what: &str, lane, message: Message| {
        let change = Change::Message(lane, message.encode());
        cases.push(Case { what: format!("a message with {what}"), change });
    };
    if let Message::Range(range) = find(|message| matches!(message, Message::Range(_))) {
        let chunk = limits::RANGE_CALLS_MAX;
        let (history, mark) = (*range.calls.each().next().expect("calls").1, range.losses.each().next());
        let marks = mark.map_or(Vec::new(), |(_, marks)| vec![marks[0]; limits::LOSSES_MAX]);
        let calls = (1..chunk).step_by(2).map(|number| (number, history)).collect();
        let losses = (1..4_000).step_by(2).map(|number| (number, marks.clone())).collect();
        let range = afn::layout::RangeMessage { chunk, calls, losses, ..range };
        add("each second call of the longest chunk", 1, Message::Range(range.clone()));
        let calls = (1..=chunk).map(|number| (number, history)).collect();
        add(
            "all calls of the longest chunk",
            1,
            Message::Range(afn::layout::RangeMessage { calls, ..range }),
        );
    }
    if let Message::Supervise(supervise) = find(|message| matches!(message, Message::Supervise(_))) {
        let history = *supervise.retried.each().next().expect("retries").1;
        let retried = (1..limits::RETRIED_RUNS_MAX as u64).map(|n| (NUMBER_MAX - 3 * n, history));
        let mut retried: Vec<_> = retried.collect();
        retried.reverse();
        let supervise = afn::layout::SuperviseMessage { retried: retried.into_iter().collect(), ..supervise };
        add("as many retries as there may be", 2, Message::Supervise(supervise));
    }
    cases
}

/// One text in all rows of a column.
struct Shape {
    what: &'static str,
    groups: usize,
    rows: usize,
    column: &'static str,
    bytes: usize,
    has_dictionary: bool,
}

const SHAPES: [Shape; 4] = [
    Shape {
        what: "a row group for each row",
        groups: 64,
        rows: 1,
        column: "",
        bytes: 0,
        has_dictionary: false,
    },
    Shape {
        what: "thousands of row groups",
        groups: 2_000,
        rows: 1,
        column: "",
        bytes: 0,
        has_dictionary: true,
    },
    Shape { what: "a dictionary", groups: 1, rows: 64, column: "", bytes: 1_200 << 10, has_dictionary: true },
    Shape {
        what: "much that is compressed",
        groups: 4,
        rows: 16,
        column: "",
        bytes: 1_200 << 10,
        has_dictionary: false,
    },
];

fn tables(honest: &Honest) -> Vec<Case> {
    let open = honest.batches[2];
    let chunk = find(honest, |key| matches!(key, Key::Chunk(_, batch, 64) if *batch == open));
    let part = find(honest, |key| matches!(key, Key::Part(_, batch, 64, _) if *batch == honest.batches[1]));
    let fetched = find(honest, |key| matches!(key, Key::Chunk(_, batch, _) if *batch == honest.batches[3]));
    let mut cases = Vec::new();
    for (object, columns) in [
        (chunk, &["payload", "headers", "key", "refused"][..]),
        (part, &["result", "error", "log", "worker", "content_type"]),
        (fetched, &["object_key", "object_etag"]),
    ] {
        let many = SHAPES.iter().filter(|shape| shape.bytes > 0);
        for shape in SHAPES.iter().filter(|shape| shape.bytes == 0) {
            cases.push(table(object, shape));
        }
        for shape in many {
            // One column shows what compression does: all are read by the same code.
            let count = if shape.has_dictionary { columns.len() } else { 1 };
            cases.extend(columns[..count].iter().map(|column| table(object, &Shape { column, ..*shape })));
        }
    }
    cases
}

/// A table of the honest one's schema with its footer, and with values of our own in it.
fn table(object: &Object, shape: &Shape) -> Case {
    let honest = SerializedFileReader::new(object.body.clone()).expect("a table");
    let metadata = honest.metadata().file_metadata();
    let is_compressed = shape.bytes > 0 && !shape.has_dictionary;
    let compression =
        if is_compressed { Compression::ZSTD(ZstdLevel::default()) } else { Compression::UNCOMPRESSED };
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(shape.has_dictionary)
        .set_dictionary_page_size_limit(64 << 20)
        .set_data_page_size_limit(64 << 20)
        .set_compression(compression)
        .set_key_value_metadata(metadata.key_value_metadata().cloned())
        .build();
    let schema = Arc::new(metadata.schema().clone());
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).expect("a writer");
    let batch = match &object.key {
        Key::Chunk(_, batch, _) | Key::Part(_, batch, ..) => *batch,
        key => panic!("`{key}` is no table"),
    };
    for group in 0..shape.groups {
        let mut writer = file.next_row_group().expect("a group");
        let about = metadata.schema_descr();
        columns(&mut writer, about, batch, 1 + (group * shape.rows) as i64, shape);
        writer.close().expect("a group");
    }
    let body: Bytes = file.into_inner().expect("a file").into();
    let Shape { what, column, .. } = shape;
    Case::object(format!("{what} {column}"), Object { body, ..object.clone() })
}

fn columns(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    schema: &SchemaDescriptor,
    batch: BatchId,
    first: i64,
    shape: &Shape,
) {
    let rows = shape.rows;
    for about in schema.columns() {
        let mut column = group.next_column().expect("a column").expect("a column of the schema");
        let (name, physical) = (about.name().to_owned(), about.physical_type());
        let is_optional = about.self_type().get_basic_info().repetition() == Repetition::OPTIONAL;
        let is_full = !is_optional || name == shape.column;
        let levels = is_optional.then(|| vec![i16::from(is_full); rows]);
        let levels = levels.as_deref();
        let text = |row: usize| match name.as_str() {
            name if name == shape.column => "x".repeat(shape.bytes),
            "call_id" => batch.call((first as u64 + row as u64).min(NUMBER_MAX)).to_string(),
            "status" => "success".to_owned(),
            _ => "w".to_owned(),
        };
        let count = if is_full { rows } else { 0 };
        match physical {
            Physical::INT32 => write::<Int32Type>(&mut column, vec![1; count], levels),
            Physical::INT64 if name == "number" => {
                write::<Int64Type>(&mut column, (first..first + count as i64).collect(), levels);
            }
            Physical::INT64 => write::<Int64Type>(&mut column, vec![1_700_000_000_000; count], levels),
            _ => {
                // One text in memory for all rows.
                let all: Vec<ByteArray> = match name == shape.column {
                    true => vec![ByteArray::from(Bytes::from(text(0))); count],
                    false => (0..count).map(|row| ByteArray::from(text(row).into_bytes())).collect(),
                };
                write::<ByteArrayType>(&mut column, all, levels);
            }
        }
        column.close().expect("a column");
    }
}

fn write<T: DataType>(
    column: &mut parquet::file::writer::SerializedColumnWriter<'_>,
    values: Vec<T::T>,
    levels: Option<&[i16]>,
) {
    column.typed::<T>().write_batch(&values, levels, None).expect("written");
}

/// Objects that somebody has changed since a batch was made of them.
fn data() -> Vec<Case> {
    let changed = [("gone", None), ("empty", Some(Bytes::new())), ("large", Some(vec![7; 20 << 20].into()))];
    let case = |(what, body): (&str, Option<Bytes>)| Case {
        what: format!("the object in/2 of the data bucket, which is {what}"),
        change: Change::Data("in/2", body),
    };
    changed.into_iter().map(case).collect()
}
