//! How much of a batch may run at once, and how fast its calls may start.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::checked::{checked, within};
use super::text::text_json;
use crate::error::Error;

/// The most that can be asked for of either limit.
const LIMIT_MAX: u64 = 1_000_000_000;

/// No limit, unless one is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct BatchLimits {
    /// Executions at once, on all workers together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_max: Option<u32>,
    /// How often executions may start, on all workers together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_max: Option<Rate>,
}

checked!(BatchLimits);

impl BatchLimits {
    fn check(&self) -> Result<(), String> {
        self.concurrency_max.map_or(Ok(()), |calls| within("concurrency_max", calls.into(), 1..=LIMIT_MAX))
    }

    pub fn is_none(&self) -> bool {
        *self == BatchLimits::default()
    }
}

impl fmt::Display for BatchLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.concurrency_max, self.rate_max) {
            (None, None) => f.write_str("no limits"),
            (Some(calls), None) => write!(f, "at most {calls} at once"),
            (None, Some(rate)) => write!(f, "at most {rate}"),
            (Some(calls), Some(rate)) => write!(f, "at most {calls} at once and {rate}"),
        }
    }
}

/// Starts in an hour. Written `20/s`, `90/m` or `500/h`, in the greatest unit that gives a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    pub per_hour: u64,
}

text_json!(Rate);

const UNITS: [(&str, u64); 3] = [("s", 3_600), ("m", 60), ("h", 1)];

impl Rate {
    /// From one start to the next.
    pub fn interval(self) -> Duration {
        Duration::from_secs(3_600) / self.per_hour.max(1) as u32
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) =
            UNITS.into_iter().find(|(_, factor)| self.per_hour.is_multiple_of(*factor)).unwrap_or(UNITS[2]);
        write!(f, "{}/{unit}", self.per_hour / factor)
    }
}

impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Rate, Error> {
        let wrong = || {
            Error::invalid(format!("`{text}` is not a rate from 1/h to {}/s", LIMIT_MAX / 3_600))
                .with_hint("a whole number of starts per second, minute or hour: 20/s, 90/m, 500/h")
        };
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let count: u64 = count.parse().map_err(|_| wrong())?;
        let per_hour = count.checked_mul(factor).filter(|per_hour| (1..=LIMIT_MAX).contains(per_hour));
        Ok(Rate { per_hour: per_hour.ok_or_else(wrong)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_written() {
        for text in ["20/s", "90/m", "500/h", "1/h"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("120/m".parse::<Rate>().unwrap().to_string(), "2/s");
        assert_eq!("20/s".parse::<Rate>().unwrap().interval(), Duration::from_millis(50));
        for text in ["", "20", "0/s", "-1/s", "0.5/s", "20/d", "300000/s", "99999999999999999999/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
