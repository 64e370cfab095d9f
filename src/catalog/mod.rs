//! The catalog: apps, functions, routes, versions and archives as they lie in the store.
//!
//! Apps, functions and routes are definitions, changed by compare-and-swap; versions and archives are facts, named by
//! their content and never changed. Knows nothing of calls, queues or how a version came to be.

mod apps;
mod archives;
mod definition;
mod functions;
mod routes;
mod versions;

#[cfg(test)]
mod tests;

pub use functions::Publish;
pub(crate) use functions::merge;
pub use versions::version_id;

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::model::nearest::nearest;
use crate::seam::store::List;
use crate::seam::{Deps, StoreExt as _};

/// Reads and changes definitions. Caches nothing: each call reads the store.
#[derive(Clone)]
pub struct Catalog {
    deps: Deps,
}

impl Catalog {
    pub fn new(deps: Deps) -> Catalog {
        Catalog { deps }
    }

    /// The names of the folders under a prefix, in order.
    async fn names_under<N: FromStr<Err = Error>>(&self, prefix: &str) -> Result<Vec<N>> {
        let listed = self.deps.store.list_all(List::grouped(prefix)).await?;
        let names = listed.prefixes.iter().map(|folder| folder.strip_prefix(prefix)?.strip_suffix('/'));
        names.map(|name| name.unwrap_or_default().parse()).collect()
    }
}

/// Definitions read in parallel when a list needs one request for each.
const READS_IN_FLIGHT: usize = 16;

/// Adds a hint to an error about an unknown name: the nearest known name, or `none` or `others` without one. `command`
/// lists all names.
fn suggest(error: Error, unknown: &str, known: &[&str], command: &str, none: &str, others: &str) -> Error {
    match nearest(unknown, known.iter().copied()) {
        Some(near) => error.with_hint(format!("did you mean `{near}`? `{command}` shows all")),
        None if known.is_empty() => error.with_hint(none),
        None => error.with_hint(others),
    }
}
