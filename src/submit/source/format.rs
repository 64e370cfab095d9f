//! What a source is made of, as people write it: `jsonl`, `csv.gz`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::model::text::words;

/// How records lie in a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Each line one JSON value, which is the payload as written. A line of nothing but white space is no record.
    Jsonl,
    /// JSON values one after another, however they are laid out; or one array at the top, whose elements are the records.
    Json,
    /// Requests of OpenAI's batch files, one a line: the payload is the body of each.
    OpenAi,
    /// RFC 4180 with a header line; each record becomes a JSON object of strings. An empty line is no record.
    Csv,
    /// CSV whose fields tabs separate.
    Tsv,
    /// Each row becomes a JSON object.
    Parquet,
    /// Each line is a payload, an empty one too: call *n* is line *n*.
    Lines,
    /// Each file of a folder, and of the folders in it, in the order of their names.
    Files,
    /// Each object under a prefix, in the order of their keys.
    Objects,
    /// Each index of a range, like `0-9999`.
    Array,
    /// Each call of a batch that failed, in the order of their numbers.
    Failures,
}

words!(Kind, "format": Jsonl = "jsonl", Json = "json", OpenAi = "openai", Csv = "csv", Tsv = "tsv", Parquet = "parquet", Lines = "lines", Files = "files", Objects = "objects", Array = "array", Failures = "failures");

impl Kind {
    /// Many records in one text.
    pub fn is_text(self) -> bool {
        matches!(self, Kind::Jsonl | Kind::Json | Kind::OpenAi | Kind::Csv | Kind::Tsv | Kind::Lines)
    }

    /// A text of fields with a header.
    pub fn has_fields(self) -> bool {
        matches!(self, Kind::Csv | Kind::Tsv)
    }

    /// `suffix` in small letters.
    fn of_suffix(suffix: &str) -> Option<Kind> {
        match suffix {
            "jsonl" | "ndjson" => Some(Kind::Jsonl),
            "json" => Some(Kind::Json),
            "csv" => Some(Kind::Csv),
            "tsv" | "tab" => Some(Kind::Tsv),
            "parquet" | "pq" => Some(Kind::Parquet),
            "txt" | "lines" | "list" => Some(Kind::Lines),
            _ => None,
        }
    }
}

/// Written as the suffix of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

words!(Compression, "compression": Gzip = "gz", Zstd = "zst", Bzip2 = "bz2", Xz = "xz");

impl Compression {
    /// The longest of its signatures.
    pub(super) const HEAD_BYTES_MAX: usize = 10;

    /// The compression whose signature a file begins with.
    pub(super) fn of_head(head: &[u8]) -> Option<Compression> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Compression::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Compression::Xz),
            // The number of a block, or that of the end.
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => {
                Some(Compression::Bzip2)
            }
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::Bzip2 => "bzip2",
            Compression::Xz => "xz",
        }
    }

    pub(super) fn may_be_padded(self) -> bool {
        matches!(self, Compression::Gzip | Compression::Xz)
    }
}

/// What separates the fields of a CSV: one ASCII character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delimiter(u8);

impl Delimiter {
    pub(super) const COMMA: Delimiter = Delimiter(b',');
    pub(super) const SEMICOLON: Delimiter = Delimiter(b';');
    pub(super) const TAB: Delimiter = Delimiter(b'\t');

    pub(super) fn of_byte(byte: u8) -> Option<Delimiter> {
        (byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n' | 0)).then_some(Delimiter(byte))
    }

    pub(super) fn byte(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b'\t' => f.write_str("tab"),
            byte => write!(f, "{}", byte as char),
        }
    }
}

impl FromStr for Delimiter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Delimiter> {
        let found = match text.as_bytes() {
            b"tab" | b"\\t" => Some(Delimiter::TAB),
            [byte] => Delimiter::of_byte(*byte),
            _ => None,
        };
        found.ok_or_else(|| {
            Error::invalid(format!("`{text}` cannot separate fields"))
                .with_hint("give one ASCII character that is no quote and no line end, or `tab`")
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    pub kind: Kind,
    pub compression: Option<Compression>,
}

impl Format {
    pub const fn plain(kind: Kind) -> Format {
        Format { kind, compression: None }
    }

    /// The format that was given, else the one of the name's suffix, else `default`. A given format may leave the
    /// compression to the suffix.
    pub(super) fn given_or_of(given: Option<Format>, name: &str, default: Kind) -> Format {
        match given {
            Some(given) => {
                let compression = split_compression(name).1.filter(|_| given.kind.is_text());
                Format { kind: given.kind, compression: given.compression.or(compression) }
            }
            None => Format::of_suffix(name).unwrap_or(Format::plain(default)),
        }
    }

    fn of_suffix(name: &str) -> Option<Format> {
        let name = name.rsplit('/').next().unwrap_or_default();
        let (inner, compression) = split_compression(name);
        let suffix = inner.rsplit_once('.').map(|(_, suffix)| suffix.to_ascii_lowercase());
        let kind = suffix.and_then(|suffix| Kind::of_suffix(&suffix)).or(compression.map(|_| Kind::Lines));
        kind.map(|kind| Format { kind, compression })
    }
}

/// A name without the suffix of its compression.
fn split_compression(name: &str) -> (&str, Option<Compression>) {
    match name.rsplit_once('.').map(|(inner, suffix)| (inner, suffix.to_ascii_lowercase().parse())) {
        Some((inner, Ok(compression))) => (inner, Some(compression)),
        _ => (name, None),
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        self.compression.map_or(Ok(()), |compression| write!(f, ".{compression}"))
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Format> {
        let (kind, compression) = split_compression(text);
        let kind = kind.parse().ok().filter(|kind: &Kind| compression.is_none() || kind.is_text());
        kind.map(|kind| Format { kind, compression }).ok_or_else(|| {
            Error::invalid(format!("format `{text}` is unknown")).with_hint(
                "known: jsonl, json, csv, tsv, lines, each also with .gz, .zst, .bz2 or .xz; parquet; files; objects",
            )
        })
    }
}

/// What of a file or object becomes the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Sources of many records: the record.
    Record,
    /// The content.
    Body,
    /// Of an object: the content, which the worker reads where it is. Nothing is copied.
    Fetch,
    /// Where it lies: `{"bucket","key","size","etag"}` or `{"path","size"}`.
    Ref,
}

words!(Pass, "pass": Record = "record", Body = "body", Fetch = "fetch", Ref = "ref");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_tell_the_format_and_a_given_one_wins() {
        let of = |name| Format::of_suffix(name).map(|format| format.to_string());
        assert_eq!(of("a/b.jsonl").as_deref(), Some("jsonl"));
        assert_eq!(of("b.ndjson.zst").as_deref(), Some("jsonl.zst"));
        assert_eq!(of("B.CSV.GZ").as_deref(), Some("csv.gz"));
        assert_eq!(of("b.Json.xz").as_deref(), Some("json.xz"));
        assert_eq!(of("b.tsv").as_deref(), Some("tsv"));
        assert_eq!(of("words.bz2").as_deref(), Some("lines.bz2"));
        assert_eq!(of("dir.csv/words"), None);
        let given: Format = "csv".parse().unwrap();
        assert_eq!(Format::given_or_of(Some(given), "x.txt.gz", Kind::Lines).to_string(), "csv.gz");
        for text in
            ["jsonl", "json", "parquet", "tsv.xz", "lines.zst", "csv.bz2", "files", "objects", "failures"]
        {
            assert_eq!(text.parse::<Format>().unwrap().to_string(), text);
        }
        for text in ["xml", "files.gz", "parquet.gz", "csv.zip", ""] {
            assert!(text.parse::<Format>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_character_separates_fields() {
        for (text, shown) in
            [(";", ";"), ("\\t", "tab"), ("\t", "tab"), ("tab", "tab"), ("|", "|"), ("\u{1}", "\u{1}")]
        {
            assert_eq!(text.parse::<Delimiter>().unwrap().to_string(), shown);
        }
        for text in ["", ";;", "\"", "\n", "\u{e9}"] {
            assert!(text.parse::<Delimiter>().is_err(), "{text}");
        }
    }
}
