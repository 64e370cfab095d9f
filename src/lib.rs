//! afn: asynchronous functions on object storage.
//!
//! A call travels `submit → queue → lease → run → record → read`; the folders are named after its stations.
//! `ARCHITECTURE.md` has the map, the invariants and the reasons.

pub mod api;
pub mod archive;
pub mod backend;
pub mod catalog;
pub mod cli;
pub mod context;
pub mod contract;
pub mod deploy;
pub mod embedded;
pub mod error;
pub mod event;
pub mod executor;
pub mod folder;
pub mod layout;
pub mod limits;
pub mod model;
pub mod outcomes;
pub mod planted;
pub mod results;
pub mod retention;
pub mod seam;
pub mod store_clock;
pub mod store_id;
pub mod submit;
pub mod worker;

pub use error::{Code, Error, Result};
