//! What runs functions on this machine: Docker when it answers, and child processes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::session::{Engine, Session};
use super::webhook::HttpWebhook;
use crate::context::Kind;
use crate::error::{Error, Result};
use crate::executor::docker::{Builder, DockerLauncher, DockerOptions};
use crate::executor::process::{ProcessLauncher, ProcessOptions};
use crate::executor::sandbox::Launcher;
use crate::executor::{Composite, Pool};
use crate::limits;
use crate::model::{Source, Version};
use crate::seam::Executor;
use crate::seam::clock::SystemClock;
use crate::worker::Config;

/// An executor for as many calls at once as `slots`; each keeps a sandbox hot.
pub async fn open(session: &Session, engine: &Engine, slots: usize) -> Result<Arc<dyn Executor>> {
    let (executor, without) = all(session, engine, slots).await?;
    if let Some(why) = without {
        session.printer.note(format!("only functions without an image run here: {why}"));
    }
    Ok(executor)
}

/// All that can run functions here, and why Docker is not among it.
async fn all(
    session: &Session,
    engine: &Engine,
    slots: usize,
) -> Result<(Arc<dyn Executor>, Option<String>)> {
    let processes = processes(session, engine, slots)?;
    Ok(match docker(session).await {
        Ok(docker) => (Arc::new(Composite::new(vec![pool(docker, engine, slots), processes])), None),
        Err(why) => (Arc::new(Composite::new(vec![processes])), Some(why)),
    })
}

/// An executor that has to suit calls of this version, and takes others as it can.
pub async fn open_with(
    session: &Session,
    engine: &Engine,
    slots: usize,
    version: &Version,
) -> Result<Arc<dyn Executor>> {
    let (executor, without) = all(session, engine, slots).await?;
    match (&version.source, without) {
        (Source::Image { .. }, Some(why)) => Err(Error::unreachable(why)),
        _ => Ok(executor),
    }
}

/// An executor for calls of this version alone.
pub async fn open_for(
    session: &Session,
    engine: &Engine,
    slots: usize,
    version: &Version,
) -> Result<Arc<dyn Executor>> {
    match &version.source {
        Source::Archive { .. } => processes(session, engine, slots),
        Source::Image { .. } => {
            let docker = docker(session).await.map_err(Error::unreachable)?;
            Ok(pool(docker, engine, slots))
        }
    }
}

fn processes(session: &Session, engine: &Engine, slots: usize) -> Result<Arc<dyn Executor>> {
    let launcher = ProcessLauncher::new(ProcessOptions {
        archives: engine.seams.store.clone(),
        clock: engine.seams.clock.clone(),
        work_dir: work_dir(session, engine)?,
    });
    Ok(pool(launcher, engine, slots))
}

fn pool(launcher: impl Launcher + 'static, engine: &Engine, slots: usize) -> Arc<dyn Executor> {
    Arc::new(Pool::new(Arc::new(launcher), engine.seams.clock.clone(), slots))
}

/// What builds images here, if anything does.
pub fn builder(session: &Session) -> Result<Builder, String> {
    Ok(Builder::new(docker_options(session)?))
}

/// Where functions' folders are unpacked and kept: beside the store of a local context, else in the user's data folder.
fn work_dir(session: &Session, engine: &Engine) -> Result<PathBuf> {
    let dir = match &engine.context.data_dir {
        Some(dir) => dir.clone(),
        None => session.env.data_dir()?,
    };
    Ok(dir.join("work"))
}

/// Docker, when it answers; else why not.
pub async fn docker(session: &Session) -> Result<DockerLauncher, String> {
    DockerLauncher::connect(docker_options(session)?).await
}

fn docker_options(session: &Session) -> Result<DockerOptions, String> {
    let variable = |name| session.env.text(name).map_err(|error| error.to_string());
    let mut options = DockerOptions::new(Arc::new(SystemClock));
    options.host = variable("DOCKER_HOST")?;
    if let Some(dir) = variable("DOCKER_CONFIG")? {
        options.config_dir = dir.into();
    }
    Ok(options)
}

/// A worker of this process, under the name that people know it by.
pub fn config(session: &Session, engine: &Engine, slots: usize) -> Result<Config> {
    let mut config = Config::new(worker_name(), slots);
    config.counts = Some(engine.counts());
    if engine.context.kind == Kind::Localstack {
        let longest = limits::LONG_POLL_LOCALSTACK_MS + limits::LAST_POLL_MS;
        config.last_poll = Duration::from_millis(longest);
    }
    config.webhook = Some(Arc::new(HttpWebhook::new(&session.env)?));
    Ok(config)
}

/// As many calls at once as were asked for, else one per CPU.
pub fn slots(concurrency: Option<u16>) -> usize {
    match concurrency {
        Some(count) => usize::from(count),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// Names a worker to people: `laptop-4711`.
fn worker_name() -> String {
    format!("{}-{}", rustix::system::uname().nodename().to_string_lossy(), std::process::id())
}
