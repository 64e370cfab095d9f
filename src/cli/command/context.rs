//! `afn context …`

use serde_json::json;

use crate::cli::args::{ContextCommand, CreateContext, NamedContext};
use crate::cli::session::Session;
use crate::cli::table::table;
use crate::context::{self, Context, ContextName, Flags, Kind};
use crate::error::Result;

pub async fn run(session: &Session, command: ContextCommand) -> Result<()> {
    match command {
        ContextCommand::Create(args) => create(session, args).await,
        ContextCommand::Use(args) => use_context(session, &args),
        ContextCommand::List => list(session),
        ContextCommand::Show { name } => show(session, name),
        ContextCommand::Delete(args) => delete(session, &args),
    }
}

pub async fn create(session: &Session, args: CreateContext) -> Result<()> {
    let kind = kind(&args);
    let from_stack = args.from_stack;
    let flags = Flags {
        context: None,
        data_dir: args.data_dir,
        bucket: args.bucket,
        prefix: args.prefix,
        queues: args.queues,
        endpoint: args.endpoint,
        region: args.region,
        profile: args.profile,
    };
    let mut context = context::draft(args.name, kind, &flags, &session.env)?;
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

/// What was not said is told by what was: a bucket is AWS's unless an endpoint says whose it is.
fn kind(args: &CreateContext) -> Kind {
    let CreateContext { name, kind, data_dir, bucket, prefix, queues, endpoint, region, profile, from_stack } =
        args;
    if let Some(kind) = kind {
        return *kind;
    }
    if let Some(built_in) = Context::built_in(name) {
        return built_in.kind;
    }
    if endpoint.is_some() {
        return Kind::Localstack;
    }
    let remote = [bucket, prefix, queues, region, profile, from_stack].into_iter().any(Option::is_some);
    if remote && data_dir.is_none() { Kind::Aws } else { Kind::Local }
}

pub fn use_context(session: &Session, args: &NamedContext) -> Result<()> {
    session.contexts()?.use_context(&args.name)?;
    session.printer.done(format!("Now using context: {}", args.name), &json!({ "context": args.name }))
}

pub fn delete(session: &Session, args: &NamedContext) -> Result<()> {
    session.contexts()?.delete(&args.name)?;
    session
        .printer
        .done(format!("Successfully deleted context {}", args.name), &json!({ "context": args.name }))
}

pub fn list(session: &Session) -> Result<()> {
    let entries = session.contexts()?.list()?;
    if session.printer.is_json() {
        return session.printer.json(&json!({ "contexts": entries }));
    }
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            let current = if entry.current { "*" } else { "" };
            [
                current.to_owned(),
                entry.context.name.to_string(),
                entry.context.kind.to_string(),
                place(&entry.context),
            ]
        })
        .collect();
    session.printer.data(table(["CURRENT", "NAME", "KIND", "STORE"], &rows))
}

fn show(session: &Session, name: Option<ContextName>) -> Result<()> {
    let context = match name {
        Some(name) => session.contexts()?.load(&name)?,
        None => session.context()?,
    };
    session.printer.json(&context)
}

/// Where a context's objects lie, in a word.
pub fn place(context: &Context) -> String {
    match context.kind {
        Kind::Local => context.data_dir.as_ref().map_or_else(String::new, |dir| dir.display().to_string()),
        Kind::Localstack | Kind::Aws => match &context.bucket {
            Some(bucket) if context.prefix.is_empty() => format!("s3://{bucket}"),
            Some(bucket) => format!("s3://{bucket}/{}", context.prefix),
            None => String::new(),
        },
    }
}
