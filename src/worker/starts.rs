//! Whether the function of a batch can be started on this worker. While no start has succeeded, the worker counts those that
//! failed and reports some of the counts. After ten for one reason it takes no calls of the batch for a while: the supervisor
//! stops the batch if no other worker can start the function either (`fail_fast`). If another can, this worker takes no more
//! calls of the version.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::limits;
use crate::model::{AppName, BatchId, FunctionName, VersionId, fold_digits};

/// Past this many batches or versions all are forgotten.
const KEPT_MAX: usize = 1_000;

/// Names a version in all apps.
pub type VersionName = (AppName, FunctionName, VersionId);

#[derive(Debug, Default)]
pub struct Starts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    batches: BTreeMap<BatchId, Trial>,
    /// Versions that start elsewhere and not here: until when they are refused, and why.
    refused: BTreeMap<VersionName, (Duration, String)>,
}

/// What is known of the starts of a batch's function here.
#[derive(Debug)]
enum Trial {
    /// So many have failed, all for this reason, and none has succeeded.
    Failing { count: u32, reason: String, pause: Option<Pause> },
    /// The version is refused until then, and why. So many executions had ended everywhere when that began.
    Refused { until: Duration, executions: u64, why: String },
    /// One has succeeded, they failed for several reasons, or the pause is over.
    Over,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    since: Duration,
    looked_at: Duration,
}

/// What is to become of a message of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    Open,
    Paused,
    /// It is time to look whether another worker has started the function.
    Look,
}

impl Starts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// A call of the batch was started.
    pub fn succeeded(&self, batch: BatchId) {
        let mut state = self.state();
        make_room(&mut state.batches, &batch);
        state.batches.insert(batch, Trial::Over);
    }

    /// A call of the batch could not be started. Returns the number of failed starts to report, if any.
    pub fn failed(&self, batch: BatchId, why: &str, now: Duration) -> Option<u32> {
        let mut state = self.state();
        make_room(&mut state.batches, &batch);
        let folded = fold_digits(why);
        let none = || Trial::Failing { count: 0, reason: folded.clone(), pause: None };
        let trial = state.batches.entry(batch).or_insert_with(none);
        let Trial::Failing { count, reason, pause } = trial else { return None };
        if *reason != folded {
            // Told once more, so that the supervisor knows of both reasons.
            *trial = Trial::Over;
            return Some(1);
        }
        *count += 1;
        if *count == limits::FAILED_STARTS_MAX {
            *pause = Some(Pause { since: now, looked_at: now });
        }
        limits::FAILED_STARTS_TOLD.contains(count).then_some(*count)
    }

    /// Whether the worker takes calls of the batch.
    pub fn intake(&self, batch: BatchId, now: Duration) -> Intake {
        let state = self.state();
        let pause = match state.batches.get(&batch) {
            Some(Trial::Refused { until, .. }) if now < *until => return Intake::Paused,
            Some(Trial::Refused { .. }) => return Intake::Look,
            Some(Trial::Failing { pause: Some(pause), .. }) => pause,
            _ => return Intake::Open,
        };
        let is_over = now.saturating_sub(pause.since) >= limits::STARTS_PAUSE;
        match is_over || now.saturating_sub(pause.looked_at) >= limits::STARTS_LOOK {
            true => Intake::Look,
            false => Intake::Paused,
        }
    }

    /// The function starts on other workers, where so many executions have ended, and not here. Calls of the version are refused
    /// for `time`. Returns why; `None` if the trial is over, or if the others have done nothing since it was refused.
    pub fn refuse(
        &self,
        batch: BatchId,
        version: VersionName,
        executions: u64,
        time: Duration,
        now: Duration,
    ) -> Option<String> {
        let mut state = self.state();
        let why = match state.batches.get(&batch)? {
            Trial::Failing { count, reason, .. } => format!(
                "its function could not be started on this worker {count} times, and starts on others: {reason}"
            ),
            Trial::Refused { executions: before, why, .. } if executions > *before => why.clone(),
            Trial::Refused { .. } | Trial::Over => return None,
        };
        let until = now + time;
        state.batches.insert(batch, Trial::Refused { until, executions, why: why.clone() });
        make_room(&mut state.refused, &version);
        state.refused.insert(version, (until, why.clone()));
        Some(why)
    }

    /// No other worker has started the function so far, or none has gone on with it.
    pub fn looked_in_vain(&self, batch: BatchId, now: Duration) {
        let mut state = self.state();
        let Some(trial) = state.batches.get_mut(&batch) else { return };
        match trial {
            Trial::Failing { pause: Some(pause), .. } => {
                pause.looked_at = now;
                if now.saturating_sub(pause.since) >= limits::STARTS_PAUSE {
                    *trial = Trial::Over;
                }
            }
            Trial::Refused { until, .. } if *until <= now => *trial = Trial::Over,
            Trial::Failing { .. } | Trial::Refused { .. } | Trial::Over => {}
        }
    }

    /// Why calls of this version are not for this worker.
    pub fn refusal(&self, version: &VersionName, now: Duration) -> Option<String> {
        let mut state = self.state();
        if state.refused.is_empty() {
            return None;
        }
        state.refused.retain(|_, (until, _)| *until > now);
        state.refused.get(version).map(|(_, why)| why.clone())
    }
}

fn make_room<K: Ord, V>(known: &mut BTreeMap<K, V>, key: &K) {
    if known.len() >= KEPT_MAX && !known.contains_key(key) {
        known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Time;

    const S: Duration = Duration::from_secs(1);

    fn batch() -> BatchId {
        BatchId::new(Time(1_700_000_000_000), 7)
    }

    fn version() -> VersionName {
        let name = |text: &str| text.parse().expect("a name");
        (name("app"), "f".parse().expect("a name"), "0.0.1-000000000000".parse().expect("a version"))
    }

    #[test]
    fn ten_failed_starts_for_one_reason_pause_a_batch() {
        let starts = Starts::default();
        let told: Vec<Option<u32>> =
            (0..10).map(|n| starts.failed(batch(), &format!("no pull {n}"), S)).collect();
        let told: Vec<u32> = told.into_iter().flatten().collect();
        assert_eq!(told, limits::FAILED_STARTS_TOLD);
        assert_eq!(starts.intake(batch(), 2 * S), Intake::Paused);
        assert_eq!(starts.intake(batch(), 12 * S), Intake::Look);
        starts.looked_in_vain(batch(), 12 * S);
        assert_eq!(starts.intake(batch(), 13 * S), Intake::Paused);
        // Nobody has started it and nobody has stopped the batch: it goes on.
        starts.looked_in_vain(batch(), 50 * S);
        assert_eq!(starts.intake(batch(), 50 * S), Intake::Open);
        assert_eq!(starts.failed(batch(), "no pull 1", 50 * S), None);
    }

    #[test]
    fn a_version_that_starts_elsewhere_is_refused_while_others_go_on() {
        let (starts, minute) = (Starts::default(), 60 * S);
        for _ in 0..3 {
            starts.failed(batch(), "no pull", S);
        }
        let why = starts.refuse(batch(), version(), 7, minute, S);
        assert!(why.is_some());
        assert_eq!(
            (starts.refusal(&version(), 2 * S), starts.intake(batch(), 2 * S)),
            (why.clone(), Intake::Paused)
        );
        let later = 2 * minute;
        assert_eq!((starts.refusal(&version(), later), starts.intake(batch(), later)), (None, Intake::Look));
        assert_eq!(starts.refuse(batch(), version(), 8, minute, later), why);
        assert_eq!(starts.intake(batch(), later), Intake::Paused);
        // Nobody has gone on: perhaps nobody else is left.
        let last = later + minute;
        assert_eq!(starts.refuse(batch(), version(), 8, minute, last), None);
        starts.looked_in_vain(batch(), last);
        assert_eq!(
            (starts.intake(batch(), last), starts.failed(batch(), "no pull", last)),
            (Intake::Open, None)
        );
    }

    #[test]
    fn a_start_that_succeeds_or_another_reason_ends_the_trial() {
        let starts = Starts::default();
        assert_eq!(starts.failed(batch(), "no pull", S), Some(1));
        starts.succeeded(batch());
        assert!((0..20).all(|_| starts.failed(batch(), "no pull", S).is_none()));
        assert_eq!(starts.intake(batch(), S), Intake::Open);

        let starts = Starts::default();
        assert_eq!(starts.failed(batch(), "no pull", S), Some(1));
        assert_eq!(starts.failed(batch(), "no such file", S), Some(1));
        assert!((0..20).all(|_| starts.failed(batch(), "no pull", S).is_none()));
    }
}
