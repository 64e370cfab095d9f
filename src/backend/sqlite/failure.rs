//! What SQLite's errors mean: as answers of a store or a queue, and to a user whose file cannot be opened.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::Error;
use crate::seam::queue::QueueError;
use crate::seam::{RequestError, RequestFailure, StoreError};

/// An error of store or queue that an error of SQLite can become.
pub(super) trait SqliteError: RequestError + From<rusqlite::Error> {}

impl<E: RequestError + From<rusqlite::Error>> SqliteError for E {}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        failure(&error).into()
    }
}

impl From<rusqlite::Error> for QueueError {
    fn from(error: rusqlite::Error) -> QueueError {
        failure(&error).into()
    }
}

/// The transaction of a failed statement is rolled back, so nothing was done. The question is whether another try may
/// succeed.
fn failure(error: &rusqlite::Error) -> RequestFailure {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::SchemaChanged,
        ) => RequestFailure::Busy(error.to_string()),
        _ => RequestFailure::Refused(error.to_string()),
    }
}

/// The error of a file that cannot be opened, as a user sees it.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> Error {
    let path = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Error::invalid(format!("`{path}` is not a SQLite file"))
            .with_hint("it was not made by this program; choose another folder"),
        Some(ErrorCode::DatabaseCorrupt) => Error::internal(format!("`{path}` is damaged: {error}"))
            .with_hint("`sqlite3 FILE .recover` may save what is in it"),
        Some(ErrorCode::DatabaseBusy) => Error::unreachable(format!("`{path}` is held by another process"))
            .with_hint("see which with `fuser`, or try again"),
        _ => Error::unreachable(format!("open `{path}`: {error}")),
    }
}
