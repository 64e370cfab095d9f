//! What separates the fields of a CSV that is not told: the line `sep=;` that spreadsheets write and read, or the header.

use super::format::Delimiter;

/// What a header is searched for. A comma wins; of the others the one that is there more often.
pub(super) const CANDIDATES: [Delimiter; 3] = [Delimiter::COMMA, Delimiter::SEMICOLON, Delimiter::TAB];

/// Of a first line that is no header.
pub(super) fn of_sep_line(line: &[u8]) -> Option<Delimiter> {
    match line {
        [sep @ .., b'=', byte] if sep.eq_ignore_ascii_case(b"sep") => Delimiter::of_byte(*byte),
        _ => None,
    }
}

pub(super) fn of_header(header: &[u8]) -> Delimiter {
    let [commas, semicolons, tabs] = CANDIDATES.map(|candidate| outside_quotes(header, candidate.byte()));
    match (commas, semicolons, tabs) {
        (0, semicolons, tabs) if semicolons > 0 && semicolons >= tabs => Delimiter::SEMICOLON,
        (0, _, tabs) if tabs > 0 => Delimiter::TAB,
        _ => Delimiter::COMMA,
    }
}

fn outside_quotes(header: &[u8], byte: u8) -> usize {
    // What is between a quote and the next one is quoted; two quotes in a row change nothing.
    header.split(|byte| *byte == b'"').step_by(2).flatten().filter(|other| **other == byte).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_wins_then_what_is_there_more_often() {
        for (header, delimiter) in [
            ("a", ","),
            ("a,b;c", ","),
            ("a;b", ";"),
            ("a\tb", "tab"),
            ("a;b\tc\td", "tab"),
            ("a;b\tc", ";"),
            ("\"a,b\";c", ";"),
            ("\"a\"\"x,y\";c", ";"),
            ("a|b", ","),
        ] {
            assert_eq!(of_header(header.as_bytes()).to_string(), delimiter, "{header}");
        }
        assert_eq!(of_sep_line(b"sep=;"), Some(Delimiter::SEMICOLON));
        assert_eq!(of_sep_line(b"SEP=\t"), Some(Delimiter::TAB));
        for line in [b"sep=".as_slice(), b"sep=;;", b"step=;", b"sep,=;", b"sep=\""] {
            assert_eq!(of_sep_line(line), None);
        }
    }
}
