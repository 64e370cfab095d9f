//! Lease → run → record.
