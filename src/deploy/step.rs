//! The events of a deploy.

use super::ignore::Contents;
use crate::model::{AppName, FunctionName, Route};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step<'a> {
    /// Something in a file has no effect.
    Warning(&'a str),
    /// The function is about to be deployed.
    Deploying { function: &'a FunctionName, app: &'a AppName, route: &'a Route },
    /// `func.yaml` has a new version.
    Bumped { version: &'a str },
    /// An image is built of the folder.
    BuildingImage { image: &'a str },
    /// The image is pushed to its registry.
    PushingImage { image: &'a str },
    /// The folder itself is deployed, and is built on this machine.
    BuildingFolder { function: &'a FunctionName },
    /// A line of a builder's output.
    Log(&'a str),
    /// Files that are left out because they mostly hold secrets, those that are sent all the same, and what git ignores,
    /// where the folder has no `.dockerignore`. At least one of them is not empty.
    LeftOut(&'a Contents),
    /// The folder is packed.
    Packed { bytes: u64 },
    /// Config of a function, or of the app without a route, that was set before and that the file beside the code does not
    /// name.
    ConfigKept { app: &'a AppName, route: Option<&'a Route>, keys: &'a [&'a str] },
    /// The version is about to be published. Without an image it is an archive.
    Updating { route: &'a Route, image: Option<&'a str> },
}

/// Receives steps. It must not block, since other work waits for it.
pub type Progress<'a> = dyn Fn(Step<'_>) + Send + Sync + 'a;
