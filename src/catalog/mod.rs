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
pub use versions::version_id;

use crate::seam::Seams;

/// Reads and changes definitions. Keeps nothing between calls: what it answers is what stood in the store.
#[derive(Clone)]
pub struct Catalog {
    seams: Seams,
}

impl Catalog {
    pub fn new(seams: Seams) -> Catalog {
        Catalog { seams }
    }
}

/// The version of every body written here.
const BODY_VERSION: u32 = 1;

/// Definitions looked at side by side when a list needs one request for each.
const LOOKS_IN_FLIGHT: usize = 16;
