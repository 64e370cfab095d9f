//! `afn context …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::session::Session;
use crate::cli::view;
use crate::context::{self, Context, ContextEntry, ContextName, Flags, Kind, Whereabouts};
use crate::error::{Error, Result};
use crate::model::Retention;

#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Make a context, with bucket and queues where they are missing.
    #[command(visible_alias = "c")]
    Create(CreateArgs),

    /// Make a context the current one.
    #[command(visible_alias = "u")]
    Use(ContextArgs),

    /// List all contexts; the current one is marked.
    #[command(visible_alias = "ls")]
    List,

    /// Show a context with the values that flags and environment replace in it.
    #[command(visible_aliases = ["inspect", "i"])]
    Show {
        /// The context's name; without it, the one that commands work in now.
        name: Option<ContextName>,
    },

    /// Change what holds for the whole store of a context, for all who use it.
    Update(UpdateArgs),

    /// Delete a context. Its bucket, queues and files stay.
    #[command(visible_alias = "d")]
    Delete(ContextArgs),
}

#[derive(Debug, Clone, Args)]
pub struct ContextArgs {
    /// The context's name.
    pub name: ContextName,
}

#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    /// The context's name.
    pub name: ContextName,

    /// The kind of its store: local (one file), localstack or aws. By default it follows from the other options.
    #[arg(long)]
    pub kind: Option<Kind>,

    /// The folder of a local context.
    #[arg(long, value_name = "PATH")]
    pub data_dir: Option<PathBuf>,

    /// The bucket; it is made, private and encrypted, if there is none.
    #[arg(long)]
    pub bucket: Option<String>,

    /// What all keys in the bucket begin with, so that several can share it.
    #[arg(long)]
    pub prefix: Option<String>,

    /// Base name of the queues: NAME-calls, NAME-chunks, NAME-batches, each with NAME-…-dead.
    #[arg(long, value_name = "NAME")]
    pub queues: Option<String>,

    /// URL of S3 and SQS, when it is not AWS's own.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,

    /// The region; without it AWS_REGION counts.
    #[arg(long)]
    pub region: Option<String>,

    /// A profile of the AWS configuration files; without it AWS_PROFILE counts.
    #[arg(long)]
    pub profile: Option<String>,

    /// Take bucket and queues from the outputs of this CloudFormation stack; nothing is made.
    #[arg(long, value_name = "STACK", conflicts_with_all = ["bucket", "queues", "data_dir"])]
    pub from_stack: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct UpdateArgs {
    /// Keep payloads, results and logs so long after the end of calls and batches, like 30d; `never` keeps them for ever.
    /// Apps and batches may say otherwise.
    #[arg(long, value_name = "TIME")]
    pub retention: Retention,
}

#[derive(Debug, Subcommand)]
pub enum UseNoun {
    /// Make a context the current one.
    #[command(visible_aliases = ["contexts", "ctx"])]
    Context(ContextArgs),
}

pub async fn run(session: &Session, command: ContextCommand) -> Result<()> {
    match command {
        ContextCommand::Create(args) => create(session, args).await,
        ContextCommand::Use(args) => use_context(session, &args),
        ContextCommand::List => list(session),
        ContextCommand::Show { name } => show(session, &session.context_to_show(name.as_ref())?).await,
        ContextCommand::Update(args) => update(session, args).await,
        ContextCommand::Delete(args) => delete(session, &args),
    }
}

/// The context as it is stored, with what it comes to here and now: the default names, and as whom and where commands act.
async fn show(session: &Session, context: &Context) -> Result<()> {
    let mut record = view::value(context)?;
    if context.kind.is_remote() {
        record["queues"] = view::value(&context.queues)?;
    }
    match context::locate(context).await {
        Ok(None) => {}
        Ok(Some(Whereabouts { account, region, bucket: _, queues })) => {
            record["region"] = region.into();
            let warn = |error: &Error| session.printer.warning(error);
            record["account"] = account.inspect_err(warn).ok().into();
            let urls = queues.into_iter().map(|(name, url)| (name, url.inspect_err(warn).ok().into()));
            record["queue_urls"] = Value::Object(urls.collect());
        }
        Err(error) => session.printer.warning(error),
    }
    session.printer.json(&record)
}

pub async fn create(session: &Session, args: CreateArgs) -> Result<()> {
    let CreateArgs { name, kind, data_dir, bucket, prefix, queues, endpoint, region, profile, from_stack } =
        args;
    let kind = match (kind, Context::built_in(&name)) {
        (Some(kind), _) => kind,
        (None, Some(built_in)) => built_in.kind,
        (None, None) if endpoint.is_some() => Kind::Localstack,
        (None, None) if data_dir.is_some() => Kind::Local,
        (None, None) => {
            let is_remote = [&bucket, &prefix, &queues, &region, &profile, &from_stack];
            if is_remote.into_iter().any(Option::is_some) { Kind::Aws } else { Kind::Local }
        }
    };
    let flags = Flags { context: None, data_dir, bucket, prefix, queues, endpoint, region, profile };
    let mut context = context::draft(name, kind, &flags, &session.env)?;
    if let Some(stack) = from_stack {
        context = context::from_stack(context, &stack).await?;
    }
    for step in context::create(&context).await? {
        let verb = if step.made { "made" } else { "found" };
        session.printer.note(format!("{verb} {}", step.what));
    }
    session.contexts()?.save(&context)?;
    session.printer.done(format!("Successfully created context: {}", context.name), &context)
}

/// Of the context that commands work in now.
async fn update(session: &Session, args: UpdateArgs) -> Result<()> {
    let UpdateArgs { retention } = args;
    session.open().await?.catalog.set_retention(retention).await?;
    let record = json!({ "context": session.context()?.name, "retention": retention });
    session.printer.done(format!("content is kept: {retention}"), &record)
}

pub fn use_context(session: &Session, args: &ContextArgs) -> Result<()> {
    session.contexts()?.use_context(&args.name)?;
    session.printer.done(format!("Now using context: {}", args.name), &json!({ "context": args.name }))
}

pub fn delete(session: &Session, args: &ContextArgs) -> Result<()> {
    session.contexts()?.delete(&args.name)?;
    let record = json!({ "context": args.name });
    session.printer.done(format!("Successfully deleted context {}", args.name), &record)
}

pub fn list(session: &Session) -> Result<()> {
    let entries = session.contexts()?.list()?;
    let row = |entry: &ContextEntry| {
        let current = if entry.current { "*" } else { "" };
        let Context { name, kind, .. } = &entry.context;
        [current.to_owned(), name.to_string(), kind.to_string(), location(&entry.context)]
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    session.printer.table(&json!({ "contexts": entries }), ["CURRENT", "NAME", "KIND", "STORE"], &rows, "")
}

/// The folder or bucket of a context's store.
pub fn location(context: &Context) -> String {
    match context.kind {
        Kind::Local => context.data_dir.as_ref().map_or_else(String::new, |dir| dir.display().to_string()),
        Kind::Localstack | Kind::Aws => match &context.bucket {
            Some(bucket) if context.prefix.is_empty() => format!("s3://{bucket}"),
            Some(bucket) => format!("s3://{bucket}/{}", context.prefix),
            None => String::new(),
        },
    }
}
