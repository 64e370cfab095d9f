//! The function that a batch runs: of a folder, or of a command line.

use std::path::Path;

use crate::catalog::{Publish, version_id};
use crate::cli::args::BatchRunArgs;
use crate::cli::command::deploy::Steps;
use crate::cli::executors;
use crate::cli::session::{Engine, Session};
use crate::cli::traits::{self, millis};
use crate::deploy::pack::pack;
use crate::deploy::{AppFile, DeployRequest, Deployed, ImageOptions, Way, deploy};
use crate::error::{Error, Result};
use crate::model::{AppName, FunctionName, Kind, Limits, Source, Version};

/// Where functions live that nobody gave an app.
const APP: &str = "batch";
/// A command has this long for one record, unless it is told otherwise: nobody is there whom a long wait would keep.
const TIMEOUT_MS: u64 = 3_600_000;
/// Runs a command where it was typed: an archive is unpacked elsewhere.
const IN_FOLDER: &str = r#"cd "$0" && exec "$@""#;

/// Deploys what is to be run.
pub async fn publish(session: &Session, engine: &Engine, args: &BatchRunArgs) -> Result<Deployed> {
    match &args.dir {
        Some(dir) => of_folder(session, engine, args, dir).await,
        None => of_command(engine, args).await,
    }
}

async fn of_folder(session: &Session, engine: &Engine, args: &BatchRunArgs, dir: &Path) -> Result<Deployed> {
    let builder = executors::builder(session);
    let steps = Steps::new(&session.printer);
    let request = DeployRequest {
        dir,
        all: false,
        app: Some(app_of(args, dir)?),
        bump: false,
        way: if args.build { Way::Image } else { Way::Archive },
        image: ImageOptions::default(),
        builder: builder.as_ref().map(|builder| builder as _).map_err(Clone::clone),
        now: engine.seams.now(),
        progress: &|step| steps.on(step),
    };
    let deployed = steps.told(deploy(&engine.catalog, &request).await)?;
    deployed.into_iter().next().ok_or_else(|| Error::internal("a deploy of one function deployed none"))
}

/// `--app`, else the one that app.yaml names, else ours.
fn app_of(args: &BatchRunArgs, dir: &Path) -> Result<AppName> {
    if let Some(app) = &args.app {
        return Ok(app.clone());
    }
    for dir in [dir, &dir.join("..")] {
        if let Some(AppFile { name: Some(name), .. }) = AppFile::load(dir)? {
            return Ok(name);
        }
    }
    APP.parse()
}

/// The same command line in the same folder is the same function; any other is another one, so that two of them can run
/// at once.
async fn of_command(engine: &Engine, args: &BatchRunArgs) -> Result<Deployed> {
    let app = args.app.clone().map_or_else(|| APP.parse(), Ok)?;
    let source = match &args.image {
        Some(image) => Source::Image { reference: image.clone(), digest: None },
        None => {
            let empty = tempfile::tempdir()
                .map_err(|error| Error::invalid(format!("make a temporary folder: {error}")))?;
            let packed = pack(empty.path())?;
            engine.catalog.ensure_app(&app).await?;
            let bytes = packed.len() as u64;
            Source::Archive { sha256: engine.catalog.put_archive(&app, packed).await?, bytes }
        }
    };
    let command = match (&source, &args.command[..]) {
        (Source::Image { .. }, words) => words.to_vec(),
        (Source::Archive { .. }, words) => in_folder(words)?,
    };
    let mut limits = Limits { timeout_ms: TIMEOUT_MS, ..Limits::default() };
    if let Some(timeout) = args.timeout {
        limits.timeout_ms = millis(timeout);
    }
    if let Some(memory) = args.memory {
        limits.memory_mib = memory;
    }
    limits.check()?;
    let mut version = Version { command, ..Version::new("0.0.1", source, limits, engine.seams.now())? };
    version.id = version_id(&version)?;
    let name = name(&args.command, args.image.as_deref(), version.id.as_str())?;
    let publish = Publish {
        route: format!("/{name}").parse()?,
        name,
        kind: Kind::Async,
        config: Some(traits::config(&args.config)),
        annotations: Default::default(),
        version: version.clone(),
    };
    let function = engine.catalog.publish(&app, publish).await?;
    Ok(Deployed { app, function, version })
}

/// `awk-1a2b3c4d5e6f`: the program's name and the digits of its version.
fn name(command: &[String], image: Option<&str>, version: &str) -> Result<FunctionName> {
    let program = command.first().map(String::as_str).or(image).unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let program: String = program.chars().take(40).map(plain).collect();
    let digits = version.rsplit('-').next().unwrap_or_default();
    format!("{}-{digits}", program.trim_matches('-')).trim_matches('-').parse()
}

fn in_folder(words: &[String]) -> Result<Vec<String>> {
    let folder = std::env::current_dir()
        .map_err(|error| Error::invalid(format!("cannot tell which folder this is: {error}")))?;
    let text = folder.to_str().ok_or_else(|| {
        Error::invalid(format!("the path of this folder is not UTF-8: {}", folder.display()))
    })?;
    let program = words.first().map(String::as_str).unwrap_or_default();
    if !is_there(program, &folder) {
        return Err(Error::not_found(format!("there is no command `{program}`"))
            .hint("what follows `--` is a program and its arguments; a shell's line goes behind `sh -c`"));
    }
    let mut command = vec!["/bin/sh".to_owned(), "-c".to_owned(), IN_FOLDER.to_owned(), text.to_owned()];
    command.extend(words.iter().cloned());
    Ok(command)
}

/// Found now rather than by each of a million calls.
fn is_there(program: &str, folder: &Path) -> bool {
    if program.contains('/') {
        return folder.join(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    !program.is_empty() && std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// The command as it was typed.
pub fn words(version: &Version) -> &[String] {
    match &version.command[..] {
        [shell, flag, script, _folder, words @ ..]
            if (shell.as_str(), flag.as_str(), script.as_str()) == ("/bin/sh", "-c", IN_FOLDER) =>
        {
            words
        }
        words => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_function_is_named_by_its_program_and_its_version() {
        let name = |command: &str, image| name(&words_of(command), image, "0.0.1-0123456789ab").unwrap();
        assert_eq!(name("/usr/bin/awk -f x", None).as_str(), "awk-0123456789ab");
        assert_eq!(name("./äwk.sh", None).as_str(), "wk-sh-0123456789ab");
        let image = super::name(&[], Some("registry:5000/team/tool:1.2"), "0.0.1-0123456789ab").unwrap();
        assert_eq!(image.as_str(), "tool-1-2-0123456789ab");
    }

    #[test]
    fn a_command_runs_in_this_folder_and_is_told_as_it_was_typed() {
        let command = in_folder(&words_of("sh -c true")).unwrap();
        assert_eq!(command[3], std::env::current_dir().unwrap().to_str().unwrap());
        let missing = in_folder(&words_of("no-such-program-here")).unwrap_err();
        assert!(missing.message().contains("no-such-program-here"));
    }
}
