//! Bugs that are put back on purpose, each at the rule that removes it, to show that the simulator finds them. Only with
//! the feature `planted`; without it [`planted!`] is `false`, and nothing of this is left.

#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}
/// Whether a bug is in the ground that this thread stands on.
#[cfg(feature = "planted")]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is($crate::planted::Bug::$bug)
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
        "H2" "re-rendered part"
        /// A part is rendered anew with more rows, and what stands is taken for all of them.
        RerenderedPart,
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
        "H4" "keep and halve"
        /// A range that comes back keeps its message and sends a half away; the receive count condemns what is left.
        KeepsAndHalves,
        "H4" "solo without token"
        /// A suspect waits, without a lock, until its worker holds nothing else.
        SoloWithoutToken,
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
        "N1" "supervisor hops"
        /// A supervisor gives its message back after every look.
        SupervisorHops,
        "N2" "held messages hinder suspects"
        /// A suspect that has the lock waits until its worker holds nothing else.
        HeldMessagesHinderSuspects,
        "N3" "marks of a sick worker stand"
        /// A worker that outlives a call does not void its mark.
        SickMarksStand,
        "N4" "seal at a prefix"
        /// A submitter that finds its batch cancelled seals at its own number; a supervisor seals before the first gap.
        SealsPrefix,
        "N5" "resume without supervisor"
        /// A resume sends no message for the supervisor.
        ResumeWithoutSupervisor,
        "N6" "re-send while the queue is long"
        /// What waits on a long queue is sent again at every look, as if for the first time.
        ResendsWhileQueueIsLong,
        "N7" "group marks condemn"
        /// Marks of groups count as those of calls that ran alone.
        GroupMarksCondemn,
        "N8" "attempt key without message"
        /// An attempt is named by delivery and try, without its message.
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
        "H13" "hand-over forgets what ran"
        /// A range that is handed over is what had not begun.
        HandOverForgetsRunning,
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
pub use seeds::{Bug, is, plant};
