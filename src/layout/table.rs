//! Columns of a Parquet file, written and read whole. Only what chunks and parts need of the format: flat rows,
//! optional columns, zstd where there is something to compress, integers as differences.

mod check;
mod read;
mod thrift;

pub use read::{Budget, End, Group, Table, TableEnd, end_of, fill};

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType,
    Int32Type, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{
    BloomFilterPosition, EnabledStatistics, WriterProperties, WriterPropertiesBuilder,
};
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
/// The digits of a decimal: the most that 16 bytes hold.
pub const DECIMAL_DIGITS: u8 = 38;
const DECIMAL_BYTES: i32 = 16;

/// What a table is made of.
pub struct Layout<'a> {
    pub schema: &'a str,
    /// Columns of texts of any length and content: these are worth compressing.
    pub bulk: &'static [&'static str],
    /// Columns of texts that begin alike.
    pub alike: &'static [&'static str],
    /// Columns of texts that are looked for by value: each row group has a Bloom filter of them, just before the footer.
    pub looked_up: &'static [&'static str],
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
    /// Of [`DECIMAL_DIGITS`] digits, so many of them behind the point.
    Decimal {
        scale: u8,
    },
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
            ColumnKind::Decimal { scale } => {
                let decimal = LogicalType::decimal(scale.into(), DECIMAL_DIGITS.into());
                (Physical::FIXED_LEN_BYTE_ARRAY, Some(decimal))
            }
            ColumnKind::Boolean => (Physical::BOOLEAN, None),
            ColumnKind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            ColumnKind::Binary => (Physical::BYTE_ARRAY, None),
        };
        let repetition = if self.required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        let mut column = Type::primitive_type_builder(&self.name, physical);
        if let ColumnKind::Decimal { scale } = self.kind {
            let decimal = column.with_length(DECIMAL_BYTES).with_scale(scale.into());
            column = decimal.with_precision(DECIMAL_DIGITS.into());
        }
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
    pub fn new(layout: &Layout<'_>, bytes: u64) -> Result<TableWriter> {
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
        properties = properties.set_bloom_filter_position(BloomFilterPosition::End);
        for column in layout.looked_up {
            properties = properties
                .set_column_bloom_filter_enabled((*column).into(), true)
                .set_column_bloom_filter_fpp((*column).into(), limits::KEY_FILTER_WRONG)
                .set_column_bloom_filter_max_ndv((*column).into(), limits::CHUNK_GROUP_ROWS as u64);
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

/// What a column is written from: values of a required column, options of an optional one.
pub trait Cell {
    type Type: DataType;
    const IS_OPTIONAL: bool;

    fn value(self) -> Option<<Self::Type as DataType>::T>;
}

macro_rules! cells {
    ($($value:ty: $type:ty),+) => {$(
        impl Cell for $value {
            type Type = $type;
            const IS_OPTIONAL: bool = false;

            fn value(self) -> Option<$value> {
                Some(self)
            }
        }

        impl Cell for Option<$value> {
            type Type = $type;
            const IS_OPTIONAL: bool = true;

            fn value(self) -> Option<$value> {
                self
            }
        }
    )+};
}

cells!(
    bool: BoolType, i32: Int32Type, i64: Int64Type, f64: DoubleType, ByteArray: ByteArrayType,
    FixedLenByteArray: FixedLenByteArrayType
);

impl<W: Write + Send> GroupWriter<'_, W> {
    pub fn column<C: Cell>(&mut self, cells: impl Iterator<Item = C>) -> Result<()> {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        for value in cells.map(C::value) {
            levels.push(i16::from(value.is_some()));
            values.extend(value);
        }
        let mut write = || {
            let column = self.group.next_column()?;
            let mut column = column.ok_or_else(|| ParquetError::General("one column too many".to_owned()))?;
            let levels = C::IS_OPTIONAL.then_some(&levels[..]);
            column.typed::<C::Type>().write_batch(&values, levels, None)?;
            column.close()
        };
        write().map_err(|error| internal("column", error))
    }
}

fn internal(what: &str, error: ParquetError) -> Error {
    Error::internal(format!("cannot write Parquet ({what}): {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(file: Bytes) -> Result<Vec<Bytes>> {
        let table = Table::open("x", file)?;
        let budget = table.budget();
        table.group(0, &budget)?.bytes("a")
    }

    fn layout(schema: &str) -> Layout<'_> {
        Layout { schema, bulk: &["a"], alike: &[], looked_up: &[] }
    }

    #[test]
    fn only_what_is_worth_it_is_compressed() {
        let bytes = vec![b'a'; 2 * COMPRESSED_FROM_BYTES as usize];
        let written = |told: u64| {
            let mut table = TableWriter::new(&layout("message m { required binary a; }"), told).unwrap();
            table.group(|group| group.column([ByteArray::from(bytes.clone())].into_iter())).unwrap();
            let file = table.finish("{}".to_owned()).unwrap();
            let read = read_all(file.clone()).unwrap();
            assert_eq!(read.concat(), bytes);
            file.len()
        };
        assert!(written(COMPRESSED_FROM_BYTES - 1) > bytes.len());
        assert!(written(COMPRESSED_FROM_BYTES) < bytes.len());
    }

    /// A number of rows that is a text: the library read what follows as a list of 2^31 booleans, which take no bytes.
    #[test]
    fn a_field_of_another_kind_is_not_read_as_something_else() {
        let file = include_bytes!("../../fuzz/corpus/tables/kept-other-kinds").as_slice();
        let error = Table::open("x", file.into()).expect_err("refused");
        assert!(error.message().contains("its footer is malformed"), "{error}");
    }

    /// Small files that say much: each is refused before it takes the memory that it asks for.
    #[test]
    fn values_are_bounded_by_what_a_table_holds() {
        let text = |bytes: usize| ByteArray::from(vec![b'a'; bytes]);
        let zeros = text(limits::TABLE_INFLATED_BYTES_MAX as usize + 512 * 1024);
        let prefixes =
            Layout { schema: "message m { required binary a; }", bulk: &[], alike: &["a"], looked_up: &[] };
        let compressed = layout("message m { required binary a; }");
        for (layout, values, refused) in [
            (&prefixes, vec![text(100_000); 400], false),
            (&prefixes, vec![text(100_000); 4_000], true),
            // The dictionary has one value.
            (&compressed, vec![text(100_000); 400], false),
            (&compressed, vec![text(100_000); 4_000], true),
            (&compressed, vec![zeros], true),
            (&compressed, vec![text(1); limits::TABLE_GROUP_ROWS_MAX + 1], true),
        ] {
            let mut table = TableWriter::new(layout, COMPRESSED_FROM_BYTES).unwrap();
            table.group(|group| group.column(values.iter().cloned())).unwrap();
            let file = table.finish("{}".to_owned()).unwrap();
            assert!(file.len() < 250_000, "{}", file.len());
            let read = read_all(file);
            assert_eq!(read.as_ref().map(Vec::len).ok(), (!refused).then_some(values.len()), "{read:?}");
        }
    }

    #[test]
    fn a_column_of_another_kind_is_an_error() {
        let mut table = TableWriter::new(&layout("message m { required int64 a; }"), 0).unwrap();
        table.group(|group| group.column([-1_i64].into_iter())).unwrap();
        let table = Table::open("x", table.finish("{}".to_owned()).unwrap()).unwrap();
        let budget = table.budget();
        let group = table.group(0, &budget).unwrap();
        assert_eq!(group.int64("a").unwrap(), [-1]);
        let says = |error: Error| error.message().to_owned();
        assert_eq!(
            says(group.numbers("a", 9).unwrap_err()),
            "object `x` cannot be read: column a has a number outside 0 to 9"
        );
        assert!(group.bytes("a").is_err() && group.int32("a").is_err() && group.int64("b").is_err());
        assert!(group.optional_numbers("a", 9).is_err(), "it has no gaps to be optional");
        assert!(table.group(1, &budget).is_err());
    }

    #[test]
    fn a_footer_is_read_from_the_end_alone() {
        let mut table = TableWriter::new(&layout("message m { required int64 a; }"), 0).unwrap();
        table.group(|group| group.column([1_i64, 2, 3].into_iter())).unwrap();
        let file = table.finish("{\"x\":1}".to_owned()).unwrap();
        assert_eq!(Table::open("t", file.clone()).unwrap().footer().unwrap(), "{\"x\":1}");
        let footer = |end: &[u8]| match end_of("t", end).unwrap() {
            TableEnd::Complete(end) => Ok(end.footer().unwrap()),
            TableEnd::Needs(bytes) => Err(bytes),
        };
        assert_eq!(footer(&file), Ok("{\"x\":1}".to_owned()));
        let needed = footer(&file[file.len() - 20..]).unwrap_err();
        assert!(needed > 20 && needed < file.len());
        assert_eq!(footer(&file[file.len() - needed..]), Ok("{\"x\":1}".to_owned()));
        assert!(end_of("t", b"not parquet at all").is_err());
        assert_eq!(footer(b""), Err(TAIL_BYTES));
        assert!(Table::open("t", Bytes::from_static(b"PAR1 but no more PAR1")).is_err());
    }
}
