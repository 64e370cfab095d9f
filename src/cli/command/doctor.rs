//! `afn doctor`: tries what calls rest on, and says what to do about what does not work.

use std::time::Duration;

use futures_util::future::join_all;
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
            let lanes = engine.seams.queues.lanes().map(|(name, lane)| queue(&engine.context, name, lane));
            // Together: what cannot be reached is waited for once.
            let (store, queues) = tokio::join!(store(&engine), join_all(lanes));
            checks.extend(store);
            checks.extend(queues);
        }
        Err(error) => checks.push(Check::error("store", &error, &context)),
    }
    if context.kind != Kind::Localstack {
        checks.push(localstack().await);
    }
    checks.push(docker(session).await);
    checks.push(toolchains(session)?);
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

async fn queue(context: &Context, lane_name: &str, lane: &Lane) -> Check {
    let name = format!("queue {lane_name}");
    let depths = async { Ok::<_, Error>((lane.live.depth().await?, lane.dead.depth().await?)) };
    let (live, dead) = match depths.await {
        Ok(depths) => depths,
        Err(error) => return Check::error(name, &error, context),
    };
    let dead = dead.visible + dead.in_flight;
    let found = format!(
        "{}: {} waiting, {} delayed, {} held by workers, {dead} dead letters",
        purpose(lane_name),
        live.visible,
        live.delayed,
        live.in_flight
    );
    let idle = live.visible > 0 && live.in_flight == 0;
    match (dead, idle) {
        (0, false) => Check::ok(name, found),
        (0, true) => {
            Check::warning(name, found, "`afn worker` or `afn start` works them off; none seems to run")
        }
        (_, _) => Check::warning(
            name,
            found,
            "`afn dlq list` tells why letters are dead, `afn dlq redrive` puts them back",
        ),
    }
}

/// What a queue's messages point to.
fn purpose(lane: &str) -> &'static str {
    match lane {
        "calls" => "single calls",
        "chunks" => "parts of batches to run",
        _ => "batches to look after",
    }
}

/// Only whether something listens, for who has a choice: where the context uses it, store and queues tell more.
async fn localstack() -> Check {
    let connect = tokio::net::TcpStream::connect("localhost:4566");
    let found = match tokio::time::timeout(Duration::from_secs(2), connect).await {
        Ok(Ok(_)) => "listens at http://localhost:4566",
        Ok(Err(_)) | Err(_) => "not running at http://localhost:4566, and not needed here",
    };
    Check::ok("localstack", found)
}

async fn docker(session: &Session) -> Check {
    match executors::docker(session).await {
        Ok(_) => Check::ok("docker", "answers; whether images can be pulled and pushed was not tried"),
        Err(why) => Check::warning(
            "docker",
            why,
            "without Docker, functions run as child processes, and images are neither built nor run here",
        ),
    }
}

/// What functions without an image can be written in here.
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

fn report(session: &Session, checks: &[Check]) -> Result<ExitCode> {
    let printer = &session.printer;
    if printer.is_json() {
        printer.json(&json!({ "checks": checks }))?;
    } else {
        for (at, check) in checks.iter().enumerate() {
            let mark = match check.state {
                State::Ok => "ok",
                State::Warning => "warning",
                State::Error => "error",
            };
            // One cause that several meet is told once.
            let before = &checks[..at];
            let told = check.state == State::Error && before.iter().any(|other| other.found == check.found);
            let found = if told { "as above" } else { &check.found };
            printer.line(format!("{mark:<8} {:<14} {found}", check.name))?;
            if let Some(advice) = &check.advice
                && !before.iter().any(|other| other.advice.as_ref() == Some(advice))
            {
                printer.line(format!("{:<23} {advice}", ""))?;
            }
        }
    }
    match checks.iter().any(|check| check.state == State::Error) {
        true => Ok(ExitCode::Unreachable),
        false => Ok(ExitCode::Success),
    }
}
