//! What a command works with: the printer, the context, and the engine on top of it once it is opened.

use std::sync::Arc;

use super::args::Global;
use super::lines;
use super::printer::Printer;
use crate::catalog::Catalog;
use crate::context::{self, Context, Contexts, Env, Flags};
use crate::error::Result;
use crate::event::{Event, Listener};
use crate::seam::count::Counts;
use crate::seam::{Seams, Store};

pub struct Session {
    pub printer: Printer,
    pub env: Env,
    flags: Flags,
}

/// An opened context.
pub struct Engine {
    pub context: Context,
    pub seams: Seams,
    pub catalog: Catalog,
    counts: Arc<Counts>,
    printer: Printer,
}

/// Of all that the engine says, what a command that works nothing off has to tell: why it takes so long.
struct Delays(Printer);

impl Listener for Delays {
    fn on(&self, event: Event) {
        if let Event::RequestRepeated { .. } = &event
            && let Some(line) = lines::line(&event, self.0.palette())
        {
            self.0.note(line);
        }
    }
}

impl Session {
    pub fn new(global: Global, printer: Printer) -> Session {
        let flags = Flags { context: global.context, ..Flags::default() };
        Session { printer, env: Env::system(), flags }
    }

    pub fn contexts(&self) -> Result<Contexts> {
        Contexts::new(&self.env)
    }

    /// The context that this command works in.
    pub fn context(&self) -> Result<Context> {
        context::resolve(&self.flags, &self.env)
    }

    pub async fn open(&self) -> Result<Engine> {
        self.open_context(self.context()?, self.delays()).await
    }

    /// A bucket to read from, which need not be the context's own.
    pub async fn open_bucket(&self, bucket: &str) -> Result<Arc<dyn Store>> {
        context::open_bucket(&self.context()?, &self.env, bucket, self.delays()).await
    }

    fn delays(&self) -> Arc<dyn Listener> {
        Arc::new(Delays(self.printer.clone()))
    }

    pub async fn open_with(&self, events: Arc<dyn Listener>) -> Result<Engine> {
        self.open_context(self.context()?, events).await
    }

    pub async fn open_context(&self, context: Context, events: Arc<dyn Listener>) -> Result<Engine> {
        let opened = context::open(&context, events).await?;
        self.printer.detail(format!("context {} ({})", context.name, context.kind));
        Ok(Engine {
            context,
            catalog: Catalog::new(opened.seams.clone()),
            seams: opened.seams,
            counts: opened.counts,
            printer: self.printer.clone(),
        })
    }
}

impl Engine {
    /// Every request that this process makes.
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }
}

/// What it cost, for whoever asked to be told more.
impl Drop for Engine {
    fn drop(&mut self) {
        let counts = self.counts.snapshot();
        let (store, queues) = (counts.store_requests(), counts.queue_requests());
        self.printer.detail(format!("{store} requests to the store, {queues} to queues"));
    }
}
