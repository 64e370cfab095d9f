//! A column of a row group, read a block of rows at a time: its values, and for each entry how much of its path is there
//! (definition level) and which list it continues (repetition level).

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::ColumnDescriptor;

use super::scalar::Scalar;
use super::values::Values;

pub(super) struct Column {
    reader: ColumnReader,
    scalar: Scalar,
    name: String,
    def_max: i16,
    levels: Levels,
    values: Values,
    entry: usize,
    value: usize,
}

#[derive(Default)]
struct Levels {
    def: Vec<i16>,
    rep: Vec<i16>,
    entries: usize,
}

impl Column {
    pub(super) fn new(reader: ColumnReader, descriptor: &ColumnDescriptor) -> Column {
        let values = match &reader {
            ColumnReader::BoolColumnReader(_) => Values::Bool(Vec::new()),
            ColumnReader::Int32ColumnReader(_) => Values::Int32(Vec::new()),
            ColumnReader::Int64ColumnReader(_) => Values::Int64(Vec::new()),
            ColumnReader::Int96ColumnReader(_) => Values::Int96(Vec::new()),
            ColumnReader::FloatColumnReader(_) => Values::Float(Vec::new()),
            ColumnReader::DoubleColumnReader(_) => Values::Double(Vec::new()),
            ColumnReader::ByteArrayColumnReader(_) => Values::Bytes(Vec::new()),
            ColumnReader::FixedLenByteArrayColumnReader(_) => Values::Fixed(Vec::new()),
        };
        let (name, def_max) = (descriptor.path().string(), descriptor.max_def_level());
        let (scalar, levels) = (Scalar::of(descriptor), Levels::default());
        Column { reader, scalar, name, def_max, levels, values, entry: 0, value: 0 }
    }

    /// Reads the entries of so many rows.
    pub(super) fn fill(&mut self, rows: usize) -> Result<()> {
        (self.entry, self.value) = (0, 0);
        let levels = &mut self.levels;
        let read = match (&mut self.reader, &mut self.values) {
            (ColumnReader::BoolColumnReader(reader), Values::Bool(values)) => {
                levels.read(reader, rows, values)
            }
            (ColumnReader::Int32ColumnReader(reader), Values::Int32(values)) => {
                levels.read(reader, rows, values)
            }
            (ColumnReader::Int64ColumnReader(reader), Values::Int64(values)) => {
                levels.read(reader, rows, values)
            }
            (ColumnReader::Int96ColumnReader(reader), Values::Int96(values)) => {
                levels.read(reader, rows, values)
            }
            (ColumnReader::FloatColumnReader(reader), Values::Float(values)) => {
                levels.read(reader, rows, values)
            }
            (ColumnReader::DoubleColumnReader(reader), Values::Double(values)) => {
                levels.read(reader, rows, values)
            }
            (ColumnReader::ByteArrayColumnReader(reader), Values::Bytes(values)) => {
                levels.read(reader, rows, values)
            }
            (ColumnReader::FixedLenByteArrayColumnReader(reader), Values::Fixed(values)) => {
                levels.read(reader, rows, values)
            }
            _ => unreachable!("the values were made for the reader"),
        };
        match read? {
            read if read == rows => Ok(()),
            _ => {
                Err(ParquetError::General(format!("column {} has fewer rows than its row group", self.name)))
            }
        }
    }

    /// The definition level of the next entry.
    pub(super) fn def(&self) -> Result<i16> {
        if self.entry >= self.levels.entries {
            return Err(ParquetError::General(format!(
                "column {} has fewer entries than others of its group",
                self.name
            )));
        }
        Ok(self.levels.def.get(self.entry).copied().unwrap_or(0))
    }

    /// The repetition level of the next entry: 0 begins a row. `None` behind the last row that was read.
    pub(super) fn rep(&self) -> Option<i16> {
        (self.entry < self.levels.entries).then(|| self.levels.rep.get(self.entry).copied().unwrap_or(0))
    }

    /// Passes the next entry over. Appends its value, or `null`; an error says why the value is no JSON.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) -> Result<std::result::Result<(), String>> {
        let is_there = self.def()? == self.def_max;
        let written = match is_there {
            true => self.scalar.write(&self.values, self.value, out),
            false => {
                out.extend_from_slice(b"null");
                Ok(())
            }
        };
        self.advance()?;
        Ok(written.map_err(|why| format!("column {}: {why}", self.name)))
    }

    pub(super) fn advance(&mut self) -> Result<()> {
        self.value += usize::from(self.def()? == self.def_max);
        self.entry += 1;
        Ok(())
    }
}

impl Levels {
    /// Returns the number of rows.
    fn read<T: DataType>(
        &mut self,
        reader: &mut ColumnReaderImpl<T>,
        rows: usize,
        values: &mut Vec<T::T>,
    ) -> Result<usize> {
        self.def.clear();
        self.rep.clear();
        values.clear();
        self.entries = 0;
        let mut total = 0;
        while total < rows {
            let (read, _, entries) =
                reader.read_records(rows - total, Some(&mut self.def), Some(&mut self.rep), values)?;
            if read == 0 {
                break;
            }
            total += read;
            self.entries += entries;
        }
        Ok(total)
    }
}
