//! Reads a table that anybody may have written. What it says of its size is checked first; a panic of the Parquet library is
//! an error that names the object.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Type as Physical;
use parquet::bloom_filter::Sbbf;
use parquet::column::reader::{get_column_reader, get_typed_column_reader};
use parquet::data_type::{AsBytes as _, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{
    ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy, RowGroupMetaData,
};
use parquet::file::reader::SerializedPageReader;

use super::check::{self, CheckedPages};
use super::{FOOTER, MAGIC, TAIL_BYTES};
use crate::error::{Error, Result};
use crate::limits;

/// A file in memory.
#[derive(Debug)]
pub struct Table {
    file: Arc<Bytes>,
    end: End,
}

impl Table {
    /// `name` is for errors: the object's key.
    pub fn open(name: impl ToString, file: Bytes) -> Result<Table> {
        let name = name.to_string();
        match end_of(&name, &file)? {
            TableEnd::Complete(end) if check::groups(&end.metadata, file.len()) => {
                Ok(Table { file: Arc::new(file), end })
            }
            TableEnd::Complete(_) => Err(unreadable(&name, "its footer does not fit its bytes")),
            TableEnd::Needs(_) => Err(unreadable(&name, "it is cut short")),
        }
    }

    pub fn footer(&self) -> Result<String> {
        self.end.footer()
    }

    pub fn has(&self, column: &str) -> bool {
        self.end.column(column).is_some()
    }

    pub fn groups(&self) -> usize {
        self.end.metadata.num_row_groups()
    }

    /// What values that are held at once may come to in memory.
    pub fn budget(&self) -> Budget {
        Budget { bytes_left: Cell::new(limits::TABLE_INFLATED_BYTES_MAX + self.file.len() as u64) }
    }

    /// `budget`: groups that are held together share one.
    pub fn group<'a>(&'a self, index: usize, budget: &'a Budget) -> Result<Group<'a>> {
        let group = self.end.metadata.row_groups().get(index);
        let group = group.ok_or_else(|| self.unreadable("it has fewer row groups"))?;
        Ok(Group { index, rows: group.num_rows() as usize, table: self, budget })
    }

    fn unreadable(&self, why: impl std::fmt::Display) -> Error {
        unreadable(&self.end.name, why)
    }
}

/// Sets one field of all rows from the values of its column.
pub fn fill<R, V>(rows: &mut [R], column: Vec<V>, mut set: impl FnMut(&mut R, V)) {
    rows.iter_mut().zip(column).for_each(|(row, value)| set(row, value));
}

/// What may still be taken of memory.
#[derive(Debug)]
pub struct Budget {
    bytes_left: Cell<u64>,
}

impl Budget {
    fn take(&self, bytes: u64) -> Option<()> {
        self.bytes_left.set(self.bytes_left.get().checked_sub(bytes)?);
        Some(())
    }

    fn give_back(&self, bytes: u64) {
        self.bytes_left.set(self.bytes_left.get() + bytes);
    }
}

pub struct Group<'a> {
    index: usize,
    rows: usize,
    table: &'a Table,
    budget: &'a Budget,
}

impl Group<'_> {
    pub fn int64(&self, column: &str) -> Result<Vec<i64>> {
        self.required::<Int64Type>(column)
    }

    /// Numbers up to `most`.
    pub fn numbers(&self, column: &str, most: u64) -> Result<Vec<u64>> {
        let values = self.int64(column)?.into_iter();
        values.map(|value| self.number(column, value, most)).collect()
    }

    pub fn int32(&self, column: &str) -> Result<Vec<i32>> {
        self.required::<Int32Type>(column)
    }

    /// Pieces of one buffer, for values that are all wanted about as long.
    pub fn bytes(&self, column: &str) -> Result<Vec<Bytes>> {
        let values = self.required::<ByteArrayType>(column)?;
        let mut all = Vec::with_capacity(values.iter().map(ByteArray::len).sum());
        values.iter().for_each(|value| all.extend_from_slice(value.data()));
        let (all, mut start) = (Bytes::from(all), 0);
        let piece = |value: &ByteArray| {
            let end = start + value.len();
            all.slice(std::mem::replace(&mut start, end)..end)
        };
        Ok(values.iter().map(piece).collect())
    }

    pub fn optional_bytes(&self, column: &str) -> Result<Vec<Option<Bytes>>> {
        Ok(self.optional::<ByteArrayType>(column)?.into_iter().map(|value| value.map(into_bytes)).collect())
    }

    /// Numbers up to `most`.
    pub fn optional_numbers(&self, column: &str, most: u64) -> Result<Vec<Option<u64>>> {
        let values = self.optional::<Int64Type>(column)?.into_iter();
        values.map(|value| value.map(|value| self.number(column, value, most)).transpose()).collect()
    }

    /// For what is made of the values of a column, beyond these.
    pub fn take(&self, column: &str, bytes: u64) -> Result<()> {
        let taken = self.budget.take(bytes);
        taken.ok_or_else(|| self.table.unreadable(format_args!("column {column} is too large")))
    }

    fn number(&self, column: &str, value: i64, most: u64) -> Result<u64> {
        let number = u64::try_from(value).ok().filter(|number| *number <= most);
        number.ok_or_else(|| {
            self.table.unreadable(format_args!("column {column} has a number outside 0 to {most}"))
        })
    }

    /// Texts that are as the one before share it.
    pub fn shared_texts(&self, column: &str) -> Result<Vec<Arc<str>>> {
        let mut last: Option<Arc<str>> = None;
        let mut texts = Vec::with_capacity(self.rows);
        for value in self.required::<ByteArrayType>(column)? {
            let same = last.take().filter(|last| last.as_bytes() == value.data());
            let text = same.map_or_else(|| self.text(column, value.data()).map(Arc::from), Ok)?;
            texts.push(text.clone());
            last = Some(text);
        }
        Ok(texts)
    }

    pub fn optional_texts(&self, column: &str) -> Result<Vec<Option<String>>> {
        let values = self.optional::<ByteArrayType>(column)?.into_iter();
        values.map(|value| value.map(|value| self.text(column, value.data())).transpose()).collect()
    }

    fn text(&self, column: &str, bytes: &[u8]) -> Result<String> {
        let text = String::from_utf8(bytes.to_vec());
        text.map_err(|_| self.table.unreadable(format_args!("column {column} is not UTF-8")))
    }

    fn required<T: DataType>(&self, column: &str) -> Result<Vec<T::T>> {
        let (values, _) = self.column::<T>(column)?;
        if values.len() == self.rows {
            return Ok(values);
        }
        Err(self.table.unreadable(format_args!("column {column} has gaps")))
    }

    fn optional<T: DataType>(&self, column: &str) -> Result<Vec<Option<T::T>>> {
        let (values, levels) = self.column::<T>(column)?;
        let mut values = values.into_iter();
        let values: Vec<_> =
            levels.into_iter().map(|level| if level > 0 { values.next() } else { None }).collect();
        if values.len() == self.rows {
            return Ok(values);
        }
        Err(self.table.unreadable(format_args!("column {column} has no gaps")))
    }

    fn column<T: DataType>(&self, column: &str) -> Result<(Vec<T::T>, Vec<i16>)> {
        guarded(&self.table.end.name, || self.read::<T>(column))
    }

    fn read<T: DataType>(&self, column: &str) -> ParquetResult<(Vec<T::T>, Vec<i16>)> {
        let bad = |why: &str| ParquetError::General(format!("column {column} {why}"));
        let schema = self.table.end.metadata.file_metadata().schema_descr_ptr();
        let index = schema.columns().iter().position(|found| found.name() == column);
        let index = index.ok_or_else(|| bad("is missing"))?;
        let descr = schema.column(index);
        let chunk = self.table.end.metadata.row_group(self.index).column(index);
        if descr.physical_type() != T::get_physical_type() || chunk.column_type() != T::get_physical_type() {
            return Err(bad("is of another type"));
        }
        let range = check::range(chunk, self.table.file.len()).ok_or_else(|| bad("lies outside the file"))?;
        let size =
            check::pages(&self.table.file[range], self.rows).ok_or_else(|| bad("does not fit its pages"))?;
        let is_compressed = chunk.compression() != parquet::basic::Compression::UNCOMPRESSED;
        let pages_bytes = if is_compressed { size.bytes } else { 0 };
        self.budget.take(pages_bytes).ok_or_else(|| bad("is too large"))?;
        let optional = descr.max_def_level() > 0;
        let pages = SerializedPageReader::new(self.table.file.clone(), chunk, self.rows, None)?;
        let pages = CheckedPages { pages: Box::new(pages), is_optional: optional };
        let mut reader = get_typed_column_reader::<T>(get_column_reader(descr, Box::new(pages)));
        let (mut values, mut levels) = (Vec::with_capacity(self.rows), Vec::new());
        let mut read = 0;
        while read < self.rows {
            // No value is longer than a page.
            let step = match size.has_prefixes {
                true => {
                    let bytes_left = self.budget.bytes_left.get();
                    (bytes_left / size.largest_page.max(1)).clamp(1, limits::TABLE_ROWS_MAX as u64)
                }
                false => limits::TABLE_ROWS_MAX as u64,
            };
            let step = (step as usize).min(self.rows - read);
            let before = values.len();
            let levels = optional.then_some(&mut levels);
            let (records, _, _) = reader.read_records(step, levels, None, &mut values)?;
            if records == 0 {
                return Err(bad("ends early"));
            }
            read += records;
            if T::get_physical_type() == Physical::BYTE_ARRAY {
                let bytes = values[before..].iter().map(|value| value.as_bytes().len() as u64).sum();
                self.budget.take(bytes).ok_or_else(|| bad("is too large"))?;
            }
        }
        self.budget.give_back(pages_bytes);
        Ok((values, levels))
    }
}

/// Copied: a value that shared its page would keep the page alive.
fn into_bytes(value: ByteArray) -> Bytes {
    Bytes::copy_from_slice(value.data())
}

/// What the end of a file tells.
#[derive(Debug)]
pub struct End {
    name: String,
    metadata: ParquetMetaData,
}

impl End {
    /// Our entry.
    pub fn footer(&self) -> Result<String> {
        let entries = self.metadata.file_metadata().key_value_metadata().into_iter().flatten();
        let mut values = entries.filter(|entry| entry.key == FOOTER).filter_map(|entry| entry.value.clone());
        values.next().ok_or_else(|| unreadable(&self.name, format_args!("its footer has no `{FOOTER}`")))
    }

    fn column(&self, column: &str) -> Option<usize> {
        let columns = self.metadata.file_metadata().schema_descr().columns();
        columns.iter().position(|found| found.name() == column)
    }

    /// Whether a text may be in a column, by the Bloom filters. `end`: the last bytes of the file, of `file_bytes`. A filter that
    /// is not among them, or that no writer of ours wrote, tells nothing.
    pub fn may_have(&self, column: &str, text: &str, end: &[u8], file_bytes: u64) -> bool {
        let Some(index) = self.column(column) else { return false };
        let begin = file_bytes.saturating_sub(end.len() as u64);
        let bits = |group: &RowGroupMetaData| {
            let column = group.columns().get(index)?;
            let offset = u64::try_from(column.bloom_filter_offset()?).ok()?.checked_sub(begin)?;
            let offset = usize::try_from(offset).ok()?;
            let length = usize::try_from(column.bloom_filter_length()?).ok()?;
            check::filter(end.get(offset..offset.checked_add(length)?)?)
        };
        let mut groups = self.metadata.row_groups().iter();
        groups.any(|group| bits(group).is_none_or(|bits| Sbbf::new(bits).check(text)))
    }

    /// The greatest text in a column, as far as the file has statistics that tell.
    pub fn greatest(&self, column: &str) -> Option<String> {
        let index = self.column(column)?;
        let groups = self.metadata.row_groups().iter();
        let greatest =
            groups.filter_map(|group| group.columns().get(index)?.statistics()?.max_bytes_opt()).max()?;
        String::from_utf8(greatest.to_vec()).ok()
    }
}

/// What the last bytes of a file give.
#[derive(Debug)]
pub enum TableEnd {
    /// They hold all of the file's end.
    Complete(End),
    /// The file's end has at least so many bytes.
    Needs(usize),
}

/// Reads a file of which only the last bytes are at hand.
pub fn end_of(name: impl ToString, end: &[u8]) -> Result<TableEnd> {
    let name = name.to_string();
    let Some((rest, tail)) = end.split_last_chunk::<TAIL_BYTES>() else {
        return Ok(TableEnd::Needs(TAIL_BYTES));
    };
    if &tail[4..] != MAGIC {
        return Err(unreadable(&name, "it is no Parquet file"));
    }
    let length = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]) as usize;
    if length > limits::TABLE_FOOTER_BYTES_MAX {
        let most = limits::TABLE_FOOTER_BYTES_MAX;
        return Err(unreadable(&name, format_args!("its footer has {length} bytes, the most is {most}")));
    }
    let Some(start) = rest.len().checked_sub(length) else { return Ok(TableEnd::Needs(length + TAIL_BYTES)) };
    let bytes = &rest[start..];
    if !check::metadata(bytes) {
        return Err(unreadable(&name, "its footer is malformed, or larger than a footer can be"));
    }
    let options = ParquetMetaDataOptions::new()
        .with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
    let decode = || ParquetMetaDataReader::decode_metadata_with_options(bytes, Some(&options));
    let metadata = guarded(&name, decode)?;
    Ok(TableEnd::Complete(End { name, metadata }))
}

/// Calls the library, which panics on some of the bytes that it refuses.
fn guarded<T>(name: &str, read: impl FnOnce() -> ParquetResult<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| unreadable(name, error)),
        Err(_) => Err(unreadable(name, "the Parquet library panicked on it")),
    }
}

fn unreadable(name: &str, why: impl std::fmt::Display) -> Error {
    Error::internal(format!("object `{name}` cannot be read: {why}"))
}
