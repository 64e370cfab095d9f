//! One file per command: takes its arguments, asks the engine, hands the answer to the printer.

mod batch;
mod call;
mod cancel;
mod completion;
mod config;
mod context;
mod create;
mod delete;
pub mod deploy;
mod dlq;
mod doctor;
mod gc;
mod get;
mod image;
mod init;
mod inspect;
mod list;
mod run;
mod start;
mod status;
mod submit;
mod update;
mod version;
mod wait;
mod worker;

use super::args::{Command, UseNoun};
use super::exit::ExitCode;
use super::session::Session;
use super::signal;
use crate::error::Result;

pub async fn run(command: Command, session: Session) -> Result<ExitCode> {
    let session = &session;
    match command {
        // They take signals as a wish to end well.
        Command::Worker(args) => worker::run(session, args).await,
        Command::Start(args) => start::run(session, args).await,
        Command::Batch(command) => batch::run(session, command).await,
        command => signal::or_interrupted(dispatch(command, session)).await,
    }
}

async fn dispatch(command: Command, session: &Session) -> Result<ExitCode> {
    let done = match command {
        Command::Worker(_) | Command::Start(_) | Command::Batch(_) => {
            unreachable!("they are run without a bound above")
        }
        Command::Call(args) => return call::run(session, args).await,
        Command::Run(args) => return run::run(session, args).await,
        Command::Wait(args) => return wait::run(session, args).await,
        Command::Doctor => return doctor::run(session).await,
        Command::Init(args) => init::run(session, *args),
        Command::Deploy(args) => deploy::run(session, args).await,
        Command::Build(args) => image::build(session, args).await,
        Command::Push(args) => image::push(session, args).await,
        Command::Bump(args) => image::bump(session, args),
        Command::Submit(args) => submit::run(session, *args).await,
        Command::Status(args) => status::run(session, args).await,
        Command::Cancel(args) => cancel::run(session, args).await,
        Command::Get(noun) => get::run(session, noun).await,
        Command::List(noun) => list::run(session, noun).await,
        Command::Inspect(noun) => inspect::run(session, noun).await,
        Command::Create(noun) => create::run(session, noun).await,
        Command::Update(noun) => update::run(session, noun).await,
        Command::Delete(noun) => delete::run(session, noun).await,
        Command::Config(noun) => config::set(session, noun).await,
        Command::Unset(noun) => config::unset(session, noun).await,
        Command::Use(UseNoun::Context(args)) => context::use_context(session, &args),
        Command::Context(command) => context::run(session, command).await,
        Command::Dlq(command) => dlq::run(session, command).await,
        Command::Gc(args) => gc::run(session, args).await,
        Command::Version => version::run(session),
        Command::Completion(args) => completion::run(session, args),
    };
    done.map(|()| ExitCode::Success)
}
