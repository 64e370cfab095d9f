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
    /// RFC 4180 with a header line; each record becomes a JSON object of strings. An empty line is no record.
    Csv,
    /// Each line is a payload, an empty one too: call *n* is line *n*.
    Lines,
    /// Each file of a folder, and of the folders in it, in the order of their names.
    Files,
    /// Each object under a prefix, in the order of their keys.
    Objects,
    /// Each call of a batch that failed, in the order of their numbers.
    Failures,
}

words!(Kind, "format": Jsonl = "jsonl", Csv = "csv", Lines = "lines", Files = "files", Objects = "objects", Failures = "failures");

impl Kind {
    /// Many records in one text.
    pub fn is_records(self) -> bool {
        matches!(self, Kind::Jsonl | Kind::Csv | Kind::Lines)
    }

    fn of_suffix(suffix: &str) -> Option<Kind> {
        match suffix {
            "jsonl" | "ndjson" => Some(Kind::Jsonl),
            "csv" => Some(Kind::Csv),
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
}

words!(Compression, "compression": Gzip = "gz", Zstd = "zst");

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
    pub(super) fn given_or_of(given: Option<Format>, name: &str, default: Kind) -> Result<Format> {
        match given {
            Some(given) => {
                let compression = split_compression(name).1.filter(|_| given.kind.is_records());
                Ok(Format { kind: given.kind, compression: given.compression.or(compression) })
            }
            None => Ok(Format::of_suffix(name)?.unwrap_or(Format::plain(default))),
        }
    }

    fn of_suffix(name: &str) -> Result<Option<Format>> {
        let name = name.rsplit('/').next().unwrap_or_default();
        let (inner, compression) = split_compression(name);
        let suffix = inner.rsplit_once('.').map(|(_, suffix)| suffix);
        if suffix == Some("json") {
            return Err(Error::invalid(format!("`{name}` may be one JSON value or one a line"))
                .with_hint("take `--format jsonl` if each line is one"));
        }
        let kind = suffix.and_then(Kind::of_suffix).or(compression.map(|_| Kind::Lines));
        Ok(kind.map(|kind| Format { kind, compression }))
    }
}

/// A name without the suffix of its compression.
fn split_compression(name: &str) -> (&str, Option<Compression>) {
    match name.rsplit_once('.').map(|(inner, suffix)| (inner, suffix.parse())) {
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
        let kind = kind.parse().ok().filter(|kind: &Kind| compression.is_none() || kind.is_records());
        kind.map(|kind| Format { kind, compression }).ok_or_else(|| {
            Error::invalid(format!("format `{text}` is unknown"))
                .with_hint("known: jsonl, csv, lines, each also with .gz or .zst; files; objects")
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
    /// Where it lies: `{"bucket","key","size","etag"}` or `{"path","size"}`.
    Ref,
}

words!(Pass, "pass": Record = "record", Body = "body", Ref = "ref");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_tell_the_format_and_a_given_one_wins() {
        let of = |name| Format::of_suffix(name).unwrap().map(|format| format.to_string());
        assert_eq!(of("a/b.jsonl").as_deref(), Some("jsonl"));
        assert_eq!(of("b.ndjson.zst").as_deref(), Some("jsonl.zst"));
        assert_eq!(of("b.csv.gz").as_deref(), Some("csv.gz"));
        assert_eq!(of("words.gz").as_deref(), Some("lines.gz"));
        assert_eq!(of("dir.csv/words"), None);
        assert!(Format::of_suffix("b.json.gz").is_err());
        let given: Format = "csv".parse().unwrap();
        assert_eq!(Format::given_or_of(Some(given), "x.txt.gz", Kind::Lines).unwrap().to_string(), "csv.gz");
        for text in ["jsonl", "lines.zst", "files", "objects", "failures"] {
            assert_eq!(text.parse::<Format>().unwrap().to_string(), text);
        }
        for text in ["json", "files.gz", "csv.bz2", ""] {
            assert!(text.parse::<Format>().is_err(), "{text}");
        }
    }
}
