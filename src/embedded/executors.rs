//! What runs functions on this machine: Docker when it answers, and child processes.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::Engine;
use super::webhook::HttpWebhook;
use crate::context::{self, Env, Kind, env};
use crate::deploy::command::is_command;
use crate::error::{Error, Result};
use crate::executor::docker::{AllowedImages, Builder, DockerLauncher, DockerOptions};
use crate::executor::process::{self, ProcessLauncher, ProcessOptions, UserRange};
use crate::executor::sandbox::Launcher;
use crate::executor::secrets::{Allowed, Cache, SecretReader, WithSecrets};
use crate::executor::{Composite, OwnBatch, OwnBatchOnly, Pool};
use crate::limits;
use crate::model::text::words;
use crate::model::{BucketName, Source, Version};
use crate::seam::Executor;
use crate::seam::clock::SystemClock;
use crate::worker::{Config, OwnBucket};

/// What a worker runs functions in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExecutorChoice {
    /// Containers and child processes in a local context, containers elsewhere.
    #[default]
    Auto,
    Docker,
    /// Child processes, with the rights of the worker's user: for functions that this user trusts.
    Process,
}

words!(ExecutorChoice, "executor": Docker = "docker", Process = "process", Auto = "auto");

/// Who runs deployed functions as child processes, where the worker is root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionUids {
    /// Root.
    None,
    /// Each process another one of these.
    Of(UserRange),
}

impl FromStr for FunctionUids {
    type Err = Error;

    fn from_str(text: &str) -> Result<FunctionUids> {
        match text {
            "none" => Ok(FunctionUids::None),
            text => text.parse().map(FunctionUids::Of).map_err(|why| {
                Error::invalid(why).with_hint("FIRST-LAST, or `none` to run functions as root")
            }),
        }
    }
}

/// What a worker's user chooses.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    pub executor: ExecutorChoice,
    /// None: as the environment says.
    pub function_uids: Option<FunctionUids>,
    pub images: AllowedImages,
    pub secrets: MachineSecrets,
}

/// The calls that a worker has to be able to run. The worker's user chooses what runs functions, never the user who
/// deploys them: in a remote context that may be anybody with access to the bucket.
#[derive(Clone, Copy)]
pub enum Scope<'a> {
    /// All calls that this choice can run.
    All(&'a Choice),
    /// Calls of this batch, which the worker's user runs from here. In a local context others too, as this machine can.
    Own(&'a Arc<OwnBatch>),
    /// Calls of this version, in a store in which there is nothing else.
    Only(&'a Version),
}

/// Which variables and files of this machine a worker gives to functions whose config names them. By default all in a
/// local context, where the deployer is the worker's user, and none in a remote one, where anybody with access to the
/// bucket may deploy.
#[derive(Debug, Clone, Default)]
pub struct MachineSecrets {
    /// If not empty, only these variables of the environment.
    pub variables: Vec<String>,
    /// If not empty, only these files, and the files in these folders.
    pub files: Vec<PathBuf>,
}

/// The executor of a worker, and what its user should know about it.
pub struct Executors {
    pub(super) executor: Arc<dyn Executor>,
    /// Why a worker that serves all functions cannot run those with an image; `None` where it can.
    pub without_docker: Option<String>,
    /// Why functions in containers that ask for a network reach this machine and its cloud's metadata service.
    pub metadata_open: Option<String>,
    /// Why functions that anybody deployed run as child processes with the rights of root.
    pub processes_of_root: Option<String>,
}

/// An executor for `slots` calls at once. Each slot keeps a sandbox hot.
pub(super) async fn open(engine: &Engine, slots: usize, scope: Scope<'_>) -> Result<Executors> {
    let is_image = |version: &Version| matches!(version.source, Source::Image { .. });
    let is_remote = engine.context.kind.is_remote();
    let default = Choice::default();
    let choice = if let Scope::All(choice) = scope { choice } else { &default };
    let only = |version| (Some(version), is_image(version), is_image(version), !is_image(version));
    let secrets = Arc::new(secrets(engine, choice.secrets.clone())?);
    let (version, with_docker, needs_docker, processes) = match scope {
        Scope::All(Choice { executor: ExecutorChoice::Docker, .. }) => (None, true, true, false),
        Scope::All(Choice { executor: ExecutorChoice::Auto, .. }) => (None, true, is_remote, !is_remote),
        Scope::All(Choice { executor: ExecutorChoice::Process, .. }) => (None, false, false, true),
        Scope::Own(own) if !is_remote => (Some(&own.version), true, is_image(&own.version), true),
        Scope::Own(own) => only(&own.version),
        Scope::Only(version) => only(version),
    };
    let (mut all, mut without_docker, mut metadata_open) = (Vec::new(), None, None);
    if with_docker {
        match connect(&engine.env, choice.images.clone()).await {
            Ok(docker) => {
                metadata_open = docker.leaves_metadata_open().map(str::to_owned);
                all.push(pool(docker, &secrets, engine, slots));
            }
            Err(why) if needs_docker => return Err(no_docker(why, scope)),
            Err(why) => without_docker = version.is_none().then_some(why),
        }
    }
    let mut processes_of_root = None;
    if processes {
        let users = match function_users(&engine.env, choice.function_uids)? {
            Ok(users) => users,
            Err(why) => {
                processes_of_root = version.is_none().then_some(why);
                None
            }
        };
        // Outside of a local context, commands may be anybody's, but for those of the own batch.
        let trusts_commands = !is_remote || matches!(scope, Scope::Own(_));
        all.push(pool(self::processes(engine, trusts_commands, users)?, &secrets, engine, slots));
    }
    let executor: Arc<dyn Executor> = Arc::new(Composite::new(all));
    Ok(Executors {
        executor: match scope {
            Scope::Own(own) if is_remote => Arc::new(OwnBatchOnly { executor, own: own.clone() }),
            _ => executor,
        },
        without_docker,
        metadata_open,
        processes_of_root,
    })
}

fn no_docker(why: String, scope: Scope<'_>) -> Error {
    match scope {
        Scope::All(_) => Error::unreachable(why).with_hint(
            "start Docker; or `--executor process` runs functions without an image as child processes, with the rights \
             of this user",
        ),
        Scope::Own(_) | Scope::Only(_) => Error::unreachable(why),
    }
}

/// Runs child processes.
fn processes(engine: &Engine, trusts_commands: bool, users: Option<UserRange>) -> Result<ProcessLauncher> {
    let scope = match trusts_commands {
        true => process::Scope { is_own_command: is_command },
        false => process::Scope::all(),
    };
    let (work_dir, run_dir) = match users {
        None => (work_dir(engine)?, engine.env.run_dir()?),
        // Its path is as short as a socket's has to be. Other users have other groups, and so another folder.
        Some(users) => {
            let dir = engine.env.function_dir()?.join(users.group().to_string());
            (dir.clone(), dir)
        }
    };
    let (archives, clock) = (engine.deps.store.clone(), engine.deps.clock.clone());
    Ok(ProcessLauncher::new(ProcessOptions { archives, clock, work_dir, run_dir, scope, users }))
}

fn pool(
    launcher: impl Launcher + 'static,
    secrets: &Arc<SecretReader>,
    engine: &Engine,
    slots: usize,
) -> Arc<dyn Executor> {
    let launcher = WithSecrets { launcher, secrets: secrets.clone() };
    Arc::new(Pool::new(Arc::new(launcher), engine.deps.clock.clone(), slots))
}

fn secrets(engine: &Engine, given: MachineSecrets) -> Result<SecretReader> {
    let env = engine.env.clone();
    let is_local = !engine.context.kind.is_remote();
    Ok(SecretReader {
        aws: context::open_secrets(&engine.context, &env, engine.deps.events.clone())?,
        clock: engine.deps.clock.clone(),
        variables: Box::new(move |name| env.text(name).map_err(|error| error.to_string())),
        allowed_variables: allowed(given.variables, is_local),
        allowed_files: allowed(given.files, is_local),
        cache: Cache::default(),
    })
}

fn allowed<T>(named: Vec<T>, is_local: bool) -> Allowed<T> {
    if named.is_empty() && is_local { Allowed::All } else { Allowed::Only(named) }
}

/// Builds images on this machine.
pub fn builder(env: &Env) -> Result<Builder, String> {
    docker_options(env).map(Builder)
}

/// Who runs deployed functions: `None` for this user. The error is the reason why that is root.
///
/// Errors: this user asked for others by name, and they cannot be had.
pub fn function_users(env: &Env, asked: Option<FunctionUids>) -> Result<Result<Option<UserRange>, String>> {
    let asked = match (asked, env.get(env::FUNCTION_UIDS)?) {
        (None, Some(text)) => Some(text.parse()?),
        (asked, _) => asked,
    };
    let is_root = rustix::process::geteuid().is_root();
    match asked {
        None if !is_root => Ok(Ok(None)),
        None => Ok(UserRange::default().check().map(|()| Some(UserRange::default()))),
        Some(FunctionUids::None) => {
            Ok(if is_root { Err("--function-uids none".to_owned()) } else { Ok(None) })
        }
        Some(FunctionUids::Of(users)) => match users.check() {
            Ok(()) => Ok(Ok(Some(users))),
            Err(why) => Err(Error::invalid(format!("cannot run functions as users {users}: {why}"))
                .with_hint("only root can; `--function-uids none` runs functions as this user")),
        },
    }
}

/// The folder for unpacked functions: beside the store of a local context, else in the user's data folder.
fn work_dir(engine: &Engine) -> Result<PathBuf> {
    let dir = match &engine.context.data_dir {
        Some(dir) => dir.clone(),
        None => engine.env.data_dir()?,
    };
    Ok(dir.join("work"))
}

/// Connects to Docker. The error is the reason why it cannot be used.
pub async fn docker(env: &Env) -> Result<DockerLauncher, String> {
    connect(env, AllowedImages::default()).await
}

async fn connect(env: &Env, images: AllowedImages) -> Result<DockerLauncher, String> {
    DockerLauncher::connect(DockerOptions { images, ..docker_options(env)? }).await
}

fn docker_options(env: &Env) -> Result<DockerOptions, String> {
    let variable = |name| env.text(name).map_err(|error| error.to_string());
    let run_dir = env.run_dir().map_err(|error| error.to_string())?;
    let mut options = DockerOptions::new(Arc::new(SystemClock), &run_dir);
    options.host = variable("DOCKER_HOST")?;
    if let Some(dir) = variable("DOCKER_CONFIG")? {
        options.config_dir = dir.into();
    }
    Ok(options)
}

/// The configuration of a worker in this process.
pub(super) fn config(engine: &Engine, slots: usize) -> Result<Config> {
    let mut config = Config::new(worker_name(), slots);
    config.counts = Some(engine.counts.clone());
    config.buckets = Some(engine.buckets(None));
    if engine.context.kind.is_remote() {
        // A name that no bucket can have fails at the context's own first request.
        let bucket: Option<BucketName> = engine.context.bucket().ok().and_then(|bucket| bucket.parse().ok());
        let prefix = match engine.context.prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        config.data_buckets.extend(bucket.clone());
        config.own_bucket = bucket.map(|name| OwnBucket { name, prefix });
    }
    if engine.context.kind == Kind::Localstack {
        config.last_poll = limits::LONG_POLL_LOCALSTACK + limits::LAST_POLL;
    }
    config.webhook = Some(Arc::new(HttpWebhook::new(
        &engine.env,
        engine.webhook_allow.clone(),
        engine.deps.clock.clone(),
    )?));
    Ok(config)
}

/// The name of this process's worker in logs and outcomes: `laptop-4711`.
pub fn worker_name() -> String {
    format!("{}-{}", rustix::system::uname().nodename().to_string_lossy(), std::process::id())
}

#[cfg(test)]
mod tests;
