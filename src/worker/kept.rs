//! What an attempt leaves that is not its call's outcome: what it said, and as that object's note how it ended. Nothing
//! rests on it, it is for people; so it is tried once, and costs nothing where calls succeed.

use bytes::Bytes;

use super::Shared;
use super::phase::Phase;
use crate::error::Error;
use crate::event::Event;
use crate::layout::{Key, note};
use crate::limits;
use crate::model::{AppName, AttemptFacts, AttemptId, CallId, Digest, State, Time};
use crate::seam::StoreError;
use crate::seam::store::PutObject;

/// How it ended.
#[derive(Debug)]
pub struct Ending {
    pub status: State,
    pub reason: String,
    pub started_at: Option<Time>,
    pub run_ms: u64,
    pub log: Bytes,
}

/// What comes after it.
#[derive(Debug, Clone, Copy)]
pub struct Next {
    /// Failures of the call until now.
    pub failures: u32,
    /// When the next attempt begins.
    pub retry_at: Option<Time>,
}

pub async fn keep(
    shared: &Shared,
    app: &AppName,
    call: CallId,
    attempt: AttemptId,
    ending: Ending,
    next: Next,
) {
    let write = async {
        let facts = AttemptFacts {
            v: 1,
            status: ending.status,
            reason: clip(&ending.reason),
            failures: next.failures,
            started_at: ending.started_at,
            ended_at: shared.seams.now(),
            run_ms: ending.run_ms,
            retry_at: next.retry_at,
            sha256: Digest::of(&ending.log),
            worker: shared.config.name.clone(),
        };
        let key = Key::Log(app.clone(), call, attempt).to_string();
        let object = PutObject::create(ending.log).content_type(LOG_TYPE).note(note::encode(&facts)?);
        match shared.seams.store.put(&key, object).await {
            Ok(_) | Err(StoreError::Exists) => Ok::<(), Error>(()),
            Err(error) => Err(error.into()),
        }
    };
    let kept = tokio::select! {
        biased;
        () = shared.phases.reached(Phase::HandBack) => Ok(()),
        kept = write => kept,
    };
    if let Err(error) = kept {
        let what = format!("keep the log of attempt {attempt} at call {call}");
        shared.say(Event::RequestFailed { what, why: error.to_string() });
    }
}

pub const LOG_TYPE: &str = "text/plain; charset=utf-8";

/// As much of a reason as fits a note, in which a character takes up to twelve bytes.
fn clip(reason: &str) -> String {
    let mut bytes = 0;
    let fits = |c: &char| {
        bytes += if (' '..='~').contains(c) { 2 } else { 12 };
        bytes <= limits::NOTE_REASON_BYTES_MAX
    };
    reason.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeliveryId, MessageId};

    #[test]
    fn whatever_a_function_says_fits_a_note() {
        for reason in ["\u{1f980}".repeat(1_000), "\"".repeat(5_000), "\u{1}".repeat(1_000)] {
            let facts = AttemptFacts {
                v: 1,
                status: State::Timeout,
                reason: clip(&reason),
                failures: u32::MAX,
                started_at: Some(Time(u64::from(u32::MAX) * 1_000)),
                ended_at: Time(u64::from(u32::MAX) * 1_000),
                run_ms: u64::MAX,
                retry_at: Some(Time(u64::from(u32::MAX) * 1_000)),
                sha256: Digest::of(b""),
                worker: "w".repeat(64),
            };
            let id = AttemptId {
                delivery: DeliveryId { message: MessageId::new(Time(0), 1), delivery: 1 },
                attempt: 1,
            };
            let read: AttemptFacts = note::decode(&id.to_string(), &note::encode(&facts).unwrap()).unwrap();
            assert_eq!(read, facts);
        }
    }
}
