//! How calls are shown.

use std::fmt::Write as _;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::{Stored, Time};
use crate::results::CallView;
use crate::results::attempts::{self, Attempt};
use crate::seam::Seams;

/// The block that Fn prints for a call; a time that has not come yet is a dash. Scripts read it: keep it stable.
pub fn block(call: &CallView) -> String {
    let mut block = format!(
        "ID: {}\nApp: {}\nRoute: {}\nCreated At: {}\nStarted At: {}\nCompleted At: {}\nStatus: {}\n\n",
        call.id,
        call.app,
        call.route,
        call.created_at,
        or_dash(call.started_at),
        or_dash(call.completed_at),
        call.state
    );
    if let Some(reason) = &call.reason {
        let _ = write!(block, "Error reason: {reason}\n\n");
    }
    block
}

/// A call with the attempts at it that failed, as JSON.
pub async fn record(seams: &Seams, call: &CallView) -> Result<Value> {
    let encode = |error| Error::internal(format!("encode the answer: {error}"));
    let mut record = serde_json::to_value(call).map_err(encode)?;
    let failed = attempts::earlier(seams, call).await?;
    record["failed_attempts"] = serde_json::to_value(failed).map_err(encode)?;
    Ok(record)
}

/// Everything that is known of a call, a line each; what is not known yet is left out.
pub fn detailed(call: &CallView, why: Option<&str>, failed: &[Attempt]) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "{:<14}{value}", format!("{name}:"));
        }
    };
    let stored = |stored: &Stored| match &stored.content_type {
        Some(content_type) => format!("{}, {content_type}", bytes(stored.bytes)),
        None => bytes(stored.bytes),
    };
    line("ID", Some(call.id.to_string()));
    line("App", Some(call.app.to_string()));
    line("Function", Some(format!("{} ({}, version {})", call.function, call.route, call.version)));
    line("Status", Some(call.state.to_string()));
    line("Why", call.reason.clone().or(why.map(str::to_owned)));
    line("Attempts", (call.attempts > 0).then(|| call.attempts.to_string()));
    for attempt in failed {
        let said = format!("{}, log {}", attempt.reason, bytes(attempt.log.bytes));
        line(&format!("Attempt {}", attempt.number), Some(format!("{}: {said}", attempt.status)));
    }
    line("Worker", call.worker.clone());
    line("Created At", Some(call.created_at.to_string()));
    line("Not Before", call.not_before.map(|time| time.to_string()));
    line("Started At", call.started_at.map(|time| time.to_string()));
    line("Completed At", call.completed_at.map(|time| time.to_string()));
    line("Ran For", call.completed_at.and(call.run_ms).map(millis));
    line("Payload", call.payload_bytes.map(bytes));
    line("Result", call.result.as_ref().map(stored));
    line("Log", call.log.as_ref().map(stored));
    text
}

fn or_dash(time: Option<Time>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}

/// `412 B`, `1.5 KiB`, `6.0 MiB`
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `12 ms`, `3.4 s`, `2m 5s`
pub fn millis(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => humantime::format_duration(std::time::Duration::from_secs(ms / 1000)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_well() {
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1536), bytes(6 << 20)],
            ["0 B", "1023 B", "1.5 KiB", "6.0 MiB"]
        );
        assert_eq!(
            [millis(0), millis(999), millis(3_400), millis(125_000)],
            ["0 ms", "999 ms", "3.4 s", "2m 5s"]
        );
    }
}
