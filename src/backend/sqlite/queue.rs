//! Queues in the file.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tokio::sync::Notify;

use super::File;
use crate::limits;
use crate::model::Time;
use crate::seam::queue::{
    Depth, EntryAnswers, Outgoing, Queue, QueueError, QueueResult, Receipt, Received, check_batch,
};

pub(super) struct SqliteQueue {
    file: Arc<File>,
    name: String,
    changed: Arc<Notify>,
    /// When it was last examined, in milliseconds of the monotonic clock, plus one; 0 is never.
    examined: AtomicU64,
    /// The group that receives made here bring first.
    preferred: OnceLock<String>,
}

/// Whether a change may make something visible sooner than a waiting receive thinks.
enum Wakes {
    Receivers,
    Nobody,
}

/// What a queue holds at one moment.
struct QueueState {
    visible: bool,
    /// Messages are hidden for longer than they were hidden for: the clock was set back since.
    stuck: bool,
    next_visible: Option<Time>,
}

impl SqliteQueue {
    pub(super) fn new(file: Arc<File>, name: &str) -> SqliteQueue {
        let mut queues = file.changed.lock().expect("no holder of this lock panics");
        let changed = queues.entry(name.to_owned()).or_default().clone();
        drop(queues);
        let (examined, preferred) = Default::default();
        SqliteQueue { file, name: name.to_owned(), changed, examined, preferred }
    }

    /// Changes the queue, told the time at which it does.
    async fn write<T: Send + 'static>(
        &self,
        bytes: u64,
        wakes: Wakes,
        work: impl FnOnce(&Connection, &str, Time) -> QueueResult<T> + Send + 'static,
    ) -> QueueResult<T> {
        let (name, clock, changed) = (self.name.clone(), self.file.clock.clone(), self.changed.clone());
        let work = move |file: &Connection| work(file, &name, clock.now());
        let done = move || match wakes {
            Wakes::Receivers => changed.notify_waiters(),
            Wakes::Nobody => {}
        };
        self.file.writer.write(bytes, work, done).await
    }

    async fn look(&self) -> QueueResult<QueueState> {
        let (name, now) = (self.name.clone(), self.file.clock.now());
        let monotonic = self.file.clock.monotonic().as_millis() as u64 + 1;
        let examined = self.examined.load(Ordering::Relaxed);
        let examine = examined == 0 || monotonic - examined >= limits::ms(limits::SQLITE_EXAMINE);
        let look = self.file.readers.read(move |file| look(file, &name, now, examine)).await?;
        if examine {
            self.examined.store(monotonic, Ordering::Relaxed);
        }
        Ok(look)
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    async fn send(&self, messages: Vec<Outgoing>) -> QueueResult<EntryAnswers> {
        check_batch(messages.len())?;
        let answers: Vec<QueueResult<()>> = messages.iter().map(Outgoing::check).collect();
        let sound: Vec<Outgoing> = messages
            .into_iter()
            .zip(&answers)
            .filter(|(_, answer)| answer.is_ok())
            .map(|(message, _)| message)
            .collect();
        let bytes = sound.iter().map(|message| message.body.len() as u64).sum();
        let send = move |file: &Connection, queue: &str, now: Time| {
            let mut insert = file.prepare_cached(
                "INSERT INTO messages (queue, visible_at, hidden_ms, sent_at, note, body, grp)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            for Outgoing { body, delay, metadata, group } in &sound {
                let delay = delay.as_millis() as u64;
                let visible_at = now.plus_ms(delay).0 as i64;
                let (delay, sent_at, group) =
                    (delay as i64, now.0 as i64, group.as_deref().unwrap_or_default());
                insert.execute(params![queue, visible_at, delay, sent_at, metadata, body, group])?;
            }
            Ok(())
        };
        self.write(bytes, Wakes::Receivers, send).await?;
        Ok(answers)
    }

    async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> QueueResult<Vec<Received>> {
        check_batch(max)?;
        let clock = &self.file.clock;
        let until = clock.monotonic() + wait;
        // Of what other processes send, this one learns only when it looks again.
        let mut pause = limits::SQLITE_LOOK_MIN;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let found = self.look().await?;
            if found.stuck {
                self.write(0, Wakes::Receivers, unstick).await?;
            }
            if found.visible || found.stuck {
                let preferred = self.preferred.get().cloned();
                let take = move |file: &Connection, queue: &str, now| {
                    take(file, queue, max, now, visibility, preferred.as_deref())
                };
                let taken = self.write(0, Wakes::Nobody, take).await?;
                if !taken.is_empty() {
                    return Ok(taken);
                }
            }
            let left = until.saturating_sub(clock.monotonic());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            // Not less than a millisecond, the precision of `visible_at`.
            let next = found.next_visible.map(|at| Duration::from_millis(at.since_ms(clock.now()).max(1)));
            let sleep = clock.sleep(next.unwrap_or(left).min(left).min(pause));
            tokio::select! {
                biased;
                () = changed => pause = limits::SQLITE_LOOK_MIN,
                () = sleep => pause = (pause + pause / 4).min(limits::SQLITE_LOOK_MAX),
            }
        }
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> QueueResult<()> {
        let (id, delivery) = parse(receipt)?;
        let visibility = visibility.as_millis() as u64;
        let extend = move |file: &Connection, queue: &str, now: Time| {
            let mut update = file.prepare_cached(
                "UPDATE messages SET visible_at = ?4, hidden_ms = ?5
                 WHERE id = ?1 AND queue = ?2 AND delivery = ?3",
            )?;
            let visible_at = now.plus_ms(visibility).0 as i64;
            match update.execute(params![id, queue, delivery, visible_at, visibility as i64])? {
                0 => Err(QueueError::Gone),
                _ => Ok(()),
            }
        };
        self.write(0, Wakes::Receivers, extend).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> QueueResult<EntryAnswers> {
        check_batch(receipts.len())?;
        let receipts = receipts.to_vec();
        let delete = move |file: &Connection, queue: &str, _now| {
            let mut answers = Vec::with_capacity(receipts.len());
            for receipt in &receipts {
                answers.push(match parse(receipt) {
                    Ok((id, delivery)) => delete(file, queue, id, delivery)?,
                    Err(error) => Err(error),
                });
            }
            Ok(answers)
        };
        self.write(0, Wakes::Nobody, delete).await
    }

    async fn depth(&self) -> QueueResult<Depth> {
        let (name, now) = (self.name.clone(), self.file.clock.now());
        let count = move |file: &Connection| {
            let mut visible =
                file.prepare_cached("SELECT count(*) FROM messages WHERE queue = ?1 AND visible_at <= ?2")?;
            let mut hidden = file.prepare_cached(
                "SELECT count(*), coalesce(sum(delivery = 0), 0) FROM messages
                 WHERE queue = ?1 AND visible_at > ?2",
            )?;
            let now = now.0 as i64;
            let visible: i64 = visible.query_row(params![name, now], |row| row.get(0))?;
            let pair = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let (hidden, delayed): (i64, i64) = hidden.query_row(params![name, now], pair)?;
            let [visible, in_flight, delayed] =
                [visible, hidden - delayed, delayed].map(|count| count as u64);
            Ok(Depth { visible, in_flight, delayed })
        };
        self.file.readers.read(count).await
    }

    fn prefer(&self, group: &str) {
        let _ = self.preferred.set(group.to_owned());
    }
}

/// A receipt names a message and a delivery, so that one of an earlier delivery is told from the holder's.
fn receipt(id: i64, delivery: u32) -> Receipt {
    Receipt(format!("{id}.{delivery}"))
}

fn parse(text: &Receipt) -> QueueResult<(i64, u32)> {
    let parts =
        text.0.split_once('.').and_then(|(id, delivery)| Some((id.parse().ok()?, delivery.parse().ok()?)));
    parts
        .filter(|(id, delivery)| receipt(*id, *delivery) == *text)
        .ok_or_else(|| QueueError::Refused(format!("`{}` is not a receipt", text.0)))
}

fn look(file: &Connection, queue: &str, now: Time, examine: bool) -> QueueResult<QueueState> {
    let now = now.0 as i64;
    let mut first =
        file.prepare_cached("SELECT visible_at FROM messages WHERE queue = ?1 ORDER BY visible_at LIMIT 1")?;
    let first: Option<i64> = first.query_row([queue], |row| row.get(0)).optional()?;
    let stuck = examine
        && {
            let mut stuck = file.prepare_cached(
            "SELECT 1 FROM messages WHERE queue = ?1 AND visible_at > ?2 AND visible_at > ?2 + hidden_ms LIMIT 1",
        )?;
            stuck.exists(params![queue, now])?
        };
    Ok(QueueState {
        visible: first.is_some_and(|first| first <= now),
        stuck,
        next_visible: first.map(|first| Time(first as u64)),
    })
}

/// Hides again, from now on, what the clock's step back would hide for longer than it was to be.
fn unstick(file: &Connection, queue: &str, now: Time) -> QueueResult<()> {
    let mut update = file.prepare_cached(
        "UPDATE messages SET visible_at = ?2 + hidden_ms
         WHERE queue = ?1 AND visible_at > ?2 AND visible_at > ?2 + hidden_ms",
    )?;
    update.execute(params![queue, now.0 as i64])?;
    Ok(())
}

fn take(
    file: &Connection,
    queue: &str,
    max: usize,
    now: Time,
    visibility: Duration,
    preferred: Option<&str>,
) -> QueueResult<Vec<Received>> {
    let until = now.plus_ms(visibility.as_millis() as u64).0 as i64;
    let mut messages = Vec::with_capacity(max);
    for group in next_groups(file, queue, max, now, preferred)? {
        let Some(message) = take_first(file, queue, &group, now, until)? else { break };
        messages.push(message);
    }
    Ok(messages)
}

struct Group {
    name: String,
    in_flight: i64,
    /// No more than are asked for.
    visible: i64,
    /// When its oldest message became visible.
    oldest: i64,
}

/// The groups of the next messages, one for each: the one with the fewest messages in flight first, the oldest among equals.
fn next_groups(
    file: &Connection,
    queue: &str,
    max: usize,
    now: Time,
    preferred: Option<&str>,
) -> QueueResult<Vec<String>> {
    // Steps from group to group in the index: a queue has few groups and may have many messages.
    let mut groups = file.prepare_cached(
        "WITH RECURSIVE groups (grp) AS (
             SELECT min(grp) FROM messages WHERE queue = ?1
             UNION ALL
             SELECT (SELECT min(grp) FROM messages WHERE queue = ?1 AND grp > groups.grp)
             FROM groups WHERE groups.grp IS NOT NULL
         )
         SELECT grp,
             (SELECT count(*) FROM messages
              WHERE queue = ?1 AND grp = groups.grp AND delivery > 0 AND visible_at > ?2),
             (SELECT count(*) FROM (SELECT 1 FROM messages
              WHERE queue = ?1 AND grp = groups.grp AND visible_at <= ?2 LIMIT ?3)),
             (SELECT min(visible_at) FROM messages WHERE queue = ?1 AND grp = groups.grp)
         FROM groups WHERE grp IS NOT NULL",
    )?;
    let row = |row: &Row<'_>| {
        let (name, in_flight, visible, oldest) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(Group { name, in_flight, visible, oldest })
    };
    let rows = groups.query_map(params![queue, now.0 as i64, max as i64], row)?;
    let mut waiting: Vec<Group> = rows.collect::<rusqlite::Result<_>>()?;
    let mut next = Vec::with_capacity(max);
    while next.len() < max {
        let visible = waiting.iter_mut().filter(|group| group.visible > 0);
        let order = |group: &&mut Group| (Some(&*group.name) != preferred, group.in_flight, group.oldest);
        let Some(group) = visible.min_by_key(order) else { break };
        next.push(group.name.clone());
        group.in_flight += 1;
        group.visible -= 1;
    }
    Ok(next)
}

fn take_first(
    file: &Connection,
    queue: &str,
    group: &str,
    now: Time,
    until: i64,
) -> QueueResult<Option<Received>> {
    let mut update = file.prepare_cached(
        "UPDATE messages SET visible_at = ?3, hidden_ms = ?3 - ?2, delivery = delivery + 1
         WHERE id = (
             SELECT id FROM messages WHERE queue = ?1 AND grp = ?4 AND visible_at <= ?2
             ORDER BY visible_at, hidden_ms, id LIMIT 1
         )
         RETURNING id, delivery, body, note, sent_at",
    )?;
    let message = |row: &Row<'_>| {
        let (id, delivery) = (row.get(0)?, row.get(1)?);
        Ok(Received {
            id: i64::to_string(&id),
            receipt: receipt(id, delivery),
            body: row.get(2)?,
            metadata: row.get(3)?,
            delivery,
            sent_at: Time(row.get::<_, i64>(4)? as u64),
        })
    };
    Ok(update.query_row(params![queue, now.0 as i64, until, group], message).optional()?)
}

fn delete(file: &Connection, queue: &str, id: i64, delivery: u32) -> rusqlite::Result<QueueResult<()>> {
    let mut delete =
        file.prepare_cached("DELETE FROM messages WHERE id = ?1 AND queue = ?2 AND delivery = ?3")?;
    if delete.execute(params![id, queue, delivery])? == 1 {
        return Ok(Ok(()));
    }
    let mut held = file.prepare_cached("SELECT 1 FROM messages WHERE id = ?1 AND queue = ?2")?;
    Ok(if held.exists(params![id, queue])? { Err(QueueError::Gone) } else { Ok(()) })
}
