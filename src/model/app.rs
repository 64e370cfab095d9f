//! An app: a namespace of functions, with config that its functions inherit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config_value::ConfigValue;
use super::id::Nonce;
use super::retention::Retention;
use super::time::Time;
use crate::error::Error;
use crate::limits;

/// Environment of a function's sandboxes; a function's own keys win over its app's. A value may be a reference to a
/// secret ([`ConfigValue`]).
pub type Config = BTreeMap<String, String>;

/// The definition of an app. Persisted, keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    #[serde(default)]
    pub config: Config,
    #[serde(default)]
    pub annotations: BTreeMap<String, serde_json::Value>,
    /// How long the content of its calls and batches is kept after their end, instead of what the context says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    pub created_at: Time,
    pub updated_at: Time,
    pub nonce: Nonce,
}

/// The config as it may be shown: `***` for every value that is no reference.
pub fn masked(config: &Config) -> Config {
    config.iter().map(|(key, value)| (key.clone(), ConfigValue::masked(value).to_owned())).collect()
}

/// Checks names and size of a config.
pub fn check_config(config: &Config) -> Result<(), Error> {
    for key in config.keys() {
        let is_bad = |c: char| c == '=' || c.is_whitespace() || c.is_control();
        if key.is_empty() || key.contains(is_bad) {
            return Err(Error::invalid(format!(
                "config key {key:?} cannot be the name of an environment variable"
            ))
            .with_hint("letters, digits and `_` make one that every shell can read"));
        }
    }
    if let Some((key, _)) = config.iter().find(|(_, value)| value.contains('\0')) {
        return Err(Error::invalid(format!(
            "config value of `{key}` has a NUL byte, which an environment cannot hold"
        )));
    }
    let mut secrets = 0;
    for (key, value) in config {
        let value =
            ConfigValue::parse(value).map_err(|error| error.context(format!("config value of `{key}`")))?;
        secrets += usize::from(matches!(value, ConfigValue::Secret(_)));
    }
    if secrets > limits::CONFIG_SECRETS_MAX {
        let most = limits::CONFIG_SECRETS_MAX;
        return Err(Error::invalid(format!(
            "config has {secrets} references to secrets, the most is {most}"
        ))
        .with_hint("keep several values in one JSON secret, and give the function all of it"));
    }
    let bytes: usize = config.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes as u64 > limits::CONFIG_BYTES_MAX {
        let most = limits::CONFIG_BYTES_MAX;
        return Err(Error::invalid(format!("config has {bytes} bytes, the most is {most}"))
            .with_hint("put large values into an object and its key into the config"));
    }
    Ok(())
}
