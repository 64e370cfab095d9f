//! Holds the numbers of a Parquet file against its own bytes before the library sees them. The library reserves memory for
//! the counts that it reads, follows a schema as deep as it goes, and inflates a page to the size that the page claims.

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::thrift::{
    Compact, DATA_PAGE_HEADER, DICTIONARY_PAGE_HEADER, FILE_META_DATA, Field, I32, LIST, PAGE_HEADER,
    ROW_GROUP, SCHEMA_ELEMENT, STRUCT,
};
use crate::limits;

/// Whether the metadata of a file can be handed to the library: a flat schema, and lists no longer than there are bytes.
pub(super) fn metadata(bytes: &[u8]) -> bool {
    let check = Compact(bytes).fields(|compact, kind, field| match (kind, field) {
        (LIST, 2) => schema(compact),
        (LIST, 4) => {
            let (kind, count) = compact.list(limits::TABLE_GROUPS_MAX)?;
            (0..count).try_for_each(|_| compact.value(kind, &ROW_GROUP, 1))
        }
        (_, 2 | 4) => None,
        (kind, field) => compact.field_value(kind, field, FILE_META_DATA, 0),
    });
    check.is_some()
}

/// The root first, with as many children as there are elements behind it.
fn schema(compact: &mut Compact<'_>) -> Option<()> {
    const CHILDREN: u64 = 5;
    let (kind, count) = compact.list(limits::TABLE_COLUMNS_MAX + 1)?;
    (kind == STRUCT).then_some(())?;
    for index in 0..count {
        let mut children = 0;
        compact.fields(|compact, kind, field| match (kind, field) {
            (I32, CHILDREN) => compact.count().map(|count| children = count),
            (_, CHILDREN) => None,
            (kind, field) => compact.field_value(kind, field, SCHEMA_ELEMENT, 1),
        })?;
        if children != if index == 0 { count - 1 } else { 0 } {
            return None;
        }
    }
    Some(())
}

/// Whether rows and columns are no more than a table has, and lie within a file of so many bytes.
pub(super) fn groups(metadata: &ParquetMetaData, file_bytes: usize) -> bool {
    let mut rows = 0;
    metadata.row_groups().iter().all(|group| {
        let Ok(group_rows) = usize::try_from(group.num_rows()) else { return false };
        rows += group_rows.min(limits::TABLE_ROWS_MAX + 1);
        let columns = group.columns();
        group_rows <= limits::TABLE_GROUP_ROWS_MAX
            && rows <= limits::TABLE_ROWS_MAX
            && columns.len() == metadata.file_metadata().schema_descr().num_columns()
            && columns.iter().all(|column| is_plain(column) && range(column, file_bytes).is_some())
    })
}

fn is_plain(column: &ColumnChunkMetaData) -> bool {
    let descr = column.column_descr();
    let knows = matches!(column.compression(), Compression::UNCOMPRESSED | Compression::ZSTD(_));
    knows && descr.max_rep_level() == 0 && descr.max_def_level() <= 1
}

/// Where a column's pages lie in a file of so many bytes.
pub(super) fn range(column: &ColumnChunkMetaData, file_bytes: usize) -> Option<std::ops::Range<usize>> {
    let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
    let (start, length) = (usize::try_from(start).ok()?, usize::try_from(column.compressed_size()).ok()?);
    let end = start.checked_add(length)?;
    (end <= file_bytes).then_some(start..end)
}

/// What the pages of a column come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PagesSize {
    /// Of all pages when they are inflated.
    pub bytes: u64,
    pub largest_page: u64,
    /// A value may repeat what lies in front of it.
    pub has_prefixes: bool,
}

/// Walks the headers of a column's pages. `None`: they say more than `rows` values, or what no writer of ours does.
pub(super) fn pages(column: &[u8], rows: usize) -> Option<PagesSize> {
    let (mut compact, mut size, mut values) = (Compact(column), PagesSize::default(), 0);
    while !compact.0.is_empty() {
        let page = header(&mut compact)?;
        compact.take(page.stored)?;
        size.bytes = size.bytes.checked_add(page.inflated as u64)?;
        size.largest_page = size.largest_page.max(page.inflated as u64);
        size.has_prefixes |= page.encoding == Encoding::DELTA_BYTE_ARRAY as usize;
        if page.is_dictionary {
            (page.values <= rows).then_some(())?;
        } else {
            values += page.values.min(rows + 1);
        }
    }
    (values <= rows).then_some(size)
}

/// The bits of a Bloom filter, from its bytes. `None`: they are not those of a filter.
pub(super) fn filter(bytes: &[u8]) -> Option<&[u8]> {
    const NUMBER_OF_BYTES: u64 = 1;
    const BLOCK_BYTES: usize = 32;
    let (mut compact, mut length) = (Compact(bytes), 0);
    compact.fields(|compact, kind, field| match (kind, field) {
        (I32, NUMBER_OF_BYTES) => compact.count().map(|count| length = count),
        (kind, _) => compact.skip(kind, 0),
    })?;
    let is_whole = length > 0 && length % BLOCK_BYTES == 0 && length == compact.0.len();
    is_whole.then_some(compact.0)
}

struct PageHeader {
    is_dictionary: bool,
    inflated: usize,
    stored: usize,
    values: usize,
    encoding: usize,
}

fn header(compact: &mut Compact<'_>) -> Option<PageHeader> {
    const DATA: u64 = 5;
    const DICTIONARY: u64 = 7;
    let (mut numbers, mut page) = ([None; 3], None);
    compact.fields(|compact, kind, field| match (kind, field) {
        (I32, 1..=3) => compact.count().map(|count| numbers[field as usize - 1] = Some(count)),
        (STRUCT, DATA) => {
            page_header::<3>(compact, DATA_PAGE_HEADER).map(|header| page = Some((field, header)))
        }
        (STRUCT, DICTIONARY) => {
            page_header::<2>(compact, DICTIONARY_PAGE_HEADER).map(|header| page = Some((field, header)))
        }
        (_, 1..=3 | DATA | DICTIONARY) => None,
        (kind, field) => compact.field_value(kind, field, PAGE_HEADER, 0),
    })?;
    let [kind, inflated, stored] = numbers;
    let (of, [values, encoding, levels]) = page?;
    let is_dictionary = of == DICTIONARY;
    let is_known = match (kind?, is_dictionary) {
        (0, false) => [
            Encoding::PLAIN,
            Encoding::PLAIN_DICTIONARY,
            Encoding::RLE,
            Encoding::DELTA_BINARY_PACKED,
            Encoding::DELTA_BYTE_ARRAY,
            Encoding::RLE_DICTIONARY,
        ]
        .iter()
        .any(|known| *known as usize == encoding && levels == Encoding::RLE as usize),
        (2, true) => {
            [Encoding::PLAIN, Encoding::PLAIN_DICTIONARY].iter().any(|known| *known as usize == encoding)
        }
        _ => false,
    };
    is_known.then_some(())?;
    Some(PageHeader { is_dictionary, inflated: inflated?, stored: stored?, values, encoding })
}

/// Number of values, their encoding, that of definition levels where there are any: the first `NUMBERS` fields.
fn page_header<const NUMBERS: u64>(compact: &mut Compact<'_>, others: &[Field]) -> Option<[usize; 3]> {
    let mut numbers = [0; 3];
    compact.fields(|compact, kind, field| match (kind, field) {
        (I32, 1..) if field <= NUMBERS => compact.count().map(|count| numbers[field as usize - 1] = count),
        _ if field <= NUMBERS => None,
        (kind, field) => compact.field_value(kind, field, others, 1),
    })?;
    Some(numbers)
}

/// Pages as the library reads them, but for those whose values say that there are more of them than the page has.
pub(super) struct CheckedPages {
    pub pages: Box<dyn PageReader>,
    /// The column has definition levels.
    pub is_optional: bool,
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let page = self.pages.get_next_page()?;
        if let Some(Page::DataPage { buf, num_values, encoding: Encoding::DELTA_BYTE_ARRAY, .. }) = &page
            && !has_prefixes(buf, self.is_optional, *num_values as usize)
        {
            return Err(ParquetError::General("a page has more prefixes than values".to_owned()));
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.pages.skip_next_page()
    }
}

impl Iterator for CheckedPages {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<ParquetResult<Page>> {
        self.get_next_page().transpose()
    }
}

/// Whether a page of texts that repeat prefixes has at most so many lengths of prefixes and of suffixes.
fn has_prefixes(page: &Bytes, is_optional: bool, values: usize) -> bool {
    let mut compact = Compact(page);
    let mut check = || {
        if is_optional {
            let levels = u32::from_le_bytes(compact.take(4)?.try_into().ok()?);
            compact.take(levels as usize)?;
        }
        integers(&mut compact, values)?;
        integers(&mut compact, values)
    };
    check().is_some()
}

/// Skips integers that are packed as differences, of which there are at most so many.
fn integers(compact: &mut Compact<'_>, count_max: usize) -> Option<()> {
    let number = |compact: &mut Compact<'_>| usize::try_from(compact.varint()?).ok();
    let (block, per_block, count) = (number(compact)?, number(compact)?, number(compact)?);
    compact.varint()?;
    let values = block.checked_div(per_block)?;
    (values > 0 && count <= count_max).then_some(())?;
    // The first stands in the head.
    let mut left = count.saturating_sub(1);
    while left > 0 {
        compact.varint()?;
        let mut bytes = 0_usize;
        for width in compact.take(per_block)? {
            if left > 0 {
                bytes = bytes.checked_add(usize::from(*width).checked_mul(values)? / 8)?;
            }
            left = left.saturating_sub(values);
        }
        compact.take(bytes)?;
    }
    Some(())
}
