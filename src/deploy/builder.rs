//! The seam to whatever builds images. Deploying knows it by this trait alone.

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;

use crate::error::Result;

/// Receives a builder's output, line by line.
pub type Log<'a> = dyn Fn(&str) + Send + Sync + 'a;

#[async_trait]
pub trait ImageBuilder: Send + Sync {
    /// Builds an image and tags it. Its output goes to `log` as it comes, line by line, without line ends.
    async fn build(&self, request: BuildRequest<'_>) -> Result<BuiltImage>;

    /// Pushes a tagged image to the registry that its reference names. Progress goes to `log` line by line. Returns
    /// the digest under which the registry has it, `name@sha256:…`: it names the same image on every machine.
    async fn push(&self, reference: &str, log: &Log<'_>) -> Result<String>;

    /// Whether images can be built here now. The error says why not.
    async fn available(&self) -> Result<(), String>;

    /// What is known here of an image; `None` when it is not here.
    async fn inspect(&self, reference: &str) -> Result<Option<BuiltImage>>;
}

#[derive(Clone, Copy)]
pub struct BuildRequest<'a> {
    /// What is sent to the builder, less what its `.dockerignore` names.
    pub context_dir: &'a Path,
    /// The text of the Dockerfile. It need not lie in the context.
    pub dockerfile: &'a str,
    /// `name:tag` that the image gets.
    pub tag: &'a str,
    pub build_args: &'a BTreeMap<String, String>,
    pub no_cache: bool,
    pub log: &'a Log<'a>,
}

/// An image, as the builder names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    pub reference: String,
    /// The image id: `sha256:…`.
    pub digest: String,
    /// As Docker and Go spell them.
    pub os: String,
    pub arch: String,
}
