//! Keys of records, and how a chunk is asked for one.

use super::KIB;

/// Of one key.
pub const KEY_BYTES_MAX: usize = 1_024;
/// Of the name of the field that has the key.
pub const KEY_FIELD_BYTES_MAX: usize = 1_024;
/// Keys of a source that a submitter holds in memory, about 12 bytes each; with more they are in a file.
pub const KEYS_IN_MEMORY_MAX: usize = 4_000_000;
/// Rows of a row group of a chunk; a chunk of the most calls has two.
pub const CHUNK_GROUP_ROWS: usize = 1_024;
/// How often a Bloom filter of keys says that a key may be there which is not.
pub const KEY_FILTER_WRONG: f64 = 0.01;
/// How much of a chunk's end has its footer and its Bloom filters, nearly always.
pub const CHUNK_END_BYTES: u64 = 16 * KIB;
