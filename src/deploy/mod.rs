//! Deploying: from a folder with a `func.yaml` to a published version. Knows the catalog, and whatever builds images by
//! its seam alone; says what it does in [`Step`]s and prints nothing.

pub mod builder;
pub mod bump;
pub mod dockerfile;
pub mod func_yaml;
pub mod ignore;
pub mod image;
pub mod init;
pub mod local_build;
pub mod pack;
mod plan;
mod run;
pub mod runtime;
mod startable;
mod step;

#[cfg(test)]
mod tests;

pub use builder::{BuildRequest, BuiltImage, ImageBuilder, Log};
pub use func_yaml::{AppFile, FuncFile};
pub use image::ImageOptions;
pub use run::{DeployRequest, Deployed, Way, deploy};
pub use step::{Progress, Step};
