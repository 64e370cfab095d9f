//! Files as people have them (`cases/`), run through the `afn` binary. Each is held against its right answer: the payloads
//! that the function gets, byte for byte and in order; the records that are refused, with line and column; or why the whole
//! file is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::world::World;

enum Answer {
    /// Payloads in order. `!` begins what is said, behind the file's name, of a record that is refused.
    Rows(&'static [&'static str]),
    /// Each line is a payload as it is.
    Lines,
    /// Nothing of the file runs. What is said contains all of these.
    Refused(&'static [&'static str]),
}

use Answer::{Lines, Refused, Rows};

const TWO: Answer = Rows(&[r#"{"n":1}"#, r#"{"n":2}"#]);
const FRUIT: Answer = Rows(&[r#"{"name":"fig","price":"120"}"#, r#"{"name":"plum","price":"80"}"#]);
const TREES: Answer = Rows(&[
    r#"{"tree":"oak","metres":"21"}"#,
    r#"{"tree":"beech","metres":"30"}"#,
    r#"{"tree":"fir","metres":"44"}"#,
]);
const CITIES: Answer =
    Rows(&[r#"{"city":"Zürich","people":"434"}"#, r#"{"city":"København","people":"660"}"#]);
const TABLE: Answer = Rows(&[r#"{"n":"1","m":"2"}"#]);

const TEXTS: &[(&str, Answer)] = &[
    ("empty.txt", Rows(&[])),
    ("invalid-utf8.txt", Lines),
    ("lone-cr.txt", Rows(&["oak", "beech", "fir"])),
    ("nul-bytes.txt", Lines),
    ("utf16le-bom.txt", Rows(&["Zürich", "Bern", "Uster"])),
];

const TABLES: &[(&str, Answer)] = &[
    (
        "bom-in-the-middle.csv",
        Rows(&[
            r#"{"ship":"Aurora","tons":"1"}"#,
            "{\"ship\":\"\u{feff}ship\",\"tons\":\"tons\"}",
            r#"{"ship":"Borealis","tons":"2"}"#,
        ]),
    ),
    ("bom-quoted-header.csv", Rows(&[r#"{"plate":"P1","well":"A1"}"#, r#"{"plate":"P2","well":"B,2"}"#])),
    ("duplicate-header.csv", Refused(&["two columns are named `x`"])),
    ("empty.csv", Rows(&[])),
    (
        "formula.csv",
        Rows(&[
            r#"{"who":"Ann","cell":"=1+1"}"#,
            r#"{"who":"Bo","cell":"@SUM(A1:A9)"}"#,
            r#"{"who":"Cy","cell":"+49 1"}"#,
            r#"{"who":"Di","cell":"-3"}"#,
        ]),
    ),
    ("header-only.csv", Rows(&[])),
    ("latin1-header.csv", Refused(&["latin1-header.csv:1:3: ", "not UTF-8"])),
    ("latin1.csv", Rows(&["!:2:3: the record is not UTF-8", r#"{"name":"Tea","price":"2"}"#])),
    ("lone-cr.csv", TREES),
    (
        "missing-end-quote.csv",
        Rows(&[
            r#"{"id":"1","who":"Ann","kind":"p"}"#,
            "!:4:4: something follows the closing quote of a field",
            r#"{"id":"4","who":"Di","kind":"p"}"#,
        ]),
    ),
    ("mixed-ends.csv", TREES),
    ("nul-bytes.csv", Rows(&["{\"a\":\"1\\u0000\",\"b\":\"2\"}"])),
    (
        "quoted-newlines.csv",
        Rows(&[
            r#"{"id":"1","remark":"first\nsecond\r\nthird"}"#,
            r#"{"id":"2","remark":"he said \"no\"\n"}"#,
            r#"{"id":"3","remark":"a,b\n,c"}"#,
        ]),
    ),
    (
        "ragged.csv",
        Rows(&[
            r#"{"a":"1","b":"2","c":"3"}"#,
            "!:3:4: 2 fields, the header has 3",
            "!:4:8: 4 fields, the header has 3",
            r#"{"a":"","b":"","c":""}"#,
            r#"{"a":"1","b":"2","c":"3"}"#,
        ]),
    ),
    ("semicolon-plain.csv", FRUIT),
    ("semicolon.csv", Rows(&[r#"{"name":"fig","price":"1,20"}"#, r#"{"name":"plum","price":"0,80"}"#])),
    ("sep-line.csv", Rows(&[r#"{"name":"fig","price":"120"}"#])),
    (
        "stray-quotes.csv",
        Rows(&[
            "!:2:4: a quote in a field that does not begin with one",
            r#"{"id":"2","size":"6\" pipe"}"#,
            "!:4:4: a quote in a field that does not begin with one",
            "!:5:6: something follows the closing quote of a field",
            r#"{"id":"5","size":"ok"}"#,
        ]),
    ),
    ("tabs-named.csv", FRUIT),
    ("tabs.tsv", FRUIT),
    ("trailing-delimiter-rows-only.csv", Rows(&["!:2:5: 3 fields, the header has 2", "!:3:5: 3 fields"])),
    ("trailing-delimiter.csv", Rows(&[r#"{"a":"1","b":"2","":""}"#, r#"{"a":"3","b":"4","":""}"#])),
    ("two-empty-headers.csv", Refused(&["two columns are named ``"])),
    ("unclosed-to-the-end.csv", Rows(&[r#"{"id":"1","who":"Ann"}"#, "!:3:3: the quote is not closed"])),
    ("upper.CSV", Rows(&[r#"{"n":"1","m":"2"}"#, r#"{"n":"3","m":"4"}"#])),
    ("utf16be-bom.csv", CITIES),
    ("utf16le-bom.csv", CITIES),
];

const VALUES: &[(&str, Answer)] = &[
    ("array-pretty.jsonl", Rows(&[r#"{"n": 1}"#, r#"{"n": 2}"#, r#"{"n": 3}"#])),
    ("array.json", TWO),
    ("array.jsonl", Lines),
    ("big-ints.jsonl", Lines),
    (
        "bom-in-the-middle.jsonl",
        Rows(&[
            r#"{"ship":"Aurora"}"#,
            "!:2:1: the line begins with a byte-order mark",
            r#"{"ship":"Cetus"}"#,
        ]),
    ),
    ("concatenated.jsonl", Rows(&["!:1:8: not JSON: trailing characters"])),
    ("deep-100000.jsonl.gz", Lines),
    ("deep-200.jsonl", Lines),
    ("duplicate-keys.jsonl", Lines),
    ("empty.jsonl", Rows(&[])),
    ("flat-case.jsonl", Lines),
    ("flat-duplicate.jsonl", Lines),
    ("flat-names.jsonl", Lines),
    ("flat-numbers.jsonl", Lines),
    ("flat-types.jsonl", Lines),
    (
        "invalid-utf8.jsonl",
        Rows(&["!:1:7: the line is not UTF-8", r#"{"a":"ok"}"#, "!:3:7: the line is not UTF-8"]),
    ),
    ("lone-cr.jsonl", Rows(&[r#"{"tree":"oak"}"#, r#"{"tree":"beech"}"#])),
    (
        "nan.jsonl",
        Rows(&["!:1:9: not JSON", "!:2:9: not JSON", r#"{"loss":1.0}"#, "!:4:10: not JSON: invalid number"]),
    ),
    ("no-final-newline.jsonl", TWO),
    ("nul-bytes.jsonl", Rows(&["!:1:8: not JSON: control character", "{\"a\":\"x\\u0000y\"}"])),
    ("only-newlines.jsonl", Rows(&[])),
    (
        "pretty.jsonl",
        Rows(&[
            "{\n  \"n\": 1,\n  \"list\": [\n    10,\n    20\n  ]\n}",
            "{\n  \"n\": 2,\n  \"list\": []\n}",
        ]),
    ),
    ("rs-separated.jsonl", Rows(&["!:1:1: not JSON", "!:2:1: not JSON"])),
    ("single-quotes.jsonl", Rows(&["!:1:2: not JSON", "!:2:9: not JSON", "!:3:1: not JSON", r#"{"n": 3}"#])),
    (
        "trailing-commas.jsonl",
        Rows(&["!:1:8: not JSON: trailing", "!:2:8: not JSON: trailing", r#"{"n":3}"#]),
    ),
    ("upper.JSONL", Rows(&[r#"{"n":1}"#])),
    ("utf16le-bom.jsonl", Rows(&[r#"{"city":"Zürich"}"#, r#"{"city":"Bern"}"#])),
];

const PACKED: &[(&str, Answer)] = &[
    ("all-header-fields.jsonl.gz", TWO),
    ("blocks.jsonl.gz", TWO),
    ("empty.jsonl.gz", Rows(&[])),
    ("gzip-without-suffix.csv", TABLE),
    ("gzip-without-suffix.jsonl", TWO),
    ("member-cut-inside-a-line.jsonl.gz", TWO),
    ("not-gzip.jsonl.gz", Refused(&["is no gzip", "rename it if it is text"])),
    ("rows.csv.bz2", TABLE),
    ("rows.csv.zip", Refused(&["a zip archive", "unpack it"])),
    ("rows.jsonl.bz2", TWO),
    ("rows.jsonl.xz", TWO),
    ("rows.parquet", Rows(&[r#"{"n":1,"t":"a"}"#, r#"{"n":2,"t":"b"}"#, r#"{"n":3,"t":"c"}"#])),
    ("rows.tar.gz", Refused(&["a tar archive", "unpack it"])),
    ("skippable-frame.jsonl.zst", TWO),
    ("trailing-garbage.jsonl.gz", Refused(&["after 33 bytes its gzip ends, and something else follows"])),
    ("trailing-garbage.jsonl.zst", Refused(&["its zstd ends, and something else follows"])),
    ("truncated.jsonl.gz", Refused(&["after 800 bytes: its gzip is cut short"])),
    ("truncated.jsonl.zst", Refused(&["its zstd is cut short"])),
    ("two-frames.jsonl.zst", TWO),
    ("two-members.jsonl.gz", TWO),
    ("upper.csv.GZ", TABLE),
    ("wrong-crc.jsonl.gz", Refused(&["checksum", "its gzip is damaged"])),
];

/// Not inputs.
const OTHERS: [&str; 3] = ["README.md", "cases.tsv", "long-header.py"];

pub(super) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cli/cases")
}

#[test]
fn every_file_has_an_answer() {
    let named = [TEXTS, TABLES, VALUES, PACKED].into_iter().flatten().map(|(file, _)| (*file).to_owned());
    let mut named: Vec<String> = named.chain(OTHERS.map(str::to_owned)).collect();
    named.sort_unstable();
    let mut files: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort_unstable();
    assert_eq!(named, files);
}

#[test]
fn texts() {
    hold(TEXTS);
}

#[test]
fn tables() {
    hold(TABLES);
}

#[test]
fn values() {
    hold(VALUES);
}

#[test]
fn packed() {
    hold(PACKED);
}

/// All of them, so that a failure shows every file that is read wrongly.
fn hold(cases: &[(&str, Answer)]) {
    let world = World::new();
    let wrong: Vec<String> = cases.iter().filter_map(|(file, answer)| wrong(&world, file, answer)).collect();
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn wrong(world: &World, file: &str, answer: &Answer) -> Option<String> {
    let input = fs::read(folder().join(file)).unwrap();
    world.write(file, &input);
    let got = format!("got-{file}");
    fs::create_dir(world.path(&got)).unwrap();
    let output = format!("{file}.out.jsonl");
    let tee = format!("tee '{got}/'$FN_CALL_ID");
    let ran = world.args(&[
        "batch",
        "run",
        "--input",
        file,
        "--output",
        &output,
        "--include-input",
        "--",
        "sh",
        "-c",
        &tee,
    ]);
    let payloads: BTreeMap<String, Vec<u8>> = fs::read_dir(world.path(&got))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    let expected: Vec<Vec<u8>> = match answer {
        Refused(parts) => {
            let is_refused =
                ran.code == 2 && payloads.is_empty() && parts.iter().all(|part| ran.stderr.contains(part));
            return (!is_refused)
                .then(|| format!("{file} is not refused: {} calls, {ran:?}", payloads.len()));
        }
        Rows(rows) => rows.iter().map(|row| row.as_bytes().to_vec()).collect(),
        Lines => lines(&inflated(input)),
    };
    let refused = expected.iter().filter(|row| row.starts_with(b"!")).count();
    if ran.code != i32::from(refused > 0) {
        return Some(format!("{file}: {ran:?}"));
    }
    let output = world.read(&output);
    let rows: Vec<(Row, &str)> =
        output.lines().map(|line| (serde_json::from_str(line).unwrap(), line)).collect();
    if (rows.len(), payloads.len()) != (expected.len(), expected.len() - refused) {
        return Some(format!("{file}: {} rows, {} calls ran: {rows:?}", rows.len(), payloads.len()));
    }
    rows.iter().zip(&expected).find_map(|((row, line), expected)| {
        let is_right = match expected.strip_prefix(b"!") {
            Some(said) => {
                let said = format!("{file}{}", String::from_utf8_lossy(said));
                row.error.as_ref().is_some_and(|error| error.starts_with(&said))
                    && !payloads.contains_key(&row.call_id)
            }
            None => {
                row.status == "success"
                    && payloads.get(&row.call_id) == Some(expected)
                    && is_in_twice(line, expected)
            }
        };
        (!is_right).then(|| format!("{file}: {line} is not {}", String::from_utf8_lossy(expected)))
    })
}

/// Values are not looked into: they are deeper and larger than a parser likes.
#[derive(Debug, serde::Deserialize)]
struct Row {
    call_id: String,
    status: String,
    error: Option<String>,
}

/// JSON on one line stands in its row as it is, as input and as result.
fn is_in_twice(row: &str, payload: &[u8]) -> bool {
    let Ok(payload) = std::str::from_utf8(payload) else { return true };
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(payload).is_ok();
    !is_json || payload.contains('\n') || row.matches(payload).count() >= 2
}

fn inflated(file: Vec<u8>) -> Vec<u8> {
    if !file.starts_with(b"\x1f\x8b") {
        return file;
    }
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(file.as_slice()), &mut text).unwrap();
    text
}

fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// What is guessed is told.
#[test]
fn a_guess_is_told() {
    let world = World::new();
    for (file, told) in [
        ("semicolon.csv", Some("has no comma in its header: ; is taken to separate its fields")),
        ("tabs-named.csv", Some("has no comma in its header: tab is taken to separate its fields")),
        ("pretty.jsonl", Some("is not one JSON value a line: it is read as `--format json`")),
        ("tabs.tsv", None),
        ("sep-line.csv", None),
    ] {
        world.write(file, fs::read(folder().join(file)).unwrap());
        let ran = world.args(&["batch", "run", "--input", file, "--", "cat"]);
        assert_eq!(ran.code, 0, "{ran:#?}");
        match told {
            Some(told) => assert!(ran.stderr.contains(told), "{file}: {}", ran.stderr),
            None => assert!(!ran.stderr.contains("warning"), "{file}: {}", ran.stderr),
        }
    }
    let ran = world.args(&[
        "batch",
        "run",
        "--input",
        "semicolon.csv",
        "--delimiter",
        "|",
        "--output",
        "-",
        "--",
        "cat",
    ]);
    assert!(
        ran.stdout.contains(r#"{"name;price":"fig;1,20"}"#) && !ran.stderr.contains("warning"),
        "{ran:#?}"
    );
    let ran =
        world.args(&["batch", "run", "--input", "pretty.jsonl", "--delimiter", ";", "--", "cat"]).failed(2);
    assert!(ran.contains("`pretty.jsonl` is read as `jsonl`, which has no fields"), "{ran}");
}

/// From stdin nothing has a suffix.
#[test]
fn a_pipe_is_known_by_its_first_bytes() {
    let world = World::new();
    for (file, format) in
        [("rows.jsonl.xz", "jsonl"), ("rows.csv.bz2", "csv"), ("two-frames.jsonl.zst", "json")]
    {
        let input = fs::read(folder().join(file)).unwrap();
        let ran = world.run_in(
            "",
            &["batch", "run", "--input", "-", "--format", format, "--output", "-", "--", "cat"],
            &input,
        );
        assert_eq!(ran.code, 0, "{ran:#?}");
        assert!(ran.stdout.contains("\"result\":{\"n\":"), "{ran:#?}");
    }
    let zip = fs::read(folder().join("rows.csv.zip")).unwrap();
    let refused = world.run_in("", &["batch", "run", "--input", "-", "--", "cat"], &zip).failed(2);
    assert!(refused.contains("`stdin` has no records to read: it is a zip archive"), "{refused}");
}

/// The batch of a source that breaks is ended by the commands that the error names, at once.
#[test]
fn a_broken_source_names_what_ends_its_batch() {
    let world = World::new();
    let text: String =
        (1..=40_000u64).map(|n| format!("{}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    world.write("in.txt.gz", &packed[..packed.len() / 2]);
    world.deploy("f", "app", "", "cat");
    let said = world.afn("batch submit app /f in.txt.gz").failed(2);
    assert!(said.contains("its gzip is cut short") && said.contains(" is submitted in part: "), "{said}");
    let batch = said.split_once("batch ").unwrap().1.split(' ').next().unwrap().to_owned();
    for command in ["resume", "seal", "cancel"] {
        assert!(said.contains(&format!("`afn batch {command} {batch}`")), "{said}");
    }
    let calls: u64 =
        said.split_once("ends it with the ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!((1_000..40_000).contains(&calls), "{said}");
    let sealed = world.args(&["batch", "seal", &batch]).ok();
    assert!(sealed.contains(&format!("{calls} calls")), "{sealed}");
}

/// Sealed, over, followed up, and read like any other batch.
#[test]
fn a_source_without_records_is_a_batch_that_is_over() {
    let world = World::new();
    world.deploy("f", "app", "", "cat");
    world.deploy("after", "app", "", "tee after.json");
    world.write("empty.csv", "a,b\n");
    let submitted = world.afn("batch submit app /f empty.csv --then app/after").json();
    assert_eq!(submitted["calls"], 0);
    let batch = submitted["batch_id"].as_str().unwrap();
    world.drain();
    let view = world.args(&["batch", "status", batch, "--output", "json"]).json();
    assert_eq!((&view["status"], &view["calls"]), (&"success".into(), &0.into()), "{view}");
    assert!(view["fired"].is_object() && view["summary"].is_object(), "{view}");
    let follow_ups = world.afn("list calls app --path /after --output json").ok();
    assert_eq!(follow_ups.matches("\"success\"").count(), 1, "{follow_ups}");
    assert_eq!(world.args(&["batch", "wait", batch]).code, 0);
    assert_eq!(world.args(&["batch", "results", batch]).ok(), "");
    let retry = world.args(&["batch", "retry", batch]).failed(2);
    assert!(retry.contains("can be retried"), "{retry}");

    let piped = world.run_in("", &["batch", "run", "--input", "-", "--output", "-", "--", "cat"], b"");
    assert_eq!((piped.code, piped.stdout.as_str()), (0, ""), "{piped:#?}");
    let refused = world.afn("batch submit app /f empty.csv --fail-if-empty").failed(2);
    assert!(refused.contains("has no records") && refused.contains("nothing was submitted"), "{refused}");
}
