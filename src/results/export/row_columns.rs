//! The columns that every export has, by their persisted names.

use crate::layout::table::ColumnKind;

/// A body has the kind `Binary`.
pub(super) const COLUMNS: [(&str, ColumnKind); 15] = {
    use ColumnKind::{Binary, Int64, Text, Time};
    [
        ("number", Int64),
        ("call_id", Text),
        ("status", Text),
        ("attempts", Int64),
        ("queued_ms", Int64),
        ("start_ms", Int64),
        ("run_ms", Int64),
        ("started_at", Time),
        ("completed_at", Time),
        ("worker", Text),
        ("source", Text),
        ("key", Text),
        ("result", Binary),
        ("error", Text),
        ("input", Binary),
    ]
};
