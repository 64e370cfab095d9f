//! From a command line to a published version: a function that runs the command once for each call, in this folder or in
//! containers of an image.

use std::path::Path;

use super::pack::pack;
use super::{Deployed, is_in_path};
use crate::catalog::{Catalog, Publish, version_id};
use crate::error::{Error, Result};
use crate::folder::Scratch;
use crate::model::{AppName, Config, FunctionName, Kind, Limits, Source, Time, Version};

/// How long a command may take for one record unless a timeout is given. Nobody waits for it, so it is long.
const TIMEOUT_MS: u64 = 3_600_000;
/// Runs a command where it was typed: an archive is unpacked elsewhere.
const IN_FOLDER: &str = r#"cd "$0" && exec "$@""#;

/// What is to be run.
pub struct CommandRequest<'a> {
    pub app: AppName,
    pub command: &'a [String],
    /// Instead of this machine's folder.
    pub image: Option<&'a str>,
    pub timeout_ms: Option<u64>,
    pub memory_mib: Option<u64>,
    pub config: Config,
    pub now: Time,
}

/// The same command line in the same folder is the same function; any other is another one, so that two of them can run
/// at once.
pub async fn deploy(catalog: &Catalog, request: CommandRequest<'_>) -> Result<Deployed> {
    let app = request.app;
    let source = match request.image {
        Some(image) => Source::Image { reference: image.to_owned(), digest: None },
        None => {
            let empty = Scratch::new(&std::env::temp_dir(), "afn-")
                .map_err(|error| Error::invalid(format!("make a temporary folder: {error}")))?;
            let packed = pack(empty.path())?;
            catalog.ensure_app(&app).await?;
            let bytes = packed.len() as u64;
            Source::Archive { sha256: catalog.put_archive(&app, packed).await?, bytes }
        }
    };
    let command = match (&source, request.command) {
        (Source::Image { .. }, words) => words.to_vec(),
        (Source::Archive { .. }, words) => in_folder(words)?,
    };
    let limits = Limits {
        timeout_ms: request.timeout_ms.unwrap_or(TIMEOUT_MS),
        memory_mib: request.memory_mib.unwrap_or(Limits::default().memory_mib),
        ..Limits::default()
    };
    limits.check()?;
    let mut version = Version { command, ..Version::new("0.0.1", source, limits, request.now)? };
    version.id = version_id(&version)?;
    let name = name(request.command, request.image, version.id.as_str())?;
    let publish = Publish {
        route: format!("/{name}").parse()?,
        name,
        kind: Kind::Async,
        config: Some(request.config),
        annotations: Default::default(),
        version: version.clone(),
    };
    let function = catalog.publish(&app, publish).await?;
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
    if !exists(program, &folder) {
        return Err(Error::not_found(format!("there is no command `{program}`")).with_hint(
            "what follows `--` is a program and its arguments; a shell's line goes behind `sh -c`",
        ));
    }
    let mut command = vec!["/bin/sh".to_owned(), "-c".to_owned(), IN_FOLDER.to_owned(), text.to_owned()];
    command.extend(words.iter().cloned());
    Ok(command)
}

/// Checked once at the start, so that a wrong name is one error and not one for each call.
fn exists(program: &str, folder: &Path) -> bool {
    if program.contains('/') { folder.join(program).is_file() } else { is_in_path(program) }
}

/// Whether it is a command line of `batch run`, which runs in the folder in which it was typed.
pub fn is_command(version: &Version) -> bool {
    words(version).len() != version.command.len()
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
