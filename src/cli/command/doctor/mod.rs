//! `afn doctor`: tries what calls need, and advises what to do about what does not work.

mod fleet;

use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::json;

use self::fleet::Fleet;
use super::context::location;
use crate::cli::exit::ExitCode;
use crate::cli::format::millis;
use crate::cli::session::{Session, metadata_open, processes_of_root};
use crate::cli::text::Text;
use crate::context::{self, Context, Kind, Whereabouts};
use crate::embedded::{self, Engine};
use crate::error::{Error, Result};
use crate::model::QueueName;
use crate::seam::queue::QueuePair;
use crate::store_clock;

/// AWS refuses signatures past fifteen minutes. Ages and delays are wrong well before that.
const SKEW_MS_MAX: u64 = 30_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Calls can be made and run without it.
    Warning,
    /// Calls cannot be made or run.
    Error,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    state: Verdict,
    found: String,
    advice: Option<String>,
    /// Lines below it. The document has them as values of its own.
    #[serde(skip)]
    details: Vec<String>,
}

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Check {
        Check {
            name: name.into(),
            state: Verdict::Ok,
            found: found.into(),
            advice: None,
            details: Vec::new(),
        }
    }

    fn warning(name: impl Into<String>, found: impl Into<String>, advice: &str) -> Check {
        Check { state: Verdict::Warning, advice: Some(advice.to_owned()), ..Check::ok(name, found) }
    }

    /// Advises what the error's own hint says, unless that names this command.
    fn error(name: impl Into<String>, error: &Error, context: &Context) -> Check {
        let hint = error.hint_text().filter(|hint| !hint.contains("afn doctor"));
        let advice = hint.map_or_else(|| advice(context), str::to_owned);
        Check { state: Verdict::Error, advice: Some(advice), ..Check::ok(name, error.message()) }
    }
}

fn advice(context: &Context) -> String {
    let name = &context.name;
    match context.kind {
        Kind::Local => {
            format!("see that the folder of `afn context show {name}` can be written and has room")
        }
        Kind::Localstack | Kind::Aws => format!(
            "see that endpoint, region, bucket and queues of `afn context show` are right and that the credentials may \
             use them; `afn context create {name}` makes what is missing"
        ),
    }
}

pub async fn run(session: &Session) -> Result<ExitCode> {
    let context = session.context()?;
    let mut checks =
        vec![Check::ok("context", format!("{} ({}, {})", context.name, context.kind, location(&context)))];
    let mut fleet = Fleet::default();
    match session.open().await {
        Ok(engine) => {
            let lanes = engine.deps.queues.all().map(|(name, lane)| queue(&engine.context, name, lane));
            // At once: a service that cannot be reached then costs one timeout.
            let whereabouts = context::locate(&engine.context);
            let (store, queues, whereabouts, look) =
                tokio::join!(store(&engine), join_all(lanes), whereabouts, fleet::look(&engine));
            let store_answers = store.iter().all(|check| check.state != Verdict::Error);
            checks.extend(store);
            checks.extend(queues);
            checks.extend(look.checks(store_answers));
            fleet = look.fleet();
            checks.extend(identity(&engine.context, whereabouts));
        }
        Err(error) => checks.push(Check::error("store", &error, &context)),
    }
    if context.kind != Kind::Localstack {
        checks.push(localstack().await);
    }
    checks.push(docker(session).await);
    checks.push(match embedded::function_users(&session.env, None)? {
        Ok(None) => Check::ok("processes", "functions without an image can read what this user can"),
        Ok(Some(users)) => Check::ok(
            "processes",
            format!("functions without an image run as users {users}, each as its own"),
        ),
        Err(why) => {
            let hint = "start workers as a user who has nothing else";
            Check::warning("processes", processes_of_root(&why), hint)
        }
    });
    checks.push(toolchains(session)?);
    print_checks(session, &checks, &fleet)
}

/// As whom and where a remote context acts. Why a queue has no URL, its own check tells.
fn identity(context: &Context, whereabouts: Result<Option<Whereabouts>>) -> Vec<Check> {
    // Calls need no STS: what they do need, the checks of store and queues tell.
    let unknown =
        |error: &Error| vec![Check { state: Verdict::Warning, ..Check::error("account", error, context) }];
    let Whereabouts { account, region, bucket, queues } = match whereabouts {
        Ok(None) => return Vec::new(),
        Ok(Some(whereabouts)) => whereabouts,
        Err(error) => return unknown(&error),
    };
    let bucket = bucket.unwrap_or_default();
    let mut checks = match account {
        Ok(account) => {
            vec![Check::ok("account", format!("{account}, region {region}, bucket {bucket}"))]
        }
        Err(error) => unknown(&error),
    };
    checks.extend(queues.into_iter().filter_map(|(_, url)| Some(Check::ok("queue URL", url.ok()?))));
    checks
}

/// Writes, reads and deletes an object. The store's answer contains its time too.
async fn store(engine: &Engine) -> Vec<Check> {
    let before = engine.deps.clock.monotonic();
    let theirs = match store_clock::now(&engine.deps).await {
        Ok(time) => time,
        Err(error) => return vec![Check::error("store", &error, &engine.context)],
    };
    let took = engine.deps.clock.monotonic().saturating_sub(before);
    let ours = engine.deps.now();
    // The store's answer is as old as the round trip, and has whole seconds.
    let slack = took.as_millis() as u64 + 1_000;
    let skew = ours.since_ms(theirs).max(theirs.since_ms(ours)).saturating_sub(slack);
    let clock = match skew {
        0 => Check::ok("clock", "agrees with the store's"),
        1..=SKEW_MS_MAX => Check::ok("clock", format!("{} off the store's", millis(skew))),
        _ => Check::warning(
            "clock",
            format!("{} off the store's ({ours} here, {theirs} there)", millis(skew)),
            "let NTP set this machine's clock: ids are times, and AWS refuses signatures that are 15 minutes off",
        ),
    };
    let mut checks =
        vec![Check::ok("store", format!("writes, reads and deletes in {}", millis(took.as_millis() as u64)))];
    if engine.context.kind.is_remote() {
        checks.push(Check::ok("credentials", "are taken by the store"));
    }
    checks.push(clock);
    checks
}

async fn queue(context: &Context, queue: QueueName, pair: &QueuePair) -> Check {
    let name = format!("queue {queue}");
    let depths = async { Ok::<_, Error>((pair.live.depth().await?, pair.dead.depth().await?)) };
    let (live, dead) = match depths.await {
        Ok(depths) => depths,
        Err(error) => return Check::error(name, &error, context),
    };
    let dead = dead.visible + dead.in_flight;
    let found = format!(
        "{}: {} waiting, {} delayed, {} held by workers, {dead} dead letters",
        purpose(queue),
        live.visible,
        live.delayed,
        live.in_flight
    );
    let idle = live.visible > 0 && live.in_flight == 0;
    match (dead, idle) {
        (0, false) => Check::ok(name, found),
        (0, true) => {
            Check::warning(name, found, "`afn worker` or `afn start` runs them; no worker seems to run")
        }
        (_, _) => Check::warning(
            name,
            found,
            "`afn dlq list` shows why they are dead, `afn dlq redrive` puts them back",
        ),
    }
}

/// What a queue's messages point to.
fn purpose(queue: QueueName) -> &'static str {
    match queue {
        QueueName::Calls => "single calls",
        QueueName::Chunks => "parts of batches to run",
        QueueName::Batches => "batches to supervise",
    }
}

/// Whether LocalStack listens, for contexts that do not use it. Where the context does, store and queues show more.
async fn localstack() -> Check {
    let connect = tokio::net::TcpStream::connect("localhost:4566");
    let found = match tokio::time::timeout(Duration::from_secs(2), connect).await {
        Ok(Ok(_)) => "listens at http://localhost:4566",
        Ok(Err(_)) | Err(_) => "not running at http://localhost:4566, and not needed here",
    };
    Check::ok("localstack", found)
}

async fn docker(session: &Session) -> Check {
    match embedded::docker(&session.env).await {
        Ok(docker) => match docker.leaves_metadata_open() {
            Some(why) => Check::warning(
                "docker",
                format!("answers; {}", metadata_open(why)),
                "start workers as root beside Docker, or limit the hops of the metadata service to 1",
            ),
            None => Check::ok("docker", "answers; whether images can be pulled and pushed was not tried"),
        },
        Err(why) => Check::warning(
            "docker",
            why,
            "without Docker, functions run as child processes, and images are neither built nor run here",
        ),
    }
}

/// The languages for functions without an image.
fn toolchains(session: &Session) -> Result<Check> {
    let path = session.env.text("PATH")?.unwrap_or_default();
    let is_there = |name: &&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let (there, absent): (Vec<&str>, Vec<&str>) =
        ["sh", "go", "python3", "node", "cargo"].into_iter().partition(is_there);
    let mut found = there.join(", ");
    if !absent.is_empty() {
        found.push_str(&format!("; not {}", absent.join(", ")));
    }
    Ok(Check::ok("toolchains", found))
}

fn print_checks(session: &Session, checks: &[Check], fleet: &Fleet) -> Result<ExitCode> {
    let mut text = Text::default();
    for (at, check) in checks.iter().enumerate() {
        let verdict = match check.state {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Error => "error",
        };
        // Several checks may fail of the same cause: print it once.
        let before = &checks[..at];
        let repeated = check.state != Verdict::Ok && before.iter().any(|other| other.found == check.found);
        let found = if repeated { "as above" } else { &check.found };
        text.line(format!("{verdict:<8} {:<14} {found}", check.name));
        for detail in &check.details {
            text.line(format!("{:<23} {detail}", ""));
        }
        if let Some(advice) = &check.advice
            && !before.iter().any(|other| other.advice.as_ref() == Some(advice))
        {
            text.line(format!("{:<23} {advice}", ""));
        }
    }
    let Fleet { panics, unsuited } = fleet;
    let document = json!({ "checks": checks, "panics": panics, "unsuited_batches": unsuited });
    session.printer.answer(&document, &text)?;
    match checks.iter().any(|check| check.state == Verdict::Error) {
        true => Ok(ExitCode::Unreachable),
        false => Ok(ExitCode::Success),
    }
}
