//! What a source is made of, as people write it: `jsonl`, `csv.gz`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

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

impl Kind {
    const ALL: [(Kind, &'static str); 6] = [
        (Kind::Jsonl, "jsonl"),
        (Kind::Csv, "csv"),
        (Kind::Lines, "lines"),
        (Kind::Files, "files"),
        (Kind::Objects, "objects"),
        (Kind::Failures, "failures"),
    ];

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

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = Kind::ALL.into_iter().find(|(kind, _)| kind == self).expect("all kinds are there");
        f.write_str(name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    fn of_suffix(suffix: &str) -> Option<Compression> {
        match suffix {
            "gz" => Some(Compression::Gzip),
            "zst" => Some(Compression::Zstd),
            _ => None,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Compression::Gzip => "gz",
            Compression::Zstd => "zst",
        }
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

    /// What a name's suffix tells; `None` if nothing.
    pub(super) fn of_suffix(name: &str) -> Result<Option<Format>> {
        let name = name.rsplit('/').next().unwrap_or_default();
        let compression = suffix(name).and_then(Compression::of_suffix);
        let inner = match compression {
            Some(compression) => &name[..name.len() - compression.suffix().len() - 1],
            None => name,
        };
        if suffix(inner) == Some("json") {
            return Err(Error::invalid(format!("`{name}` may be one JSON value or one a line"))
                .hint("take `--format jsonl` if each line is one"));
        }
        Ok(match (suffix(inner).and_then(Kind::of_suffix), compression) {
            (Some(kind), compression) => Some(Format { kind, compression }),
            (None, Some(_)) => Some(Format { kind: Kind::Lines, compression }),
            (None, None) => None,
        })
    }

    /// A format that was given says what the records are; how they are compressed it may leave to the suffix.
    pub(super) fn or_suffix(self, name: &str) -> Format {
        let compression = suffix(name).and_then(Compression::of_suffix).filter(|_| self.kind.is_records());
        Format { kind: self.kind, compression: self.compression.or(compression) }
    }
}

fn suffix(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(_, suffix)| suffix)
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        match self.compression {
            Some(compression) => write!(f, ".{}", compression.suffix()),
            None => Ok(()),
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Format> {
        let unknown = || {
            Error::invalid(format!("format `{text}` is unknown"))
                .hint("known: jsonl, csv, lines, each also with .gz or .zst; files; objects")
        };
        let (kind, compression) = match text.split_once('.') {
            Some((kind, compression)) => {
                (kind, Some(Compression::of_suffix(compression).ok_or_else(unknown)?))
            }
            None => (text, None),
        };
        let (kind, _) = Kind::ALL.into_iter().find(|(_, name)| *name == kind).ok_or_else(unknown)?;
        if compression.is_some() && !kind.is_records() {
            return Err(unknown());
        }
        Ok(Format { kind, compression })
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

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pass::Record => "record",
            Pass::Body => "body",
            Pass::Ref => "ref",
        })
    }
}

impl FromStr for Pass {
    type Err = Error;

    fn from_str(text: &str) -> Result<Pass> {
        match text {
            "record" => Ok(Pass::Record),
            "body" => Ok(Pass::Body),
            "ref" => Ok(Pass::Ref),
            _ => Err(Error::invalid(format!("pass `{text}` is unknown")).hint("known: body, ref")),
        }
    }
}

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
        assert_eq!(given.or_suffix("x.txt.gz").to_string(), "csv.gz");
        for text in ["jsonl", "lines.zst", "files", "objects", "failures"] {
            assert_eq!(text.parse::<Format>().unwrap().to_string(), text);
        }
        for text in ["json", "files.gz", "csv.bz2", ""] {
            assert!(text.parse::<Format>().is_err(), "{text}");
        }
    }
}
