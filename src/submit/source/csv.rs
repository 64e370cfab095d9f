//! CSV as RFC 4180 has it: quoted fields may hold commas, quotes (doubled) and line ends. The first record is the header;
//! each other becomes a JSON object of strings, in the header's order. An empty line is no record and takes no number. A
//! quote counts only at the beginning of a field, so that a stray one spoils its own record and no other.

use std::borrow::Cow;
use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;

use super::frame::{Ends, Frame, Frames};
use super::input::Input;
use super::{Item, Origin, Source};
use crate::error::{Error, Result};
use crate::limits;

pub(super) struct Csv {
    frames: Frames<RecordEnds>,
    name: String,
    origin: Origin,
    /// Of each column, what stands before its value: `{"name":`, `,"name":`.
    columns: Option<Vec<Vec<u8>>>,
}

/// Line ends count outside quotes only.
#[derive(Default)]
struct RecordEnds {
    state: Place,
}

#[derive(Default, Clone, Copy)]
enum Place {
    #[default]
    Start,
    Plain,
    Quoted,
    /// After a quote in a quoted field: its end, or the first of two.
    Quote,
}

impl Ends for RecordEnds {
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                Place::Quoted => match memchr::memchr(b'"', &bytes[at..]) {
                    Some(quote) => {
                        at += quote;
                        self.state = Place::Quote;
                    }
                    None => return None,
                },
                Place::Plain => match memchr::memchr2(b',', b'\n', &bytes[at..]) {
                    Some(found) => {
                        at += found;
                        self.state = Place::Start;
                        if bytes[at] == b'\n' {
                            return Some(at + 1);
                        }
                    }
                    None => return None,
                },
                Place::Start | Place::Quote => match (bytes[at], self.state) {
                    (b'"', _) => self.state = Place::Quoted,
                    (b',', _) => self.state = Place::Start,
                    (b'\n', _) => {
                        self.state = Place::Start;
                        return Some(at + 1);
                    }
                    _ => self.state = Place::Plain,
                },
            }
            at += 1;
        }
        None
    }
}

/// Where and why a record is bad; line and column within it, from 0.
struct Wrong {
    line: u64,
    column: u64,
    reason: String,
}

impl Csv {
    pub(super) fn new(input: Box<dyn Input>, name: String, origin: Origin) -> Csv {
        Csv { frames: Frames::new(input, RecordEnds::default()), name, origin, columns: None }
    }

    async fn header(&mut self) -> Result<()> {
        let frame = loop {
            match self.frames.next().await? {
                Some(frame) if frame.bytes == 0 => {}
                Some(frame) => break frame,
                None => {
                    return Err(Error::invalid(format!("`{}` has no header line", self.name))
                        .hint("the first record of a CSV names its columns"));
                }
            }
        };
        let wrong = |reason: String| {
            Error::invalid(format!("the header of `{}` cannot be read: {reason}", self.name))
        };
        let text = frame.text.clone().ok_or_else(|| wrong(frame.too_long("line")))?;
        let fields = fields(&text).map_err(|error| wrong(error.reason))?;
        if fields.len() > limits::CSV_COLUMNS_MAX {
            return Err(wrong(format!("{} columns, the most is {}", fields.len(), limits::CSV_COLUMNS_MAX)));
        }
        let mut names = BTreeSet::new();
        let mut columns = Vec::new();
        for field in fields {
            let mut column = vec![if columns.is_empty() { b'{' } else { b',' }];
            write_json(&mut column, &field);
            column.push(b':');
            columns.push(column);
            if !names.insert(field.to_string()) {
                return Err(wrong(format!("two columns are named `{field}`")));
            }
        }
        self.columns = Some(columns);
        Ok(())
    }
}

fn item(name: &str, columns: &[Vec<u8>], frame: Frame) -> Item {
    let wrong = match &frame.text {
        Some(text) => match object(text, columns) {
            Ok(payload) => {
                let content_type = Some(Cow::Borrowed("application/json"));
                return Item {
                    payload: payload.into(),
                    content_type,
                    line: Some(frame.line),
                    ..Item::default()
                };
            }
            Err(wrong) => wrong,
        },
        None => {
            let reason = format!("{}; is a quote left open?", frame.too_long("record"));
            Wrong { line: 0, column: 0, reason }
        }
    };
    let line = frame.line + wrong.line;
    frame.bad(name, line, Some(wrong.column + 1), wrong.reason)
}

/// A record as a JSON object.
fn object(text: &Bytes, columns: &[Vec<u8>]) -> std::result::Result<Bytes, Wrong> {
    let fields = fields(text)?;
    if fields.len() != columns.len() {
        let (line, column) = place(text, text.len());
        let count = |n: usize| if n == 1 { "1 field".to_owned() } else { format!("{n} fields") };
        let reason = format!("{}, the header has {}", count(fields.len()), columns.len());
        return Err(Wrong { line, column, reason });
    }
    let mut json =
        Vec::with_capacity(text.len() + columns.iter().map(|column| column.len() + 2).sum::<usize>());
    for (column, field) in columns.iter().zip(fields) {
        json.extend_from_slice(column);
        write_json(&mut json, &field);
    }
    json.push(b'}');
    if json.len() as u64 > limits::PAYLOAD_BYTES_MAX {
        let reason = format!(
            "the record has {} bytes as JSON, the most of a payload is {}",
            json.len(),
            limits::PAYLOAD_BYTES_MAX
        );
        return Err(Wrong { line: 0, column: 0, reason });
    }
    Ok(json.into())
}

fn write_json(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string is JSON and a Vec takes it");
}

fn fields(text: &[u8]) -> std::result::Result<Vec<Cow<'_, str>>, Wrong> {
    let wrong = |at: usize, reason: &str| {
        let (line, column) = place(text, at);
        Wrong { line, column, reason: reason.to_owned() }
    };
    let text =
        std::str::from_utf8(text).map_err(|error| wrong(error.valid_up_to(), "the record is not UTF-8"))?;
    let bytes = text.as_bytes();
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let start = at;
        if bytes.get(at) == Some(&b'"') {
            at += 1;
            let mut field = Cow::Borrowed("");
            loop {
                let Some(quote) = memchr::memchr(b'"', &bytes[at..]) else {
                    return Err(wrong(start, "the quote is not closed"));
                };
                let piece = &text[at..at + quote];
                if field.is_empty() {
                    field = Cow::Borrowed(piece)
                } else {
                    field.to_mut().push_str(piece)
                }
                at += quote + 1;
                if bytes.get(at) != Some(&b'"') {
                    break;
                }
                field.to_mut().push('"');
                at += 1;
            }
            fields.push(field);
        } else {
            at += memchr::memchr2(b',', b'"', &bytes[at..]).unwrap_or(bytes.len() - at);
            if bytes.get(at) == Some(&b'"') {
                return Err(wrong(at, "a quote in a field that does not begin with one"));
            }
            fields.push(Cow::Borrowed(&text[start..at]));
        }
        match bytes.get(at) {
            None => return Ok(fields),
            Some(b',') => at += 1,
            Some(_) => return Err(wrong(at, "something follows the closing quote of a field")),
        }
    }
}

/// Line and column of a byte, from 0.
fn place(text: &[u8], at: usize) -> (u64, u64) {
    let before = &text[..at];
    let line = memchr::memchr_iter(b'\n', before).count() as u64;
    let column = at - memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
    (line, column as u64)
}

#[async_trait]
impl Source for Csv {
    fn origin(&self) -> Origin {
        self.origin.clone()
    }

    async fn next(&mut self) -> Result<Vec<Item>> {
        if self.columns.is_none() {
            self.header().await?;
        }
        let (name, columns) = (&self.name, self.columns.as_deref().unwrap_or_default());
        // An empty line is no record.
        let item = |frame: Frame| (frame.bytes > 0).then(|| item(name, columns, frame));
        self.frames.items(item).await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::input::Memory;
    use super::super::{Format, Kind, Pass, text};
    use super::*;

    async fn read(csv: impl Into<Bytes>) -> Result<Vec<Item>> {
        let mut source = text(csv, Format::plain(Kind::Csv), "x.csv");
        let mut items = Vec::new();
        loop {
            let more = source.next().await?;
            if more.is_empty() {
                return Ok(items);
            }
            items.extend(more);
        }
    }

    fn shown(items: &[Item]) -> Vec<(String, u64, Option<String>)> {
        let shown = items.iter().map(|item| {
            let payload = String::from_utf8_lossy(&item.payload.to_bytes().unwrap()).into_owned();
            (payload, item.line.unwrap(), item.bad.as_ref().map(|bad| bad.to_string()))
        });
        shown.collect()
    }

    #[tokio::test]
    async fn records_become_objects_of_strings() {
        let csv = "\u{feff}\"id\",na me\r\n1,plain\r\n\r\n2,\"two\nlines, \"\"quoted\"\"\"\n,\n\"\",\"\"";
        let items = read(csv).await.unwrap();
        assert_eq!(
            shown(&items),
            [
                ("{\"id\":\"1\",\"na me\":\"plain\"}".to_owned(), 2, None),
                ("{\"id\":\"2\",\"na me\":\"two\\nlines, \\\"quoted\\\"\"}".to_owned(), 4, None),
                ("{\"id\":\"\",\"na me\":\"\"}".to_owned(), 6, None),
                ("{\"id\":\"\",\"na me\":\"\"}".to_owned(), 7, None),
            ]
        );
    }

    #[tokio::test]
    async fn a_bad_record_spoils_itself_alone() {
        let csv = b"a,b\n1\n1,2,3\nx\"y,2\n\"x\"y,2\n\xff,2\n1,2\n\"q\n,\"\"2\n1,2".as_slice();
        let items = read(csv).await.unwrap();
        let bad: Vec<String> = shown(&items).into_iter().filter_map(|(_, _, bad)| bad).collect();
        assert_eq!(
            bad,
            [
                "x.csv:2:2: 1 field, the header has 2",
                "x.csv:3:6: 3 fields, the header has 2",
                "x.csv:4:2: a quote in a field that does not begin with one",
                "x.csv:5:4: something follows the closing quote of a field",
                "x.csv:6:1: the record is not UTF-8",
                "x.csv:8:1: the quote is not closed",
            ]
        );
        assert_eq!(items.len(), 7);
        assert_eq!(items[0].payload.to_bytes().unwrap(), "1");
    }

    #[tokio::test]
    async fn headers_are_told_apart() {
        for (csv, message) in [
            ("", "`x.csv` has no header line"),
            ("\n\n", "`x.csv` has no header line"),
            ("a,a\n1,2\n", "the header of `x.csv` cannot be read: two columns are named `a`"),
            ("\"a\n1,2\n", "the header of `x.csv` cannot be read: the quote is not closed"),
        ] {
            assert_eq!(read(csv).await.unwrap_err().message(), message);
        }
        assert_eq!(read("a,b\n").await.unwrap(), []);
    }

    fn quoted(field: &str) -> String {
        format!("\"{}\"", field.replace('"', "\"\""))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn reads_back_what_was_quoted_however_it_is_split(
            rows in proptest::collection::vec(("[a-c,\"\n\r\u{e9}]{0,6}", "[a-c,\"\n\u{e9}]{0,6}"), 1..8),
            piece in 1usize..9,
        ) {
            let mut csv = "k,v\r\n".to_owned();
            for (key, value) in &rows {
                csv += &format!("{},{}\r\n", quoted(key), quoted(value));
            }
            let pieces: Vec<Bytes> = csv.as_bytes().chunks(piece).map(Bytes::copy_from_slice).collect();
            let origin = Origin { location: String::new(), format: String::new(), pass: Pass::Record };
            let mut source = Csv::new(Box::new(Memory::pieces(pieces)), "x".to_owned(), origin);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let items = runtime.block_on(async {
                let mut items = Vec::new();
                loop {
                    let more = source.next().await.unwrap();
                    if more.is_empty() {
                        return items;
                    }
                    items.extend(more);
                }
            });
            let read: Vec<serde_json::Value> = items
                .iter()
                .map(|item| serde_json::from_slice(&item.payload.to_bytes().unwrap()).unwrap())
                .collect();
            let expected: Vec<serde_json::Value> = rows
                .iter()
                .map(|(key, value)| serde_json::json!({ "k": key, "v": value }))
                .collect();
            prop_assert_eq!(read, expected);
        }
    }
}
