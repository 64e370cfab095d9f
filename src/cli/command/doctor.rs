//! `afn doctor`: tries what calls rest on, and says what to do about what does not work.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::cli::call_view::millis;
use crate::cli::command::context::place;
use crate::cli::executors;
use crate::cli::exit::ExitCode;
use crate::cli::session::{Engine, Session};
use crate::context::{Context, Kind};
use crate::error::{Error, Result};
use crate::seam::queue::Lane;
use crate::store_clock;

/// A signature is refused past fifteen minutes; well before, ages and delays are off.
const SKEW_MS_MAX: u64 = 30_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Something that can be done without.
    Warning,
    /// Calls cannot be made or run.
    Error,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    state: State,
    found: String,
    advice: Option<String>,
}

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Check {
        Check { name: name.into(), state: State::Ok, found: found.into(), advice: None }
    }

    fn warning(name: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { name: name.into(), state: State::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    /// The error's own hint, unless it leads here.
    fn error(name: impl Into<String>, error: &Error, context: &Context) -> Check {
        let hint = error.hint_text().filter(|hint| !hint.contains("afn doctor"));
        let advice = hint.map_or_else(|| advice(context), str::to_owned);
        Check {
            name: name.into(),
            state: State::Error,
            found: error.message().to_owned(),
            advice: Some(advice),
        }
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
        vec![Check::ok("context", format!("{} ({}, {})", context.name, context.kind, place(&context)))];
    match session.open().await {
        Ok(engine) => {
            checks.extend(store(&engine).await);
            for (name, lane) in engine.seams.queues.lanes() {
                checks.push(queue(&engine.context, name, lane).await);
            }
        }
        Err(error) => checks.push(Check::error("store", &error, &context)),
    }
    checks.push(localstack(&context).await);
    checks.push(docker(session).await);
    checks.push(programs(session)?);
    report(session, &checks)
}

/// Writes, reads and deletes an object; the store's answer tells its clock too.
async fn store(engine: &Engine) -> Vec<Check> {
    let before = engine.seams.clock.monotonic();
    let theirs = match store_clock::now(&engine.seams).await {
        Ok(time) => time,
        Err(error) => return vec![Check::error("store", &error, &engine.context)],
    };
    let took = engine.seams.clock.monotonic().saturating_sub(before);
    let ours = engine.seams.now();
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

async fn queue(context: &Context, name: &str, lane: &Lane) -> Check {
    let name = format!("queue {name}");
    let depths = async { Ok::<_, Error>((lane.live.depth().await?, lane.dead.depth().await?)) };
    let (live, dead) = match depths.await {
        Ok(depths) => depths,
        Err(error) => return Check::error(name, &error, context),
    };
    let found = format!("{} waiting, {} delayed, {} in work", live.visible, live.delayed, live.in_flight);
    match dead.visible + dead.in_flight {
        0 => Check::ok(name, found),
        count => Check::warning(
            name,
            format!("{found}, {count} dead letters"),
            "`afn dlq list` tells why they are dead",
        ),
    }
}

/// Only whether something listens: what it can do is told by store and queues, where the context uses it.
async fn localstack(context: &Context) -> Check {
    let endpoint = context.endpoint.as_deref().unwrap_or("http://localhost:4566");
    let address = endpoint.split("://").last().unwrap_or(endpoint).trim_end_matches('/');
    let connect = tokio::net::TcpStream::connect(address);
    match tokio::time::timeout(Duration::from_secs(2), connect).await {
        Ok(Ok(_)) => Check::ok("localstack", format!("listens at {endpoint}")),
        Ok(Err(_)) | Err(_) if context.kind != Kind::Localstack => {
            Check::ok("localstack", format!("not running at {endpoint}, and not needed here"))
        }
        Ok(Err(_)) | Err(_) => Check {
            name: "localstack".to_owned(),
            state: State::Error,
            found: format!("nothing listens at {endpoint}"),
            advice: Some("`sh localstack/up` starts it; AFN_ENDPOINT says where it is".to_owned()),
        },
    }
}

async fn docker(session: &Session) -> Check {
    match executors::docker(session).await {
        Ok(_) => Check::ok("docker", "answers"),
        Err(why) => Check::warning(
            "docker",
            why,
            "without Docker, functions run as child processes, and images are neither built nor run here",
        ),
    }
}

/// What functions without an image can be written in here.
fn programs(session: &Session) -> Result<Check> {
    let path = session.env.text("PATH")?.unwrap_or_default();
    let is_there = |name: &&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let (there, absent): (Vec<&str>, Vec<&str>) =
        ["sh", "python3", "go", "node"].into_iter().partition(is_there);
    let mut found = there.join(", ");
    if !absent.is_empty() {
        found.push_str(&format!("; not {}", absent.join(", ")));
    }
    Ok(Check::ok("programs", found))
}

fn report(session: &Session, checks: &[Check]) -> Result<ExitCode> {
    let printer = &session.printer;
    if printer.is_json() {
        printer.json(&json!({ "checks": checks }))?;
    } else {
        for check in checks {
            let mark = match check.state {
                State::Ok => "ok",
                State::Warning => "warning",
                State::Error => "error",
            };
            printer.line(format!("{mark:<8} {:<14} {}", check.name, check.found))?;
            if let Some(advice) = &check.advice {
                printer.line(format!("{:<23} {advice}", ""))?;
            }
        }
    }
    match checks.iter().any(|check| check.state == State::Error) {
        true => Ok(ExitCode::Unreachable),
        false => Ok(ExitCode::Success),
    }
}
