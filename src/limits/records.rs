//! Keys of records and names of objects, how a chunk is asked for one, and how many rows are read or kept for a person.

use super::{KIB, MIB};

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
/// Rows that are sorted; they are held in memory.
pub const SORTED_ROWS_MAX: u64 = 10_000;
pub const SORTED_BYTES_MAX: u64 = 64 * MIB;
/// A batch that retries another is retried in its turn so many times, at the most, for them to be read as one.
pub const RETRIES_OF_RETRIES_MAX: usize = 64;
/// Calls whose outcomes are read to show what most failed for.
pub const REASON_ROWS_MAX: u64 = 20_000;
/// What an S3 key may have, and what the other names of an object in a user's bucket may.
pub const OBJECT_KEY_BYTES_MAX: usize = 1024;
pub const BUCKET_NAME_BYTES_MAX: usize = 255;
pub const REGION_BYTES_MAX: usize = 64;
pub const ETAG_BYTES_MAX: usize = 256;
pub const VERSION_ID_BYTES_MAX: usize = 1024;
