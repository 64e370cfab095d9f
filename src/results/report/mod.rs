//! A batch on one page: a self-contained HTML file with plots, that needs no network, runs no script and stays small
//! whatever the batch.

mod bins;
mod gather;
mod page;
mod plots;
mod scale;
#[cfg(test)]
mod tests;
mod text;

use std::io::Write;

pub use gather::ReportData;

use super::batch::BatchView;
use super::cost::Cost;
use super::rows::{Finished, Options, Rows};
use crate::error::{Code, Error, Result};
use crate::seam::Deps;

/// Reads every row of a batch for its report. What cannot be read is left out, and named in the answer.
pub async fn gather(deps: &Deps, view: &BatchView) -> Result<ReportData> {
    // A batch that has not finished has a report of the calls decided so far.
    let options = Options { finished: Finished::NeedNot, ..Options::default() };
    let rows = Rows::open(deps, view.batch, options).await?;
    ReportData::of(rows, view.created_at).await
}

/// Writes the page. `cost`: of the requests that were counted; without it those that workers counted.
pub fn write(
    view: &BatchView,
    data: &ReportData,
    cost: Option<Cost>,
    out: &mut (dyn Write + Send),
) -> Result<()> {
    let page = page::of(view, data, cost);
    let written = out.write_all(page.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Error::new(Code::Stopped, format!("write the report: {error}")))
}
