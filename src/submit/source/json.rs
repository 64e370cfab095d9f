//! JSON values as records: each line of JSON Lines, each value of a text, or each element of the one array that is the text.
//! A value is cut out by its brackets and quotes alone, and then checked, so that a bad one spoils itself and no other. It
//! is the payload as written.

use std::borrow::Cow;

use memchr::memchr2;
use serde::de::IgnoredAny;

use super::SourceRecord;
use super::frame::{Cut, Frame, Framing};
use super::line_end::LineEnd;
use super::transcode::UTF_8_MARK;
use crate::limits;

/// Values one after another, however they are laid out; or an array, whose elements are the records.
#[derive(Default)]
pub(super) struct JsonFraming {
    place: Place,
    depth: u64,
    /// The text is an array.
    in_array: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first value.
    #[default]
    Start,
    /// Between values. In an array: where an element must begin.
    Between,
    /// At the start of an array, which may be empty.
    First,
    /// In a value, outside its strings.
    Value,
    /// In a number or word that is a value of its own.
    Word,
    String,
    /// After a backslash in a string.
    Escape,
    /// Behind an element: a comma or the array's end comes.
    Behind,
    /// Behind the array.
    End,
}

impl Framing for JsonFraming {
    fn cut(&mut self, bytes: &[u8], _: LineEnd) -> Cut {
        match self.place {
            Place::Start | Place::Between | Place::First | Place::Behind | Place::End => self.between(bytes),
            _ => self.value(bytes, 0),
        }
    }

    fn finish(&self) -> Result<(), &'static str> {
        if self.in_array && self.place != Place::End {
            return Err("the array that is the whole text is not closed: the text is cut short");
        }
        Ok(())
    }
}

impl JsonFraming {
    fn between(&mut self, bytes: &[u8]) -> Cut {
        let gap = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let Some(byte) = bytes.get(gap) else { return Cut::Gap(gap) };
        match (self.place, byte) {
            (Place::Start, b'[') => (self.in_array, self.place) = (true, Place::First),
            (Place::Behind, b',') => self.place = Place::Between,
            (Place::Behind | Place::First, b']') => self.place = Place::End,
            // An element is missing: it takes its number, and is bad.
            (Place::Between | Place::First, b',' | b']') if self.in_array => {
                if gap > 0 {
                    return Cut::Gap(gap);
                }
                self.place = Place::Behind;
                return Cut::Record(0);
            }
            (Place::End, _) => {
                return Cut::Broken(
                    "more follows the array that is taken for the whole text; `--format jsonl` if each line is a value",
                );
            }
            _ if gap > 0 => return Cut::Gap(gap),
            _ => {
                let is_word = !self.in_array && !matches!(byte, b'{' | b'[' | b'"');
                self.place = if is_word { Place::Word } else { Place::Value };
                return self.value(bytes, usize::from(is_word));
            }
        }
        Cut::Gap(gap + 1)
    }

    /// The end of the value that has begun, searched from `at` on.
    fn value(&mut self, bytes: &[u8], mut at: usize) -> Cut {
        while let Some(byte) = bytes.get(at) {
            match (self.place, byte) {
                (Place::Escape, _) => self.place = Place::String,
                (Place::String, b'\\') => self.place = Place::Escape,
                (Place::String, b'"') => {
                    self.place = Place::Value;
                    if self.depth == 0 && !self.in_array {
                        return self.end(at + 1);
                    }
                }
                (Place::String, _) => {
                    at += memchr2(b'"', b'\\', &bytes[at..]).unwrap_or(bytes.len() - at);
                    continue;
                }
                (Place::Word, byte) if ends_word(*byte) => return self.end(at),
                (Place::Word, _) => {}
                (_, b',' | b']') if self.depth == 0 && self.in_array => {
                    self.place = Place::Behind;
                    return Cut::Record(at);
                }
                (_, b'"') => self.place = Place::String,
                (_, b'{' | b'[') => self.depth += 1,
                (_, b'}' | b']') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 && !self.in_array {
                        return self.end(at + 1);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        Cut::Open
    }

    fn end(&mut self, at: usize) -> Cut {
        self.place = Place::Between;
        Cut::Record(at)
    }
}

fn ends_word(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'{' | b'[' | b'"' | b'}' | b']')
}

/// Whether JSON Lines are none: the first line that is not empty is the beginning of a value laid out over many.
pub(super) fn is_laid_out(text: &[u8]) -> bool {
    let head = text[..text.len().min(limits::SOURCE_HEAD_BYTES)].trim_ascii_start();
    let [b'{' | b'[', rest @ ..] = head else { return false };
    let next = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    matches!(next, Some(b'\n' | b'\r'))
}

/// Enough of a text for [`is_laid_out`].
pub(super) fn has_first_line(text: &[u8]) -> bool {
    text.len() >= limits::SOURCE_HEAD_BYTES
        || text.trim_ascii_start().iter().any(|byte| matches!(byte, b'\n' | b'\r'))
}

/// A line of JSON Lines. One of nothing but white space is no record and takes no number.
pub(super) fn line(name: &str, frame: Frame) -> Option<SourceRecord> {
    if frame.text.as_ref().is_some_and(|text| text.trim_ascii().is_empty()) {
        return None;
    }
    Some(value(name, "line", frame))
}

pub(super) fn element(name: &str, mut frame: Frame) -> SourceRecord {
    if let Some(text) = &mut frame.text {
        text.truncate(text.trim_ascii_end().len());
    }
    value(name, "value", frame)
}

fn value(name: &str, what: &str, frame: Frame) -> SourceRecord {
    let content_type = Some(Cow::Borrowed("application/json"));
    let (line, column) = (frame.line, frame.column);
    let Some(text) = frame.text.clone() else {
        let reason = frame.too_long(what);
        let column = (column > 1).then_some(column);
        return SourceRecord { content_type, ..frame.bad(name, line, column, reason) };
    };
    match check(&text) {
        Ok(()) => {
            SourceRecord { payload: text.into(), content_type, line: Some(line), ..SourceRecord::default() }
        }
        Err((at, reason)) => {
            let (line, column) = frame.position(&text[..at.min(text.len())]);
            let reason = reason.replace("{what}", what);
            SourceRecord { content_type, ..frame.bad(name, line, Some(column), reason) }
        }
    }
}

/// Checks that a text is one JSON value without building it. The error has the offset of the byte that shows it, and the
/// reason.
fn check(text: &[u8]) -> Result<(), (usize, String)> {
    if text.is_empty() {
        return Err((0, "not JSON: there is no value before the comma or the end of the array".to_owned()));
    }
    if text.starts_with(UTF_8_MARK) {
        return Err((
            0,
            "the {what} begins with a byte-order mark: files were joined that each begin with one".to_owned(),
        ));
    }
    let text = std::str::from_utf8(text)
        .map_err(|error| (error.valid_up_to(), "the {what} is not UTF-8".to_owned()))?;
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| {
        let message = error.to_string();
        let reason = message.rsplit_once(" at line ").map_or(message.as_str(), |(reason, _)| reason);
        // The parser counts the bytes up to the one that shows the error. A control character is not yet counted.
        let counted = error.column().saturating_sub(usize::from(!reason.starts_with("control character")));
        let line =
            text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
        (line + counted, format!("not JSON: {reason}"))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::{Format, Kind, Source, pieces_of_text, text};
    use super::*;
    use crate::error::Result;

    fn all(source: Box<dyn Source>) -> Result<Vec<SourceRecord>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(super::super::tests::all(source))
    }

    fn read(json: &str, kind: Kind) -> Result<Vec<(String, Option<String>)>> {
        let items = all(text(json.to_owned(), Format::plain(kind), "x"))?;
        Ok(items.iter().map(|item| (payload(item), item.bad.as_ref().map(|bad| bad.to_string()))).collect())
    }

    fn payload(item: &SourceRecord) -> String {
        String::from_utf8_lossy(&item.payload.to_bytes().unwrap()).into_owned()
    }

    fn good(json: &str) -> Vec<String> {
        let items = read(json, Kind::Json).unwrap();
        assert!(items.iter().all(|(_, bad)| bad.is_none()), "{items:?}");
        items.into_iter().map(|(payload, _)| payload).collect()
    }

    #[test]
    fn values_as_written_and_bad_lines_by_line_and_column() {
        let lines =
            "{\"a\": 1}\n\n  \t\r\n[1,\n 2 \r\n\"\u{e9}\"\n{} {}\nnul\n7\n{\"a\":\"x\u{0}y\"}\n\u{feff}8";
        let bad = |text: &str| Some(text.to_owned());
        assert_eq!(
            read(lines, Kind::Jsonl).unwrap(),
            [
                ("{\"a\": 1}".to_owned(), None),
                ("[1,".to_owned(), bad("x:4:3: not JSON: EOF while parsing a value")),
                (" 2 ".to_owned(), None),
                ("\"\u{e9}\"".to_owned(), None),
                ("{} {}".to_owned(), bad("x:7:4: not JSON: trailing characters")),
                ("nul".to_owned(), bad("x:8:3: not JSON: EOF while parsing a value")),
                ("7".to_owned(), None),
                (
                    "{\"a\":\"x\u{0}y\"}".to_owned(),
                    bad("x:10:8: not JSON: control character (\\u0000-\\u001F) found while parsing a string")
                ),
                (
                    "\u{feff}8".to_owned(),
                    bad(
                        "x:11:1: the line begins with a byte-order mark: files were joined that each begin with one"
                    )
                ),
            ]
        );
    }

    #[test]
    fn a_line_too_long_and_one_that_is_no_text() {
        let long = vec![b'1'; limits::RECORD_BYTES_MAX as usize + 1];
        let lines = [long.as_slice(), b"\n\"\xff\"\n1\n"].concat();
        let items = all(text(lines, Format::plain(Kind::Jsonl), "x")).unwrap();
        let bad: Vec<String> = items.iter().filter_map(|item| Some(item.bad.as_ref()?.to_string())).collect();
        assert_eq!(
            bad,
            ["x:1: the line has 6291457 bytes, the most is 6291456", "x:2:2: the line is not UTF-8"]
        );
        assert!(items[0].payload.is_empty());
        assert_eq!(items.len(), 3);
    }

    #[test]
    fn values_however_they_are_laid_out() {
        assert_eq!(
            good("{\n  \"a\": [1,\n 2]\n}\n{}[1]\"x\\\"]\"7 true\nnull"),
            ["{\n  \"a\": [1,\n 2]\n}", "{}", "[1]", "\"x\\\"]\"", "7", "true", "null"]
        );
        assert_eq!(
            good("[ {\"n\": 1} ,\n2,\"a]\" , [3,\n[4]] ]\n"),
            ["{\"n\": 1}", "2", "\"a]\"", "[3,\n[4]]"]
        );
        assert_eq!(good("{\"n\":1}\n{\"n\":2}\n"), ["{\"n\":1}", "{\"n\":2}"]);
        for empty in ["", " \n", "[]", " [ ] \n"] {
            assert_eq!(good(empty), Vec::<String>::new(), "{empty}");
        }
    }

    #[test]
    fn a_bad_value_spoils_itself_alone() {
        let bad = |json: &str| -> Vec<String> {
            read(json, Kind::Json).unwrap().into_iter().map(|(_, bad)| bad.unwrap_or_default()).collect()
        };
        let missing = "not JSON: there is no value before the comma or the end of the array";
        assert_eq!(
            bad("[1, 2 3,\n nul, {\"a\" 1}]"),
            [
                "",
                "x:1:7: not JSON: trailing characters",
                "x:2:4: not JSON: EOF while parsing a value",
                "x:2:12: not JSON: expected `:`"
            ]
        );
        assert_eq!(
            bad("[,1,,2,]"),
            [
                format!("x:1:2: {missing}"),
                String::new(),
                format!("x:1:5: {missing}"),
                String::new(),
                format!("x:1:8: {missing}")
            ]
        );
        assert_eq!(bad("{\n\"a\": 01 }\n{}"), ["x:2:7: not JSON: invalid number", ""]);
        assert_eq!(bad("{\"a\":1"), ["x:1:6: not JSON: EOF while parsing an object"]);
    }

    #[test]
    fn an_array_ends_where_the_text_ends() {
        let cut = read("[1,2", Kind::Json).unwrap_err();
        assert_eq!(
            cut.message(),
            "`x` cannot be read past 1:5: the array that is the whole text is not closed: the text is cut short"
        );
        let more = read("[1,2]\n[3]", Kind::Json).unwrap_err();
        assert!(more.message().starts_with("`x` cannot be read past 1:6: more follows the array"), "{more}");
    }

    #[test]
    fn lines_that_are_none_are_read_as_values() {
        for laid_out in ["[\n  {\"n\": 1},\n  2\n]\n", "\n [\r\n{\"n\": 1}, 2]", "[\r{\"n\": 1}\r, 2\r]"] {
            let read = read(laid_out, Kind::Jsonl).unwrap();
            assert_eq!(read, [("{\"n\": 1}".to_owned(), None), ("2".to_owned(), None)]);
        }
        assert_eq!(read("[1,2]\n[3]\n", Kind::Jsonl).unwrap().len(), 2);
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "[a\\[\\]{}\",\\\\:\u{e9} \n]{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map("[a-c\"]{0,3}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn elements_of_an_array_are_what_lines_of_them_are(
            values in prop::collection::vec(json(), 0..6), is_pretty: bool, piece in 1usize..9,
        ) {
            let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
            let expected: Vec<serde_json::Value> = all(text(lines, Format::plain(Kind::Jsonl), "x"))
                .unwrap().iter().map(|item| serde_json::from_str(&payload(item)).unwrap()).collect();
            prop_assert_eq!(&expected, &values);
            let write = |value: &serde_json::Value| match is_pretty {
                true => serde_json::to_string_pretty(value).unwrap(),
                false => value.to_string(),
            };
            let array = write(&values.clone().into());
            let sequence: String = values.iter().map(|value| write(value) + " ").collect();
            let is_array = values.first().is_some_and(serde_json::Value::is_array);
            for json in std::iter::once(array).chain((!is_array).then_some(sequence)) {
                let pieces = json.as_bytes().chunks(piece).map(Bytes::copy_from_slice).collect::<Vec<_>>();
                let items = all(pieces_of_text(pieces, Format::plain(Kind::Json), "x")).unwrap();
                let read: Vec<serde_json::Value> = items.iter().map(|item| serde_json::from_str(&payload(item)).unwrap()).collect();
                prop_assert_eq!(&read, &values);
            }
        }
    }
}
