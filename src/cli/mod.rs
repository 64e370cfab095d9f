//! The `afn` command.
