//! The events of a deploy.

use crate::model::{AppName, FunctionName, Route};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step<'a> {
    /// Something in a file has no effect.
    Warning(&'a str),
    Deploying {
        function: &'a FunctionName,
        app: &'a AppName,
        route: &'a Route,
    },
    /// `func.yaml` has a new version.
    Bumped {
        version: &'a str,
    },
    BuildingImage {
        image: &'a str,
    },
    PushingImage {
        image: &'a str,
    },
    /// The folder itself is deployed, and is built on this machine.
    BuildingFolder {
        function: &'a FunctionName,
    },
    /// A line of a builder's output.
    Log(&'a str),
    /// Files that are left out because they mostly hold secrets; and what git ignores, where the folder has no
    /// `.dockerignore`.
    Kept {
        secrets: &'a [String],
        ignored_by_git: &'a [String],
    },
    /// The folder is packed.
    Packed {
        bytes: u64,
    },
    /// Config that was set before, and that the file beside the code does not name.
    ConfigKept {
        app: &'a AppName,
        /// Of this function; of the app when there is none.
        route: Option<&'a Route>,
        keys: &'a [&'a str],
    },
    /// The version is about to be published. Without an image it is an archive.
    Updating {
        route: &'a Route,
        image: Option<&'a str>,
    },
}

/// Receives steps. It must not block, since other work waits for it.
pub type Progress<'a> = dyn Fn(Step<'_>) + Send + Sync + 'a;
