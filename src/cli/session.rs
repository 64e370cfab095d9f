//! What a command works with: the printer, and the context that it opens.

use std::sync::{Arc, OnceLock};

use super::log::LogWriter;
use super::options::Global;
use super::printer::Printer;
use crate::context::{self, Context, ContextName, Contexts, DataBucket, Env, Flags};
use crate::embedded::{Engine, Executors};
use crate::error::Result;
use crate::event::{Event, Listener};
use crate::seam::Store;
use crate::seam::count::Counts;

/// A risk of functions in containers that ask for a network, and why it is there.
pub fn metadata_open(why: &str) -> String {
    format!("functions that ask for a network reach this machine and its cloud's metadata service: {why}")
}

/// A risk of functions that run as child processes of root, and why they do.
pub fn processes_of_root(why: &str) -> String {
    format!(
        "functions that run as child processes can read and change all files of root ({why}); another user, or \
         --executor docker, keeps them from it"
    )
}

pub struct Session {
    pub printer: Printer,
    pub env: Env,
    flags: Flags,
    /// Of the context that was opened.
    counts: OnceLock<Arc<Counts>>,
}

/// Passes on the events that explain what a command does, and why it takes long; drops all others.
struct CommandListener(Arc<dyn Listener>);

impl Listener for CommandListener {
    fn on(&self, event: Event) {
        if let Event::RequestRepeated { .. } | Event::SourceFormatFound { .. } = &event {
            self.0.on(event);
        }
    }
}

impl Session {
    pub fn new(global: Global, printer: Printer) -> Session {
        let flags = Flags { context: global.context, ..Flags::default() };
        Session { printer, env: Env::system(), flags, counts: OnceLock::new() }
    }

    /// `alice@laptop`, recorded with what this user does to calls of others.
    pub fn user(&self) -> Result<String> {
        let user = self.env.text("USER")?.unwrap_or_else(|| "somebody".to_owned());
        let system = rustix::system::uname();
        Ok(format!("{user}@{}", system.nodename().to_string_lossy()))
    }

    pub fn contexts(&self) -> Result<Contexts> {
        Contexts::new(&self.env)
    }

    /// The context that this command works in.
    pub fn context(&self) -> Result<Context> {
        context::resolve(&self.flags, &self.env)
    }

    /// That context, or the one that this command works in, to be shown.
    pub fn context_to_show(&self, name: Option<&ContextName>) -> Result<Context> {
        let name = name.map(ToString::to_string).or_else(|| self.flags.context.clone());
        context::find(&Flags { context: name, ..self.flags.clone() }, &self.env)
    }

    pub async fn open(&self) -> Result<Engine> {
        self.open_with(self.listener()).await
    }

    /// A bucket to read from. It need not be the context's own.
    pub async fn open_bucket(&self, bucket: &DataBucket) -> Result<Arc<dyn Store>> {
        let counts = Arc::default();
        context::open_bucket(&self.context()?, &self.env, bucket, counts, self.listener()).await
    }

    fn listener(&self) -> Arc<dyn Listener> {
        Arc::new(CommandListener(LogWriter::direct(&self.printer)))
    }

    pub async fn open_with(&self, events: Arc<dyn Listener>) -> Result<Engine> {
        self.open_context(self.context()?, events).await
    }

    pub async fn open_context(&self, context: Context, events: Arc<dyn Listener>) -> Result<Engine> {
        let engine = Engine::open(context, self.env.clone(), events).await?;
        self.printer.detail(format!("context {} ({})", engine.context.name, engine.context.kind));
        let _ = self.counts.set(engine.counts.clone());
        Ok(engine)
    }

    /// Prints what functions can do to this machine, and why images cannot run here.
    pub fn print_risks(&self, executors: &Executors) {
        if let Some(why) = &executors.processes_of_root {
            self.printer.warning(processes_of_root(why));
        }
        if let Some(why) = &executors.metadata_open {
            self.printer.note(metadata_open(why));
        }
        if let Some(why) = &executors.without_docker {
            self.printer.note(format!("only functions without an image run here: {why}"));
        }
    }

    /// Prints with `--verbose` what the command cost.
    pub fn print_requests(&self) {
        if let Some(counts) = self.counts.get() {
            let counts = counts.snapshot();
            let (store, queues) = (counts.store_requests(), counts.queue_requests());
            self.printer.detail(format!("{store} requests to the store, {queues} to queues"));
        }
    }
}
