//! What may change of a batch while it runs, and how its workers share its limits. Persisted, keep stable.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::model::checked::{checked, within};
use crate::model::{BatchLimits, Nonce, Time};

/// `controls/{batch}`: what was last asked of a batch. Changed by compare-and-swap; absent until somebody asks for something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Of this version of it: tells a writer whose answer was lost that it is its own.
    pub nonce: Nonce,
    /// Nothing of the batch begins.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// In the place of those that the batch was submitted with.
    pub limits: BatchLimits,
    pub by: String,
    pub at: Time,
}

/// `shares/{batch}`: which worker may run how much of a batch with limits. Changed by compare-and-swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Shares {
    pub nonce: Nonce,
    pub shares: Vec<Share>,
}

/// What one worker has of a batch's limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// A worker's process.
    pub holder: Nonce,
    /// Its worker's name, for people.
    pub worker: String,
    /// Another one with each renewal, drawn at random: a share that was given up and claimed again is not the same. One that
    /// stands still for its term is over: nobody compares clocks.
    pub renewal: u64,
    /// Executions at once.
    pub calls: u32,
    /// Starts in an hour.
    pub per_hour: u64,
}

checked!(Shares);

impl Shares {
    fn check(&self) -> Result<(), String> {
        within("shares,", self.shares.len() as u64, 0..=limits::SHARES_MAX as u64)
    }
}
