//! How long the content of calls and batches is kept after their end. Persisted, keep stable.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::text::text_json;
use crate::error::Error;
use crate::limits::{self, ms};

/// Payloads, inputs, results, logs and rows are content. What says that a call or batch has ended stays longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    For(Duration),
    /// Content is not deleted by age.
    Never,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention::For(limits::CONTENT_KEPT)
    }
}

impl Retention {
    /// `None`: for ever.
    pub fn ms(self) -> Option<u64> {
        match self {
            Retention::For(time) => Some(ms(time)),
            Retention::Never => None,
        }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Retention::For(time) => humantime::format_duration(*time).fmt(f),
            Retention::Never => f.write_str("never"),
        }
    }
}

impl FromStr for Retention {
    type Err = Error;

    fn from_str(text: &str) -> Result<Retention, Error> {
        if text == "never" {
            return Ok(Retention::Never);
        }
        let time = humantime::parse_duration(text).map_err(|_| {
            Error::invalid(format!("`{text}` is not a retention"))
                .with_hint("a time like 30d or 12h, or `never` for content that is not deleted by age")
        })?;
        let (least, most) = (limits::CONTENT_KEPT_MIN, limits::CONTENT_KEPT_MAX);
        if !(least..=most).contains(&time) {
            let span = humantime::format_duration;
            return Err(Error::invalid(format!(
                "a retention of {text} lies outside {} to {}",
                span(least),
                span(most)
            ))
            .with_hint(
                "`never` keeps content for ever; `afn batch delete` deletes that of a batch at once",
            ));
        }
        Ok(Retention::For(time))
    }
}

text_json!(Retention);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_a_time_within_limits_or_never() {
        for (text, shown) in [("14d", "14days"), ("1h", "1h"), ("90m", "1h 30m"), ("never", "never")] {
            let retention: Retention = text.parse().unwrap();
            assert_eq!(retention.to_string(), shown);
            assert_eq!(shown.parse::<Retention>().unwrap(), retention);
        }
        for text in ["59m", "0s", "101years", "soon", ""] {
            assert!(text.parse::<Retention>().is_err(), "{text}");
        }
    }
}
