//! Bugs that are planted on purpose, each in place of the one expression that prevents it, to show that the simulator finds
//! them. They exist only with the feature `planted`.

/// `planted!(right, Bug => wrong)` is `right`. With the feature it is `wrong` on a thread where that bug is planted.
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ((), $bug:ident => $wrong:expr) => {};
    ($right:expr, $bug:ident => $wrong:expr) => {
        $right
    };
}
#[cfg(feature = "planted")]
macro_rules! planted {
    ($right:expr, $bug:ident => $wrong:expr) => {
        match $crate::planted::is($crate::planted::Bug::$bug) {
            true => $wrong,
            false => $right,
        }
    };
}
pub(crate) use planted;

#[cfg(feature = "planted")]
mod seeds {
    use std::cell::Cell;

    macro_rules! bugs {
        ($($hole:literal $name:literal $(#[$doc:meta])* $bug:ident,)*) => {
            /// Each with the hole of ARCHITECTURE.md that its rule closes, or the invariant that it breaks.
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub enum Bug {
                $($(#[$doc])* $bug,)*
            }

            impl Bug {
                pub const ALL: &[Bug] = &[$(Bug::$bug,)*];

                pub fn hole(self) -> &'static str {
                    match self {
                        $(Bug::$bug => $hole,)*
                    }
                }

                pub fn name(self) -> &'static str {
                    match self {
                        $(Bug::$bug => $name,)*
                    }
                }
            }
        };
    }

    bugs! {
        "H1" "forget decided set"
        /// A writer drops only what the part in hand decides, not what it passed.
        ForgetsDecidedSet,
        "H2" "writer identity"
        /// A part with one's own name is taken for one's own write.
        WriterIdentity,
        "H11" "log per range"
        /// The log belongs to the range, not to the chunk.
        LogPerRange,
        "H3" "re-chunk"
        /// A resume cuts by numbers of its own.
        RechunksOnResume,
        "H5" "duplicate of own deleted"
        /// A message that is held and comes again is deleted as a duplicate.
        DeletesOwnDuplicate,
        "H4" "receive count condemns"
        /// How often a message came is how often its worker died.
        ReceiveCountCondemns,
        "H12" "ambiguous split believed"
        /// A half, or what is handed over, is given up though its send was not acknowledged.
        AmbiguousSplitBelieved,
        "H9" "resume skips half-decided"
        /// A resume sends nothing for a chunk of which some is decided.
        ResumeSkipsHalfDecided,
        "H8" "fire by summary writer"
        /// Only who wrote the summary follows up.
        FiredBySummaryWriter,
        "H8" "fire by everyone"
        /// Everybody who sees the summary follows up, with a call of its own.
        FiredByEveryone,
        "H8" "summary before seal"
        /// The summary does not wait for the seal.
        SummaryBeforeSeal,
        "H9" "no resume"
        /// A resume sends nothing for what is stored.
        NoResume,
        "H6" "status/result split"
        /// The outcome is visible before what it names.
        StatusAndResultSplit,
        "H7" "key hit returns id"
        /// An idempotency key that is known returns its call, whatever became of it.
        KeyHitReturnsId,
        "H14" "lifecycle without tombstone"
        /// Objects are deleted each by its own age, tombstones too.
        LifecycleWithoutTombstone,
        "H14" "status before the rest"
        /// Of a call `status` is deleted before the rest.
        StatusBeforeTheRest,
        "N12" "tombstones early"
        /// What says that a batch was over goes as soon as its content.
        TombstonesEarly,
        "N1" "supervisor hops"
        /// A supervisor gives its message back after every look.
        SupervisorHops,
        "N4" "seal at a prefix"
        /// A batch is sealed before the first gap of what is stored.
        SealsPrefix,
        "N5" "resume without supervisor"
        /// A resume sends no message for the supervisor.
        ResumeWithoutSupervisor,
        "N6" "re-send while the queue is long"
        /// What waits on a long queue is sent again at every look, as if for the first time.
        ResendsWhileQueueIsLong,
        "N7" "group marks condemn"
        /// Marks of calls that ran among others count as those of the only suspect.
        GroupMarksCondemn,
        "N8" "attempt key without message"
        /// An attempt is named by delivery and try, without its message, and a body that stands there is taken for its own.
        AttemptKeyWithoutMessage,
        "N9" "marks of other messages"
        /// Marks count that other messages to the same call have left.
        MarksOfOtherMessages,
        "1" "outcome overwritten"
        /// Whoever comes second overwrites the outcome.
        OutcomeOverwritten,
        "4" "deleted before recorded"
        /// The message goes before the outcome is recorded.
        DeletedBeforeRecorded,
        "3" "append without catching up"
        /// A writer that finds its position taken goes one further, and does not look.
        AppendedWithoutCatchingUp,
        "4" "resume trusts the listing"
        /// A resume takes everything below the last chunk listed as stored.
        ResumeTrustsListing,
        "pending" "a redelivered message runs a pending call"
        /// Any message runs a call that waits for its retry.
        PendingRunsFromAnyMessage,
        "pending" "pending over decided"
        /// A decided call becomes pending again.
        PendingOverDecided,
        "pending" "delete before pending is recorded"
        /// A range forgets the calls that wait for a retry.
        PendingNotRecorded,
        "history" "history reset"
        /// What is handed over forgets its failures.
        HistoryReset,
        "mismatch" "a mismatch adds an attempt"
        /// An execution that met a mismatch counts as a failed attempt.
        MismatchAddsAttempt,
        "mismatch" "a mismatch decides"
        /// A worker that does not suit records an error.
        MismatchDecides,
        "history" "busy counts as a failure"
        /// A function that asks to be tried again has failed.
        BusyIsFailure,
        "losses" "losses forgotten"
        /// What is sent anew forgets the names of loss marks.
        LossesForgotten,
        "sole" "two sole units on a worker"
        /// Suspects run beside each other.
        TwoSuspectsAtOnce,
        "H13" "hand-over forgets what ran"
        /// A range that is handed over is what had not begun.
        HandOverForgetsRunning,
        "starts" "one worker's failed starts stop a batch"
        /// What other workers have started does not count.
        StartedElsewhereIgnored,
        "4" "idle supervisor vanishes"
        /// The supervisor of an idle batch ends without sending its message anew.
        IdleSupervisorVanishes,
        "4" "another store's message deleted"
        /// A message of another store is taken for one of this store, which knows nothing of it.
        ForeignMessageDeleted,
        "limits" "share ignored"
        /// Calls of a batch with limits begin whatever this worker's share is.
        ShareIgnored,
        "limits" "refused share believed"
        /// A share counts though another worker's write was first.
        RefusedShareBelieved,
        "limits" "lapsed share used"
        /// A worker goes on with a share that it could not renew.
        LapsedShareUsed,
        "limits" "share kept where nothing runs"
        /// A worker for which a batch does not suit takes part in its limits again at once.
        UnsuitedKeepsShare,
        "window" "sent before it is reserved"
        /// A supervisor sends chunks and writes down nothing beforehand.
        SendsBeforeReserving,
        "window" "reserved taken for sent"
        /// What a lost supervisor might have sent is on the queue.
        ReservedTakenForSent,
        "window" "uncertain taken for unsent"
        /// What a lost supervisor might have sent is not on the queue.
        UncertainTakenForUnsent,
        "window" "superseded sends on"
        /// A supervisor goes on sending though another one has written the next entry.
        SupersededSendsOn,
        "window" "ambiguous send believed"
        /// A chunk is on the queue though its send was not acknowledged.
        AmbiguousSendBelieved,
        "window" "missing chunk passed"
        /// A chunk that is stored after the one behind it is passed.
        MissingChunkPassed,
    }

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug, or none, for whatever runs on this thread from now on.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}
#[cfg(feature = "planted")]
mod substitutes;
#[cfg(feature = "planted")]
pub use seeds::{Bug, is, plant};
#[cfg(feature = "planted")]
pub(crate) use substitutes::*;
