//! Bodies, in rows of 1 MiB: no row is so large that reading a part of a body costs all of it.

use bytes::{Bytes, BytesMut};
use rusqlite::{Connection, params};

use crate::limits;
use crate::seam::{Body, StoreError};

const PIECE_BYTES: u64 = limits::MIB;
/// A piece's id is its object's revision, then its place in these bits: the pieces of a body lie side by side.
const PLACE_BITS: u32 = 12;
const BODY_BYTES_MAX: u64 = PIECE_BYTES << PLACE_BITS;

fn id(revision: i64, place: u64) -> i64 {
    (revision << PLACE_BITS) | place as i64
}

pub(super) fn write(connection: &Connection, revision: i64, body: &Body) -> Result<(), StoreError> {
    if body.len() > BODY_BYTES_MAX {
        let bytes = body.len();
        return Err(StoreError::Refused(format!("a body of {bytes} bytes, the most is {BODY_BYTES_MAX}")));
    }
    let mut insert = connection.prepare_cached("INSERT INTO pieces (id, bytes) VALUES (?1, ?2)")?;
    for place in 0..body.len().div_ceil(PIECE_BYTES) {
        let piece = body
            .read_at(place * PIECE_BYTES, PIECE_BYTES as usize)
            .map_err(|error| StoreError::Refused(format!("read the body: {error}")))?;
        insert.execute(params![id(revision, place), &piece[..]])?;
    }
    Ok(())
}

/// The bytes of a body that lie in `range`.
pub(super) fn read(
    connection: &Connection,
    revision: i64,
    range: std::ops::Range<u64>,
) -> Result<Bytes, StoreError> {
    if range.is_empty() {
        return Ok(Bytes::new());
    }
    let places = range.start / PIECE_BYTES..range.end.div_ceil(PIECE_BYTES);
    let sql = "SELECT bytes FROM pieces WHERE id >= ?1 AND id < ?2 ORDER BY id";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(params![id(revision, places.start), id(revision, places.end)])?;
    let mut bytes = BytesMut::with_capacity((range.end - range.start) as usize);
    let mut offset = places.start * PIECE_BYTES;
    while let Some(row) = rows.next()? {
        let piece = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        let start = range.start.saturating_sub(offset).min(piece.len() as u64);
        let end = range.end.saturating_sub(offset).min(piece.len() as u64);
        bytes.extend_from_slice(&piece[start as usize..end as usize]);
        offset += piece.len() as u64;
    }
    if bytes.len() as u64 != range.end - range.start {
        let found = bytes.len();
        return Err(StoreError::Refused(format!("a body lacks bytes: {found} of revision {revision}")));
    }
    Ok(bytes.freeze())
}

pub(super) fn delete(connection: &Connection, revision: i64) -> Result<(), StoreError> {
    let mut delete = connection.prepare_cached("DELETE FROM pieces WHERE id >= ?1 AND id < ?2")?;
    delete.execute(params![id(revision, 0), id(revision + 1, 0)])?;
    Ok(())
}
