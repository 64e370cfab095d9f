//! Where contexts are kept: `contexts/NAME.json` and `config.json` under `$AFN_HOME` or `~/.afn`. Persisted, keep stable.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Context, ContextName, DEFAULT, Env, Kind};
use crate::error::{Error, Result};
use crate::folder;

/// The folder of contexts.
#[derive(Debug, Clone)]
pub struct Contexts {
    home: PathBuf,
}

/// A context as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContextEntry {
    #[serde(flatten)]
    pub context: Context,
    pub current: bool,
    /// It has no file: it comes with the program.
    pub built_in: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current_context: Option<ContextName>,
}

impl Contexts {
    pub fn new(env: &Env) -> Result<Contexts> {
        Ok(Contexts { home: env.home()? })
    }

    /// The context that `use_context` chose last.
    pub fn current(&self) -> Result<Option<ContextName>> {
        let config: Option<Config> = read(&self.config_path())?;
        Ok(config.and_then(|config| config.current_context))
    }

    pub fn use_context(&self, name: &ContextName) -> Result<()> {
        self.load(name)?;
        write(&self.config_path(), &Config { current_context: Some(name.clone()) })
    }

    /// The context of the file, else the built-in one.
    pub fn load(&self, name: &ContextName) -> Result<Context> {
        if let Some(kept) = self.kept(name)? {
            return Ok(kept);
        }
        match Context::built_in(name) {
            Some(context) => Ok(context),
            None => {
                let known: Vec<String> =
                    self.list()?.into_iter().map(|entry| format!("`{}`", entry.context.name)).collect();
                Err(Error::not_found(format!("no context `{name}`")).with_hint(format!(
                    "there are {}; `afn context create {name}` makes one",
                    known.join(", ")
                )))
            }
        }
    }

    /// All contexts by name, those that come with the program among them.
    pub fn list(&self) -> Result<Vec<ContextEntry>> {
        let current = self.current()?;
        let mut names = self.kept_names()?;
        let built_in = Kind::ALL.map(|kind| kind.as_str().parse().expect("kinds are names"));
        names.extend(built_in);
        names.sort_unstable();
        names.dedup();
        let current = current.as_ref().map_or(DEFAULT, ContextName::as_str);
        let entry = |name: ContextName| {
            let kept = self.kept(&name)?;
            let built_in = kept.is_none();
            let context = kept.or_else(|| Context::built_in(&name)).ok_or_else(|| {
                Error::not_found(format!("context `{name}` was deleted while the list was read"))
            })?;
            Ok(ContextEntry { current: name.as_str() == current, context, built_in })
        };
        names.into_iter().map(entry).collect()
    }

    /// Keeps a context, instead of one of the same name.
    pub fn save(&self, context: &Context) -> Result<()> {
        write(&self.path(&context.name), context)
    }

    /// Forgets a context. Its bucket, queues and files stay.
    pub fn delete(&self, name: &ContextName) -> Result<()> {
        let kept = self.kept(name)?.is_some();
        if !kept && Context::built_in(name).is_some() {
            return Err(Error::conflict(format!("context `{name}` comes with afn and cannot be deleted")));
        }
        if !kept {
            self.load(name)?;
        }
        if self.current()?.as_ref() == Some(name) {
            return Err(Error::conflict(format!("context `{name}` is the current one"))
                .with_hint(format!("choose another first: `afn context use {DEFAULT}`")));
        }
        let path = self.path(name);
        fs::remove_file(&path).map_err(|error| io_error("delete", &path, &error))
    }

    fn kept(&self, name: &ContextName) -> Result<Option<Context>> {
        let path = self.path(name);
        let context: Option<Context> = read(&path)?;
        match context {
            Some(context) if context.name != *name => Err(Error::invalid(format!(
                "{} is the context `{}` by its own word",
                path.display(),
                context.name
            ))
            .with_hint("make the field `name` and the file's name the same")),
            context => Ok(context),
        }
    }

    fn kept_names(&self) -> Result<Vec<ContextName>> {
        let folder = self.home.join("contexts");
        let files = match fs::read_dir(&folder) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error("read", &folder, &error)),
        };
        let mut names = Vec::new();
        for file in files {
            let file = file.map_err(|error| io_error("read", &folder, &error))?;
            let name = file.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(".json"));
            // A file that cannot be a context's is somebody else's.
            if let Some(Ok(name)) = stem.map(str::parse) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn path(&self, name: &ContextName) -> PathBuf {
        self.home.join("contexts").join(format!("{name}.json"))
    }

    fn config_path(&self) -> PathBuf {
        self.home.join("config.json")
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path, &error)),
    };
    let parsed = serde_json::from_slice(&text);
    parsed.map(Some).map_err(|error| {
        Error::invalid(format!("{}: {error}", path.display())).with_hint("mend the file, or delete it")
    })
}

/// Whole or not at all: another process may be reading.
fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let failed = |error: io::Error| io_error("write", path, &error);
    let folder = path.parent().expect("a file under the home of contexts");
    folder::make(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mut json = serde_json::to_vec_pretty(value).expect("contexts have string keys");
    json.push(b'\n');
    file.write_all(&json).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn io_error(doing: &str, path: &Path, error: &io::Error) -> Error {
    Error::invalid(format!("cannot {doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts() -> (tempfile::TempDir, Contexts) {
        let folder = tempfile::tempdir().unwrap();
        let contexts = Contexts { home: folder.path().join("afn") };
        (folder, contexts)
    }

    fn name(text: &str) -> ContextName {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_saved_is_loaded_listed_used_and_deleted() {
        let (_folder, contexts) = contexts();
        let mut work = Context::new(name("work"), Kind::Aws);
        work.bucket = Some("payloads".into());
        work.queues = super::super::QueueNames::from_base("w");
        contexts.save(&work).unwrap();
        assert_eq!(contexts.load(&name("work")).unwrap(), work);

        let listed = contexts.list().unwrap();
        let names: Vec<&str> = listed.iter().map(|entry| entry.context.name.as_str()).collect();
        assert_eq!(names, ["aws", "local", "localstack", "work"]);
        let current: Vec<bool> = listed.iter().map(|entry| entry.current).collect();
        assert_eq!(current, [false, true, false, false]);

        contexts.use_context(&name("work")).unwrap();
        assert_eq!(contexts.current().unwrap(), Some(name("work")));
        assert!(contexts.delete(&name("work")).unwrap_err().message().contains("is the current one"));
        contexts.use_context(&name("local")).unwrap();
        contexts.delete(&name("work")).unwrap();
        assert!(contexts.load(&name("work")).is_err());
    }

    #[test]
    fn an_unknown_context_names_the_known() {
        let (_folder, contexts) = contexts();
        let error = contexts.load(&name("wrok")).unwrap_err();
        assert_eq!(error.message(), "no context `wrok`");
        assert_eq!(
            error.hint_text(),
            Some("there are `aws`, `local`, `localstack`; `afn context create wrok` makes one")
        );
        assert!(contexts.use_context(&name("wrok")).is_err());
        assert_eq!(contexts.current().unwrap(), None);
    }

    #[test]
    fn a_broken_file_is_named() {
        let (_folder, contexts) = contexts();
        contexts.save(&Context::new(name("work"), Kind::Local)).unwrap();
        let path = contexts.path(&name("work"));
        fs::write(&path, r#"{"name": "work", "kind": "local", "bukket": "x"}"#).unwrap();
        let error = contexts.load(&name("work")).unwrap_err();
        assert!(error.message().contains("work.json: unknown field `bukket`"), "{error}");
        fs::write(&path, r#"{"name": "other", "kind": "local"}"#).unwrap();
        assert!(contexts.load(&name("work")).unwrap_err().message().contains("`other`"));
    }

    #[test]
    fn what_comes_with_the_program_stays() {
        let (_folder, contexts) = contexts();
        assert!(contexts.delete(&name("local")).is_err());
        let mut localstack = Context::new(name("localstack"), Kind::Localstack);
        localstack.endpoint = Some("http://127.0.0.1:9999".into());
        contexts.save(&localstack).unwrap();
        assert_eq!(contexts.load(&name("localstack")).unwrap(), localstack);
        contexts.delete(&name("localstack")).unwrap();
        assert_eq!(
            contexts.load(&name("localstack")).unwrap().endpoint.as_deref(),
            Some("http://localhost:4566")
        );
    }
}
