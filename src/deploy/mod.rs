//! Deploying: from a folder with a `func.yaml` to a published version.

pub mod builder;
pub mod func_yaml;
pub mod ignore;
pub mod pack;

pub use builder::{BuildRequest, BuiltImage, ImageBuilder};
