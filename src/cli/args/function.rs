//! A function's folder: making, building and deploying it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::parse::{self, Pair};
use crate::context::env;
use crate::model::{AppName, Format, Kind};

/// What can be said of a function beside its code; the rest keeps its default or present value.
#[derive(Debug, Clone, Default, Args)]
pub struct Traits {
    /// Memory of a container in MiB, 6 to 65536; 128 by default. More memory means fewer calls at once on a worker.
    #[arg(long, short, value_name = "MIB")]
    pub memory: Option<u64>,

    /// Whether callers wait for the response: sync (the default) or async.
    #[arg(long = "type", short = 't', value_name = "TYPE", value_parser = parse::model::<Kind>)]
    pub kind: Option<Kind>,

    /// A config value, given to the function as an environment variable. Repeatable.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse::pair)]
    pub config: Vec<Pair>,

    /// How the container is spoken to: default (stdin to stdout, a process per call) or http-stream (Fn's FDKs).
    #[arg(long, short, value_name = "FORMAT", value_parser = parse::model::<Format>)]
    pub format: Option<Format>,

    /// The function's own time, 1s to 5h; 30s by default. Queueing, pulling and starting do not count.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub timeout: Option<Duration>,

    /// How long a container is kept hot after a call, up to 1h; 30s by default. It holds its memory meanwhile.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub idle_timeout: Option<Duration>,

    /// An annotation, its value JSON or plain text. Repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::pair)]
    pub annotation: Vec<Pair>,
}

#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// The function's name and the folder to make; without it, the current folder.
    #[arg(value_name = "FUNCTION_NAME")]
    pub folder: Option<String>,

    /// The function's name, when it is not the folder's.
    #[arg(long)]
    pub name: Option<String>,

    /// The language: go, python, node, rust, shell, or docker; without it, told from the files that are there.
    #[arg(long)]
    pub runtime: Option<String>,

    /// Replace a func.yaml that exists.
    #[arg(long)]
    pub force: bool,

    /// Write boilerplate on Fn's official FDK (downloaded when the function is built), not on the standard library.
    #[arg(long)]
    pub fdk: bool,

    /// The command that starts the function.
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,

    /// Arguments of the entrypoint.
    #[arg(long, value_name = "ARGUMENTS")]
    pub cmd: Option<String>,

    /// The version to begin with; 0.0.1 by default.
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,

    /// The folder that holds the function's, instead of the current one.
    #[arg(long, short, value_name = "PATH")]
    pub working_dir: Option<PathBuf>,

    #[command(flatten)]
    pub traits: Traits,
}

#[derive(Debug, Clone, Args)]
pub struct DeployArgs {
    /// The function's folder; with --all, the folder that holds several.
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,

    /// The app to publish in; it is made if there is none. By default the one that app.yaml names.
    #[arg(long, value_name = "APP", value_parser = parse::model::<AppName>)]
    pub app: Option<AppName>,

    /// Do not push the image: the workers run on this machine.
    #[arg(long, visible_alias = "skip-push")]
    pub local: bool,

    /// Publish the folder itself, although Docker is there: workers run it as a child process, not in a container.
    #[arg(long)]
    pub no_image: bool,

    /// Deploy every function below the folder.
    #[arg(long)]
    pub all: bool,

    /// Keep the version in func.yaml as it is.
    #[arg(long)]
    pub no_bump: bool,

    #[command(flatten)]
    pub build: BuildFlags,

    /// The function's folder.
    #[arg(long, short, value_name = "PATH", conflicts_with = "path")]
    pub working_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Args)]
pub struct BuildFlags {
    /// Build every layer anew: slower, and what it downloads is fresh.
    #[arg(long)]
    pub no_cache: bool,

    /// A build argument for the Dockerfile. Repeatable.
    #[arg(long = "build-arg", value_name = "KEY=VALUE", value_parser = parse::pair)]
    pub build_args: Vec<Pair>,

    /// What stands before the image's name, like registry.example.com/team.
    #[arg(long, env = env::REGISTRY.name, hide_env = true, value_name = "REGISTRY")]
    pub registry: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    /// The function's folder.
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,

    #[command(flatten)]
    pub build: BuildFlags,
}

#[derive(Debug, Clone, Args)]
pub struct PushArgs {
    /// The function's folder.
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,

    /// What stands before the image's name, like registry.example.com/team.
    #[arg(long, env = env::REGISTRY.name, hide_env = true, value_name = "REGISTRY")]
    pub registry: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct BumpArgs {
    /// The function's folder.
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,

    /// Raise the first number, and begin the others at 0.
    #[arg(long, conflicts_with = "minor")]
    pub major: bool,

    /// Raise the second number, and begin the third at 0.
    #[arg(long)]
    pub minor: bool,
}
