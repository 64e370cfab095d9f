//! What SQLite's errors mean to whoever asks a store or a queue.

use rusqlite::ErrorCode;

use crate::seam::StoreError;
use crate::seam::queue::QueueError;

/// An error that both seams can say.
pub(super) trait Answer: From<rusqlite::Error> + Send + 'static {
    fn busy(why: String) -> Self;
    fn lost(why: String) -> Self;
}

enum Kind {
    Busy,
    Refused,
}

/// Of a statement whose transaction is rolled back: nothing was done, the question is whether asking again may help.
fn kind(error: &rusqlite::Error) -> Kind {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::SchemaChanged,
        ) => Kind::Busy,
        _ => Kind::Refused,
    }
}

macro_rules! answer {
    ($error:ident) => {
        impl From<rusqlite::Error> for $error {
            fn from(error: rusqlite::Error) -> $error {
                match kind(&error) {
                    Kind::Busy => $error::Busy(error.to_string()),
                    Kind::Refused => $error::Refused(error.to_string()),
                }
            }
        }

        impl Answer for $error {
            fn busy(why: String) -> $error {
                $error::Busy(why)
            }

            fn lost(why: String) -> $error {
                $error::Lost(why)
            }
        }
    };
}

answer!(StoreError);
answer!(QueueError);
