//! Verb and noun, as Fn has them: `get call`, `list apps`, `config function`.

use clap::{Args, Subcommand};

use super::context::{CreateContext, NamedContext};
use super::function::Traits;
use super::parse::{self, FunctionRef, Pair, When, Which};
use crate::model::{AppName, CallId, FunctionName, Route, State};
use crate::results::attempts;

#[derive(Debug, Subcommand)]
pub enum GetNoun {
    /// Where a call stands, as Fn prints it.
    #[command(visible_aliases = ["calls", "cl"])]
    Call(CallOfApp),

    /// The response of a call that succeeded, byte for byte.
    #[command(visible_alias = "results")]
    Result(CallOfApp),

    /// What a call wrote: stdout and stderr of the attempt that counts, or of another.
    #[command(visible_aliases = ["log", "lg"])]
    Logs(LogsOfCall),

    /// One config value.
    #[command(visible_alias = "cf", subcommand)]
    Config(GetConfigNoun),
}

#[derive(Debug, Subcommand)]
pub enum ListNoun {
    /// All apps, by name.
    #[command(visible_aliases = ["app", "a"])]
    Apps,

    /// The functions of an app.
    #[command(visible_aliases = ["function", "fn", "f", "routes", "route", "r"])]
    Functions(AppArgs),

    /// The calls of an app, newest first.
    #[command(visible_aliases = ["call", "cl"])]
    Calls(ListCallsArgs),

    /// All config values of an app or function.
    #[command(visible_alias = "cf", subcommand)]
    Config(ListConfigNoun),

    /// All contexts; the current one is marked.
    #[command(visible_aliases = ["context", "ctx"])]
    Contexts,
}

#[derive(Debug, Subcommand)]
pub enum InspectNoun {
    /// An app: config, annotations, times.
    #[command(visible_aliases = ["apps", "a"])]
    App(AppArgs),

    /// A function: route, type, config, and its current version.
    #[command(visible_aliases = ["functions", "fn", "f", "route", "routes", "r"])]
    Function(FunctionNamed),
}

#[derive(Debug, Subcommand)]
pub enum CreateNoun {
    /// An app.
    #[command(visible_aliases = ["apps", "a"])]
    App(AppChange),

    /// A function from an image that exists.
    #[command(visible_aliases = ["functions", "fn", "f", "route", "routes", "r"])]
    Function(FunctionImage),

    /// A context, with bucket and queues where they are missing.
    #[command(visible_aliases = ["contexts", "ctx"])]
    Context(CreateContext),
}

#[derive(Debug, Subcommand)]
pub enum UpdateNoun {
    /// An app's config and annotations.
    #[command(visible_aliases = ["apps", "a"])]
    App(AppChange),

    /// A function's type, limits, config, annotations or image.
    #[command(visible_aliases = ["functions", "fn", "f", "route", "routes", "r"])]
    Function(FunctionChange),
}

#[derive(Debug, Subcommand)]
pub enum DeleteNoun {
    /// An app without functions. Its calls stay until they are past their retention.
    #[command(visible_aliases = ["apps", "a"])]
    App(AppArgs),

    /// A function and its route. Accepted calls that have not begun end in `error`.
    #[command(visible_aliases = ["functions", "fn", "f", "route", "routes", "r"])]
    Function(FunctionNamed),

    /// A context. Bucket and queues stay.
    #[command(visible_aliases = ["contexts", "ctx"])]
    Context(NamedContext),
}

#[derive(Debug, Subcommand)]
pub enum UseNoun {
    /// Make a context the current one.
    #[command(visible_aliases = ["contexts", "ctx"])]
    Context(NamedContext),
}

#[derive(Debug, Subcommand)]
pub enum ConfigNoun {
    /// A value that all functions of the app inherit.
    #[command(visible_aliases = ["apps", "a"])]
    App(AppKeyValue),

    /// A value of one function; it wins over its app's.
    #[command(visible_aliases = ["functions", "fn", "f", "route", "routes", "r"])]
    Function(FunctionKeyValue),
}

#[derive(Debug, Subcommand)]
pub enum GetConfigNoun {
    /// Of an app.
    #[command(visible_aliases = ["apps", "a"])]
    App(AppKey),

    /// Of a function.
    #[command(visible_aliases = ["functions", "fn", "f", "route", "routes", "r"])]
    Function(FunctionKey),
}

#[derive(Debug, Subcommand)]
pub enum UnsetNoun {
    /// Remove a config value.
    #[command(visible_alias = "cf", subcommand)]
    Config(GetConfigNoun),
}

#[derive(Debug, Subcommand)]
pub enum ListConfigNoun {
    /// Of an app.
    #[command(visible_aliases = ["apps", "a"])]
    App(AppArgs),

    /// Of a function: its own values, not its app's.
    #[command(visible_aliases = ["functions", "fn", "f", "route", "routes", "r"])]
    Function(FunctionNamed),
}

#[derive(Debug, Clone, Args)]
pub struct AppArgs {
    /// The app's name.
    #[arg(value_parser = parse::model::<AppName>)]
    pub app: AppName,
}

#[derive(Debug, Clone, Args)]
pub struct AppChange {
    /// The app's name.
    #[arg(value_parser = parse::model::<AppName>)]
    pub app: AppName,

    /// A config value that all functions of the app inherit; an empty one removes the key. Repeatable.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse::pair)]
    pub config: Vec<Pair>,

    /// An annotation, its value JSON or plain text. Repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::pair)]
    pub annotation: Vec<Pair>,
}

#[derive(Debug, Clone, Args)]
pub struct FunctionNamed {
    /// The function's app.
    #[arg(value_parser = parse::model::<AppName>)]
    pub app: AppName,

    /// The function's route, like /asyncfn, or its name.
    #[arg(value_name = "ROUTE", value_parser = parse::function)]
    pub function: FunctionRef,
}

#[derive(Debug, Clone, Args)]
pub struct FunctionImage {
    /// The app to publish in; it is made if there is none.
    #[arg(value_parser = parse::model::<AppName>)]
    pub app: AppName,

    /// The route that the function answers to, like /resize.
    #[arg(value_parser = parse::model::<Route>)]
    pub route: Route,

    /// The image, as Docker pulls it.
    pub image: String,

    /// The function's name, when it is not the route's.
    #[arg(long, value_parser = parse::model::<FunctionName>)]
    pub name: Option<FunctionName>,

    #[command(flatten)]
    pub traits: Traits,
}

#[derive(Debug, Clone, Args)]
pub struct FunctionChange {
    #[command(flatten)]
    pub function: FunctionNamed,

    /// Another image.
    #[arg(long, short = 'I')]
    pub image: Option<String>,

    #[command(flatten)]
    pub traits: Traits,
}

#[derive(Debug, Clone, Args)]
pub struct AppKey {
    /// The app's name.
    #[arg(value_parser = parse::model::<AppName>)]
    pub app: AppName,
    /// The config key.
    pub key: String,
}

#[derive(Debug, Clone, Args)]
pub struct FunctionKey {
    #[command(flatten)]
    pub function: FunctionNamed,
    /// The config key.
    pub key: String,
}

#[derive(Debug, Clone, Args)]
pub struct AppKeyValue {
    #[command(flatten)]
    pub key: AppKey,
    /// The value; what begins with a dash goes behind `--`.
    pub value: String,
}

#[derive(Debug, Clone, Args)]
pub struct FunctionKeyValue {
    #[command(flatten)]
    pub key: FunctionKey,
    /// The value; what begins with a dash goes behind `--`.
    pub value: String,
}

/// One call of an app, or its newest.
#[derive(Debug, Clone, Args)]
pub struct CallOfApp {
    /// The call's app.
    #[arg(value_parser = parse::model::<AppName>)]
    pub app: AppName,

    /// The call's id; `last` or `l` is the newest call of the app.
    #[arg(value_name = "CALL_ID", value_parser = parse::call)]
    pub call: Which,
}

#[derive(Debug, Clone, Args)]
pub struct LogsOfCall {
    #[command(flatten)]
    pub call: CallOfApp,

    /// The log of this attempt instead, by its number or its name; `get call -o json` lists those that failed.
    #[arg(long, value_name = "ATTEMPT", value_parser = parse::attempt)]
    pub attempt: Option<attempts::Which>,
}

#[derive(Debug, Clone, Args)]
pub struct ListCallsArgs {
    /// The app's name.
    #[arg(value_parser = parse::model::<AppName>)]
    pub app: AppName,

    /// Only calls of this route.
    #[arg(long, value_name = "ROUTE", value_parser = Route::lenient)]
    pub path: Option<Route>,

    /// Only calls in this state: delayed, queued, running, success, error, timeout, killed, cancelled. Repeatable.
    #[arg(long, value_name = "STATUS", value_parser = parse::model::<State>)]
    pub status: Vec<State>,

    /// Only calls made after this time: 2026-11-24T10:00:00Z, a day, or a while ago like 2h.
    #[arg(long, value_name = "TIME", value_parser = parse::when)]
    pub from_time: Option<When>,

    /// Only calls made before this time.
    #[arg(long, value_name = "TIME", value_parser = parse::when)]
    pub to_time: Option<When>,

    /// Go on after this call, as the end of an earlier list says.
    #[arg(long, value_name = "CALL_ID", value_parser = parse::model::<CallId>)]
    pub cursor: Option<CallId>,

    /// How many calls to show at most. A list looks at no more than 10,000 calls, then says how to go on.
    #[arg(short = 'n', value_name = "COUNT", default_value_t = crate::limits::LIST_CALLS_DEFAULT)]
    pub max: usize,
}
