//! Estimates a batch without submitting it: its calls, its chunks, and the requests to the store and the queues.

use std::collections::BTreeMap;

use super::chunker::{Chunker, Cut};
use super::source::Source;
use super::submission::OnBadRecord;
use crate::error::Result;
use crate::layout::batch::Chunking;
use crate::limits;

/// Pointer, definition, seal, summary, follow-ups.
const BATCH_FACTS: u64 = 5;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Estimate {
    pub calls: u64,
    pub chunks: u64,
    pub bytes: u64,
    /// Payloads that lie in objects of their own.
    pub inputs: u64,
    /// Payloads that workers read where they are, and their bytes.
    pub objects: u64,
    pub object_bytes: u64,
    pub refused: u64,
    /// The first bad record.
    pub bad: Option<String>,
    /// What was found out of the source's format.
    pub notice: Option<String>,
}

/// Reads a source to its end, or to the bad record that would end the batch.
pub async fn estimate(mut source: Box<dyn Source>, on_bad_record: OnBadRecord) -> Result<Estimate> {
    let mut chunker = Chunker::new(Chunking::default())?;
    let mut estimate = Estimate::default();
    'source: loop {
        let items = source.next().await?;
        if items.is_empty() {
            break;
        }
        let mut cuts = Vec::new();
        for item in items {
            if let Some(bad) = &item.bad {
                estimate.bad.get_or_insert_with(|| bad.to_string());
                if on_bad_record == OnBadRecord::Stop {
                    break 'source;
                }
            }
            chunker.push(item, &mut cuts)?;
        }
        cuts.iter().for_each(|cut| estimate.add(cut));
    }
    estimate.notice = source.notice().map(str::to_owned);
    chunker.finish().iter().for_each(|cut| estimate.add(cut));
    Ok(estimate)
}

impl Estimate {
    /// What it would take at the least: chunks that are done in one go, and collected. Calls that take long cost a little
    /// more, for the time.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let messages = self.chunks.div_ceil(limits::QUEUE_BATCH_MAX as u64) + 1;
        [
            // Chunk and outcomes; what the batch itself has.
            ("put", 2 * self.chunks + self.inputs + BATCH_FACTS),
            // Chunks and payloads, read by who runs them; outcomes, by who supervises and who collects.
            ("get", 3 * self.chunks + self.inputs + self.objects + BATCH_FACTS),
            ("list", 2 + self.chunks.div_ceil(limits::LIST_PAGE_MAX as u64)),
            ("send", messages),
            ("receive", self.chunks + 1),
            ("delete_message", messages),
        ]
        .map(|(operation, count)| (operation.to_owned(), count))
        .into()
    }

    fn add(&mut self, cut: &Cut) {
        self.calls += cut.last - cut.first + 1;
        self.chunks += 1;
        self.bytes += cut.bytes;
        self.inputs += cut.inputs.len() as u64;
        self.refused += cut.refused;
        for object in cut.records.iter().filter_map(|record| record.object.as_ref()) {
            self.objects += 1;
            self.object_bytes += object.bytes;
        }
    }
}
