//! Every environment variable that afn reads, declared and documented once. The rest of the program asks here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// A variable and what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    pub name: &'static str,
    pub about: &'static str,
}

macro_rules! variables {
    ($($constant:ident = $name:literal, $about:literal;)*) => {
        $(#[doc = $about] pub const $constant: Variable = Variable { name: $name, about: $about };)*

        /// The table, as `afn help` and the documentation show it.
        pub const VARIABLES: &[Variable] = &[$($constant),*];
    };
}

variables! {
    CONTEXT = "AFN_CONTEXT", "the context to use, instead of the current one";
    HOME = "AFN_HOME", "where contexts are kept; default ~/.afn";
    DATA_DIR = "AFN_DATA_DIR", "where a `local` context keeps its file afn.db; default ~/.local/share/afn";
    BUCKET = "AFN_BUCKET", "the bucket, instead of the context's";
    PREFIX = "AFN_PREFIX", "what all keys in the bucket begin with, instead of the context's";
    QUEUES = "AFN_QUEUES", "base name of the queues (NAME-calls, …), instead of the context's";
    ENDPOINT = "AFN_ENDPOINT", "URL of all services of AWS, instead of the context's or AWS's own";
    REGION = "AFN_REGION", "the region, instead of the context's; else AWS_REGION counts";
    PROFILE = "AFN_PROFILE", "profile of the AWS files, instead of the context's; else AWS_PROFILE counts";
    DATA_BUCKETS = "AFN_DATA_BUCKETS", "buckets whose objects a worker reads for batches, separated by commas";
    REGISTRY = "AFN_REGISTRY", "what stands before the names of images, like registry.example.com/team";
    EXECUTOR = "AFN_EXECUTOR", "what workers run functions in: docker, process or auto";
    FUNCTION_UIDS = "AFN_FUNCTION_UIDS", "whom root runs functions without an image as: FIRST-LAST, or none for root";
    FUNCTION_DIR = "AFN_FUNCTION_DIR", "where root keeps the files of such functions; default /var/lib/afn";
    PORT = "AFN_PORT", "the port that `afn start` listens on; default 8080";
    TOKEN = "FN_TOKEN", "the token that the HTTP API asks for; without it `afn start` makes one";
    WEBHOOK_SECRET = "AFN_WEBHOOK_SECRET", "what a worker signs the webhooks of batches with: text, or whsec_ and Base64";
    WEBHOOK_ALLOW = "AFN_WEBHOOK_ALLOW", "hosts and networks, separated by commas, to which a worker also posts webhooks";
}

/// What every system sets; read here and nowhere else.
const USER_HOME: &str = "HOME";
const XDG_DATA_HOME: &str = "XDG_DATA_HOME";
const XDG_RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";

/// The environment as it was at the start: injected, so that tests need not change their own.
#[derive(Debug, Clone, Default)]
pub struct Env(BTreeMap<OsString, OsString>);

impl Env {
    pub fn system() -> Env {
        Env(std::env::vars_os().collect())
    }

    /// `None` also when it is set to nothing.
    pub fn get(&self, variable: Variable) -> Result<Option<String>> {
        self.text(variable.name)
    }

    /// A variable that is not ours: the SDK's, the system's.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        let text = |value: &OsString| value.to_str().map(str::to_owned);
        let not_utf8 = || Error::invalid(format!("environment variable {name} is not UTF-8"));
        self.raw(name).map(|value| text(value).ok_or_else(not_utf8)).transpose()
    }

    /// Where contexts are kept.
    pub fn home(&self) -> Result<PathBuf> {
        let home = self.raw(HOME.name).map(PathBuf::from);
        home.map_or_else(|| Ok(self.user_home(HOME)?.join(".afn")), Ok)
    }

    /// Where a `local` context keeps its file, unless it says otherwise.
    pub fn data_dir(&self) -> Result<PathBuf> {
        let xdg = || self.absolute(XDG_DATA_HOME).map(|dir| dir.join("afn"));
        let dir = self.raw(DATA_DIR.name).map(PathBuf::from).or_else(xdg);
        dir.map_or_else(|| Ok(self.user_home(DATA_DIR)?.join(".local/share/afn")), Ok)
    }

    /// Where sockets of running workers lie: in the session's folder for such, else beside the data.
    pub fn run_dir(&self) -> Result<PathBuf> {
        let dir = self.absolute(XDG_RUNTIME_DIR).map(|dir| dir.join("afn"));
        dir.map_or_else(|| Ok(self.data_dir()?.join("run")), Ok)
    }

    /// Where functions have their files that run as other users than root: not below a home, where they could not go.
    pub fn function_dir(&self) -> Result<PathBuf> {
        let dir = self.get(FUNCTION_DIR)?.map_or_else(|| PathBuf::from("/var/lib/afn"), PathBuf::from);
        std::path::absolute(dir).map_err(|error| Error::invalid(format!("{}: {error}", FUNCTION_DIR.name)))
    }

    /// The XDG specification says that a relative folder is to be ignored.
    fn absolute(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).map(PathBuf::from).filter(|dir| dir.is_absolute())
    }

    fn user_home(&self, instead: Variable) -> Result<PathBuf> {
        self.raw(USER_HOME).map(PathBuf::from).ok_or_else(|| {
            Error::invalid("HOME is not set").with_hint(format!("set HOME, or {} to a folder", instead.name))
        })
    }

    fn raw(&self, name: &str) -> Option<&OsString> {
        self.0.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty())
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Env {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(variables: I) -> Env {
        Env(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_data_folder_follows_xdg() {
        let of = |variables: &[(&'static str, &'static str)]| {
            let env: Env = variables.iter().copied().collect();
            env.data_dir().map(|dir| dir.display().to_string()).map_err(|e| e.to_string())
        };
        assert_eq!(of(&[("HOME", "/h")]), Ok("/h/.local/share/afn".into()));
        assert_eq!(of(&[("HOME", "/h"), ("XDG_DATA_HOME", "/x")]), Ok("/x/afn".into()));
        assert_eq!(of(&[("HOME", "/h"), ("XDG_DATA_HOME", "x")]), Ok("/h/.local/share/afn".into()));
        assert_eq!(of(&[("HOME", "/h"), ("AFN_DATA_DIR", "/d")]), Ok("/d".into()));
        assert_eq!(of(&[("HOME", "")]), Err("HOME is not set".into()));
        let run_dir = |variables: &[(&'static str, &'static str)]| {
            variables.iter().copied().collect::<Env>().run_dir().unwrap()
        };
        assert_eq!(run_dir(&[("HOME", "/h")]), Path::new("/h/.local/share/afn/run"));
        assert_eq!(
            run_dir(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/7")]),
            Path::new("/run/user/7/afn")
        );
    }

    #[test]
    fn every_variable_is_declared_once() {
        let mut names: Vec<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), VARIABLES.len());
    }
}
