//! Config values that refer to secrets. The worker reads them when it starts a sandbox, and gives them to that sandbox
//! alone: they are in no definition, outcome, log or event.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::spawn_blocking;

use super::sandbox::{Launcher, Sandbox};
use crate::limits;
use crate::model::{AwsSecret, Config, ConfigValue, Function, SecretRef, Version};
use crate::seam::executor::{Fault, Invocation, Mismatch};
use crate::seam::{Clock, SecretError, Secrets};

/// Which variables or files of this machine the worker gives to functions. They belong to the worker's user, who decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed<T> {
    All,
    /// Of files: also a folder, for all files below it.
    Only(Vec<T>),
}

/// Looks up a variable of the worker's environment. The error is the reason why its value cannot be used.
pub type Variables = dyn Fn(&str) -> Result<Option<String>, String> + Send + Sync;

/// Reads secrets. Those of AWS are kept for a minute.
pub struct SecretReader {
    pub aws: Arc<dyn Secrets>,
    pub clock: Arc<dyn Clock>,
    pub variables: Box<Variables>,
    pub allowed_variables: Allowed<String>,
    pub allowed_files: Allowed<PathBuf>,
    pub cache: Cache,
}

/// Each secret under a lock of its own: it is read once for all sandboxes that start at the same time, and one that is
/// slow delays no other.
#[derive(Default)]
pub struct Cache(Mutex<BTreeMap<AwsSecret, Arc<AsyncMutex<Option<Cached>>>>>);

pub struct Cached {
    at: Duration,
    answer: Result<String, SecretError>,
}

impl Cached {
    fn is_fresh(&self, now: Duration) -> bool {
        let fresh = if self.answer.is_ok() { limits::SECRET_FRESH } else { limits::SECRET_FAILURE_FRESH };
        now.saturating_sub(self.at) < fresh
    }
}

/// Why a secret cannot be given to a function.
enum Unread {
    /// Nothing but a change will help: of the reference, the secret, or the right to read it.
    Wrong(String),
    /// Another worker, or this one later, may read it.
    NotHere(String),
}

impl SecretReader {
    /// The invocation with texts in place of references; `None` where each value is its text.
    async fn resolve(&self, invocation: &Invocation) -> Result<Option<Invocation>, Fault> {
        let own = &invocation.function.config;
        let inherited = invocation.app_config.iter().filter(|(key, _)| !own.contains_key(*key));
        let values: Vec<_> = inherited.chain(own).collect();
        let is_text = |value: &str| matches!(ConfigValue::parse(value), Ok(ConfigValue::Literal(text)) if text == value);
        if values.iter().all(|(_, value)| is_text(value)) {
            return Ok(None);
        }
        let (mut config, mut bytes) = (Config::new(), 0);
        for (key, value) in values {
            let text = self.text(value).await.map_err(|unread| match unread {
                Unread::Wrong(why) => Fault::Function(format!("config `{key}`: {why}")),
                Unread::NotHere(why) => Fault::Mismatch(Mismatch(format!("config `{key}`: {why}"))),
            })?;
            bytes += key.len() + text.len();
            if bytes as u64 > 2 * limits::CONFIG_BYTES_MAX {
                let most = 2 * limits::CONFIG_BYTES_MAX / limits::KIB;
                return Err(Fault::Function(format!("config with its secrets has more than {most} KiB")));
            }
            config.insert(key.clone(), text);
        }
        let function = Arc::new(Function { config, ..(*invocation.function).clone() });
        Ok(Some(Invocation { app_config: Arc::default(), function, ..invocation.clone() }))
    }

    async fn text(&self, value: &str) -> Result<String, Unread> {
        let reference = match ConfigValue::parse(value) {
            Ok(ConfigValue::Literal(text)) => return Ok(text.to_owned()),
            Ok(ConfigValue::Secret(reference)) => reference,
            Err(error) => {
                let hint = error.hint_text().unwrap_or_default();
                return Err(Unread::Wrong(format!("it {error}; {hint}")));
            }
        };
        let text = match &reference {
            SecretRef::Aws { secret, key } => {
                let read = self.aws(secret).await.map_err(|error| explain(&reference, &error))?;
                key.as_ref().map_or(Ok(read.clone()), |key| member(&read, key).map_err(Unread::Wrong))
            }
            SecretRef::Env(name) => self.variable(name),
            SecretRef::File(path) => self.file(path).await,
        };
        let text = text.map_err(|unread| match unread {
            Unread::Wrong(why) => Unread::Wrong(format!("`{reference}` {why}")),
            not_here => not_here,
        })?;
        match text.contains('\0') {
            true => {
                Err(Unread::Wrong(format!("`{reference}` has a NUL byte, which an environment cannot hold")))
            }
            false => Ok(text),
        }
    }

    async fn aws(&self, secret: &AwsSecret) -> Result<String, SecretError> {
        let now = self.clock.monotonic();
        let slot = {
            let mut slots = self.cache.0.lock().expect("no panic under this lock");
            // What is not used any more leaves the memory. A slot that is locked is being read.
            slots.retain(|_, slot| match slot.try_lock() {
                Ok(cached) => cached.as_ref().is_some_and(|cached| cached.is_fresh(now)),
                Err(_) => true,
            });
            if slots.len() >= limits::SECRETS_KEPT_MAX {
                slots.clear();
            }
            slots.entry(secret.clone()).or_default().clone()
        };
        let mut cached = slot.lock().await;
        if let Some(cached) = &*cached
            && cached.is_fresh(self.clock.monotonic())
        {
            return cached.answer.clone();
        }
        let answer = self.aws.fetch(secret).await;
        *cached = Some(Cached { at: self.clock.monotonic(), answer: answer.clone() });
        answer
    }

    fn variable(&self, name: &str) -> Result<String, Unread> {
        if let Allowed::Only(names) = &self.allowed_variables
            && !names.iter().any(|allowed| allowed == name)
        {
            return Err(Unread::NotHere(format!(
                "this worker does not give functions `env:{name}`: start it with --allow-env {name}"
            )));
        }
        match (self.variables)(name) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(Unread::Wrong(
                "is not set in the worker's environment: start the worker with it".to_owned(),
            )),
            Err(why) => Err(Unread::Wrong(why)),
        }
    }

    async fn file(&self, path: &str) -> Result<String, Unread> {
        let (path, allowed) = (PathBuf::from(path), self.allowed_files.clone());
        let read = spawn_blocking(move || read_file(&path, &allowed)).await;
        read.unwrap_or_else(|error| Err(Unread::Wrong(format!("was not read: {error}"))))
    }
}

/// Links are followed before the check: none leads out of what is allowed.
fn read_file(path: &Path, allowed: &Allowed<PathBuf>) -> Result<String, Unread> {
    use std::io::Read as _;
    let refused = || {
        let path = path.display();
        Unread::NotHere(format!(
            "this worker does not give functions `file:{path}`: start it with --allow-file {path}"
        ))
    };
    let real = path.canonicalize();
    if let Allowed::Only(paths) = allowed {
        // Whether another file exists is not told.
        let under = |place: &Path| paths.iter().any(|allowed| place.starts_with(allowed));
        let really = |real: &PathBuf| {
            paths.iter().any(|allowed| allowed.canonicalize().is_ok_and(|allowed| real.starts_with(allowed)))
        };
        if !real.as_ref().map_or_else(|_| under(path), really) {
            return Err(refused());
        }
    }
    let unread = |error: std::io::Error| Unread::Wrong(format!("cannot be read on this worker: {error}"));
    let real = real.map_err(unread)?;
    // A pipe or device would never end.
    if !real.metadata().map_err(unread)?.is_file() {
        return Err(Unread::Wrong("is not a file on this worker".to_owned()));
    }
    let mut text = String::new();
    let most = limits::CONFIG_BYTES_MAX;
    let file = std::fs::File::open(&real).map_err(unread)?;
    file.take(most + 2).read_to_string(&mut text).map_err(unread)?;
    if text.ends_with('\n') {
        text.pop();
    }
    match text.len() as u64 > most {
        true => Err(Unread::Wrong(format!("has more than {} KiB", most / limits::KIB))),
        false => Ok(text),
    }
}

/// Sorts a failure as those of pulling an image are sorted: a refusal is the function's error. No answer is a mismatch, so
/// that a service that is down delays only the calls that need it.
fn explain(reference: &SecretRef, error: &SecretError) -> Unread {
    let why = format!("`{reference}` cannot be read: {error}");
    match error {
        SecretError::NotFound => Unread::Wrong(format!(
            "{why} in the worker's account and region; create it, or correct the reference"
        )),
        SecretError::Unreached(unreached) => {
            let why = format!("{why}; {}", unreached.hint);
            if unreached.may_recover { Unread::NotHere(why) } else { Unread::Wrong(why) }
        }
        SecretError::Refused(_) => Unread::Wrong(why),
        SecretError::Busy(_) | SecretError::Lost(_) => Unread::NotHere(why),
    }
}

/// A value of a secret that is a JSON object. Errors tell nothing of its text.
fn member(secret: &str, key: &str) -> Result<String, String> {
    let object: BTreeMap<String, serde_json::Value> = serde_json::from_str(secret)
        .map_err(|_| "is no JSON object; leave out `#KEY` for all of its text".to_owned())?;
    match object.get(key) {
        Some(serde_json::Value::String(text)) => Ok(text.clone()),
        Some(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => Ok(value.to_string()),
        Some(_) => Err("is no text, number or bool".to_owned()),
        None => Err(format!("is a JSON object without the key `{key}`")),
    }
}

/// A launcher whose sandboxes are given secrets.
pub struct WithSecrets<L> {
    pub launcher: L,
    pub secrets: Arc<SecretReader>,
}

#[async_trait]
impl<L: Launcher> Launcher for WithSecrets<L> {
    fn suits(&self, version: &Version) -> Result<(), Mismatch> {
        self.launcher.suits(version)
    }

    async fn start(&self, invocation: &Invocation) -> Result<Box<dyn Sandbox>, Fault> {
        match self.secrets.resolve(invocation).await? {
            Some(resolved) => self.launcher.start(&resolved).await,
            None => self.launcher.start(invocation).await,
        }
    }

    async fn probe(&self) -> Result<(), String> {
        self.launcher.probe().await
    }

    async fn close(&self) {
        self.launcher.close().await;
    }
}

#[cfg(test)]
mod tests;
