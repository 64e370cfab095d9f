//! The engine in one process: an opened context, and a worker with its executor on top of it, for every command that runs
//! calls. Must not know arguments, and must not print.

mod data_buckets;
mod executors;
pub mod memory;
mod webhook;
mod webhook_target;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use crate::catalog::Catalog;
use crate::context::{self, Context, Env, env};
use crate::error::{Error, Result};
use crate::event::Listener;
pub use crate::executor::docker::AllowedImages;
pub use crate::executor::{BatchConfig, OwnBatch};
use crate::seam::Deps;
use crate::seam::count::Counts;
use crate::worker::{Config, Phase, Summary, Worker};

pub use executors::{
    Choice, ExecutorChoice, Executors, FunctionUids, MachineSecrets, Scope, builder, docker, function_users,
    worker_name,
};
pub use webhook_target::WebhookAllow;

/// An opened context.
pub struct Engine {
    pub context: Context,
    pub env: Env,
    pub deps: Deps,
    pub catalog: Catalog,
    /// Every request that this process makes.
    pub counts: Arc<Counts>,
    /// Where webhooks may go beside public addresses.
    pub webhook_allow: Vec<WebhookAllow>,
}

impl Engine {
    pub async fn open(context: Context, env: Env, events: Arc<dyn Listener>) -> Result<Engine> {
        let opened = context::open(&context, events).await?;
        let catalog = Catalog::new(opened.deps.clone());
        // In a local context the user who submits is the worker's own.
        let mut webhook_allow = if context.kind.is_remote() { Vec::new() } else { WebhookAllow::loopback() };
        for allowed in env.get(env::WEBHOOK_ALLOW)?.iter().flat_map(|list| list.split(',')) {
            webhook_allow.push(allowed.trim().parse()?);
        }
        Ok(Engine { context, env, deps: opened.deps, catalog, counts: opened.counts, webhook_allow })
    }
}

/// A worker in this process. It works while [`LocalWorker::work`] is polled. [`LocalWorker::close`] it: its sandboxes
/// outlive a drop.
pub struct LocalWorker {
    pub executors: Executors,
    working: Pin<Box<dyn Future<Output = Result<Summary>> + Send>>,
    stop: watch::Sender<Phase>,
}

impl LocalWorker {
    /// Runs calls of this scope, as many at once as `slots`, one per CPU without it. Fails where Docker is needed and
    /// does not answer.
    pub async fn start(
        engine: &Engine,
        scope: Scope<'_>,
        slots: Option<u16>,
        configure: impl FnOnce(&mut Config),
    ) -> Result<LocalWorker> {
        let slots = match slots {
            Some(count) => usize::from(count),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let executors = executors::open(engine, slots, scope).await?;
        let mut config = executors::config(engine, slots)?;
        configure(&mut config);
        let (stop, wanted) = watch::channel(Phase::Run);
        let worker = Worker::new(engine.deps.clone(), executors.executor.clone(), config);
        Ok(LocalWorker { executors, working: Box::pin(worker.run(wanted)), stop })
    }

    /// Stops the worker while `work` is polled elsewhere.
    pub fn stopper(&self) -> watch::Sender<Phase> {
        self.stop.clone()
    }

    /// Returns when the worker has stopped: on request, because its queues are empty, or because it failed. The future may
    /// be dropped and made again until then.
    pub async fn work(&mut self) -> Result<()> {
        self.working.as_mut().await.map(|_| ())
    }

    /// Works like [`LocalWorker::work`], for a worker that is not stopped: its end is an error.
    pub async fn fail(&mut self) -> Error {
        self.work().await.err().unwrap_or_else(|| Error::internal("the worker stopped"))
    }

    /// Stops the worker. Running calls go back to the queue.
    pub async fn stop_now(&mut self) -> Result<()> {
        self.stop.send_replace(Phase::HandBack);
        self.work().await
    }

    /// Stops the worker. Running calls get their grace, or go back to the queue once `hurry` is ready.
    pub async fn drain(&mut self, hurry: impl Future<Output = ()>) -> Result<()> {
        self.stop.send_replace(Phase::Drain);
        tokio::select! {
            biased;
            () = hurry => self.stop_now().await,
            ended = self.working.as_mut() => ended.map(|_| ()),
        }
    }

    /// Drops the worker and ends its sandboxes. Returns the last phase that was requested.
    pub async fn close(self) -> Phase {
        drop(self.working);
        self.executors.executor.close().await;
        *self.stop.borrow()
    }
}
