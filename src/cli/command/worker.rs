//! `afn worker`, and `afn start`: a worker, without and with the HTTP API.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use clap::Args;
use tempfile::TempPath;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;

use crate::api::{self, ApiOptions, Listeners};
use crate::cli::exit::ExitCode;
use crate::cli::log::LogWriter;
use crate::cli::options::WorkerFlags;
use crate::cli::parse;
use crate::cli::session::Session;
use crate::cli::signal::StopSignals;
use crate::context::env;
use crate::embedded::{Engine, LocalWorker, Scope};
use crate::error::{Error, Result};
use crate::folder;
use crate::worker::{Config, Phase};

#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub flags: WorkerFlags,

    /// Exit when the queues are empty, instead of waiting for more. A worker serves all apps of its context, so it runs
    /// their waiting calls too.
    #[arg(long)]
    pub drain: bool,

    /// How long a message is hidden from other workers; this worker extends it three times within that time. The calls of a
    /// lost worker wait for so long. 3s to 1h; 60s by default.
    #[arg(long, hide_short_help = true, value_name = "DURATION", value_parser = parse::visibility)]
    pub visibility: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub struct StartArgs {
    /// The port of the HTTP API on 127.0.0.1; 0 takes a free one.
    #[arg(long, short, env = env::PORT.name, hide_env = true, default_value_t = 8080)]
    pub port: u16,

    /// Let every user of this machine call functions over TCP, without a token.
    #[arg(long)]
    pub no_token: bool,

    #[command(flatten)]
    pub flags: WorkerFlags,
}

pub async fn run(session: &Session, args: WorkerArgs) -> Result<ExitCode> {
    let configure = |config: &mut Config| {
        config.visibility = args.visibility.unwrap_or(config.visibility);
        config.until_dry = args.drain;
    };
    work(session, args.flags, configure, async |_, _| Ok(())).await
}

pub async fn start(session: &Session, args: StartArgs) -> Result<ExitCode> {
    let tcp = listen(args.port).await?;
    let serve = async |engine: &Engine, drained: oneshot::Receiver<()>| {
        let address = tcp.local_addr().map_err(|error| Error::internal(format!("listen: {error}")))?;
        session.printer.note(format!("afn listens on http://{address}, context {}", engine.context.name));
        let token = token(session, args.no_token, address)?;
        let (unix, _socket_file) = unix(session, address.port());
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let options = ApiOptions { deps: engine.deps.clone(), version, token };
        api::serve(Listeners { tcp, unix }, options, async { _ = drained.await }).await
    };
    work(session, args.flags, |_| {}, serve).await
}

/// Runs a worker until a signal stops it. `serve` runs beside it, until the worker has drained: a client that waits for a
/// running call still gets its answer.
async fn work(
    session: &Session,
    flags: WorkerFlags,
    configure: impl FnOnce(&mut Config),
    serve: impl AsyncFnOnce(&Engine, oneshot::Receiver<()>) -> Result<()>,
) -> Result<ExitCode> {
    let mut stops = StopSignals::catch()?;
    let log = LogWriter::background(&session.printer);
    let mut engine = session.open_with(log.clone()).await?;
    let choice = flags.choice()?;
    engine.webhook_allow.extend(flags.webhook_allow);
    let mut worker = LocalWorker::start(&engine, Scope::All(&choice), flags.concurrency, |config| {
        config.grace = flags.grace.unwrap_or(config.grace);
        config.data_buckets.extend(flags.data_buckets.iter().cloned());
        configure(config);
    })
    .await?;
    session.print_risks(&worker.executors);
    let stop = worker.stopper();
    let (draining, drained) = oneshot::channel();
    let working = async {
        let ended = worker.work().await;
        drop(draining);
        ended
    };
    let ended = tokio::select! {
        biased;
        ended = async { tokio::try_join!(working, serve(&engine, drained)) } => ended,
        never = stops.forward(&stop, &session.printer) => match never {},
    };
    let stopped = stops.or_next(worker.close()).await.unwrap_or(Phase::HandBack);
    log.finish();
    ended.map(|_| ExitCode::of_worker(stopped))
}

/// The token that requests over TCP need: every user of this machine can connect to the port.
fn token(session: &Session, none: bool, address: SocketAddr) -> Result<Option<String>> {
    if none {
        session.printer.warning(format!(
            "--no-token: every user of this machine can call functions and read results on {address}"
        ));
        return Ok(None);
    }
    if let Some(token) = session.env.get(env::TOKEN)? {
        return Ok(Some(token));
    }
    if session.printer.is_quiet {
        return Err(Error::invalid("`--quiet` would hide the token that `afn start` makes").with_hint(format!(
            "set {} to a token; or leave out `--quiet`, or `--no-token` lets every user of this machine in",
            env::TOKEN.name
        )));
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(format!("make a token: {error}")))?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    session.printer.note(format!("export {}={token}", env::TOKEN.name));
    session.printer.hint(format!("curl -H 'Authorization: Bearer {token}' http://{address}/version"));
    Ok(Some(token))
}

/// A socket that only this user can open, and that needs no token. Its file is removed when the path is dropped.
fn unix(session: &Session, port: u16) -> (Option<UnixListener>, Option<TempPath>) {
    let bind = || {
        let dir = session.env.run_dir()?;
        let path = dir.join(format!("api-{port}.sock"));
        let bound = folder::own(&dir).and_then(|()| {
            // A killed process left its socket. The port is ours now, and so is the name.
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            Ok((listener, TempPath::try_from_path(&path)?))
        });
        let failed = |error| Error::invalid(format!("listen on {}: {error}", path.display()));
        bound.map_err(failed)
    };
    match bind() {
        Ok((listener, path)) => {
            session.printer.note(format!("and, without a token, on unix:{}", path.display()));
            (Some(listener), Some(path))
        }
        Err(error) => {
            session.printer.warning(format!("there is no unix socket: {error}"));
            (None, None)
        }
    }
}

/// On the loopback address only.
async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        Error::conflict(format!("listen on 127.0.0.1:{port}: {error}")).with_hint(
            "`--port` chooses another, `--port 0` a free one; `afn worker` runs calls without listening",
        )
    })
}
