//! Stores the log of an attempt that is not the call's outcome, with how the attempt ended as the object's metadata. It is
//! for people and no decision rests on it. So it is written once without retries, and a call that succeeds costs no
//! request.

use bytes::Bytes;

use super::Shared;
use super::phase::Phase;
use crate::error::Error;
use crate::event::Event;
use crate::layout::{Key, metadata};
use crate::limits;
use crate::model::{AppName, AttemptFacts, AttemptId, CallId, Digest, State, Time};
use crate::seam::StoreError;
use crate::seam::store::PutObject;

/// How it ended.
#[derive(Debug)]
pub struct FailedAttempt {
    pub status: State,
    pub reason: String,
    pub started_at: Option<Time>,
    pub run_ms: u64,
    pub log: Bytes,
}

/// What comes after it.
#[derive(Debug, Clone, Copy)]
pub struct Following {
    /// Attempts that have ended without a success until now.
    pub failures: u32,
    /// When the next attempt begins.
    pub retry_at: Option<Time>,
}

pub async fn keep(
    shared: &Shared,
    app: &AppName,
    call: CallId,
    attempt: AttemptId,
    failed: FailedAttempt,
    following: Following,
) {
    let write = async {
        let facts = AttemptFacts {
            status: failed.status,
            reason: clip(&failed.reason),
            failures: following.failures,
            started_at: failed.started_at,
            ended_at: shared.deps.now(),
            run_ms: failed.run_ms,
            retry_at: following.retry_at,
            sha256: Digest::of(&failed.log),
            worker: shared.config.name.clone(),
        };
        let key = Key::Log(app.clone(), call, attempt);
        let object = PutObject::create(failed.log).content_type(LOG_TYPE).metadata(metadata::encode(&facts)?);
        match shared.deps.store.put(&key, object).await {
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
        shared.emit(Event::RequestFailed { what, why: error.to_string() });
    }
}

pub const LOG_TYPE: &str = "text/plain; charset=utf-8";

/// As much of a reason as fits metadata, in which a character takes up to twelve bytes.
fn clip(reason: &str) -> String {
    let mut bytes = 0;
    let fits = |c: &char| {
        bytes += if (' '..='~').contains(c) { 2 } else { 12 };
        bytes <= limits::METADATA_REASON_BYTES_MAX
    };
    reason.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeliveryId, MessageId};

    #[test]
    fn whatever_a_function_says_fits_metadata() {
        for reason in ["\u{1f980}".repeat(1_000), "\"".repeat(5_000), "\u{1}".repeat(1_000)] {
            let facts = AttemptFacts {
                status: State::Timeout,
                reason: clip(&reason),
                failures: limits::ATTEMPTS_ENDED_MAX,
                started_at: Some(Time(u64::from(u32::MAX) * 1_000)),
                ended_at: Time(u64::from(u32::MAX) * 1_000),
                run_ms: limits::SIZE_MAX,
                retry_at: Some(Time(u64::from(u32::MAX) * 1_000)),
                sha256: Digest::of(b""),
                worker: "w".repeat(64),
            };
            let id = AttemptId {
                delivery: DeliveryId { message: MessageId::new(Time(0), 1), delivery: 1 },
                attempt: 1,
            };
            let read: AttemptFacts =
                metadata::decode(id.to_string(), &metadata::encode(&facts).unwrap()).unwrap();
            assert_eq!(read, facts);
        }
    }
}
