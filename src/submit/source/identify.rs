//! What a source is, by its first bytes: text, compressed, or a kind of file that has no records here. A name may lie; what
//! is no text is never cut into lines.

use super::format::Compression;
use crate::limits::SOURCE_HEAD_BYTES;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Text,
    Compressed(Compression),
    /// No source of records: what it is, and how its records can be read after all.
    Foreign(&'static str, &'static str),
}

const UNPACK: &str = "unpack it, and name the folder or one of the files in it";
const CONVERT: &str =
    "convert it to text (CSV, JSON Lines), or make a call of the whole file: name its folder";
const RECOMPRESS: &str = "compress it as .gz, .zst, .bz2 or .xz, or decompress it";
const EXPORT: &str = "export its rows as CSV, JSON Lines or Parquet";

type Signature = (&'static [u8], &'static str, &'static str);

/// No text begins like these.
const SIGNATURES: &[Signature] = &[
    (b"PK\x03\x04", "a zip archive (or a document like .xlsx)", UNPACK),
    (b"PK\x05\x06", "an empty zip archive", UNPACK),
    (b"PK\x07\x08", "a zip archive in several parts", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!\x1a\x07", "a rar archive", UNPACK),
    (b"\x04\x22\x4d\x18", "lz4", RECOMPRESS),
    (b"\x1f\x9d", "compressed by compress (.Z)", RECOMPRESS),
    (b"\xff\x06\x00\x00sNaPpY", "compressed by snappy", RECOMPRESS),
    (b"LZIP\x01", "compressed by lzip", RECOMPRESS),
    (b"\xff\xfe\x00\x00", "UTF-32 text", "convert it: `iconv -f UTF-32 -t UTF-8`"),
    (b"\x00\x00\xfe\xff", "UTF-32 text", "convert it: `iconv -f UTF-32 -t UTF-8`"),
    (b"SQLite format 3\0", "an SQLite database", EXPORT),
    (b"Obj\x01", "an Avro file", EXPORT),
    (b"ARROW1\0\0", "an Arrow file", EXPORT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", EXPORT),
    (b"\x89HDF\r\n", "an HDF5 file", EXPORT),
    (b"\x93NUMPY", "a NumPy array", EXPORT),
    (b"%PDF-", "a PDF", CONVERT),
    (b"\x89PNG\r\n", "a PNG image", CONVERT),
    (b"\xff\xd8\xff", "a JPEG image", CONVERT),
    (b"\x7fELF", "a program", CONVERT),
];

/// A text may begin like these, so they count only where the bytes after them are no text.
const SIGNATURES_LIKE_TEXT: &[Signature] = &[
    (
        b"PAR1",
        "Parquet",
        "name it as such: `--format parquet`, for a file or an S3 object that is not compressed again",
    ),
    (b"PARE", "encrypted Parquet", EXPORT),
    (b"ORC", "an ORC file", EXPORT),
    (b"FEA1", "a Feather file", EXPORT),
    (b"GIF8", "a GIF image", CONVERT),
    (b"RIFF", "a media file", CONVERT),
];

const UTF_16_WITHOUT_MARK: Content = Content::Foreign(
    "UTF-16 text without its byte-order mark",
    "convert it: `iconv -f UTF-16LE -t UTF-8` (or UTF-16BE)",
);

/// Enough to [`identify`] by: the first line, if that is clean text, else [`SOURCE_HEAD_BYTES`].
pub(super) fn is_enough(bytes: &[u8]) -> bool {
    bytes.len() >= SOURCE_HEAD_BYTES || first_line(bytes).is_some() || Compression::of_head(bytes).is_some()
}

/// The first line with its end, if it is nothing but printable UTF-8.
fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'\n', &bytes[..bytes.len().min(SOURCE_HEAD_BYTES)])?;
    Some(&bytes[..=end]).filter(|line| is_clean(line))
}

/// `bytes`: a beginning of the source for which [`is_enough`] holds, or the whole source.
pub(super) fn identify(bytes: &[u8]) -> Content {
    if let Some(compression) = Compression::of_head(bytes) {
        return Content::Compressed(compression);
    }
    let begins = |signature: &&Signature| bytes.starts_with(signature.0);
    if let Some((_, what, way_out)) = SIGNATURES.iter().find(begins) {
        return Content::Foreign(what, way_out);
    }
    let head = &bytes[..bytes.len().min(SOURCE_HEAD_BYTES)];
    let is_utf_16 = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    if is_utf_16 || first_line(head).is_some() || is_clean(head) {
        return Content::Text;
    }
    if let Some((_, what, way_out)) = SIGNATURES_LIKE_TEXT.iter().find(begins) {
        return Content::Foreign(what, way_out);
    }
    if head.get(257..262) == Some(b"ustar") {
        return Content::Foreign("a tar archive", UNPACK);
    }
    if is_half_nul(head) {
        return UTF_16_WITHOUT_MARK;
    }
    if is_binary(head) {
        return Content::Foreign("not text", CONVERT);
    }
    Content::Text
}

/// UTF-8, as far as it goes, of printable characters, tabs and line ends.
fn is_clean(bytes: &[u8]) -> bool {
    is_utf_8(bytes) && !bytes.iter().any(|byte| is_control(*byte))
}

fn is_utf_8(bytes: &[u8]) -> bool {
    // A character that continues behind the head has no length of an error.
    std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}

fn is_control(byte: u8) -> bool {
    byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')
}

/// Every second byte is NUL: ASCII characters of two bytes each.
fn is_half_nul(head: &[u8]) -> bool {
    let nuls = |first: usize| head.iter().skip(first).step_by(2).filter(|byte| **byte == 0).count();
    let pairs = head.len() / 2;
    pairs >= 4
        && [(nuls(0), nuls(1)), (nuls(1), nuls(0))]
            .iter()
            .any(|(many, few)| many * 8 >= pairs * 7 && few * 8 < pairs)
}

/// Texts have a NUL or a byte of another encoding here and there. Some separate fields or records by control characters.
fn is_binary(head: &[u8]) -> bool {
    let count = |is: fn(u8) -> bool| head.iter().filter(|byte| is(**byte)).count();
    let nuls = count(|byte| byte == 0);
    // Form feed, escape and the separators of ASCII and Hive are used in texts.
    let controls = count(|byte| is_control(byte) && !matches!(byte, 1 | 8 | 12 | 27..=31));
    if is_utf_8(head) {
        nuls >= 8 && nuls * 4 > head.len()
    } else {
        controls >= 4 && controls * 32 > head.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn what(bytes: &[u8]) -> Option<&'static str> {
        match identify(bytes) {
            Content::Foreign(what, _) => Some(what),
            _ => None,
        }
    }

    #[test]
    fn what_is_no_text_is_named() {
        let mut tar = b"rows.csv".to_vec();
        tar.resize(257, 0);
        tar.extend_from_slice(b"ustar\0");
        tar.resize(600, 0);
        assert_eq!(what(&tar), Some("a tar archive"));
        assert_eq!(what(b"PK\x03\x04\x14"), Some("a zip archive (or a document like .xlsx)"));
        assert_eq!(what(b"PAR1\x15\x04\x15"), Some("Parquet"));
        assert_eq!(what(b"PAR1 is a line\n\x01"), None);
        assert_eq!(what(b"%PDF-1.7\n"), Some("a PDF"));
        assert_eq!(what(b"i\0d\0,\0n\0\n\0"), Some("UTF-16 text without its byte-order mark"));
        assert_eq!(what(b"\0i\0d\0,\0n\0\n"), Some("UTF-16 text without its byte-order mark"));
        assert_eq!(what(&[7, 0, 0, 0].repeat(100)), Some("not text"));
        let noise: Vec<u8> = (0..512u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert_eq!(what(&noise), Some("not text"));
    }

    #[test]
    fn texts_of_all_kinds_are_text() {
        for text in [
            b"".as_slice(),
            b"a\0b\n\0\n",
            b"caf\xe9;\xfcber\n",
            b"\xff\xfei\0d\0",
            b"\x1e{\"n\":1}\n\x1e{\"n\":2}\n",
            b"a\x01b\x01c\n",
            b"\x1b[31mred\x1b[0m\n",
            b"ORCA\nORC\n",
            b"BZhang\n",
        ] {
            assert_eq!(identify(text), Content::Text, "{text:?}");
        }
        let shift_jis = b"\x93\xfa\x96\x7b\x8c\xea,1\n".repeat(50);
        assert_eq!(identify(&shift_jis), Content::Text);
    }

    proptest! {
        #[test]
        fn more_bytes_change_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..900), end: proptest::sample::Index) {
            let end = end.index(bytes.len() + 1);
            if is_enough(&bytes[..end]) {
                prop_assert_eq!(identify(&bytes[..end]), identify(&bytes));
            }
        }

        #[test]
        fn printable_text_is_text(text in "[^\\p{C}]{0,200}") {
            prop_assume!(!text.starts_with("%PDF-"));
            prop_assert_eq!(identify(text.as_bytes()), Content::Text);
        }
    }
}
