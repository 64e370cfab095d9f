//! Columns of a Parquet file, written and read whole. Only what chunks and parts need of the format: flat rows,
//! optional columns, zstd where there is something to compress, integers as differences.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::reader::{FileReader as _, RowGroupReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::Type;

use crate::error::{Error, Result};
use crate::limits;

/// What compression saves on a file below this is less than what it costs: a compressor is made for every page, which
/// asks the processor what it is, and in a virtual machine that alone takes tens of microseconds.
const COMPRESSED_FROM_BYTES: u64 = 4 * limits::KIB;
/// The key of the one entry that we add to a file's footer.
const FOOTER: &str = "afn";
/// The file's last bytes: length of the metadata, magic number.
const TAIL_BYTES: usize = 8;
const MAGIC: &[u8] = b"PAR1";

/// What a table is made of.
pub struct Layout {
    pub schema: &'static str,
    /// Columns of texts of any length and content: these are worth compressing.
    pub bulk: &'static [&'static str],
    /// Columns of texts that begin alike.
    pub alike: &'static [&'static str],
}

/// Writes a file row group by row group, each as soon as it is whole.
pub struct TableWriter<W: Write + Send = Vec<u8>> {
    file: SerializedFileWriter<W>,
}

pub struct GroupWriter<'a, W: Write + Send = Vec<u8>> {
    group: SerializedRowGroupWriter<'a, W>,
}

/// A column that is named when the file is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: ColumnKind,
    pub required: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    Int64,
    Time,
    Double,
    Boolean,
    Text,
    Binary,
}

impl Column {
    fn schema(&self) -> std::result::Result<Type, ParquetError> {
        let (physical, logical) = match self.kind {
            ColumnKind::Int64 => (Physical::INT64, None),
            ColumnKind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
            ColumnKind::Double => (Physical::DOUBLE, None),
            ColumnKind::Boolean => (Physical::BOOLEAN, None),
            ColumnKind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            ColumnKind::Binary => (Physical::BYTE_ARRAY, None),
        };
        let repetition = if self.required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        let column = Type::primitive_type_builder(&self.name, physical);
        column.with_repetition(repetition).with_logical_type(logical).build()
    }
}

fn zstd() -> Compression {
    Compression::ZSTD(ZstdLevel::default())
}

fn properties(schema: &Type) -> WriterPropertiesBuilder {
    let properties = WriterProperties::builder()
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(concat!("afn version ", env!("CARGO_PKG_VERSION")).to_owned());
    // Numbers and times ascend, or differ by little.
    let integers = schema.get_fields().iter().filter(|column| column.get_physical_type() == Physical::INT64);
    integers.fold(properties, |properties, column| {
        encoded(properties, column.name(), Encoding::DELTA_BINARY_PACKED)
    })
}

fn encoded(properties: WriterPropertiesBuilder, column: &str, encoding: Encoding) -> WriterPropertiesBuilder {
    properties
        .set_column_encoding(column.into(), encoding)
        .set_column_dictionary_enabled(column.into(), false)
}

impl TableWriter {
    /// `bytes`: about as much is to be written.
    pub fn new(layout: &Layout, bytes: u64) -> Result<TableWriter> {
        let schema = parse_message_type(layout.schema).map_err(|error| internal("schema", error))?;
        let mut properties = properties(&schema);
        if bytes >= COMPRESSED_FROM_BYTES {
            for column in layout.bulk {
                properties = properties.set_column_compression((*column).into(), zstd());
            }
        }
        for column in layout.alike {
            properties = encoded(properties, column, Encoding::DELTA_BYTE_ARRAY);
        }
        TableWriter::of_schema(Vec::new(), schema, properties)
    }

    pub fn finish(self, footer: String) -> Result<Bytes> {
        self.end(Some(footer)).map(Bytes::from)
    }
}

impl<W: Write + Send> TableWriter<W> {
    pub fn to(out: W, columns: &[Column]) -> Result<TableWriter<W>> {
        let schema = || {
            let columns = columns.iter().map(|column| column.schema().map(Arc::new));
            let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
            Type::group_type_builder("table").with_fields(columns).build()
        };
        let schema = schema().map_err(|error| internal("schema", error))?;
        let properties = properties(&schema).set_compression(zstd());
        TableWriter::of_schema(out, schema, properties)
    }

    fn of_schema(out: W, schema: Type, properties: WriterPropertiesBuilder) -> Result<TableWriter<W>> {
        let file = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties.build()));
        Ok(TableWriter { file: file.map_err(|error| internal("begin", error))? })
    }

    /// Columns are to be written in the order of the schema.
    pub fn group(&mut self, write: impl FnOnce(&mut GroupWriter<'_, W>) -> Result<()>) -> Result<()> {
        let group = self.file.next_row_group().map_err(|error| internal("row group", error))?;
        let mut group = GroupWriter { group };
        write(&mut group)?;
        group.group.close().map_err(|error| internal("row group", error))?;
        Ok(())
    }

    /// `footer`: our entry.
    pub fn end(mut self, footer: Option<String>) -> Result<W> {
        if let Some(footer) = footer {
            self.file.append_key_value_metadata(KeyValue::new(FOOTER.to_owned(), footer));
        }
        self.file.into_inner().map_err(|error| internal("finish", error))
    }
}

impl<W: Write + Send> GroupWriter<'_, W> {
    pub fn int64(&mut self, values: &[i64]) -> Result<()> {
        self.required::<Int64Type>(values)
    }

    pub fn int32(&mut self, values: &[i32]) -> Result<()> {
        self.required::<Int32Type>(values)
    }

    pub fn bytes(&mut self, values: &[ByteArray]) -> Result<()> {
        self.required::<ByteArrayType>(values)
    }

    pub fn optional_bytes(&mut self, values: impl Iterator<Item = Option<ByteArray>>) -> Result<()> {
        self.optional::<ByteArrayType>(values)
    }

    pub fn optional_double(&mut self, values: impl Iterator<Item = Option<f64>>) -> Result<()> {
        self.optional::<DoubleType>(values)
    }

    pub fn optional_boolean(&mut self, values: impl Iterator<Item = Option<bool>>) -> Result<()> {
        self.optional::<BoolType>(values)
    }

    pub fn optional_int64(&mut self, values: impl Iterator<Item = Option<i64>>) -> Result<()> {
        self.optional::<Int64Type>(values)
    }

    fn required<T: DataType>(&mut self, values: &[T::T]) -> Result<()> {
        self.column::<T>(values, None)
    }

    fn optional<T: DataType>(&mut self, values: impl Iterator<Item = Option<T::T>>) -> Result<()> {
        let mut levels = Vec::new();
        let mut present = Vec::new();
        for value in values {
            levels.push(i16::from(value.is_some()));
            present.extend(value);
        }
        self.column::<T>(&present, Some(&levels))
    }

    fn column<T: DataType>(&mut self, values: &[T::T], levels: Option<&[i16]>) -> Result<()> {
        let mut write = || {
            let column = self.group.next_column()?;
            let mut column = column.ok_or_else(|| ParquetError::General("one column too many".to_owned()))?;
            column.typed::<T>().write_batch(values, levels, None)?;
            column.close()
        };
        write().map_err(|error| internal("column", error))
    }
}

/// A file in memory.
pub struct Table {
    file: SerializedFileReader<Bytes>,
    name: String,
}

impl Table {
    /// `name` is for errors: the object's key.
    pub fn open(name: &str, file: Bytes) -> Result<Table> {
        let file = SerializedFileReader::new(file).map_err(|error| unreadable(name, &error))?;
        Ok(Table { file, name: name.to_owned() })
    }

    pub fn footer(&self) -> Result<String> {
        entry(&self.name, self.file.metadata())
    }

    pub fn groups(&self) -> usize {
        self.file.num_row_groups()
    }

    pub fn group(&self, index: usize) -> Result<Group<'_>> {
        let group = self.file.get_row_group(index).map_err(|error| unreadable(&self.name, &error))?;
        let rows = group.metadata().num_rows() as usize;
        Ok(Group { group, rows, table: self })
    }
}

pub struct Group<'a> {
    group: Box<dyn RowGroupReader + 'a>,
    rows: usize,
    table: &'a Table,
}

impl Group<'_> {
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn int64(&self, column: &str) -> Result<Vec<i64>> {
        self.required::<Int64Type>(column)
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

    pub fn optional_int64(&self, column: &str) -> Result<Vec<Option<i64>>> {
        self.optional::<Int64Type>(column)
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
        let values = self.optional_bytes(column)?.into_iter();
        values.map(|bytes| bytes.map(|bytes| self.text(column, &bytes)).transpose()).collect()
    }

    fn text(&self, column: &str, bytes: &[u8]) -> Result<String> {
        String::from_utf8(bytes.to_vec()).map_err(|_| {
            Error::internal(format!(
                "object `{}` cannot be read: column {column} is not UTF-8",
                self.table.name
            ))
        })
    }

    fn required<T: DataType>(&self, column: &str) -> Result<Vec<T::T>> {
        let (values, _) = self.column::<T>(column)?;
        if values.len() == self.rows {
            return Ok(values);
        }
        Err(Error::internal(format!("object `{}` cannot be read: column {column} has gaps", self.table.name)))
    }

    fn optional<T: DataType>(&self, column: &str) -> Result<Vec<Option<T::T>>> {
        let (values, levels) = self.column::<T>(column)?;
        let mut values = values.into_iter();
        Ok(levels.into_iter().map(|level| if level > 0 { values.next() } else { None }).collect())
    }

    fn column<T: DataType>(&self, column: &str) -> Result<(Vec<T::T>, Vec<i16>)> {
        let read = || {
            let columns = self.table.file.metadata().file_metadata().schema_descr().columns();
            let index = columns.iter().position(|found| found.name() == column);
            let index = index.ok_or_else(|| ParquetError::General(format!("no column {column}")))?;
            let optional = columns[index].max_def_level() > 0;
            let mut reader = get_typed_column_reader::<T>(self.group.get_column_reader(index)?);
            let (mut values, mut levels) = (Vec::with_capacity(self.rows), Vec::new());
            let mut read = 0;
            while read < self.rows {
                let (records, _, _) = reader.read_records(
                    self.rows - read,
                    optional.then_some(&mut levels),
                    None,
                    &mut values,
                )?;
                if records == 0 {
                    return Err(ParquetError::EOF(format!("column {column} ends early")));
                }
                read += records;
            }
            Ok((values, levels))
        };
        read().map_err(|error: ParquetError| unreadable(&self.table.name, &error))
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
        entry(&self.name, &self.metadata)
    }

    /// The greatest text in a column, as far as the file has statistics that tell.
    pub fn greatest(&self, column: &str) -> Option<String> {
        let columns = self.metadata.file_metadata().schema_descr().columns();
        let index = columns.iter().position(|found| found.name() == column)?;
        let groups = self.metadata.row_groups().iter();
        let greatest = groups.filter_map(|group| group.column(index).statistics()?.max_bytes_opt()).max()?;
        String::from_utf8(greatest.to_vec()).ok()
    }
}

/// Reads a file of which only the end is at hand; `Err` with the number of bytes that are needed at the least.
pub fn end_of(name: &str, end: &[u8]) -> Result<std::result::Result<End, usize>> {
    let Some((rest, tail)) = end.split_last_chunk::<TAIL_BYTES>() else { return Ok(Err(TAIL_BYTES)) };
    if &tail[4..] != MAGIC {
        return Err(Error::internal(format!("object `{name}` cannot be read: it is no Parquet file")));
    }
    let length = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]) as usize;
    if rest.len() < length {
        return Ok(Err(length + TAIL_BYTES));
    }
    let metadata = ParquetMetaDataReader::decode_metadata(&rest[rest.len() - length..]);
    let metadata = metadata.map_err(|error| unreadable(name, &error))?;
    Ok(Ok(End { name: name.to_owned(), metadata }))
}

fn entry(name: &str, metadata: &ParquetMetaData) -> Result<String> {
    let entries = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    let mut values = entries.filter(|entry| entry.key == FOOTER).filter_map(|entry| entry.value.clone());
    values.next().ok_or_else(|| {
        Error::internal(format!("object `{name}` cannot be read: its footer has no `{FOOTER}`"))
    })
}

fn internal(what: &str, error: ParquetError) -> Error {
    Error::internal(format!("cannot write Parquet ({what}): {error}"))
}

fn unreadable(name: &str, error: &ParquetError) -> Error {
    Error::internal(format!("object `{name}` cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(schema: &'static str) -> Layout {
        Layout { schema, bulk: &["a"], alike: &[] }
    }

    #[test]
    fn only_what_is_worth_it_is_compressed() {
        let bytes = vec![b'a'; 2 * COMPRESSED_FROM_BYTES as usize];
        let written = |told: u64| {
            let mut table = TableWriter::new(&layout("message m { required binary a; }"), told).unwrap();
            table.group(|group| group.bytes(&[bytes.clone().into()])).unwrap();
            let file = table.finish("{}".to_owned()).unwrap();
            let read = Table::open("x", file.clone()).unwrap().group(0).unwrap().bytes("a").unwrap();
            assert_eq!(read.concat(), bytes);
            file.len()
        };
        assert!(written(COMPRESSED_FROM_BYTES - 1) > bytes.len());
        assert!(written(COMPRESSED_FROM_BYTES) < bytes.len());
    }

    #[test]
    fn a_footer_is_read_from_the_end_alone() {
        let mut table = TableWriter::new(&layout("message m { required int64 a; }"), 0).unwrap();
        table.group(|group| group.int64(&[1, 2, 3])).unwrap();
        let file = table.finish("{\"x\":1}".to_owned()).unwrap();
        assert_eq!(Table::open("t", file.clone()).unwrap().footer().unwrap(), "{\"x\":1}");
        let footer = |end: &[u8]| end_of("t", end).map(|end| end.map(|end| end.footer().unwrap()));
        assert_eq!(footer(&file).unwrap(), Ok("{\"x\":1}".to_owned()));
        let needed = footer(&file[file.len() - 20..]).unwrap().unwrap_err();
        assert!(needed > 20 && needed < file.len());
        assert_eq!(footer(&file[file.len() - needed..]).unwrap(), Ok("{\"x\":1}".to_owned()));
        assert!(footer(b"not parquet at all").is_err());
        assert_eq!(footer(b"").unwrap(), Err(TAIL_BYTES));
        assert!(Table::open("t", Bytes::from_static(b"PAR1 but no more PAR1")).is_err());
    }
}
