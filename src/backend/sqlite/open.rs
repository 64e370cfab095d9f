//! Opens the file: where it may lie, who may read it, how its connections are set.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::failure::explain;
use super::schema;
use crate::error::{Error, Result};
use crate::folder;
use crate::limits;

/// More than there are in this program.
const STATEMENTS_CACHED: usize = 64;

/// The connection that writes; the file is made, or checked to be ours.
pub(super) fn writing(path: &Path) -> Result<Connection> {
    make(path)?;
    let failed = |error| explain(path, &error);
    let connection = connect(path).map_err(failed)?;
    schema::check(&connection, path)?;
    let set = || {
        switch_to_wal(&connection)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", limits::SQLITE_CHECKPOINT_PAGES as i64)?;
        connection.pragma_update(None, "journal_size_limit", limits::SQLITE_LOG_BYTES_KEPT as i64)?;
        schema::create(&connection)
    };
    set().map_err(failed)?;
    // Another process may have made it in between, and may be newer.
    schema::check(&connection, path)?;
    Ok(connection)
}

pub(super) fn reading(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // A connection is used by one thread at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_handler(Some(ask_again))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(connection)
}

fn ask_again(tries: i32) -> bool {
    let tries = tries as u64;
    std::thread::sleep(Duration::from_millis((tries + 1).min(limits::ms(limits::SQLITE_BUSY_WAIT_MAX))));
    tries < limits::SQLITE_BUSY_TRIES_MAX
}

/// The busy handler is not asked when two processes switch at once.
fn switch_to_wal(connection: &Connection) -> rusqlite::Result<()> {
    let mut tries = 0;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0)) {
            Ok(_) => return Ok(()),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && ask_again(tries) => {
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Folder and file, readable by their owner alone. (SQLite gives the log beside it the file's own mode.)
fn make(path: &Path) -> Result<()> {
    let failed = |what: &Path, error: io::Error| {
        Error::unreachable(format!("open `{}`: {error}", what.display()))
            .with_hint("the folder must be there to write for this user")
    };
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return Err(Error::invalid(format!("`{}` is not the name of a file", path.display()))),
    };
    if !folder.exists() {
        folder::make(folder).map_err(|error| failed(folder, error))?;
    }
    refuse_network(folder)?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => {
            // The name must survive a power cut as its content does.
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| failed(folder, error))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(path, error)),
    }
}

#[cfg(target_os = "linux")]
fn refuse_network(folder: &Path) -> Result<()> {
    let stat = rustix::fs::statfs(folder)
        .map_err(|error| Error::unreachable(format!("look at `{}`: {error}", folder.display())))?;
    match network(stat.f_type as u32) {
        None => Ok(()),
        Some(kind) => Err(Error::invalid(format!(
            "`{}` lies on a network file system ({kind}), where SQLite's locks cannot be relied on",
            folder.display()
        ))
        .with_hint("choose a folder on a local disk; for several machines use a context on S3")),
    }
}

#[cfg(not(target_os = "linux"))]
fn refuse_network(_folder: &Path) -> Result<()> {
    Ok(())
}

/// File systems that other machines may have open too, by the magic number of `statfs(2)`. FUSE is not among them:
/// encrypted home folders are FUSE.
#[cfg(target_os = "linux")]
fn network(magic: u32) -> Option<&'static str> {
    match magic {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x0102_1997 => Some("9p"),
        0x5346_414f | 0x6b41_4653 => Some("AFS"),
        0x00c3_6400 => Some("Ceph"),
        0x0bd0_0bd0 => Some("Lustre"),
        0x4750_4653 => Some("GPFS"),
        0x7461_636f => Some("OCFS2"),
        0x0116_1970 => Some("GFS2"),
        0x7375_7245 => Some("Coda"),
        0x564c => Some("NCP"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        for (magic, kind) in
            [(0x6969, "NFS"), (0xff53_4d42, "SMB"), (0xfe53_4d42, "SMB"), (0x0102_1997, "9p")]
        {
            assert_eq!(network(magic), Some(kind));
        }
        // ext4, tmpfs, overlayfs, btrfs, xfs, FUSE.
        for magic in [0xef53, 0x0102_1994, 0x794c_7630, 0x9123_683e, 0x5846_5342, 0x6573_5546] {
            assert_eq!(network(magic), None);
        }
    }
}
