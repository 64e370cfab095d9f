//! The commands. Each file has a command's arguments and its `run` together.

mod batch;
mod call;
mod cancel;
mod config;
mod context;
mod define;
mod deploy;
mod dlq;
mod doctor;
mod erase;
mod gc;
mod get;
mod init;
mod list;
mod run;
mod status;
mod submit;
mod wait;
mod wanted;
mod worker;

use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::ExitCode;
use super::options::{AppArgs, AppOrFunction, CallOrBatchArgs, FunctionArgs, LogFormat, Shown};
use super::session::Session;
use super::signal;
use super::text::Text;
use crate::error::Result;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new function in a folder.
    #[command(visible_alias = "in")]
    Init(Box<init::InitArgs>),

    /// Build a function and publish it in an app.
    #[command(visible_alias = "dp")]
    Deploy(deploy::DeployArgs),

    /// Build a function's image without publishing it.
    #[command(hide = true, alias = "bu")]
    Build(deploy::BuildArgs),

    /// Push a function's image to its registry.
    #[command(hide = true, alias = "p")]
    Push(deploy::PushArgs),

    /// Raise the version in func.yaml.
    #[command(hide = true, alias = "bm")]
    Bump(deploy::BumpArgs),

    /// Run a function once on a temporary store: nothing is deployed, and no worker is needed.
    #[command(visible_alias = "r")]
    Run(run::RunArgs),

    /// Call a function: an async one answers with the call's id, a sync one with its response.
    #[command(visible_aliases = ["invoke", "cl"])]
    Call(call::CallArgs),

    /// Submit one call and print its id, whatever the function's type; with --input, a batch.
    Submit(Box<submit::SubmitArgs>),

    /// Show the state of a call or batch, and why it does not move.
    Status(CallOrBatchArgs),

    /// Wait until a call or batch is done; the exit code shows how it ended.
    Wait(wait::WaitArgs),

    /// Cancel a call or batch: calls that have not finished are stopped.
    Cancel(CallOrBatchArgs),

    /// Run, submit and follow batches: many calls from a file.
    #[command(visible_alias = "b", subcommand)]
    Batch(batch::BatchCommand),

    /// Read one thing: a call, its result or log, a config value.
    #[command(visible_alias = "g", subcommand)]
    Get(get::GetNoun),

    /// List apps, functions, calls, config or contexts.
    #[command(visible_alias = "ls", subcommand)]
    List(list::ListNoun),

    /// Show everything about an app or function.
    #[command(visible_alias = "i", subcommand)]
    Inspect(AppOrFunction<Shown<AppArgs>, Shown<FunctionArgs>>),

    /// Create an app, a function from an image, or a context.
    #[command(visible_alias = "c", subcommand)]
    Create(define::CreateNoun),

    /// Change an app or function.
    #[command(visible_alias = "up", subcommand)]
    Update(AppOrFunction<define::AppChange, define::FunctionChange>),

    /// Delete an app, function or context.
    #[command(visible_alias = "d", subcommand)]
    Delete(define::DeleteNoun),

    /// Set a config value of an app or function; `list config` shows what is set.
    ///
    /// Functions inherit the values of their app. A value of the function itself wins.
    #[command(visible_alias = "cf", subcommand)]
    Config(config::Setting),

    /// Remove a config value of an app or function.
    #[command(visible_alias = "un", subcommand)]
    Unset(config::UnsetNoun),

    /// Make a context the current one.
    #[command(hide = true, alias = "u", subcommand)]
    Use(context::UseNoun),

    /// Work with contexts: named stores with their queues.
    #[command(visible_alias = "ctx", subcommand)]
    Context(context::ContextCommand),

    /// Run calls from the queues until stopped.
    Worker(worker::WorkerArgs),

    /// Run a worker and the HTTP API in one process.
    Start(worker::StartArgs),

    /// Check store, queues, Docker, credentials and clock, and advise what to do.
    Doctor,

    /// Show, put back or delete dead letters: messages that no worker could read, or whose objects could not be read.
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),

    /// Delete content that is past its retention, and send calls and supervisors again that lost their message.
    Gc(gc::GcArgs),

    /// Print how many slots the work that is left wants, for a program that scales the workers: as many as end it within ten
    /// minutes, 0 if there is none.
    Wanted,

    /// Print the version.
    Version,

    /// Print a completion script for a shell.
    Completion(CompletionArgs),
}

#[derive(Debug, Clone, Args)]
pub struct CompletionArgs {
    /// The shell to complete in.
    pub shell: clap_complete::Shell,
}

impl Command {
    /// How a command that runs calls writes its log.
    pub fn log_format(&self) -> LogFormat {
        match self {
            Command::Worker(args) => args.flags.log.log_format,
            Command::Start(args) => args.flags.log.log_format,
            Command::Run(args) => args.log.log_format,
            Command::Batch(batch::BatchCommand::Run(args)) => args.work.log.log_format,
            Command::Batch(batch::BatchCommand::Resume(args)) => args.work.log.log_format,
            _ => LogFormat::Text,
        }
    }

    /// Whether the command catches SIGINT and SIGTERM itself, to shut down cleanly.
    fn catches_signals(&self) -> bool {
        use batch::BatchCommand::{Resume, Run};
        matches!(self, Command::Worker(_) | Command::Start(_) | Command::Batch(Run(_) | Resume(_)))
    }
}

pub async fn run(command: Command, session: Session) -> Result<ExitCode> {
    let ended = match command.catches_signals() {
        true => dispatch(command, &session).await,
        false => signal::or_interrupted(dispatch(command, &session)).await,
    };
    session.print_requests();
    ended
}

async fn dispatch(command: Command, session: &Session) -> Result<ExitCode> {
    let done = match command {
        Command::Worker(args) => return worker::run(session, args).await,
        Command::Start(args) => return worker::start(session, args).await,
        Command::Batch(command) => return batch::run(session, command).await,
        Command::Call(args) => return call::run(session, args).await,
        Command::Run(args) => return run::run(session, args).await,
        Command::Wait(args) => return wait::run(session, args).await,
        Command::Doctor => return doctor::run(session).await,
        Command::Init(args) => init::run(session, *args),
        Command::Deploy(args) => deploy::run(session, args).await,
        Command::Build(args) => deploy::build(session, args).await,
        Command::Push(args) => deploy::push(session, args).await,
        Command::Bump(args) => deploy::bump(session, args),
        Command::Submit(args) => submit::run(session, *args).await,
        Command::Status(args) => status::run(session, args).await,
        Command::Cancel(args) => cancel::run(session, args).await,
        Command::Get(noun) => get::run(session, noun).await,
        Command::List(noun) => list::run(session, noun).await,
        Command::Inspect(noun) => define::inspect(session, noun).await,
        Command::Create(noun) => define::create(session, noun).await,
        Command::Update(noun) => define::update(session, noun).await,
        Command::Delete(noun) => define::delete(session, noun).await,
        Command::Config(setting) => config::set(session, setting).await,
        Command::Unset(config::UnsetNoun::Config(key)) => config::unset(session, key).await,
        Command::Use(context::UseNoun::Context(args)) => context::use_context(session, &args),
        Command::Context(command) => context::run(session, command).await,
        Command::Dlq(command) => dlq::run(session, command).await,
        Command::Gc(args) => gc::run(session, args).await,
        Command::Wanted => wanted::run(session).await,
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            session
                .printer
                .answer(&json!({ "version": version }), &Text::from_iter([format!("afn {version}")]))
        }
        Command::Completion(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut super::definition(), "afn", &mut script);
            session.printer.data(script)
        }
    };
    done.map(|()| ExitCode::Success)
}
