//! An array: a call for each index of a range. The index is the payload.

use std::borrow::Cow;

use async_trait::async_trait;

use super::{Format, Kind, Origin, Pass, Source, SourceRecord};
use crate::error::Result;
use crate::limits;
use crate::model::IndexRange;

pub(super) struct Array {
    range: IndexRange,
    next: u64,
}

impl Array {
    pub(super) fn new(range: IndexRange) -> Array {
        Array { range, next: 0 }
    }
}

#[async_trait]
impl Source for Array {
    fn origin(&self) -> Origin {
        Origin::new(self.range.to_string(), Format::plain(Kind::Array), Pass::Record)
    }

    async fn next(&mut self) -> Result<Vec<SourceRecord>> {
        let indexes = (self.next..).map_while(|place| self.range.at(place)).take(limits::SOURCE_ITEMS_MAX);
        let records: Vec<SourceRecord> = indexes
            .map(|index| SourceRecord {
                payload: index.to_string().into(),
                content_type: Some(Cow::Borrowed("text/plain")),
                ..SourceRecord::default()
            })
            .collect();
        self.next += records.len() as u64;
        Ok(records)
    }
}
