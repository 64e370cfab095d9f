//! What a deploy is asked to do.

use std::path::Path;

use super::builder::ImageBuilder;
use super::image::ImageOptions;
use super::step::Progress;
use crate::error::Result;
use crate::model::{AppName, Config, Time};

pub struct DeployRequest<'a> {
    /// The function's folder; with `all`, the folder that holds several.
    pub dir: &'a Path,
    pub all: bool,
    /// By default the one that `app.yaml` names.
    pub app: Option<AppName>,
    /// Whether the version in `func.yaml` is raised.
    pub bump: bool,
    pub way: Way,
    pub image: ImageOptions,
    /// Config of the function, which wins over that of its file.
    pub config: Config,
    /// What builds images here, or why nothing does.
    pub builder: Result<&'a dyn ImageBuilder, String>,
    pub now: Time,
    pub progress: &'a Progress<'a>,
}

/// In what form a function is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// As an image where images can be built, else as its folder.
    #[default]
    Auto,
    /// As an image, for workers that have Docker.
    Image,
    /// As its folder, for workers that run functions as child processes.
    Archive,
}
