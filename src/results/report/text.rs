//! Text and tables on a page. Names and reasons come from functions and sources, and must never become markup.

/// For element content and quoted attributes alike. Characters that would steer how the page is shown (controls, marks
/// of direction) are replaced.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(' '),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                escaped.push('\u{fffd}');
            }
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A cell of a table; `content` is markup.
pub fn cell(class: &str, content: &str) -> String {
    format!("<td class=\"{class}\">{content}</td>")
}

/// A cell with a number in it.
pub fn number(text: String) -> String {
    cell("num", &text)
}

/// A cell with a text from outside.
pub fn name(class: &str, text: &str) -> String {
    cell(class, &format!("<bdi>{}</bdi>", escape(text)))
}

/// A table of rows of cells. A column of numbers has `#` before its name.
pub fn table(class: &str, head: &[&str], rows: impl Iterator<Item = String>) -> String {
    let head = head.iter().map(|name| match name.strip_prefix('#') {
        Some(name) => format!("<th class=\"num\">{name}</th>"),
        None => format!("<th>{name}</th>"),
    });
    let rows = std::iter::once(head.collect()).chain(rows).filter(|row: &String| !row.is_empty());
    let rows: String = rows.map(|row| format!("<tr>{row}</tr>")).collect();
    format!("<table class=\"{class}\">{rows}</table>")
}

/// `1,234,567`
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap_or_default())
        .collect();
    groups.join(",")
}

pub fn calls(value: u64) -> String {
    if value == 1 { "1 call".to_owned() } else { format!("{} calls", count(value)) }
}

/// `12 ms`, `3.4 s`, `2 m 5 s`, `1 h 20 m`
pub fn millis(ms: u64) -> String {
    let seconds = ms / 1_000;
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{} s", tenths(ms as f64 / 1_000.0)),
        60_000..3_600_000 => two((seconds / 60, "m"), (seconds % 60, "s")),
        3_600_000..86_400_000 => two((seconds / 3_600, "h"), (seconds % 3_600 / 60, "m")),
        _ => two((seconds / 86_400, "d"), (seconds % 86_400 / 3_600, "h")),
    }
}

fn two(large: (u64, &str), small: (u64, &str)) -> String {
    match small.0 {
        0 => format!("{} {}", large.0, large.1),
        value => format!("{} {} {value} {}", large.0, large.1, small.1),
    }
}

/// `3`, `3.4`
pub fn tenths(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// `0.02`, `3.4`, `1,200`
pub fn rate(value: f64) -> String {
    match value {
        value if value >= 100.0 => count(value.round() as u64),
        value if value >= 1.0 || value == 0.0 => tenths(value),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_written_is_markup() {
        assert_eq!(
            escape("<script>alert('\"&')</script>\u{202e}\0\n"),
            "&lt;script&gt;alert(&#39;&quot;&amp;&#39;)&lt;/script&gt;\u{fffd}\u{fffd} "
        );
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [5, 3_400, 3_000, 60_000, 125_000, 4_800_000, 180_000_000].map(millis),
            ["5 ms", "3.4 s", "3 s", "1 m", "2 m 5 s", "1 h 20 m", "2 d 2 h"]
        );
        assert_eq!([0.0, 0.021, 3.44, 120.6].map(rate), ["0", "0.02", "3.4", "121"]);
    }
}
