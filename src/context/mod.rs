//! Contexts: a store with its queues, under a name. `local` is one SQLite file, `localstack` and `aws` are S3 and SQS.
//! Knows how to find, open and make them; knows nothing of what is kept in them.

#[cfg(not(feature = "aws"))]
mod absent;
mod create;
pub mod env;
mod file;
mod open;
#[cfg(feature = "aws")]
mod remote;
mod resolve;
#[cfg(feature = "aws")]
mod stack;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub use create::{Step, create};
pub use env::Env;
pub use file::{Contexts, Entry};
pub use open::{FILE, Opened, open, open_bucket};
pub use resolve::{Flags, draft, resolve};
#[cfg(feature = "aws")]
pub use stack::from_stack;

#[cfg(not(feature = "aws"))]
use absent as remote;
#[cfg(not(feature = "aws"))]
pub use absent::from_stack;

/// The context of who never named one.
pub const DEFAULT: &str = "local";

/// A named store with its queues. Persisted as `contexts/NAME.json`, keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    pub name: ContextName,
    pub kind: Kind,
    /// Of `local`: the folder of the file `afn.db`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// What all keys in the bucket begin with, without a slash at either end; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    #[serde(default, skip_serializing_if = "QueueNames::is_default")]
    pub queues: QueueNames,
    /// Where S3 and SQS answer, if not at AWS's own addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A profile of the AWS configuration files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// Names, or URLs, of the three queues; the dead letters of each are in the queue of the same name with `-dead`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueNames {
    pub calls: String,
    pub chunks: String,
    pub batches: String,
}

impl QueueNames {
    pub fn from_base(base: &str) -> QueueNames {
        let named = |what: &str| format!("{base}-{what}");
        QueueNames { calls: named("calls"), chunks: named("chunks"), batches: named("batches") }
    }

    pub fn dead(name: &str) -> String {
        format!("{name}-dead")
    }

    fn is_default(&self) -> bool {
        *self == QueueNames::default()
    }
}

impl Default for QueueNames {
    fn default() -> QueueNames {
        QueueNames::from_base("afn")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One SQLite file; needs nothing.
    Local,
    /// S3 and SQS as LocalStack has them.
    Localstack,
    /// S3 and SQS.
    Aws,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Local, Kind::Localstack, Kind::Aws];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Local => "local",
            Kind::Localstack => "localstack",
            Kind::Aws => "aws",
        }
    }

    /// Whether it is S3 and SQS.
    pub fn is_remote(self) -> bool {
        match self {
            Kind::Local => false,
            Kind::Localstack | Kind::Aws => true,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            Error::invalid(format!("`{text}` is not a kind of context"))
                .hint("the kinds are `local`, `localstack` and `aws`")
        })
    }
}

/// Names a context and its file: up to 64 letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContextName(String);

const CONTEXT_NAME_BYTES_MAX: usize = 64;

impl ContextName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContextName {
    type Err = Error;

    fn from_str(text: &str) -> Result<ContextName> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if text.is_empty() || text.len() > CONTEXT_NAME_BYTES_MAX || !text.chars().all(plain) {
            return Err(Error::invalid(format!("`{text}` cannot name a context"))
                .hint(format!("1 to {CONTEXT_NAME_BYTES_MAX} letters, digits, `-` and `_` can")));
        }
        Ok(ContextName(text.to_owned()))
    }
}

impl TryFrom<String> for ContextName {
    type Error = Error;

    fn try_from(text: String) -> Result<ContextName> {
        text.parse()
    }
}

impl From<ContextName> for String {
    fn from(name: ContextName) -> String {
        name.0
    }
}

impl fmt::Display for ContextName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Context {
    pub fn new(name: ContextName, kind: Kind) -> Context {
        let localstack = kind == Kind::Localstack;
        Context {
            name,
            kind,
            data_dir: None,
            bucket: localstack.then(|| "afn".to_owned()),
            prefix: String::new(),
            queues: QueueNames::default(),
            endpoint: localstack.then(|| "http://localhost:4566".to_owned()),
            region: localstack.then(|| "us-east-1".to_owned()),
            profile: None,
        }
    }

    /// Of `local`: where its file is.
    pub fn data_dir(&self) -> Result<&Path> {
        self.data_dir.as_deref().ok_or_else(|| {
            Error::invalid(format!("context `{}` has no folder", self.name))
                .hint(format!("give it one with `--data-dir`, or set {}", env::DATA_DIR.name))
        })
    }

    /// Of `localstack` and `aws`.
    pub fn bucket(&self) -> Result<&str> {
        self.bucket.as_deref().ok_or_else(|| {
            Error::invalid(format!("context `{}` has no bucket", self.name)).hint(format!(
                "`afn context create {} --kind {} --bucket NAME` makes what is missing; or set {}",
                self.name,
                self.kind,
                env::BUCKET.name
            ))
        })
    }

    /// The contexts that are there without having been created: their name is their kind.
    pub fn built_in(name: &ContextName) -> Option<Context> {
        let kind = name.as_str().parse().ok()?;
        Some(Context::new(name.clone(), kind))
    }
}
