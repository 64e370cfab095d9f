//! Which context is meant: a flag counts before the environment, the environment before the current context, and
//! without any it is `local`.

use std::path::PathBuf;

use super::env::{self, Variable};
use super::{Context, ContextName, Contexts, DEFAULT, Env, Kind, QueueNames};
use crate::error::{Error, Result};

/// What the command line may say about the context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    pub context: Option<String>,
    pub data_dir: Option<PathBuf>,
    pub bucket: Option<String>,
    pub prefix: Option<String>,
    /// Base name of the queues.
    pub queues: Option<String>,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub profile: Option<String>,
}

/// The context, complete: a `local` one has its folder, the others a bucket.
pub fn resolve(flags: &Flags, env: &Env) -> Result<Context> {
    let context = find(flags, env)?;
    if context.kind.is_remote() {
        context.bucket()?;
    }
    Ok(context)
}

/// As [`resolve`], to be shown: it may still lack a bucket.
pub fn find(flags: &Flags, env: &Env) -> Result<Context> {
    let contexts = Contexts::new(env)?;
    let named = flags.context.clone().map_or_else(|| env.get(env::CONTEXT), |name| Ok(Some(name)))?;
    let name: ContextName = match named {
        Some(name) => name.parse()?,
        None => contexts.current()?.unwrap_or(DEFAULT.parse()?),
    };
    let mut context = contexts.load(&name)?;
    flags.apply(&mut context, env)?;
    if context.kind == Kind::Local && context.data_dir.is_none() {
        context.data_dir = Some(env.data_dir()?);
    }
    Ok(context)
}

/// A context to be created: what flags and environment say, over what its kind comes with. It may still lack a
/// bucket, if that is to come from a stack.
pub fn draft(name: ContextName, kind: Kind, flags: &Flags, env: &Env) -> Result<Context> {
    let mut context = Context::new(name, kind);
    flags.apply(&mut context, env)?;
    if kind == Kind::Local && context.data_dir.is_none() {
        let shared = env.data_dir()?;
        // A second local context under the same folder would be the first.
        let own = context.name.as_str() != DEFAULT;
        context.data_dir = Some(if own { shared.join(context.name.as_str()) } else { shared });
    }
    Ok(context)
}

impl Flags {
    /// Lays flags and environment over a context. A flag that says nothing about this kind of context is an error; a
    /// variable is not, since it stands for all commands of a shell.
    pub fn apply(&self, context: &mut Context, env: &Env) -> Result<()> {
        let Flags { context: _, data_dir, bucket, prefix, queues, endpoint, region, profile } = self;
        let remote_flags = [
            ("--bucket", bucket),
            ("--prefix", prefix),
            ("--queues", queues),
            ("--endpoint", endpoint),
            ("--region", region),
            ("--profile", profile),
        ];
        if !context.kind.is_remote() {
            if let Some((flag, _)) = remote_flags.into_iter().find(|(_, value)| value.is_some()) {
                return Err(meaningless(flag, context));
            }
            let dir = match data_dir {
                Some(dir) => Some(dir.clone()),
                None => env.get(env::DATA_DIR)?.map(PathBuf::from),
            };
            context.data_dir = dir.or(context.data_dir.take());
            return Ok(());
        }
        if data_dir.is_some() {
            return Err(meaningless("--data-dir", context));
        }
        let pick = |flag: &Option<String>, variable: Variable| {
            flag.clone().map_or_else(|| env.get(variable), |value| Ok(Some(value)))
        };
        context.bucket = pick(bucket, env::BUCKET)?.or(context.bucket.take());
        if let Some(prefix) = pick(prefix, env::PREFIX)? {
            let prefix = prefix.trim_matches('/').to_owned();
            // Queues that were not chosen follow the prefix. A stored context keeps those that it was made with.
            let by_default = [QueueNames::default(), QueueNames::from_prefix(&context.prefix)];
            if prefix != context.prefix && by_default.contains(&context.queues) {
                context.queues = QueueNames::from_prefix(&prefix);
            }
            context.prefix = prefix;
        }
        if let Some(base) = pick(queues, env::QUEUES)? {
            context.queues = QueueNames::from_base(&base);
        }
        context.endpoint = pick(endpoint, env::ENDPOINT)?.or(context.endpoint.take());
        context.region = pick(region, env::REGION)?.or(context.region.take());
        context.profile = pick(profile, env::PROFILE)?.or(context.profile.take());
        Ok(())
    }
}

fn meaningless(flag: &str, context: &Context) -> Error {
    Error::invalid(format!(
        "`{flag}` says nothing about context `{}`, which is `{}`",
        context.name, context.kind
    ))
    .with_hint("choose another with `--context`, or leave the flag out")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An environment whose home is a folder of its own.
    fn world<const N: usize>(more: [(&str, &str); N]) -> (tempfile::TempDir, Env, Contexts) {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap().to_owned();
        let mut variables = vec![("HOME", home.as_str())];
        variables.extend(more);
        let env: Env = variables.into_iter().collect();
        let contexts = Contexts::new(&env).unwrap();
        (folder, env, contexts)
    }

    fn kept(contexts: &Contexts, name: &str, kind: Kind, bucket: &str) {
        let mut context = Context::new(name.parse().unwrap(), kind);
        context.bucket = Some(bucket.into());
        contexts.save(&context).unwrap();
    }

    #[test]
    fn without_anything_it_is_local() {
        let (folder, env, _) = world([]);
        let context = resolve(&Flags::default(), &env).unwrap();
        assert_eq!((context.name.as_str(), context.kind), ("local", Kind::Local));
        assert_eq!(context.data_dir, Some(folder.path().join(".local/share/afn")));
    }

    #[test]
    fn a_flag_counts_before_the_environment_before_the_current_context() {
        let (_folder, env, contexts) = world([("AFN_CONTEXT", "second"), ("AFN_BUCKET", "from-env")]);
        for name in ["first", "second", "third"] {
            kept(&contexts, name, Kind::Aws, "from-file");
        }
        contexts.use_context(&"first".parse().unwrap()).unwrap();
        let context = resolve(&Flags::default(), &env).unwrap();
        assert_eq!((context.name.as_str(), context.bucket.as_deref()), ("second", Some("from-env")));
        let flags =
            Flags { context: Some("third".into()), bucket: Some("from-flag".into()), ..Flags::default() };
        let context = resolve(&flags, &env).unwrap();
        assert_eq!((context.name.as_str(), context.bucket.as_deref()), ("third", Some("from-flag")));

        let quiet: Env = [("HOME", _folder.path().to_str().unwrap())].into_iter().collect();
        let context = resolve(&Flags::default(), &quiet).unwrap();
        assert_eq!((context.name.as_str(), context.bucket.as_deref()), ("first", Some("from-file")));
    }

    #[test]
    fn the_environment_lays_over_localstack() {
        let (_folder, env, _) = world([
            ("AFN_CONTEXT", "localstack"),
            ("AFN_ENDPOINT", "http://127.0.0.1:4600"),
            ("AFN_PREFIX", "/a/b/"),
            ("AFN_QUEUES", "q"),
        ]);
        let context = resolve(&Flags::default(), &env).unwrap();
        assert_eq!(context.bucket.as_deref(), Some("afn"));
        assert_eq!(context.endpoint.as_deref(), Some("http://127.0.0.1:4600"));
        assert_eq!(context.prefix, "a/b");
        assert_eq!(context.queues.chunks, "q-chunks");
        assert_eq!(context.region.as_deref(), Some("us-east-1"));
    }

    #[test]
    fn queues_that_nobody_chose_follow_the_prefix() {
        let (_folder, env, contexts) = world([("AFN_CONTEXT", "localstack")]);
        let calls = |flags: &Flags, env: &Env| {
            let draft = draft("new".parse().unwrap(), Kind::Aws, flags, env).unwrap();
            let resolved = resolve(flags, env).unwrap();
            assert_eq!(draft.queues, resolved.queues);
            draft.queues.calls
        };
        let prefix = |prefix: &str| Flags { prefix: Some(prefix.into()), ..Flags::default() };
        assert_eq!(calls(&Flags::default(), &env), "afn-calls");
        assert_eq!(calls(&prefix("team_1"), &env), "afn-team_1-calls");
        let (slash, dash) = (calls(&prefix("/a/b/"), &env), calls(&prefix("a-b"), &env));
        assert!(slash.starts_with("afn-a-b-") && dash == "afn-a-b-calls" && slash != dash, "{slash} {dash}");
        let long = QueueNames::dead(&QueueNames::from_prefix(&"x.".repeat(200)).batches);
        assert!(long.len() == 80 && long.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{long}");
        let chosen = Flags { queues: Some("q".into()), ..prefix("a") };
        assert_eq!(calls(&chosen, &env), "q-calls");

        // One of before keeps its queues, whatever its prefix.
        let mut before = Context::new("before".parse().unwrap(), Kind::Aws);
        (before.bucket, before.prefix) = (Some("b".into()), "p".into());
        contexts.save(&before).unwrap();
        let flags = Flags { context: Some("before".into()), ..Flags::default() };
        assert_eq!(resolve(&flags, &env).unwrap().queues.calls, "afn-calls");
    }

    #[test]
    fn aws_wants_a_bucket() {
        let (_folder, env, _) = world([("AFN_CONTEXT", "aws")]);
        let error = resolve(&Flags::default(), &env).unwrap_err();
        assert_eq!(error.message(), "context `aws` has no bucket");
        assert!(error.hint_text().unwrap().contains("AFN_BUCKET"));
    }

    #[test]
    fn a_flag_without_meaning_is_an_error_a_variable_is_not() {
        let (_folder, env, _) = world([("AFN_BUCKET", "b")]);
        assert!(resolve(&Flags::default(), &env).is_ok());
        let flags = Flags { bucket: Some("b".into()), ..Flags::default() };
        let error = resolve(&flags, &env).unwrap_err();
        assert_eq!(error.message(), "`--bucket` says nothing about context `local`, which is `local`");
    }

    #[test]
    fn the_data_folder_may_be_given() {
        let (_folder, env, _) = world([("AFN_DATA_DIR", "/from-env")]);
        let data_dir = |flags: &Flags| resolve(flags, &env).unwrap().data_dir.unwrap();
        assert_eq!(data_dir(&Flags::default()), PathBuf::from("/from-env"));
        let flags = Flags { data_dir: Some("/from-flag".into()), ..Flags::default() };
        assert_eq!(data_dir(&flags), PathBuf::from("/from-flag"));
    }
}
