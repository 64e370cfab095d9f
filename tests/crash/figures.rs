//! What tests of chance are told and tell: seeds and sizes from the environment, figures on stderr, past the capture of
//! the harness.

use std::io::Write as _;

use afn::seam::RngExt as _;
use afn::seam::rng::{SeededRng, SystemRng};

pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

/// Seeded anew in each run, or as the environment says; printed either way.
pub fn dice(variable: &str) -> SeededRng {
    let seed = number(variable).unwrap_or_else(|| SystemRng.u64());
    tell(&format!("{variable}={seed}"));
    SeededRng::new(seed)
}

pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
