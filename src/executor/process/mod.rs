//! The process executor: a function's folder, unpacked, its command run as a child process. For development without
//! Docker, and for running inside a function's own image, where the container is the sandbox.
//!
//! It is no sandbox itself: a function runs as the worker's user, sees its files and its network. What it may not do
//! is outlive its call (`default`), its pool (`http-stream`) or its worker: see [`spawn`]. Memory and CPU limits are
//! not enforced: the only limits that a process inherits count address space, of which Go and Node reserve gigabytes
//! that they never touch.

mod fetch;
mod group;
mod hot;
mod kept;
mod limits;
mod once;
mod output;
mod spawn;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use rustix::io::Errno;
use tokio::process::Command;
use tokio::sync::OnceCell;

use self::fetch::Archives;
use self::group::Group;
use self::hot::Hot;
use self::kept::Kept;
use self::once::Once;
use self::spawn::Spawner;
use super::sandbox::{Launcher, Sandbox};
use crate::contract::{self, http_stream};
use crate::model::{Format, Source, Version, machine};
use crate::seam::executor::{Fault, Mismatch, Work};
use crate::seam::{Clock, Store};

pub struct ProcessOptions {
    /// Where archives are fetched from.
    pub archives: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    /// Where they are unpacked and kept; may be shared by several workers.
    pub work_dir: PathBuf,
}

pub struct ProcessLauncher {
    clock: Arc<dyn Clock>,
    archives: Archives,
    spawner: OnceCell<Spawner>,
    started: AtomicU64,
}

impl ProcessLauncher {
    pub fn new(options: ProcessOptions) -> ProcessLauncher {
        ProcessLauncher {
            clock: options.clock,
            archives: Archives::new(options.archives, &options.work_dir),
            spawner: OnceCell::new(),
            started: AtomicU64::new(0),
        }
    }

    async fn spawner(&self) -> Result<&Spawner, String> {
        self.spawner
            .get_or_try_init(|| async { Spawner::start() })
            .await
            .map_err(|error| format!("cannot prepare to start processes: {error}"))
    }

    /// A folder for one process: its socket, its home, its temporary files.
    fn folder(&self, spawner: &Spawner, code: Kept) -> Result<Folder, Fault> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let path = spawner.run_dir().join(number.to_string());
        match std::fs::create_dir_all(path.join("tmp")) {
            Ok(()) => Ok(Folder { path, code }),
            Err(error) => Err(Fault::Worker(format!("cannot create `{}`: {error}", path.display()))),
        }
    }
}

#[async_trait]
impl Launcher for ProcessLauncher {
    fn suits(&self, version: &Version) -> Result<(), Mismatch> {
        if let Source::Image { reference, .. } = &version.source {
            return Err(Mismatch(format!("image `{reference}` needs a worker with Docker")));
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

    async fn start(&self, work: &Work) -> Result<Box<dyn Sandbox>, Fault> {
        let Source::Archive { sha256, bytes } = &work.version.source else {
            return Err(Fault::Mismatch(Mismatch("an image needs a worker with Docker".to_owned())));
        };
        let code = self.archives.fetch(&work.app, sha256, *bytes).await?;
        let spawner = self.spawner().await.map_err(Fault::Worker)?;
        let folder = self.folder(spawner, code)?;
        match work.version.format {
            Format::Default => {
                let deadline = self.clock.now().plus_ms(work.version.limits.timeout_ms);
                let env = contract::default::env(work, deadline);
                let mut command = command(&work.version.command, &folder, env)?;
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let group = spawn(spawner, command, &work.version.command, folder.code.path()).await?;
                Ok(Box::new(Once::new(group, folder, self.clock.clone())))
            }
            Format::HttpStream => {
                let mut env = contract::env(work);
                env.push(http_stream::listener(&folder.path.to_string_lossy()));
                let mut command = command(&work.version.command, &folder, env)?;
                let output = output::Output::of(&mut command)
                    .map_err(|error| Fault::Worker(format!("cannot make a pipe: {error}")))?;
                let group = spawn(spawner, command, &work.version.command, folder.code.path()).await?;
                Ok(Box::new(Hot::start(group, output, folder, self.clock.clone(), &work.heard).await?))
            }
        }
    }

    /// Starts a process as it would start a function's, and makes sure that archives can be unpacked.
    async fn probe(&self) -> Result<(), String> {
        self.archives.probe().await?;
        let spawner = self.spawner().await?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", ":"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match spawner.spawn(command).await {
            Ok(group) => {
                group.stop().await;
                Ok(())
            }
            // No shell here; but what can fail for want of processes or memory came before that was noticed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(format!("cannot start a process: {error}")),
        }
    }
}

/// Removed with what the process has left in it.
struct Folder {
    path: PathBuf,
    /// The function's own folder, which stays as long as the process runs in it.
    code: Kept,
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn command(words: &[String], folder: &Folder, env: Vec<(String, String)>) -> Result<Command, Fault> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Fault::Function("the version names no command; give `entrypoint` or `cmd`".to_owned()));
    };
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let tmp = folder.path.join("tmp");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder.code.path()).env_clear();
    // The function's config may have its own PATH, HOME and so on.
    command.env("PATH", path).env("HOME", &tmp).env("TMPDIR", &tmp).env("LANG", "C.UTF-8").envs(env);
    command.stdin(Stdio::null());
    Ok(command)
}

async fn spawn(spawner: &Spawner, command: Command, words: &[String], code: &Path) -> Result<Group, Fault> {
    spawner.spawn(command).await.map_err(|error| explain(&error, &words[0], code))
}

/// What the kernel says of a file that no machine like this one can run.
const NO_PROGRAM: [Errno; 4] = [Errno::NOEXEC, Errno::LIBBAD, Errno::LOOP, Errno::NAMETOOLONG];

/// Whose fault it is that a program did not start, and what can be done about it.
fn explain(error: &std::io::Error, program: &str, code: &Path) -> Fault {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound if !program.contains('/') => Fault::Function(format!(
            "`{program}` is not installed on this worker: install it, or deploy the function as an image"
        )),
        ErrorKind::NotFound if code.join(program).exists() => Fault::Function(format!(
            "`{program}` cannot be started: the interpreter or loader that it names is not on this worker"
        )),
        ErrorKind::NotFound => Fault::Function(format!("`{program}` is not in the function's folder")),
        ErrorKind::PermissionDenied => Fault::Function(format!("`{program}` is not executable")),
        ErrorKind::ArgumentListTooLong => {
            Fault::Function(format!("`{program}` cannot be started: config and headers are too long"))
        }
        ErrorKind::InvalidInput | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            Fault::Function(format!("`{program}` cannot be started: {error}"))
        }
        _ if Errno::from_io_error(error).is_some_and(|errno| NO_PROGRAM.contains(&errno)) => {
            Fault::Function(format!("`{program}` cannot be started: {error}"))
        }
        // Too many processes or files, no memory: another worker may do better.
        _ => Fault::Worker(format!("cannot start `{program}`: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_program_is_no_sickness() {
        let explain = |errno: Errno| explain(&errno.into(), "./func", Path::new("/"));
        for errno in NO_PROGRAM {
            let fault = explain(errno);
            assert!(matches!(&fault, Fault::Function(why) if why.contains("`./func`")), "{fault:?}");
        }
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::MFILE] {
            assert!(matches!(explain(errno), Fault::Worker(_)), "{errno:?}");
        }
    }
}
