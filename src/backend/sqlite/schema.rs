//! The tables. Persisted, keep stable: a change raises `VERSION`, and brings the step that leads there.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::failure::explain;
use crate::error::{Error, Result};

/// `afn1`: tells our files from other programs'.
const APPLICATION_ID: i32 = 0x6166_6e31;
const VERSION: i32 = 2;

/// `objects` is clustered by key, so that a list is a scan of one stretch of it; bodies lie apart, in pieces, so that
/// the stretch stays short. Every write of an object takes a new revision, which never comes back and is its ETag.
///
/// A message is visible from `visible_at` on, by the wall clock; `hidden_ms` is for how long it was hidden, so that a
/// clock that stepped back is noticed: nothing can be hidden for longer than it was hidden for. `grp` is the message's group; a
/// message in flight has been delivered and is hidden.
const TABLES: &str = "
CREATE TABLE revisions (last INTEGER NOT NULL);
INSERT INTO revisions VALUES (0);

CREATE TABLE objects (
    key          TEXT    NOT NULL PRIMARY KEY,
    revision     INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    modified_at  INTEGER NOT NULL,
    content_type TEXT,
    note         TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE pieces (
    id    INTEGER NOT NULL PRIMARY KEY,
    bytes BLOB    NOT NULL
) STRICT;

CREATE TABLE messages (
    id         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    queue      TEXT    NOT NULL,
    visible_at INTEGER NOT NULL,
    hidden_ms  INTEGER NOT NULL,
    delivery   INTEGER NOT NULL DEFAULT 0,
    sent_at    INTEGER NOT NULL,
    note       TEXT,
    body       TEXT    NOT NULL
) STRICT;

CREATE INDEX messages_by_visibility ON messages (queue, visible_at, hidden_ms);
";

/// From format 1: messages have groups.
const GROUPS: &str = "
ALTER TABLE messages ADD COLUMN grp TEXT NOT NULL DEFAULT '';
CREATE INDEX messages_by_group ON messages (queue, grp, visible_at, hidden_ms);
CREATE INDEX messages_in_flight ON messages (queue, grp, visible_at, delivery) WHERE delivery > 0;
";

/// An error unless the file is empty or one that this program can use.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<()> {
    let read = || {
        // One snapshot: else the tables that another process makes in between look like another program's.
        let snapshot = connection.unchecked_transaction()?;
        let pragma = |name| snapshot.pragma_query_value(None, name, |row| row.get(0));
        Ok((is_empty(&snapshot)?, pragma("application_id")?, pragma("user_version")?))
    };
    let (is_empty, application, version): (bool, i32, i32) = read().map_err(|error| explain(path, &error))?;
    let path = path.display();
    if !is_empty && application != APPLICATION_ID {
        return Err(Error::invalid(format!("`{path}` is a SQLite file of another program"))
            .with_hint("choose another folder"));
    }
    if !is_empty && version > VERSION {
        let known = format!("this program knows formats up to {VERSION}");
        return Err(Error::invalid(format!("`{path}` has format {version}, {known}"))
            .with_hint("it was written by a newer afn: use that one"));
    }
    Ok(())
}

/// Makes the tables, or brings them to this format.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    let transaction = rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    if is_empty(&transaction)? {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", 1)?;
    }
    let version: i32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < 2 {
        transaction.execute_batch(GROUPS)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}
