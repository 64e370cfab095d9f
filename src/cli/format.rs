//! Counts, sizes, durations, paths and tables as text for people.

use std::path::Path;
use std::time::Duration;

use super::text::{Text, visible};

/// `1 call`, `2 calls`, `3 batches`, `4 tries`
pub fn plural(count: u64, noun: &str) -> String {
    match noun.strip_suffix("try") {
        _ if count == 1 => format!("1 {noun}"),
        Some(stem) => format!("{count} {stem}tries"),
        None if noun.ends_with("ch") => format!("{count} {noun}es"),
        None => format!("{count} {noun}s"),
    }
}

/// `412 B`, `1.5 KiB`, `6.0 MiB`
pub fn bytes(count: u64) -> String {
    if count < 1024 {
        return format!("{count} B");
    }
    let power = count.ilog(1024).min(4);
    let unit = ["KiB", "MiB", "GiB", "TiB"][power as usize - 1];
    format!("{:.1} {unit}", count as f64 / 1024_f64.powi(power as i32))
}

/// `12 ms`, `3.4 s`, `2m 5s`
pub fn millis(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => humantime::format_duration(Duration::from_secs(ms / 1000)).to_string(),
    }
}

/// A path relative to the current folder, if it lies below it.
pub fn short_path(path: &Path) -> String {
    let folder = std::env::current_dir().ok();
    let short = folder.as_deref().and_then(|folder| path.strip_prefix(folder).ok());
    short.filter(|short| !short.as_os_str().is_empty()).unwrap_or(path).display().to_string()
}

/// A dash stands for a value that is missing.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Columns under a head. The last column is not padded.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Text {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| visible(cell))).collect();
    let mut widths = head.map(|cell| cell.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded: String =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        padded.trim_end().to_owned()
    };
    let rows = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(line(head)).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_well() {
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1536), bytes(6 << 20), bytes(5 << 50)],
            ["0 B", "1023 B", "1.5 KiB", "6.0 MiB", "5120.0 TiB"]
        );
        assert_eq!(
            [plural(1, "call"), plural(2, "call"), plural(0, "batch"), plural(3, "try")],
            ["1 call", "2 calls", "0 batches", "3 tries"]
        );
        assert_eq!(
            [millis(0), millis(999), millis(3_400), millis(125_000)],
            ["0 ms", "999 ms", "3.4 s", "2m 5s"]
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".into(), "long cell".into(), "x".into()], ["bärlauch".into(), "".into(), "y".into()]];
        let expected = "NAME      WHAT       WHY\na         long cell  x\nbärlauch             y\n";
        assert_eq!(table(["NAME", "WHAT", "WHY"], &rows).as_str(), expected);
    }
}
