//! CSV as RFC 4180 has it: quoted fields may hold commas, quotes (doubled) and line ends. The first record is the header;
//! each other becomes a JSON object of strings, in the header's order. An empty line is no record and takes no number. A
//! quote counts only at the beginning of a field, so that a stray one spoils its own record and no other. Fields are separated
//! by what the caller says, else by what a line `sep=;` says, else by what the header has (`delimiter`).

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;

use super::SourceRecord;
use super::delimiter;
use super::format::Delimiter;
use super::frame::{Cut, Frame, Frames, Framing};
use super::line_end::LineEnd;
use crate::error::{Error, Result};
use crate::limits;

/// A line end outside quotes ends a record.
pub(super) struct CsvFraming {
    /// `None` until the header is read, which any of [`delimiter::CANDIDATES`] may separate.
    pub(super) delimiter: Option<Delimiter>,
    field: FieldState,
}

/// The position within a field; decides whether a line end ends the record.
#[derive(Clone, Copy)]
enum FieldState {
    Start,
    Unquoted,
    Quoted,
    /// After a quote in a quoted field: the end of the field, or the first of two quotes.
    Quote,
}

impl CsvFraming {
    pub(super) fn new(delimiter: Option<Delimiter>) -> CsvFraming {
        CsvFraming { delimiter, field: FieldState::Start }
    }

    fn separates(&self, byte: u8) -> bool {
        match self.delimiter {
            Some(delimiter) => byte == delimiter.byte(),
            None => delimiter::CANDIDATES.iter().any(|candidate| byte == candidate.byte()),
        }
    }
}

impl Framing for CsvFraming {
    fn cut(&mut self, bytes: &[u8], line_end: LineEnd) -> Cut {
        for (at, byte) in bytes.iter().enumerate() {
            let ends_line = *byte == b'\n' || (*byte == b'\r' && line_end == LineEnd::Return);
            self.field = match (self.field, byte) {
                (FieldState::Quoted, b'"') => FieldState::Quote,
                (FieldState::Quoted, _) => FieldState::Quoted,
                (FieldState::Start | FieldState::Quote, b'"') => FieldState::Quoted,
                (_, byte) if ends_line || self.separates(*byte) => FieldState::Start,
                _ => FieldState::Unquoted,
            };
            if ends_line && matches!(self.field, FieldState::Start) {
                return Cut::Record(at + 1);
            }
        }
        Cut::Open
    }
}

/// What a header says of the records after it.
pub(super) struct Header {
    /// For each column the JSON that precedes its value: `{"name":`, `,"name":`.
    columns: Vec<Vec<u8>>,
    delimiter: Delimiter,
    /// The delimiter is a guess.
    was_found: bool,
}

impl Header {
    /// What a person should know of a guess.
    pub(super) fn notice(&self) -> Option<String> {
        let delimiter = self.delimiter;
        self.was_found.then(|| {
            format!("has no comma in its header: {delimiter} is taken to separate its fields, `--delimiter` says otherwise")
        })
    }
}

/// Why a record is bad, and the offset of the byte in it that shows so.
type BadField = (usize, String);

/// `None`: the source is empty.
pub(super) async fn header(frames: &mut Frames<CsvFraming>, name: &str) -> Result<Option<Header>> {
    let Some(mut frame) = next_with_text(frames).await? else { return Ok(None) };
    if frame.line == 1
        && let Some(said) = frame.text.as_deref().and_then(delimiter::of_sep_line)
    {
        frames.framing.delimiter.get_or_insert(said);
        match next_with_text(frames).await? {
            Some(header) => frame = header,
            None => return Ok(None),
        }
    }
    let invalid = |reason| Error::invalid(format!("the header of `{name}` cannot be read: {reason}"));
    let text = frame.text.as_ref().ok_or_else(|| invalid(frame.too_long("line")))?;
    let found = frames.framing.delimiter.is_none().then(|| delimiter::of_header(text));
    let delimiter = *frames.framing.delimiter.get_or_insert(found.unwrap_or(Delimiter::COMMA));
    let fields = fields(text, delimiter).map_err(|(at, reason)| {
        let (line, column) = frame.position(&text[..at]);
        Error::invalid(format!("{name}:{line}:{column}: the header cannot be read: {reason}"))
    })?;
    if fields.len() > limits::CSV_COLUMNS_MAX {
        return Err(invalid(format!("{} columns, the most is {}", fields.len(), limits::CSV_COLUMNS_MAX)));
    }
    let mut names = BTreeSet::new();
    let mut columns = Vec::new();
    for field in &fields {
        let mut column = vec![if columns.is_empty() { b'{' } else { b',' }];
        write_json(&mut column, field);
        column.push(b':');
        columns.push(column);
        if !names.insert(field) {
            return Err(invalid(format!("two columns are named `{field}`")));
        }
    }
    Ok(Some(Header { columns, delimiter, was_found: found.is_some_and(|found| found != Delimiter::COMMA) }))
}

async fn next_with_text(frames: &mut Frames<CsvFraming>) -> Result<Option<Frame>> {
    loop {
        match frames.next().await? {
            Some(frame) if frame.bytes == 0 => {}
            frame => return Ok(frame),
        }
    }
}

pub(super) fn item(name: &str, header: &Header, frame: Frame) -> Option<SourceRecord> {
    if frame.bytes == 0 {
        return None;
    }
    let Some(text) = &frame.text else {
        let (line, reason) = (frame.line, format!("{}; is a quote left open?", frame.too_long("record")));
        return Some(frame.bad(name, line, Some(1), reason));
    };
    Some(match object(text, header) {
        Ok(payload) => SourceRecord {
            payload: payload.into(),
            content_type: Some(Cow::Borrowed("application/json")),
            line: Some(frame.line),
            ..SourceRecord::default()
        },
        Err((at, reason)) => {
            let (line, column) = frame.position(&text[..at]);
            frame.bad(name, line, Some(column), reason)
        }
    })
}

/// A record as a JSON object.
fn object(text: &Bytes, header: &Header) -> std::result::Result<Bytes, BadField> {
    let (columns, fields) = (&header.columns, fields(text, header.delimiter)?);
    if fields.len() != columns.len() {
        let plural = if fields.len() == 1 { "" } else { "s" };
        let reason = format!("{} field{plural}, the header has {}", fields.len(), columns.len());
        return Err((text.len(), reason));
    }
    let mut json =
        Vec::with_capacity(text.len() + columns.iter().map(|column| column.len() + 2).sum::<usize>());
    for (column, field) in columns.iter().zip(fields) {
        json.extend_from_slice(column);
        write_json(&mut json, &field);
    }
    json.push(b'}');
    if json.len() as u64 > limits::PAYLOAD_BYTES_MAX {
        let (bytes, max) = (json.len(), limits::PAYLOAD_BYTES_MAX);
        return Err((0, format!("the record has {bytes} bytes as JSON, the most of a payload is {max}")));
    }
    Ok(json.into())
}

fn write_json(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string is JSON and a Vec takes it");
}

fn fields(text: &[u8], delimiter: Delimiter) -> std::result::Result<Vec<Cow<'_, str>>, BadField> {
    let bad = |at: usize, reason: &str| (at, reason.to_owned());
    let text =
        std::str::from_utf8(text).map_err(|error| bad(error.valid_up_to(), "the record is not UTF-8"))?;
    let bytes = text.as_bytes();
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let start = at;
        if bytes.get(at) == Some(&b'"') {
            // The field ends at the first quote that is not followed by another one.
            loop {
                let quote = memchr::memchr(b'"', &bytes[at + 1..]);
                at += 1 + quote.ok_or_else(|| bad(start, "the quote is not closed"))?;
                if bytes.get(at + 1) != Some(&b'"') {
                    break;
                }
                at += 1;
            }
            let field = &text[start + 1..at];
            at += 1;
            fields.push(match field.contains('"') {
                true => Cow::Owned(field.replace("\"\"", "\"")),
                false => Cow::Borrowed(field),
            });
        } else {
            at += memchr::memchr2(delimiter.byte(), b'"', &bytes[at..]).unwrap_or(bytes.len() - at);
            if bytes.get(at) == Some(&b'"') {
                return Err(bad(at, "a quote in a field that does not begin with one"));
            }
            fields.push(Cow::Borrowed(&text[start..at]));
        }
        match bytes.get(at) {
            None => return Ok(fields),
            Some(byte) if *byte == delimiter.byte() => at += 1,
            Some(_) => return Err(bad(at, "something follows the closing quote of a field")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Format, Kind, pieces_of_text, text};
    use super::*;

    async fn read(csv: impl Into<Bytes>) -> Result<Vec<SourceRecord>> {
        super::super::tests::all(text(csv, Format::plain(Kind::Csv), "x.csv")).await
    }

    fn shown(items: &[SourceRecord]) -> Vec<(String, u64, Option<String>)> {
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
            ("a,a\n1,2\n", "the header of `x.csv` cannot be read: two columns are named `a`"),
            ("\"a\n1,2\n", "x.csv:1:1: the header cannot be read: the quote is not closed"),
            (
                "a,caf\u{e9}\"\n",
                "x.csv:1:8: the header cannot be read: a quote in a field that does not begin with one",
            ),
        ] {
            assert_eq!(read(csv).await.unwrap_err().message(), message);
        }
        for empty in ["", "\n\n", "a,b\n", "sep=;\n"] {
            assert_eq!(read(empty).await.unwrap(), [], "{empty:?}");
        }
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
            let mut source = pieces_of_text(pieces, Format::plain(Kind::Csv), "x");
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
