//! From a function's folder to an image.

use std::collections::BTreeMap;
use std::path::Path;

use regex_lite::Regex;

use super::builder::{BuildRequest, BuiltImage, ImageBuilder};
use super::dockerfile::for_runtime;
use super::func_yaml::FuncFile;
use super::read_optional;
use super::step::{Progress, Step};
use crate::error::{Error, Result};
use crate::model::FunctionName;

pub const DOCKERFILE: &str = "Dockerfile";

#[derive(Debug, Clone, Default)]
pub struct ImageOptions {
    /// The part before the name: `registry.example.com/team`.
    pub registry: Option<String>,
    /// Whether the image is pushed, so that workers on other machines can pull it.
    pub push: bool,
    pub no_cache: bool,
    pub build_args: BTreeMap<String, String>,
}

impl ImageOptions {
    /// `[registry/]name:version`.
    pub fn reference(&self, name: &FunctionName, version: &str) -> Result<String> {
        check_name(name)?;
        let registry = self.registry.as_deref().map(|registry| registry.trim_end_matches('/'));
        match registry.filter(|registry| !registry.is_empty()) {
            Some(registry) => Ok(format!("{registry}/{name}:{version}")),
            None if self.push => Err(Error::invalid("there is no registry to push the image to").with_hint(
                "`--registry registry.example.com/team` or AFN_REGISTRY names one; with `--local` nothing is pushed, \
                 when the workers run on this machine; `--no-image` publishes the folder itself, run as a child process",
            )),
            None => Ok(format!("{name}:{version}")),
        }
    }
}

/// Docker takes fewer names for images than there are for functions: words of a-z and 0-9, joined by one or two `_` or by
/// any number of `-`.
fn check_name(name: &FunctionName) -> Result<()> {
    let is_image_name = Regex::new("^[a-z0-9]+((_|__|-+)[a-z0-9]+)*$").expect("a valid expression");
    if is_image_name.is_match(name.as_str()) {
        return Ok(());
    }
    Err(Error::invalid(format!("`{name}` cannot be the name of an image"))
        .with_hint("an image's name has small letters and digits, with single `-` and `_` between them: change `name:` in func.yaml"))
}

/// The Dockerfile of a function: the folder's own, or one made for its runtime.
pub fn dockerfile(file: &FuncFile) -> Result<String> {
    match own_dockerfile(file.dir())? {
        Some(text) => Ok(text),
        None => for_runtime(file),
    }
}

pub fn own_dockerfile(dir: &Path) -> Result<Option<String>> {
    read_optional(&dir.join(DOCKERFILE))
}

/// Builds the image of a function at `version`; nothing is pushed.
pub async fn build(
    builder: &dyn ImageBuilder,
    file: &FuncFile,
    version: &str,
    options: &ImageOptions,
    progress: &Progress<'_>,
) -> Result<BuiltImage> {
    let tag = options.reference(&file.name, version)?;
    let dockerfile = dockerfile(file)?;
    progress(Step::BuildingImage { image: &tag });
    builder
        .build(BuildRequest {
            context_dir: file.dir(),
            dockerfile: &dockerfile,
            tag: &tag,
            build_args: &options.build_args,
            no_cache: options.no_cache,
            log: &|line| progress(Step::Log(line)),
        })
        .await
}

/// Pushes the image that a function has at `version`; answers by what digest it can be pulled.
pub async fn push(
    builder: &dyn ImageBuilder,
    file: &FuncFile,
    version: &str,
    options: &ImageOptions,
    progress: &Progress<'_>,
) -> Result<String> {
    let reference = ImageOptions { push: true, ..options.clone() }.reference(&file.name, version)?;
    progress(Step::PushingImage { image: &reference });
    builder.push(&reference, &|line| progress(Step::Log(line))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(registry: Option<&str>, push: bool, name: &str) -> Result<String> {
        let options = ImageOptions { registry: registry.map(str::to_owned), push, ..ImageOptions::default() };
        options.reference(&name.parse().unwrap(), "0.0.2")
    }

    #[test]
    fn a_reference_has_registry_name_and_version() {
        assert_eq!(reference(None, false, "asyncfn").unwrap(), "asyncfn:0.0.2");
        assert_eq!(
            reference(Some("r.example.com:5000/team/"), true, "f").unwrap(),
            "r.example.com:5000/team/f:0.0.2"
        );
        let error = reference(Some(""), true, "asyncfn").unwrap_err();
        assert!(error.hint_text().unwrap().contains("--local"), "{error}");
    }

    #[test]
    fn a_name_is_one_that_docker_takes() {
        for good in ["a", "my-fn", "my--fn", "a_b", "a__b", "0a"] {
            assert!(reference(None, false, good).is_ok(), "{good}");
        }
        for bad in ["A", "_a", "a-", "a___b", "a-_b", "a_-b", "-"] {
            assert!(reference(None, false, bad).is_err(), "{bad}");
        }
    }
}
