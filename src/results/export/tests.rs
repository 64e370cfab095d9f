//! The same rows in every format.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::layout::batch::BatchSource;
use crate::layout::chunk::Record;
use crate::layout::table::Table;
use crate::results::batch::fixture::{Made, batch_at, row};
use crate::results::fixture::{NOW, World, attempt};
use crate::results::rows;
use crate::seam::store::PutObject;

const LARGE: &str = r#"{"n":6,"large":true}"#;

fn record(number: u64, name: &str) -> Record {
    Record {
        number,
        payload: format!("line {number}").into(),
        content_type: None,
        headers: BTreeMap::from([("Afn-Name".to_owned(), name.to_owned())]),
        refused: None,
        source_line: None,
        input: None,
        key: None,
        object: None,
    }
}

/// Results of every kind: an object, one over lines, text, bytes, nothing, one that lies elsewhere, a failure.
async fn made(world: &World) -> Made<'_> {
    let made = Made::begun(world, batch_at(NOW, 1)).await;
    let mut records: Vec<Record> =
        [(1, "a.jpg"), (2, "b/c.jpg"), (3, "b"), (4, "../../evil"), (5, "a.jpg"), (6, "%C3%A9"), (7, "x")]
            .map(|(number, name)| record(number, name))
            .into();
    records[1].payload = Bytes::from_static(b"\xff");
    let digest = Digest::of(b"a large payload");
    world.put(Key::Input(world.app.clone(), made.id, 3), PutObject::create("a large payload")).await;
    (records[2].payload, records[2].input) = (Bytes::new(), Some(digest));
    made.records(&records).await;
    let bodies: [&'static [u8]; 5] = [
        br#"{"n":1,"x":0.5}"#,
        b"{\n  \"n\": 2,\r\n  \"status\": \"ok\"\n}\n",
        b"say \"hi\",\nyou",
        b"\xff\x00",
        b"",
    ];
    let mut rows = Vec::new();
    for (number, body) in (1..).zip(bodies) {
        let mut row = row(number, State::Success);
        row.result = RowResult::Inline(Bytes::from_static(body));
        rows.push(row);
    }
    let mut large = row(6, State::Success);
    let bytes = LARGE.len() as u64;
    large.result = RowResult::Stored { attempt: attempt(1), bytes, sha256: Digest::of(LARGE.as_bytes()) };
    world.put(Key::BatchResult(world.app.clone(), made.id, 6, attempt(1)), PutObject::create(LARGE)).await;
    let mut failed = row(7, State::Error);
    failed.error = Some("exit code 3: \"quote\",\nnext".to_owned());
    rows.extend([large, failed]);
    made.part(7, &rows).await;
    made.sealed(7, &[]).await;
    made
}

async fn open(made: &Made<'_>, input: bool) -> Rows {
    let options = rows::Options { input, ..rows::Options::default() };
    Rows::open(&made.world.deps, made.id, options).await.expect("rows")
}

async fn written(made: &Made<'_>, format: Format, input: bool, flatten: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let rows = open(made, input).await;
    let exported =
        to_writer(&made.world.deps, rows, &mut out, format, Options { flatten, ..Options::default() })
            .await
            .expect("written");
    assert_eq!((exported.rows, exported.counts[&State::Success]), (7, 6));
    out
}

fn lines(out: Vec<u8>) -> Vec<Value> {
    let text = String::from_utf8(out).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON document")).collect()
}

#[tokio::test]
async fn lines_hold_results_as_they_are() {
    let world = World::new();
    let made = made(&world).await;
    let out = written(&made, Format::JsonLines, false, false).await;
    let first = format!(
        concat!(
            r#"{{"number":1,"call_id":"{}","status":"success","attempts":1,"queued_ms":1,"start_ms":2,"#,
            r#""run_ms":10,"started_at":"2026-09-21T14:13:20.001Z","completed_at":"2026-09-21T14:13:20.011Z","#,
            r#""worker":"worker-1","result":{{"n":1,"x":0.5}}}}"#,
            "\n"
        ),
        made.id.call(1)
    );
    assert!(out.starts_with(first.as_bytes()), "{}", String::from_utf8_lossy(&out));
    let lines = lines(out);
    let results: Vec<&Value> = lines.iter().map(|line| &line["result"]).collect();
    assert_eq!(results[1], &json!({"n": 2, "status": "ok"}));
    assert_eq!(results[2], &json!("say \"hi\",\nyou"));
    assert_eq!((results[3], &lines[3]["result_base64"]), (&Value::Null, &json!("/wA=")));
    assert_eq!(results[4], &json!(""));
    assert_eq!(results[5], &json!({"n": 6, "large": true}));
    assert_eq!((results[6], &lines[6]["error"]), (&Value::Null, &json!("exit code 3: \"quote\",\nnext")));
    assert!(lines.iter().all(|line| line.get("input").is_none()));

    let lines = self::lines(written(&made, Format::JsonLines, true, true).await);
    assert_eq!((&lines[0]["n"], &lines[0]["x"], lines[0].get("result")), (&json!(1), &json!(0.5), None));
    assert_eq!((&lines[1]["status"], &lines[1]["result_status"]), (&json!("success"), &json!("ok")));
    assert_eq!(lines[2]["result"], json!("say \"hi\",\nyou"));
    assert_eq!((&lines[0]["input"], &lines[1]["input_base64"]), (&json!("line 1"), &json!("/w==")));
    assert_eq!(lines[2]["input"], json!("a large payload"));
}

#[tokio::test]
async fn a_table_of_text_has_a_field_for_everything() {
    let world = World::new();
    let made = made(&world).await;
    let text = String::from_utf8(written(&made, Format::Csv, false, false).await).expect("text");
    let call = |number| made.id.call(number);
    let times =
        |number: u64| format!("2026-09-21T14:13:20.00{number}Z,2026-09-21T14:13:20.01{number}Z,worker-1");
    let expected = [
        "number,call_id,status,attempts,queued_ms,start_ms,run_ms,started_at,completed_at,worker,result,result_base64,error"
            .to_owned(),
        format!(r#"1,{},success,1,1,2,10,{},"{{""n"":1,""x"":0.5}}",,"#, call(1), times(1)),
        format!("2,{},success,1,2,2,10,{},\"{{\n  \"\"n\"\": 2,\r\n  \"\"status\"\": \"\"ok\"\"\n}}\",,", call(2), times(2)),
        format!("3,{},success,1,3,2,10,{},\"say \"\"hi\"\",\nyou\",,", call(3), times(3)),
        format!("4,{},success,1,4,2,10,{},,/wA=,", call(4), times(4)),
        format!("5,{},success,1,5,2,10,{},,,", call(5), times(5)),
        format!(r#"6,{},success,1,6,2,10,{},"{{""n"":6,""large"":true}}",,"#, call(6), times(6)),
        format!("7,{},error,1,7,2,10,{},,,\"exit code 3: \"\"quote\"\",\nnext\"", call(7), times(7)),
        String::new(),
    ];
    assert_eq!(text, expected.join("\r\n"));

    let text = String::from_utf8(written(&made, Format::Csv, true, true).await).expect("text");
    let header = "worker,n,x,result_status,large,result,result_base64,error,input,input_base64\r\n";
    assert!(text.contains(header), "{text}");
    assert!(text.contains("worker-1,1,0.5,,,,,,line 1,\r\n"), "{text}");
    assert!(text.contains("worker-1,2,,ok,,,,,,/w==\r\n"), "{text}");
    assert!(text.contains("worker-1,6,,,true,,,,line 6,\r\n"), "{text}");
}

#[tokio::test]
async fn a_parquet_table_has_the_types_of_what_there_is() {
    let world = World::new();
    let made = made(&world).await;
    let file = written(&made, Format::Parquet, true, false).await;
    let table = Table::open("out", file.into()).expect("a table");
    let budget = table.budget();
    let group = table.group(0, &budget).expect("rows");
    assert_eq!(table.groups(), 1);
    assert_eq!(group.int64("number").expect("numbers"), (1..=7).collect::<Vec<i64>>());
    let results = group.optional_bytes("result").expect("results");
    assert_eq!(results[5].as_deref(), Some(LARGE.as_bytes()));
    assert_eq!((&results[3], &results[6]), (&None, &None));
    assert_eq!(group.optional_bytes("result_binary").expect("bytes")[3].as_deref(), Some(&b"\xff\x00"[..]));
    assert_eq!(group.optional_bytes("input").expect("inputs")[2].as_deref(), Some(&b"a large payload"[..]));

    let file = written(&made, Format::Parquet, false, true).await;
    let table = Table::open("out", file.into()).expect("a table");
    let budget = table.budget();
    let group = table.group(0, &budget).expect("rows");
    let (n, none) = (group.optional_numbers("n", 9).expect("an integer column"), None);
    assert_eq!(n, [Some(1), Some(2), none, none, none, Some(6), none]);
    assert_eq!(group.optional_texts("result_status").expect("texts")[1].as_deref(), Some("ok"));
    assert_eq!(group.optional_bytes("result").expect("results").iter().flatten().count(), 2);
}

#[tokio::test]
async fn rows_of_files_tell_which() {
    let world = World::new();
    let source = BatchSource {
        location: "/photos".to_owned(),
        format: "files".to_owned(),
        pass: "body".to_owned(),
        on_bad_record: "record".to_owned(),
        ..BatchSource::default()
    };
    let made = Made::of_source(&world, batch_at(NOW, 1), source).await;
    made.records(&[record(1, "a.jpg"), record(2, "b/%C3%A9")]).await;
    let mut failed = row(2, State::Error);
    failed.error = Some("exit code 3".to_owned());
    made.part(2, &[row(1, State::Success), failed]).await;
    made.sealed(2, &[]).await;
    let written = async |format, names, flatten| {
        let options = rows::Options { names, ..rows::Options::default() };
        let rows = Rows::open(&world.deps, made.id, options).await.expect("rows");
        let mut out = Vec::new();
        to_writer(&world.deps, rows, &mut out, format, Options { flatten, ..Options::default() })
            .await
            .expect("written");
        out
    };
    let lines = self::lines(written(Format::JsonLines, true, false).await);
    let sources = [&lines[0]["source"], &lines[1]["source"]];
    assert_eq!((sources, lines[0].get("input")), ([&json!("a.jpg"), &json!("b/é")], None));
    assert_eq!(self::lines(written(Format::JsonLines, false, false).await)[0].get("source"), None);
    let text = String::from_utf8(written(Format::Csv, true, true).await).expect("text");
    assert!(text.contains(",worker,source,n,result,"), "{text}");
    assert!(text.contains("worker-1,a.jpg,1,,") && text.contains("worker-1,b/é,,,,exit code 3"), "{text}");
    let table = Table::open("out", written(Format::Parquet, true, false).await.into()).expect("a table");
    let sources = table.group(0, &table.budget()).expect("rows").optional_texts("source").expect("sources");
    assert_eq!(sources, [Some("a.jpg".to_owned()), Some("b/é".to_owned())]);
}

#[tokio::test]
async fn a_folder_has_a_file_for_each_result_and_none_outside() {
    let world = World::new();
    let made = made(&world).await;
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path().join("out");
    let export = async |force| {
        let options = Options { force, ..Options::default() };
        to_path(&world.deps, open(&made, true).await, &path, Format::Folder, options).await
    };
    export(false).await.expect("written");
    let read = |name: &str| fs::read(path.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(read("a.jpg"), br#"{"n":1,"x":0.5}"#);
    assert!(read("b/c.jpg").starts_with(b"{\n"));
    assert_eq!(read("0000000003.txt"), b"say \"hi\",\nyou", "`b` is a folder");
    assert_eq!(read("0000000004.bin"), b"\xff\x00", "its name leads out");
    assert_eq!(read("0000000005.txt"), b"", "its name is another's");
    assert_eq!(read("é"), LARGE.as_bytes());
    let failures = lines(read("failures.jsonl"));
    assert_eq!((failures.len(), &failures[0]["number"]), (1, &json!(7)));
    let names = |path: &Path| fs::read_dir(path).expect("a folder").count();
    assert_eq!((names(&path), names(root.path())), (7, 1), "nothing else, nothing left");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o700, 0o700);

    let error = export(false).await.expect_err("it exists");
    assert_eq!((error.code(), error.hint_text()), (Code::Conflict, Some("`--force` writes over it")));
    fs::write(path.join("old"), "").expect("written");
    export(true).await.expect("written over");
    assert_eq!((names(&path), names(root.path())), (7, 1));
}

#[tokio::test]
async fn a_file_is_there_whole_or_not_at_all() {
    let world = World::new();
    let made = made(&world).await;
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path().join("out.jsonl");
    let export = async |force| {
        let options = Options { force, ..Options::default() };
        to_path(&world.deps, open(&made, false).await, &path, Format::JsonLines, options).await
    };
    assert_eq!(export(false).await.expect("written").rows, 7);
    let whole = fs::read(&path).expect("there");
    assert_eq!(lines(whole.clone()).len(), 7);
    assert_ne!(fs::metadata(&path).expect("there").permissions().mode() & 0o044, 0, "as any file is made");
    assert_eq!(file::check(&path, false).expect_err("it exists").code(), Code::Conflict);
    assert_eq!(export(false).await.expect_err("it exists").code(), Code::Conflict);
    export(true).await.expect("written over");
    assert_eq!(fs::read(&path).expect("there"), whole);

    // A result that is gone is an error, after everything else was written.
    let gone = Key::BatchResult(world.app.clone(), made.id, 6, attempt(1));
    world.deps.store.delete(std::slice::from_ref(&gone)).await.expect("deleted");
    let error = export(true).await.expect("written").incomplete.expect("a result is gone");
    assert!(error.message().contains(&format!("1 object of batch `{}` cannot be read", made.id)), "{error}");
    assert!(error.message().contains(&gone.to_string()), "{error}");
    let incomplete = lines(fs::read(&path).expect("written"));
    assert_eq!((incomplete.len(), incomplete[5].get("result")), (7, None));
    assert_eq!(fs::read_dir(root.path()).expect("a folder").count(), 1, "nothing is left");
    let nowhere = Options::default();
    let rows = open(&made, false).await;
    let device = Path::new("/dev/null");
    let formats = (Format::of(device).expect("lines"), Format::of(&path).expect("lines"));
    assert_eq!(formats, (Format::JsonLines, Format::JsonLines));
    let exported = to_path(&world.deps, rows, device, Format::Csv, nowhere).await.expect("written");
    assert!(exported.incomplete.is_some(), "a result is gone");
    assert!(file::is_stream(device), "a device is not replaced");
    assert!(Format::of(Path::new("out.xls")).is_err());
    assert_eq!(Format::of(Path::new("out/")).expect("a folder"), Format::Folder);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_result_makes_one_line_of_json(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..30),
            "[\\[\\]{}\",:0-9 a-z\\\\\r\n\t]{0,12}".prop_map(String::into_bytes),
            "\\PC{0,20}".prop_map(String::into_bytes),
        ],
        error in prop::option::of("[\\PC\r\n\t\"\\\\\u{0}-\u{1f}\u{2028}]{0,12}"),
        flatten in any::<bool>(),
    ) {
        let mut outcome = row(1, State::Success);
        outcome.result = RowResult::Inline(body.clone().into());
        outcome.error = error.clone();
        let call = batch_at(NOW, 1).call(1);
        let row = ResultRow { number: 1, call, status: State::Success, outcome: Some(outcome), source: None, key: None, input: None };
        let mut out = Vec::new();
        let mut writer = JsonLines::new(&mut out, flatten);
        writer.row(&row).expect("in memory");
        writer.finish().expect("in memory");
        drop(writer);
        prop_assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        prop_assert!(!out.contains(&b'\r'));
        let line: Value = serde_json::from_slice(&out).expect("a JSON document");
        prop_assert_eq!(line["error"].as_str(), error.as_deref());
        match (std::str::from_utf8(&body), serde_json::from_slice::<Value>(&body)) {
            (Err(_), _) => prop_assert!(line["result_base64"].is_string()),
            (Ok(_), Ok(value)) if !(flatten && value.is_object()) => prop_assert_eq!(&line["result"], &value),
            (Ok(_), Ok(_)) => prop_assert!(line.get("result").is_none()),
            (Ok(text), Err(_)) => prop_assert_eq!(line["result"].as_str(), Some(text)),
        }
    }
}

#[test]
fn what_exists_is_refused_unless_it_is_to_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, force| check(&dir.path().join(name), RowForm::Rows, force);
    check("x.csv", false).unwrap();
    std::fs::write(dir.path().join("x.csv"), "").unwrap();
    assert!(check("x.csv", false).is_err());
    check("x.csv", true).unwrap();
    assert!(check("", false).is_err(), "a folder that is not empty");
    assert!(check("missing/x.csv", false).is_err());
    assert!(check("x.what", false).is_err());
    check("new/", false).unwrap();
    assert!(file::check(dir.path(), true).is_err(), "a joblog is no folder");
}
