//! A table of text, as RFC 4180 has it: a header, fields quoted where they must be.

use std::io::{self, BufWriter, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::rows::ResultRow;
use super::columns::{Cell, TableColumns};
use super::{BUFFER_BYTES, CsvText, RowWriter, failed};
use crate::error::Result;
use crate::model::json_object;

pub struct Csv<W: Write> {
    out: BufWriter<W>,
    columns: TableColumns,
    text: CsvText,
}

impl<W: Write> Csv<W> {
    pub(super) fn new(out: W, columns: TableColumns, text: CsvText) -> Result<Csv<W>> {
        let mut csv = Csv { out: BufWriter::with_capacity(BUFFER_BYTES, out), columns, text };
        let names =
            csv.columns.columns("_base64").into_iter().map(|column| Some(Cell::Text(column.name.into())));
        csv.line(names.collect()).map_err(failed)?;
        Ok(csv)
    }

    fn line(&mut self, cells: Vec<Option<Cell<'_>>>) -> io::Result<()> {
        for (index, cell) in cells.into_iter().enumerate() {
            if index > 0 {
                self.out.write_all(b",")?;
            }
            match cell {
                None => {}
                Some(Cell::Number(number)) => write!(self.out, "{number}")?,
                Some(Cell::Time(time)) => write!(self.out, "{time}")?,
                Some(Cell::Text(text)) => self.field(&text)?,
                Some(Cell::Member(json)) => self.field(&json_object::text(json))?,
                Some(Cell::Body(bytes)) => match std::str::from_utf8(bytes) {
                    // A command ends its answer with a line feed. In a table that would make a field of two lines.
                    Ok(text) => match text.strip_suffix('\n') {
                        Some(line) => self.field(line.strip_suffix('\r').unwrap_or(line))?,
                        None => self.field(text)?,
                    },
                    // A sign may come first here too, but letters and digits alone make no formula that does anything.
                    Err(_) => self.out.write_all(STANDARD.encode(bytes).as_bytes())?,
                },
            }
        }
        self.out.write_all(b"\r\n")
    }

    fn field(&mut self, text: &str) -> io::Result<()> {
        let quote = if self.text == CsvText::Escaped && is_formula(text) { "'" } else { "" };
        if text.contains([',', '"', '\n', '\r']) || text.starts_with(' ') || text.ends_with(' ') {
            write!(self.out, "\"{quote}{}\"", text.replace('"', "\"\""))
        } else {
            write!(self.out, "{quote}{text}")
        }
    }
}

/// Whether a spreadsheet would run this text, by OWASP's list. A plain number is a value there and here.
fn is_formula(text: &str) -> bool {
    let is_number =
        || text.bytes().all(|byte| b"+-.eE0123456789".contains(&byte)) && text.parse::<f64>().is_ok();
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) && !is_number()
}

impl<W: Write + Send> RowWriter for Csv<W> {
    fn row(&mut self, row: &ResultRow) -> Result<()> {
        let cells = self.columns.cells(row);
        self.line(cells).map_err(failed)
    }

    fn finish(&mut self) -> Result<()> {
        self.out.flush().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::is_formula;

    #[test]
    fn formulas_are_told_from_numbers() {
        let formulas = [
            "=1+1",
            "@SUM(A1:A9)",
            "+49 1",
            "-2+3",
            "--1",
            "-",
            "-e5",
            "\t=1",
            "\r=1",
            "\n=1",
            "＝1+1",
            "-inf",
            "+nan",
        ];
        assert_eq!(formulas.map(is_formula), [true; 13]);
        let values = ["", "1+1", "-1.5", "-3", "+2", "-1e-7", "a=b", " =1", "'=1"];
        assert_eq!(values.map(is_formula), [false; 9]);
    }
}
