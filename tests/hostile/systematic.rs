//! Values that chance seldom comes to: each number of each kind of JSON at its extremes, ids in the place of others, rows and
//! footers of tables likewise, numbers of keys. Only what its reader takes is here: the rest ends where it is decoded, as most
//! that chance makes does.

use std::cell::RefCell;
use std::collections::BTreeSet;

use afn::layout::chunk::{self, Record};
use afn::layout::footer::Footer;
use afn::layout::part::{self, Part, Row, RowResult};
use afn::layout::{Key, Message};
use afn::model::id::NUMBER_MAX;
use afn::model::{AttemptId, BatchId, CallId, DeliveryId, MarkId, PanicId, Time, WatermarksId};
use bytes::Bytes;
use serde_json::Value;

use crate::fields;
use crate::honest::{Honest, kind};
use crate::world::Object;

/// What is another than in the honest world.
#[derive(Clone)]
pub enum Change {
    Object(Object),
    /// The queue's place among calls, chunks and batches.
    Message(usize, String),
    /// Of the data bucket; `None`: it is gone.
    Data(&'static str, Option<Bytes>),
}

#[derive(Clone)]
pub struct Case {
    pub what: String,
    pub change: Change,
}

impl Case {
    pub fn object(what: impl Into<String>, object: Object) -> Case {
        Case { what: format!("`{}` with {}", object.key, what.into()), change: Change::Object(object) }
    }
}

const NUMBERS: [u64; 8] =
    [0, 1, 65_536, u32::MAX as u64, NUMBER_MAX, NUMBER_MAX + 1, i64::MAX as u64, u64::MAX];

/// One of each kind of object or message, each member and each value. Of batches also the one that is open and has all
/// options: a worker ends it.
pub fn values(honest: &Honest) -> Vec<Case> {
    let mut seen = BTreeSet::new();
    let mut cases = Vec::new();
    for object in &honest.objects {
        let (own, kind) = (own_ids(&object.key), kind(&object.key));
        let rich = object.key.to_string().contains(&honest.batches[6].to_string());
        let mut is_new =
            |path: &str, value: &Value| seen.insert((kind, format!("{rich}{path}"), value.to_string()));
        let changed = |note: bool, json: &Value| {
            let json = json.to_string();
            match note {
                true => Object { note: Some(json), ..object.clone() },
                false => Object { body: json.into(), ..object.clone() },
            }
        };
        let texts = [Some((false, object.body.clone())), object.note.clone().map(|note| (true, note.into()))];
        for (is_note, text) in texts.into_iter().flatten() {
            for (what, json) in variants(&text, &own, &mut is_new) {
                let object = changed(is_note, &json);
                if fields::read(&object, &RefCell::default()).is_ok() {
                    cases.push(Case::object(what, object));
                }
            }
        }
        match &object.key {
            Key::Part(_, batch, ..) => cases.extend(parts(object, *batch, &own, &mut is_new)),
            Key::Chunk(..) => cases.extend(chunks(object)),
            _ => {}
        }
    }
    for (lane, body) in &honest.messages {
        let mut is_new = |path: &str, value: &Value| {
            seen.insert((Some(["call", "range", "supervise"][*lane]), format!("m{path}"), value.to_string()))
        };
        for (what, json) in variants(body.as_bytes(), &own_ids_of(honest), &mut is_new) {
            let body = json.to_string();
            if Message::decode(&body).is_ok() {
                cases.push(Case {
                    what: format!("a message with {what}"),
                    change: Change::Message(*lane, body),
                });
            }
        }
    }
    cases
}

/// The ids that a key has.
fn own_ids(key: &Key) -> Vec<String> {
    let key = key.to_string();
    let is_id = |text: &&str| text.len() == 26;
    key.split(['/', '.']).filter(is_id).map(str::to_owned).collect()
}

fn own_ids_of(honest: &Honest) -> Vec<String> {
    let batches = honest.batches.iter().map(BatchId::to_string);
    batches.chain(honest.calls.iter().map(CallId::to_string)).collect()
}

/// The JSON with one leaf another, each that is new by its path, and what it is.
fn variants(
    text: &[u8],
    own: &[String],
    is_new: &mut dyn FnMut(&str, &Value) -> bool,
) -> Vec<(String, Value)> {
    let Ok(json) = serde_json::from_slice::<Value>(text) else { return Vec::new() };
    let mut paths = Vec::new();
    leaves(&json, String::new(), &mut paths);
    let mut variants = Vec::new();
    for path in paths.iter().filter(|path| *path != "/v") {
        let leaf = json.pointer(path).expect("it was found there");
        let general: Vec<_> = path
            .split('/')
            .map(|name| if name.bytes().all(|byte| byte.is_ascii_digit()) { "*" } else { name })
            .collect();
        let general = general.join("/");
        for value in others(leaf, own).into_iter().filter(|value| value != leaf) {
            if is_new(&general, &value) {
                let mut json = json.clone();
                let what = format!("{value} at {path}");
                *json.pointer_mut(path).expect("it was found there") = value;
                variants.push((what, json));
            }
        }
    }
    variants
}

fn leaves(value: &Value, path: String, found: &mut Vec<String>) {
    let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| leaves(value, format!("{path}/{}", escaped(name)), found))
        }
        Value::Array(items) => {
            (0..)
                .zip(items)
                .for_each(|(index, value): (usize, _)| leaves(value, format!("{path}/{index}"), found));
        }
        _ => found.push(path),
    }
}

/// What may be in the place of a leaf.
fn others(leaf: &Value, own: &[String]) -> Vec<Value> {
    let texts: Vec<String> = match leaf {
        Value::Number(number) => {
            let before = number.as_u64().map(|number| number.wrapping_sub(1).into());
            let wrapped = [serde_json::json!(-1)].into_iter().chain(before);
            return NUMBERS.into_iter().map(Value::from).chain(wrapped).collect();
        }
        Value::String(text) if text.parse::<Time>().is_ok() => {
            ["1970-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"].map(str::to_owned).into()
        }
        Value::String(text) if text.len() == 16 => vec!["0".repeat(16), "f".repeat(16)],
        Value::String(text) if text.len() == 26 => {
            let ends =
                ["0".repeat(26), format!("7{}", "Z".repeat(25)), format!("7{}00000000", "Z".repeat(17))];
            own.iter().cloned().chain(ends).collect()
        }
        Value::String(text) if text.len() < 64 => with_numbers(text),
        _ => Vec::new(),
    };
    texts.into_iter().map(Value::from).collect()
}

/// A short text like `99/s` or `0-9:3` with its first or last number another.
fn with_numbers(text: &str) -> Vec<String> {
    let is_digit = |c: char| c.is_ascii_digit();
    let (Some(first), Some(last)) = (text.find(is_digit), text.rfind(is_digit)) else { return Vec::new() };
    let first_end = text[first..].find(|c| !is_digit(c)).map_or(text.len(), |end| first + end);
    let last_begin = text[..=last].rfind(|c| !is_digit(c)).map_or(0, |begin| begin + 1);
    let with = |number: u64| {
        let first = format!("{}{number}{}", &text[..first], &text[first_end..]);
        [first, format!("{}{number}{}", &text[..last_begin], &text[last + 1..])]
    };
    NUMBERS.into_iter().flat_map(with).collect()
}

/// Parts with other footers and other rows.
fn parts(
    object: &Object,
    batch: BatchId,
    own: &[String],
    is_new: &mut dyn FnMut(&str, &Value) -> bool,
) -> Vec<Case> {
    let part = Part::open(&object.key, object.body.clone()).expect("an honest part");
    let (footer, rows) = (part.footer().expect("a footer"), part.all_rows().expect("rows"));
    let with = |what: String, rows: &[Row], footer: &Footer| {
        let body = part::encode(batch, rows, footer).expect("encoded");
        Case::object(what, Object { body, ..object.clone() })
    };
    let mut cases = Vec::new();
    for (what, json) in variants(footer.encode().as_bytes(), own, is_new) {
        if let Ok(footer) = Footer::decode("footer", &json.to_string()) {
            cases.push(with(format!("a footer with {what}"), &rows, &footer));
        }
    }
    type Set = fn(&mut Row, u64);
    let sets: [(&str, Set); 8] = [
        ("attempts", |row, n| row.attempts = n as u32),
        ("created_at", |row, n| row.created_at = Time(n)),
        ("queued_ms", |row, n| row.queued_ms = n),
        ("start_ms", |row, n| row.start_ms = n),
        ("run_ms", |row, n| row.run_ms = n),
        ("started_at", |row, n| row.started_at = Some(Time(n))),
        ("completed_at", |row, n| row.completed_at = Time(n)),
        ("result_bytes", |row, n| {
            if let RowResult::Stored { bytes, .. } = &mut row.result {
                *bytes = n;
            }
        }),
    ];
    for (name, set) in sets {
        for number in NUMBERS.into_iter().chain([Time::MAX.0]) {
            let mut changed = rows.clone();
            changed.iter_mut().for_each(|row| set(row, number));
            let is_decoded = |case: &Case| {
                let Change::Object(object) = &case.change else { return false };
                Part::open("part", object.body.clone()).is_ok_and(|part| part.all_rows().is_ok())
            };
            let case = with(format!("{name} {number} in each row"), &changed, &footer);
            if changed != rows && is_decoded(&case) && is_new(&format!("rows/{name}"), &number.into()) {
                cases.push(case);
            }
        }
    }
    for number in [1, NUMBER_MAX] {
        let same: Vec<Row> = rows.iter().map(|row| Row { number, ..row.clone() }).collect();
        if !rows.is_empty() && is_new("rows/number", &number.into()) {
            cases.push(with(format!("number {number} in each row"), &same, &footer));
        }
    }
    cases
}

/// Chunks with other records.
fn chunks(object: &Object) -> Vec<Case> {
    let records = chunk::decode(&object.key, object.body.clone()).expect("an honest chunk");
    type Set = fn(&mut Record);
    let sets: [(&str, Set); 6] = [
        ("one number in each record", |record| record.number = 1),
        ("the greatest numbers", |record| record.number += NUMBER_MAX - 100),
        ("the greatest lines", |record| record.source_line = Some(i64::MAX as u64)),
        ("one key for all", |record| record.key = Some("1".to_owned())),
        ("no keys", |record| record.key = None),
        ("objects of the greatest size", |record| {
            if let Some(object) = &mut record.object {
                object.bytes = afn::limits::BODY_BYTES_MAX;
            }
        }),
    ];
    let case = |(what, set): (&str, Set)| {
        let mut changed = records.clone();
        changed.iter_mut().for_each(set);
        let body = chunk::encode(&changed).expect("encoded");
        (changed != records).then(|| Case::object(what, Object { body, ..object.clone() }))
    };
    sets.into_iter().filter_map(case).collect()
}

/// Objects beside the honest ones, under the greatest numbers that their keys can have.
pub fn keys(honest: &Honest) -> Vec<Case> {
    let mut seen = BTreeSet::new();
    let mut cases = Vec::new();
    for object in &honest.objects {
        for key in greatest(&object.key) {
            if seen.insert(key.clone()) && honest.objects.iter().all(|honest| honest.key != key) {
                cases.push(Case::object("the body of an honest one", Object { key, ..object.clone() }));
            }
        }
    }
    cases
}

fn greatest(key: &Key) -> Vec<Key> {
    let at_end = |delivery: DeliveryId| DeliveryId { delivery: u32::MAX, ..delivery };
    let last = NUMBER_MAX;
    let far: BatchId = format!("7{}00000000", "Z".repeat(17)).parse().expect("a batch's id");
    let far_call: CallId = format!("7ZZZZZZZZZ0{}", "Z".repeat(15)).parse().expect("a call's id");
    let end = AttemptId {
        delivery: DeliveryId { message: afn::model::MessageId::new(Time::MAX, 7), delivery: u32::MAX },
        attempt: u32::MAX,
    };
    match key.clone() {
        Key::Chunk(app, batch, _) => vec![Key::Chunk(app, batch, last)],
        Key::Input(app, batch, _) => vec![Key::Input(app, batch, last)],
        Key::Part(app, batch, chunk, part) => vec![
            Key::Part(app.clone(), batch, last, part),
            Key::Part(app.clone(), batch, chunk, u32::MAX.into()),
            Key::Part(app, batch, last, u32::MAX.into()),
        ],
        Key::BatchResult(app, batch, ..) => vec![Key::BatchResult(app, batch, last, end)],
        Key::Mark(app, batch, chunk, mark) => {
            let mark = MarkId { delivery: at_end(mark.delivery), n: u32::MAX };
            vec![Key::Mark(app.clone(), batch, chunk, mark), Key::Mark(app, batch, last, mark)]
        }
        Key::MarkVoid(app, batch, _, delivery) => vec![Key::MarkVoid(app, batch, last, at_end(delivery))],
        Key::Dispatched(app, batch, _) => vec![Key::Dispatched(app, batch, u32::MAX)],
        Key::Retry(app, batch, _) => vec![Key::Retry(app, batch, u32::MAX)],
        Key::Reconciled(_) => vec![Key::Reconciled(u64::MAX)],
        Key::Started(app, call, delivery) => {
            vec![Key::Started(app.clone(), call, at_end(delivery)), Key::Started(app, far_call, delivery)]
        }
        Key::Result(app, call, _) => vec![Key::Result(app, call, end)],
        Key::Log(app, call, _) => vec![Key::Log(app.clone(), call, end), Key::Log(app, far_call, end)],
        Key::Payload(app, _) => vec![Key::Payload(app, far_call)],
        Key::Status(app, _) => vec![Key::Status(app, far_call)],
        Key::Pointer(_) => vec![Key::Pointer(far)],
        Key::Batch(app, _) => vec![Key::Batch(app, far)],
        Key::Sealed(app, _) => vec![Key::Sealed(app, far)],
        Key::Summary(app, _) => vec![Key::Summary(app, far)],
        Key::Watermarks(_) => vec![Key::Watermarks(WatermarksId::new(Time::MAX, u128::MAX))],
        Key::Panic(_) => vec![Key::Panic(PanicId::new(Time::MAX, u128::MAX))],
        _ => Vec::new(),
    }
}
