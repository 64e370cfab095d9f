//! Contexts: named stores with their queues.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::parse;
use crate::context::{ContextName, Kind};

#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Make a context, with bucket and queues where they are missing.
    #[command(visible_alias = "c")]
    Create(CreateContext),

    /// Make a context the current one.
    #[command(visible_alias = "u")]
    Use(NamedContext),

    /// List all contexts; the current one is marked.
    #[command(visible_alias = "ls")]
    List,

    /// Show a context, as it is once flags and environment are laid over it.
    #[command(visible_aliases = ["inspect", "i"])]
    Show {
        /// The context's name; without it, the one that commands work in now.
        #[arg(value_parser = parse::model::<ContextName>)]
        name: Option<ContextName>,
    },

    /// Forget a context. Its bucket, queues and files stay.
    #[command(visible_alias = "d")]
    Delete(NamedContext),
}

#[derive(Debug, Clone, Args)]
pub struct NamedContext {
    /// The context's name.
    #[arg(value_parser = parse::model::<ContextName>)]
    pub name: ContextName,
}

#[derive(Debug, Clone, Args)]
pub struct CreateContext {
    /// The context's name.
    #[arg(value_parser = parse::model::<ContextName>)]
    pub name: ContextName,

    /// Where it lies: local (one file), localstack or aws. By default told from the other options.
    #[arg(long, value_parser = parse::model::<Kind>)]
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
