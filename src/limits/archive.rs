//! A function's folder as an archive.

use super::{KIB, MIB};

/// A function's folder, packed for the process executor.
pub const ARCHIVE_BYTES_MAX: u64 = 256 * MIB;
/// What such a folder holds when it is unpacked.
pub const ARCHIVE_UNPACKED_BYTES_MAX: u64 = 2 * KIB * MIB;
/// Files, links and folders, also those that only the paths of others name.
pub const ARCHIVE_ENTRIES_MAX: usize = 100_000;
pub const ARCHIVE_PATH_BYTES_MAX: usize = 4_096;
/// All paths together: they are held in memory while an archive is unpacked.
pub const ARCHIVE_PATHS_BYTES_MAX: usize = 32 * MIB as usize;
/// Names in a path.
pub const ARCHIVE_DEPTH_MAX: usize = 64;
/// Unpacked folders that are kept on a machine for calls to come; those in use do not count against it.
pub const ARCHIVES_KEPT_MAX: usize = 64;
