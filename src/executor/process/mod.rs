//! The process executor: a function's folder, unpacked, its command run as a child process. For development without
//! Docker, and for running inside a function's own image, where the container is the sandbox.
//!
//! It is no sandbox: a function sees its machine's network and what its user may read. That user is the worker's, or, where
//! the worker is root, one that only this process has ([`user`]). It cannot read the worker's memory and environment
//! ([`limits`]), change its own code or another call's files ([`folder`]), or outlive its call (`default`), its pool
//! (`http-stream`) or its worker ([`spawn`]). Memory, disk and CPU are not bounded: the limits that a process inherits
//! count address space, of which Go and Node reserve gigabytes that they never use.

mod cached_archive;
mod fetch;
mod folder;
mod group;
mod limits;
mod one_call;
mod output;
mod spawn;
mod stream;
mod user;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use rustix::io::Errno;
use tokio::process::Command;
use tokio::sync::OnceCell;

use self::fetch::Archives;
use self::folder::Folder;
use self::limits::Rights;
use self::one_call::OneCallProcess;
use self::output::Output;
use self::spawn::Spawner;
use self::stream::StreamProcess;
pub use self::user::UserRange;
use self::user::{Identity, Users};
use super::sandbox::{Launcher, NEEDS_DOCKER, Sandbox};
use crate::contract::{self, http_stream};
use crate::model::{Format, Source, Version, machine};
use crate::seam::executor::{Fault, Invocation, Mismatch};
use crate::seam::{Clock, Store};

pub struct ProcessOptions {
    /// Where archives are fetched from.
    pub archives: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    /// Where they are unpacked and kept, and where calls have their files; may be shared by several workers.
    pub work_dir: PathBuf,
    /// Where functions' sockets lie. When its path is too long for a socket, a folder in `/tmp` is made instead.
    pub run_dir: PathBuf,
    pub scope: Scope,
    /// Who runs functions, where it is not this worker's user. Both folders must let these users pass.
    pub users: Option<UserRange>,
}

/// Whose code a worker runs as child processes.
#[derive(Clone)]
pub struct Scope {
    /// Whether a version is a command that this worker's own user typed: it keeps all rights of that user.
    pub is_own_command: fn(&Version) -> bool,
}

impl Scope {
    /// All versions, and none of them is trusted.
    pub fn all() -> Scope {
        Scope { is_own_command: |_| false }
    }
}

pub struct ProcessLauncher {
    clock: Arc<dyn Clock>,
    archives: Archives,
    spawner: OnceCell<Spawner>,
    started: AtomicU64,
    work_dir: PathBuf,
    run_dir: PathBuf,
    scope: Scope,
    users: Option<Users>,
}

impl ProcessLauncher {
    pub fn new(options: ProcessOptions) -> ProcessLauncher {
        ProcessLauncher {
            clock: options.clock,
            archives: Archives::new(options.archives, &options.work_dir, options.users),
            spawner: OnceCell::new(),
            started: AtomicU64::new(0),
            users: options.users.map(|range| Users::new(range, &options.work_dir)),
            work_dir: options.work_dir,
            run_dir: options.run_dir,
            scope: options.scope,
        }
    }

    async fn spawner(&self) -> Result<&Spawner, String> {
        let group = self.users.as_ref().map(|users| users.range.group());
        self.spawner
            .get_or_try_init(|| async { Spawner::start(&self.run_dir, &self.work_dir, group) })
            .await
            .map_err(|error| format!("cannot prepare to start processes: {error}"))
    }
}

#[async_trait]
impl Launcher for ProcessLauncher {
    fn suits(&self, version: &Version) -> Result<(), Mismatch> {
        if let Source::Image { reference, .. } = &version.source {
            return Err(Mismatch(format!("image `{reference}` {NEEDS_DOCKER}")));
        }
        let (os, arch) = machine();
        let wants =
            |wanted: &Option<String>, have: &str| wanted.as_ref().is_some_and(|wanted| wanted != have);
        if wants(&version.os, os) || wants(&version.arch, arch) {
            return Err(Mismatch(format!(
                "built for {}/{}, this worker runs {os}/{arch}",
                version.os.as_deref().unwrap_or(os),
                version.arch.as_deref().unwrap_or(arch),
            )));
        }
        Ok(())
    }

    async fn start(&self, invocation: &Invocation) -> Result<Box<dyn Sandbox>, Fault> {
        let version = &invocation.version;
        self.suits(version).map_err(Fault::Mismatch)?;
        let Source::Archive { sha256, bytes } = &version.source else {
            return Err(Fault::Mismatch(Mismatch(format!("an image {NEEDS_DOCKER}"))));
        };
        let code = self.archives.fetch(&invocation.app, sha256, *bytes).await?;
        let spawner = self.spawner().await.map_err(Fault::Worker)?;
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let sockets = (version.format == Format::HttpStream).then(|| spawner.sockets());
        let is_own = (self.scope.is_own_command)(version);
        let user = self.users.as_ref().filter(|_| !is_own).map(|users| users.take(&code.path)).transpose();
        let folder = user.and_then(|user| Folder::make(spawner.calls(), sockets, number, code, user));
        let folder =
            folder.map_err(|error| Fault::Worker(format!("cannot make a folder for a process: {error}")))?;
        let rights = if is_own { Rights::All } else { Rights::Few(folder.identity()) };
        let env = match version.format {
            Format::Default => {
                contract::default::env(invocation, self.clock.now().plus_ms(version.limits.timeout_ms))
            }
            Format::HttpStream => {
                let mut env = contract::env(invocation);
                env.extend(folder.socket.as_ref().map(|dir| http_stream::listener(&dir.to_string_lossy())));
                env
            }
        };
        let mut command = command(&version.command, &folder, env)?;
        let output = match version.format {
            Format::Default => {
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                None
            }
            Format::HttpStream => Some(
                Output::of(&mut command)
                    .map_err(|error| Fault::Worker(format!("cannot make a pipe: {error}")))?,
            ),
        };
        let spawned = spawner.spawn(command, rights).await;
        let group = spawned.map_err(|error| explain(&error, &version.command[0], &folder))?;
        let (clock, log) = (self.clock.clone(), &invocation.execution_log);
        Ok(match output {
            None => Box::new(OneCallProcess::new(group, folder, clock)),
            Some(output) => Box::new(StreamProcess::start(group, output, folder, clock, log).await?),
        })
    }

    /// Starts a process as it would start a function's, and makes sure that archives can be unpacked.
    async fn probe(&self) -> Result<(), String> {
        self.archives.probe().await?;
        let spawner = self.spawner().await?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", ":"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let group = self.users.as_ref().map(|users| users.range.group());
        let identity = group.map(|group| Identity { user: group, groups: [group; 2] });
        match spawner.spawn(command, Rights::Few(identity)).await {
            Ok(group) => {
                group.stop().await;
                Ok(())
            }
            // There is no shell. But a lack of processes or memory would have failed before that was noticed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(format!("cannot start a process: {error}")),
        }
    }
}

fn command(words: &[String], folder: &Folder, env: Vec<(String, String)>) -> Result<Command, Fault> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Fault::Function("the version names no command; give `entrypoint` or `cmd`".to_owned()));
    };
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let tmp = &folder.tmp;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&folder.work).env_clear();
    // The function's config may have its own PATH, HOME and so on.
    command.env("PATH", path).env("HOME", tmp).env("TMPDIR", tmp).env("LANG", "C.UTF-8").envs(env);
    command.stdin(Stdio::null());
    Ok(command)
}

/// What the kernel answers for a file that no machine like this one can run.
const NO_PROGRAM: [Errno; 4] = [Errno::NOEXEC, Errno::LIBBAD, Errno::LOOP, Errno::NAMETOOLONG];

/// Whose fault it is that a program did not start, and what can be done about it.
fn explain(error: &std::io::Error, program: &str, folder: &Folder) -> Fault {
    match (error.kind(), folder.identity()) {
        (std::io::ErrorKind::PermissionDenied, Some(Identity { user, .. })) => Fault::Function(format!(
            "`{program}` is not executable for user {user}, which it runs as: let all users execute it"
        )),
        _ => explain_start(error, program, &folder.code.path),
    }
}

fn explain_start(error: &std::io::Error, program: &str, code: &Path) -> Fault {
    use std::io::ErrorKind;
    let is_no_program = Errno::from_io_error(error).is_some_and(|errno| NO_PROGRAM.contains(&errno));
    let why = match error.kind() {
        ErrorKind::NotFound if !program.contains('/') => {
            "is not installed on this worker: install it, or deploy the function as an image"
        }
        ErrorKind::NotFound if code.join(program).exists() => {
            "cannot be started: the interpreter or loader that it names is not on this worker"
        }
        ErrorKind::NotFound => "is not in the function's folder",
        ErrorKind::PermissionDenied => "is not executable",
        ErrorKind::ArgumentListTooLong => "cannot be started: config and headers are too long",
        ErrorKind::InvalidInput | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            &format!("cannot be started: {error}")
        }
        _ if is_no_program => &format!("cannot be started: {error}"),
        // Too many processes or files, no memory: another worker may do better.
        _ => return Fault::Worker(format!("cannot start `{program}`: {error}")),
    };
    Fault::Function(format!("`{program}` {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_program_is_no_sickness() {
        let explain = |errno: Errno| explain_start(&errno.into(), "./func", Path::new("/"));
        for errno in NO_PROGRAM {
            let fault = explain(errno);
            assert!(matches!(&fault, Fault::Function(why) if why.contains("`./func`")), "{fault:?}");
        }
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::MFILE] {
            assert!(matches!(explain(errno), Fault::Worker(_)), "{errno:?}");
        }
    }
}
