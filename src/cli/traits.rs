//! From flags to what the model says of a function.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::args::{Pair, Traits};
use crate::error::Result;
use crate::model::{Config, Limits};

pub fn config(pairs: &[Pair]) -> Config {
    pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect()
}

/// An empty value removes its key, as Fn has it.
pub fn merge_config(config: &mut Config, pairs: &[Pair]) {
    for pair in pairs {
        match pair.value.is_empty() {
            true => config.remove(&pair.key),
            false => config.insert(pair.key.clone(), pair.value.clone()),
        };
    }
}

/// A value is JSON when it can be read as such, else a string.
pub fn annotations(pairs: &[Pair]) -> BTreeMap<String, Value> {
    let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    pairs.iter().map(|pair| (pair.key.clone(), value(&pair.value))).collect()
}

/// A null removes its key.
pub fn merge_annotations(annotations: &mut BTreeMap<String, Value>, more: &BTreeMap<String, Value>) {
    for (key, value) in more {
        match value {
            Value::Null => annotations.remove(key),
            value => annotations.insert(key.clone(), value.clone()),
        };
    }
}

pub fn is_empty(traits: &Traits) -> bool {
    let Traits { memory, kind, config, format, timeout, idle_timeout, annotation } = traits;
    memory.is_none()
        && kind.is_none()
        && config.is_empty()
        && format.is_none()
        && timeout.is_none()
        && idle_timeout.is_none()
        && annotation.is_empty()
}

pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Lays what was given over limits, and checks the whole.
pub fn apply(traits: &Traits, limits: &mut Limits) -> Result<()> {
    if let Some(memory) = traits.memory {
        limits.memory_mib = memory;
    }
    if let Some(timeout) = traits.timeout {
        limits.timeout_ms = millis(timeout);
    }
    if let Some(idle_timeout) = traits.idle_timeout {
        limits.idle_timeout_ms = millis(idle_timeout);
    }
    limits.check()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> Pair {
        Pair { key: key.into(), value: value.into() }
    }

    #[test]
    fn an_empty_value_removes_its_key() {
        let mut merged = config(&[pair("A", "1"), pair("B", "2")]);
        merge_config(&mut merged, &[pair("A", ""), pair("C", "3")]);
        assert_eq!(merged, config(&[pair("B", "2"), pair("C", "3")]));
    }

    #[test]
    fn annotations_are_json_or_text() {
        let mut all = annotations(&[pair("n", "7"), pair("t", "plain text"), pair("gone", "1")]);
        assert_eq!((&all["n"], &all["t"]), (&Value::from(7), &Value::from("plain text")));
        merge_annotations(&mut all, &annotations(&[pair("gone", "null")]));
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn limits_are_checked_as_a_whole() {
        let mut limits = Limits::default();
        let traits = Traits { timeout: Some(Duration::from_secs(60)), ..Traits::default() };
        apply(&traits, &mut limits).unwrap();
        assert_eq!((limits.timeout_ms, limits.memory_mib), (60_000, 128));
        let traits = Traits { timeout: Some(Duration::from_secs(6 * 3600)), ..Traits::default() };
        assert!(apply(&traits, &mut limits).is_err());
    }
}
