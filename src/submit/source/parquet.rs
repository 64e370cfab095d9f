//! Rows of a Parquet file as JSON objects, from a file or an object. It is read row group by row group and page by page: in
//! memory are a page of each column and a block of rows, however large a group is.

mod column;
mod object;
mod row;
mod scalar;
mod schema;
mod values;

use std::borrow::Cow;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use async_trait::async_trait;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, FileReader as _, SerializedFileReader};

use super::objects::Bucket;
use super::{BadRecord, Origin, Source, SourceRecord};
use crate::error::{Error, Result};
use crate::limits;
use column::Column;
use object::ObjectFile;
use row::RowWriter;
use schema::Node;

const MAGIC: &[u8] = b"PAR1";

/// Nothing is read before the first rows are asked for.
pub(super) struct ParquetRows {
    /// `None` while a blocking task uses it, and after an error.
    state: Option<State>,
    name: String,
    origin: Origin,
}

enum State {
    File(File),
    Object(Bucket, String),
    Open(Box<dyn Rows>),
}

impl ParquetRows {
    pub(super) fn of_file(file: File, name: String, origin: Origin) -> ParquetRows {
        ParquetRows { state: Some(State::File(file)), name, origin }
    }

    pub(super) fn of_object(bucket: Bucket, key: String, name: String, origin: Origin) -> ParquetRows {
        ParquetRows { state: Some(State::Object(bucket, key)), name, origin }
    }
}

#[async_trait]
impl Source for ParquetRows {
    fn origin(&self) -> Origin {
        self.origin.clone()
    }

    async fn next(&mut self) -> Result<Vec<SourceRecord>> {
        let (object, state) = match self.state.take() {
            None => return Ok(Vec::new()),
            Some(State::Object(bucket, key)) => (Some(ObjectFile::open(bucket, key).await?), None),
            Some(state) => (None, Some(state)),
        };
        let name = self.name.clone();
        let read = move || {
            let mut rows: Box<dyn Rows> = match (state, object) {
                (Some(State::Open(rows)), _) => rows,
                (Some(State::File(file)), _) => Box::new(Table::open(file, &name)?),
                (_, Some(object)) => Box::new(Table::open(object, &name)?),
                (_, None) => return Err(Error::internal(format!("`{name}` is opened without a place"))),
            };
            rows.next().map(|items| (items, rows))
        };
        let read = tokio::task::spawn_blocking(read).await;
        let (items, rows) =
            read.map_err(|error| Error::internal(format!("reading `{}` ended: {error}", self.name)))??;
        self.state = Some(State::Open(rows));
        Ok(items)
    }
}

trait Rows: Send {
    /// The next rows; none at the end.
    fn next(&mut self) -> Result<Vec<SourceRecord>>;
}

struct Table<R: ChunkReader> {
    file: SerializedFileReader<R>,
    name: String,
    root: Node,
    /// The next row group.
    group: usize,
    /// Of the group that is read.
    columns: Vec<Column>,
    rows_left: u64,
    rows_at_once: usize,
    /// The number of the next row, from 1.
    row: u64,
}

impl<R: ChunkReader + 'static> Table<R> {
    fn open(file: R, name: &str) -> Result<Table<R>> {
        let head = file.get_bytes(0, MAGIC.len().min(file.len() as usize));
        if head.is_ok_and(|head| head != MAGIC) {
            return Err(Error::invalid(format!(
                "`{name}` is no Parquet: its first bytes are not those of Parquet"
            ))
            .with_hint("`--format` says what it is, whatever its name is"));
        }
        guarded(name, || {
            let file = SerializedFileReader::new(file)?;
            let root = Node::root(file.metadata().file_metadata().schema_descr())?;
            let (name, columns) = (name.to_owned(), Vec::new());
            Ok(Table { file, name, root, group: 0, columns, rows_left: 0, rows_at_once: 1, row: 1 })
        })
    }

    fn read(&mut self) -> ParquetResult<Vec<SourceRecord>> {
        while self.rows_left == 0 {
            if self.group == self.file.num_row_groups() {
                return Ok(Vec::new());
            }
            self.next_group()?;
        }
        let count = self.rows_left.min(self.rows_at_once as u64) as usize;
        for column in &mut self.columns {
            column.fill(count)?;
        }
        let rows = (0..count).map(|_| self.next_row()).collect::<ParquetResult<_>>()?;
        self.rows_left -= count as u64;
        Ok(rows)
    }

    fn next_group(&mut self) -> ParquetResult<()> {
        let group = self.file.get_row_group(self.group)?;
        let metadata = group.metadata();
        let rows = u64::try_from(metadata.num_rows()).unwrap_or(0);
        // So many rows have about a block of bytes.
        let row_bytes = u64::try_from(metadata.total_byte_size()).unwrap_or(0) / rows.max(1);
        let rows_at_once = (limits::SOURCE_BLOCK_BYTES / row_bytes.max(1)) as usize;
        self.rows_at_once = rows_at_once.clamp(1, limits::SOURCE_ITEMS_MAX);
        let columns = (0..group.num_columns()).map(|index| {
            Ok(Column::new(group.get_column_reader(index)?, &metadata.schema_descr().column(index)))
        });
        self.columns = columns.collect::<ParquetResult<_>>()?;
        self.rows_left = rows;
        self.group += 1;
        Ok(())
    }

    fn next_row(&mut self) -> ParquetResult<SourceRecord> {
        let row = self.row;
        self.row += 1;
        let mut writer = RowWriter::new(&mut self.columns);
        writer.write(&self.root)?;
        let (json, why) = writer.finish();
        let bytes = json.len() as u64;
        let why = why.or_else(|| {
            let max = limits::PAYLOAD_BYTES_MAX;
            (bytes > max)
                .then(|| format!("the row has {bytes} bytes as JSON, the most of a payload is {max}"))
        });
        let record = SourceRecord {
            content_type: Some(Cow::Borrowed("application/json")),
            line: Some(row),
            ..SourceRecord::default()
        };
        Ok(match why {
            None => SourceRecord { payload: json.into(), ..record },
            Some(reason) => {
                let bad = BadRecord { name: self.name.clone(), line: Some(row), column: None, reason, bytes };
                SourceRecord { bad: Some(Box::new(bad)), ..record }
            }
        })
    }
}

impl<R: ChunkReader + 'static> Rows for Table<R> {
    fn next(&mut self) -> Result<Vec<SourceRecord>> {
        let name = self.name.clone();
        guarded(&name, || self.read())
    }
}

/// A panic of the library is an error of the file.
fn guarded<T>(name: &str, read: impl FnOnce() -> ParquetResult<T>) -> Result<T> {
    let why = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(read)) => return Ok(read),
        Ok(Err(error)) => match error {
            ParquetError::General(why) | ParquetError::EOF(why) | ParquetError::NYI(why) => why,
            ParquetError::External(error) => error.to_string(),
            error => error.to_string(),
        },
        Err(_) => "the Parquet library panicked on it".to_owned(),
    };
    let hint = match why.contains("feature") {
        true => "compress its pages by snappy, zstd, gzip or LZ4, or not at all",
        false => "it is damaged, cut short or encrypted, or another program is still writing it",
    };
    Err(Error::invalid(format!("cannot read `{name}` as Parquet: {why}")).with_hint(hint))
}

#[cfg(test)]
mod tests;
