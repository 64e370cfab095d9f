//! What the batch commands are made of: the function that a command line becomes, the source, the place of the results,
//! what is remembered of a run, and how progress and end are told. Knows no storage format.

pub mod bar;
pub mod ending;
pub mod follow;
pub mod function;
pub mod job;
pub mod joblog;
pub mod live;
pub mod place;
pub mod progress;
pub mod receipt;
pub mod source;
pub mod view;
pub mod which;
