//! Sources and functions that several tests use.

/// Answers with its line.
pub const ECHO: &str = "cat";

/// `line 1`, `line 2`, …
pub fn lines(count: u64) -> String {
    (1..=count).map(|line| format!("line {line}\n")).collect()
}

/// What [`ECHO`] makes of it.
pub fn line(number: u64) -> String {
    format!("line {number}")
}

/// Values as JSON Lines of which only every so manieth can be run: a long source that costs few processes. The others
/// are records too, each with its outcome.
pub fn mostly_bad(count: u64, good_every: u64) -> String {
    let line =
        |n: u64| if n.is_multiple_of(good_every) { format!("{{\"n\":{n}}}\n") } else { format!("bad {n}\n") };
    (1..=count).map(line).collect()
}

/// A number that differs from run to run, below `limit`; printed, so that a failure tells what it was.
pub fn random(what: &str, limit: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    let number = u64::from_le_bytes(bytes) % limit;
    println!("{what}: {number}");
    number
}
