//! Contexts: a store with its queues, under a name. `local` is one SQLite file, `localstack` and `aws` are S3 and SQS.
//! Knows how to find, open and make them; knows nothing of what is kept in them.

#[cfg(not(feature = "aws"))]
mod absent;
mod create;
pub mod env;
mod file;
mod machine;
mod open;
#[cfg(feature = "aws")]
mod remote;
mod resolve;
#[cfg(feature = "aws")]
mod stack;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::model::checked::is_default;
use crate::model::text::{text_types, words};
use crate::model::{BucketName, Region};

pub use create::create;
pub use env::Env;
pub use file::{ContextEntry, Contexts};
pub use open::{FILE, Opened, open, open_bucket, open_secrets};
pub use resolve::{Flags, draft, find, resolve};
#[cfg(feature = "aws")]
pub use stack::from_stack;

#[cfg(not(feature = "aws"))]
use absent as remote;
#[cfg(not(feature = "aws"))]
pub use absent::from_stack;

/// A bucket, queue or folder that a context needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// ``bucket `afn` ``
    pub what: String,
    /// Made now; false when it was there.
    pub made: bool,
}

/// A bucket that is not the context's own, to be read.
#[derive(Debug, Clone)]
pub struct DataBucket {
    pub name: BucketName,
    /// Instead of the context's.
    pub region: Option<Region>,
    /// Whose keys sign the requests, instead of the context's.
    pub profile: Option<String>,
}

/// Where commands of a remote context act. What cannot be told is the error that says why.
#[derive(Debug)]
pub struct Whereabouts {
    pub account: Result<String>,
    pub region: String,
    pub bucket: Option<String>,
    /// URLs, by name.
    pub queues: Vec<(String, Result<String>)>,
}

/// `None` for a local context.
pub async fn locate(context: &Context) -> Result<Option<Whereabouts>> {
    match context.kind {
        Kind::Local => Ok(None),
        Kind::Localstack | Kind::Aws => remote::locate(context).await.map(Some),
    }
}

/// The context that is used when none is named.
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
    #[serde(default, skip_serializing_if = "is_default")]
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

/// What queues are called by default.
const BASE: &str = "afn";
/// SQS takes 80 characters, of which the longest ending, `-batches-dead`, has 13.
const QUEUE_BASE_BYTES_MAX: usize = 67;

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

    /// The default of a context with this prefix: contexts that share a bucket do not share queues.
    pub fn from_prefix(prefix: &str) -> QueueNames {
        if prefix.is_empty() {
            return QueueNames::from_base(BASE);
        }
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
        let mut base = format!("{BASE}-{}", prefix.chars().map(plain).collect::<String>());
        if base[BASE.len() + 1..] != *prefix || base.len() > QUEUE_BASE_BYTES_MAX {
            // Another prefix may read the same now.
            let digest: String =
                Sha256::digest(prefix).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            base.truncate(QUEUE_BASE_BYTES_MAX - 1 - digest.len());
            base = format!("{base}-{digest}");
        }
        QueueNames::from_base(&base)
    }

    pub fn all(&self) -> [&str; 3] {
        [&self.calls, &self.chunks, &self.batches]
    }

    pub fn dead(name: &str) -> String {
        format!("{name}-dead")
    }
}

impl Default for QueueNames {
    fn default() -> QueueNames {
        QueueNames::from_base(BASE)
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

words!(Kind, "kind of context": Local = "local", Localstack = "localstack", Aws = "aws");

impl Kind {
    /// Whether it is S3 and SQS.
    pub fn is_remote(self) -> bool {
        matches!(self, Kind::Localstack | Kind::Aws)
    }
}

const CONTEXT_NAME_BYTES_MAX: usize = 64;

text_types! {
    /// Names a context and its file: up to 64 letters, digits, `-` and `_`.
    ContextName: |text| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if text.is_empty() || text.len() > CONTEXT_NAME_BYTES_MAX || !text.chars().all(plain) {
            return Err(Error::invalid(format!("`{text}` cannot name a context"))
                .with_hint(format!("1 to {CONTEXT_NAME_BYTES_MAX} letters, digits, `-` and `_` can")));
        }
        Ok(())
    };
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
                .with_hint(format!("give it one with `--data-dir`, or set {}", env::DATA_DIR.name))
        })
    }

    /// Of `localstack` and `aws`.
    pub fn bucket(&self) -> Result<&str> {
        self.bucket.as_deref().ok_or_else(|| {
            Error::invalid(format!("context `{}` has no bucket", self.name)).with_hint(format!(
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
