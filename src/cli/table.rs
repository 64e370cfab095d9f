//! Aligned columns.

/// A head and rows of as many cells; the last column is not padded.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut add = |cells: [&str; N]| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    add(head);
    for row in rows {
        add(row.each_ref().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".into(), "long cell".into(), "x".into()], ["bärlauch".into(), "".into(), "y".into()]];
        let expected = "NAME      WHAT       WHY\na         long cell  x\nbärlauch             y\n";
        assert_eq!(table(["NAME", "WHAT", "WHY"], &rows), expected);
    }
}
