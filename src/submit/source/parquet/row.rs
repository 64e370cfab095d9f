//! Puts a row together from the entries of its columns, and writes it as JSON.

use std::ops::Range;

use parquet::errors::Result;

use super::column::Column;
use super::schema::{Field, Node, Repeated};

pub(super) struct RowWriter<'a> {
    columns: &'a mut [Column],
    out: Vec<u8>,
    /// Why the row is bad.
    why: Option<String>,
}

impl<'a> RowWriter<'a> {
    pub(super) fn new(columns: &'a mut [Column]) -> RowWriter<'a> {
        RowWriter { columns, out: Vec::new(), why: None }
    }

    /// The row as JSON, and why it cannot be a record.
    pub(super) fn finish(self) -> (Vec<u8>, Option<String>) {
        (self.out, self.why)
    }

    /// Writes a value and passes its entries over.
    pub(super) fn write(&mut self, node: &Node) -> Result<()> {
        match node {
            Node::Leaf { column } => {
                let written = self.columns[*column].write(&mut self.out)?;
                self.why = self.why.take().or(written.err());
                Ok(())
            }
            Node::Struct { def, columns, fields } => self.fields(*def, columns, fields),
            Node::List { list, element } => self.list(list, b"[", b"]", |row| row.write(element)),
            Node::Map { list, key, value } => match (&**key, value) {
                (Node::Leaf { .. }, Some(value)) => self.list(list, b"{", b"}", |row| {
                    row.key(key)?;
                    row.write(value)
                }),
                (_, Some(value)) => self.list(list, b"[", b"]", |row| {
                    row.out.extend_from_slice(b"{\"key\":");
                    row.write(key)?;
                    row.out.extend_from_slice(b",\"value\":");
                    row.write(value)?;
                    row.out.push(b'}');
                    Ok(())
                }),
                (_, None) => self.list(list, b"[", b"]", |row| row.write(key)),
            },
        }
    }

    fn fields(&mut self, def: i16, columns: &Range<usize>, fields: &[Field]) -> Result<()> {
        if !columns.is_empty() && self.columns[columns.start].def()? < def {
            return self.without(columns, b"null");
        }
        self.out.push(b'{');
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(&field.key);
            self.write(&field.node)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn list(
        &mut self,
        list: &Repeated,
        open: &[u8],
        close: &[u8],
        mut element: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let first = list.columns.start;
        let def = self.columns[first].def()?;
        if def < list.def {
            return self.without(&list.columns, b"null");
        }
        if def < list.element_def {
            return self.without(&list.columns, &[open, close].concat());
        }
        self.out.extend_from_slice(open);
        loop {
            element(self)?;
            if self.columns[first].rep().is_none_or(|rep| rep < list.rep) {
                break;
            }
            self.out.push(b',');
        }
        self.out.extend_from_slice(close);
        Ok(())
    }

    /// A key of an object is text, whatever its type.
    fn key(&mut self, key: &Node) -> Result<()> {
        let start = self.out.len();
        self.write(key)?;
        if self.out[start] != b'"' {
            self.out.insert(start, b'"');
            self.out.push(b'"');
        }
        self.out.push(b':');
        Ok(())
    }

    /// Of a value that is not there each column has one entry.
    fn without(&mut self, columns: &Range<usize>, json: &[u8]) -> Result<()> {
        self.out.extend_from_slice(json);
        self.columns[columns.clone()].iter_mut().try_for_each(Column::advance)
    }
}
