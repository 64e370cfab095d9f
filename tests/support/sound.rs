//! Whether a SQLite file is sound.

use std::path::Path;

use super::PATIENCE;

/// SQLite's own verdict, and no body without its object.
pub fn check_file(path: &Path) {
    let connection = rusqlite::Connection::open(path).expect("open");
    connection.busy_timeout(PATIENCE).expect("set");
    let verdict: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("integrity_check");
    assert_eq!(verdict, "ok");
    let orphans: i64 = connection
        .query_row(
            "SELECT count(*) FROM pieces WHERE id >> 12 NOT IN (SELECT revision FROM objects)",
            [],
            |row| row.get(0),
        )
        .expect("count pieces");
    assert_eq!(orphans, 0, "pieces that belong to no object");
}
