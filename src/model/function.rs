//! A function: what can be changed (config, type, which version is current) and the immutable versions that deploys
//! make.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::app::Config;
use super::checked::checked;
use super::id::Nonce;
use super::name::{Digest, FunctionName, Route, VersionId};
use super::text::words;
use super::time::Time;
use crate::error::Error;
use crate::limits;

/// The definition of a function, changed by compare-and-swap. Persisted, keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    pub name: FunctionName,
    pub route: Route,
    #[serde(rename = "type")]
    pub kind: Kind,
    pub version: VersionId,
    #[serde(default)]
    pub config: Config,
    #[serde(default)]
    pub annotations: BTreeMap<String, serde_json::Value>,
    pub created_at: Time,
    pub updated_at: Time,
    pub nonce: Nonce,
}

/// Whether a caller waits for the answer. The path underneath is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Sync,
    Async,
}

/// How a container is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// stdin → stdout, stderr is the log, the exit code decides; one process per call.
    #[default]
    Default,
    /// Fn's FDK contract: HTTP over a unix socket, one call after another.
    HttpStream,
}

words!(Kind, "type": Sync = "sync", Async = "async");
words!(Format, "format": Default = "default", HttpStream = "http-stream");

/// Where a version's code lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A container image: its reference, and what exactly it was when it was deployed: the digest that its registry
    /// gave it (`name@sha256:…`), or the image id of one that was never pushed.
    Image { reference: String, digest: Option<String> },
    /// The function's folder, packed; run as a child process.
    Archive { sha256: Digest, bytes: u64 },
}

/// What one deploy made. Never changed. Persisted, keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub id: VersionId,
    /// What `func.yaml` calls this version: `0.0.2`.
    pub label: String,
    pub source: Source,
    /// As Docker and Go spell them: `linux`, `amd64`. `None`: any (scripts).
    pub os: Option<String>,
    pub arch: Option<String>,
    /// The runtime of `func.yaml`, for people; nothing decides by it.
    pub runtime: Option<String>,
    pub format: Format,
    /// The command of an archive, and an override of an image's own.
    #[serde(default)]
    pub command: Vec<String>,
    pub content_type: Option<String>,
    pub limits: Limits,
    pub created_at: Time,
}

impl Version {
    /// Of a program that any machine runs and that is spoken to by default. Its id is its label until its content gives
    /// it one.
    pub fn new(label: &str, source: Source, limits: Limits, created_at: Time) -> Result<Version, Error> {
        Ok(Version {
            id: label.parse()?,
            label: label.to_owned(),
            source,
            os: None,
            arch: None,
            runtime: None,
            format: Format::default(),
            command: Vec::new(),
            content_type: None,
            limits,
            created_at,
        })
    }

    /// Whether both are the same but for the time when they were made.
    pub fn is_same_content(&self, other: &Version) -> bool {
        *self == Version { created_at: self.created_at, ..other.clone() }
    }
}

/// Operating system and architecture of this machine, as a version names them.
pub fn machine() -> (&'static str, &'static str) {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        arch => arch,
    };
    (os, arch)
}

/// What a version may use, and how often it is tried. Persisted, keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Limits {
    /// The function's own time, never queueing, pulling or starting.
    pub timeout_ms: u64,
    pub idle_timeout_ms: u64,
    pub memory_mib: u64,
    /// Thousandths of a CPU; 0 is no limit.
    pub cpu_millis: u64,
    /// Attempts at a call that fails, the first included.
    pub attempts_max: u32,
    /// The wait before the second attempt; doubled for each one after.
    pub retry_backoff_ms: u64,
    /// Whether a container may reach the network.
    pub network: bool,
    /// The size of `/tmp`; 0 is as much as memory allows.
    pub tmpfs_mib: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            timeout_ms: limits::TIMEOUT_MS_DEFAULT,
            idle_timeout_ms: limits::IDLE_TIMEOUT_MS_DEFAULT,
            memory_mib: limits::MEMORY_MIB_DEFAULT,
            cpu_millis: 0,
            attempts_max: 1 + limits::CALL_RETRIES_DEFAULT,
            retry_backoff_ms: limits::RETRY_BACKOFF_MS_DEFAULT,
            network: false,
            tmpfs_mib: 0,
        }
    }
}

checked!(Limits);

impl Limits {
    pub fn check(&self) -> Result<(), Error> {
        let time = |ms| humantime::format_duration(Duration::from_millis(ms)).to_string();
        let cpus = |millis| (millis as f64 / 1000.0).to_string();
        let mib = |mib| format!("{mib} MiB");
        let plain = |count: u64| count.to_string();
        let (memory, backoff) = (limits::MEMORY_MIB_MIN, limits::RETRY_BACKOFF_MS_MAX);
        type Check<'a> = (&'a str, u64, RangeInclusive<u64>, &'a dyn Fn(u64) -> String);
        let checks: [Check<'_>; 7] = [
            ("timeout", self.timeout_ms, limits::TIMEOUT_MS_MIN..=limits::TIMEOUT_MS_MAX, &time),
            ("idle_timeout", self.idle_timeout_ms, 0..=limits::IDLE_TIMEOUT_MS_MAX, &time),
            ("memory", self.memory_mib, memory..=limits::MEMORY_MIB_MAX, &mib),
            ("cpus", self.cpu_millis, 0..=limits::CPU_MILLIS_MAX, &cpus),
            ("max_attempts", self.attempts_max.into(), 1..=limits::ATTEMPTS_MAX.into(), &plain),
            ("retry_backoff", self.retry_backoff_ms, 0..=backoff, &time),
            ("tmpfs_size", self.tmpfs_mib, 0..=limits::MEMORY_MIB_MAX, &mib),
        ];
        let outside = checks.into_iter().find(|(_, value, range, _)| !range.contains(value));
        outside.map_or(Ok(()), |(what, value, range, show)| {
            let [value, min, max] = [value, *range.start(), *range.end()].map(show);
            Err(Error::invalid(format!("{what} {value} lies outside {min} to {max}")))
        })
    }
}
