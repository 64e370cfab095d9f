//! How calls, batches, apps and functions are shown: text for people, records for programs. Scripts read both: keep the
//! fields of the records stable.

use serde_json::{Value, json};

use super::format::{bytes, millis, or_dash, plural};
use super::text::Text;
use crate::error::{Error, Result};
use crate::model::app::masked;
use crate::model::{App, AppName, Config, Function, State, Stored, Version};
use crate::results::attempts::Attempt;
use crate::results::cost::Cost;
use crate::results::open::OtherBatch;
use crate::results::{BatchView, CallView};

/// The block that Fn prints for a call; a time that has not come yet is a dash. Scripts read it: keep it stable.
pub fn call_block(call: &CallView) -> Text {
    let mut text = Text::default();
    text.line(format!("ID: {}", call.id));
    text.line(format!("App: {}", call.app));
    text.line(format!("Route: {}", call.route));
    text.line(format!("Created At: {}", call.created_at));
    text.line(format!("Started At: {}", or_dash(call.started_at)));
    text.line(format!("Completed At: {}", or_dash(call.completed_at)));
    text.line(format!("Status: {}", call.state));
    text.line("");
    if let Some(reason) = &call.reason {
        text.line(format!("Error reason: {reason}"));
        text.line("");
    }
    text
}

/// A call with those of its attempts that failed.
pub fn call_record(call: &CallView, failed: &[Attempt]) -> Result<Value> {
    let mut record = value(call)?;
    record["failed_attempts"] = value(failed)?;
    Ok(record)
}

/// Everything that is known of a call, a line each.
pub fn call_details(call: &CallView, why: Option<&str>, failed: &[Attempt]) -> Text {
    let stored = |stored: &Stored| match &stored.content_type {
        Some(content_type) => format!("{}, {content_type}", bytes(stored.bytes)),
        None => bytes(stored.bytes),
    };
    let mut fields = Text::default();
    fields.add("ID", call.id);
    fields.add("App", &call.app);
    fields.add("Function", format!("{} ({}, version {})", call.function, call.route, call.version));
    fields.add("Status", call.state);
    fields.add_some("Why", call.reason.as_deref().or(why));
    fields.add_some("Attempts", (call.attempts > 0).then_some(call.attempts));
    for Attempt { number, status, reason, log, .. } in failed {
        fields.add(&format!("Attempt {number}"), format!("{status}: {reason}, log {}", bytes(log.bytes)));
    }
    fields.add_some("Worker", call.worker.as_ref());
    fields.add("Created At", call.created_at);
    fields.add_some("Not Before", call.not_before);
    fields.add_some("Started At", call.started_at);
    fields.add_some("Completed At", call.completed_at);
    fields.add_some("Ran For", call.completed_at.and(call.run_ms).map(millis));
    fields.add_some("Payload", call.payload_bytes.map(bytes));
    let is_gone = call.state.is_final() && call.id.batch().is_none() && call.payload_bytes.is_none();
    fields.add_some("Content", is_gone.then_some("deleted: its retention is over"));
    fields.add_some("Result", call.result.as_ref().map(stored));
    fields.add_some("Log", call.log.as_ref().map(stored));
    fields
}

/// Everything that is known of a batch, a line each.
/// `others`: batches that share the workers with it.
pub fn batch_details(view: &BatchView, why: Option<&str>, others: &[OtherBatch]) -> Text {
    let mut fields = Text::default();
    fields.add("ID", view.batch);
    fields.add("App", &view.app);
    if let (Some(name), Some(route)) = (&view.function, &view.route) {
        let version = view.version.as_ref().map(|version| format!(", version {version}")).unwrap_or_default();
        fields.add("Function", format!("{name} ({route}{version})"));
    }
    fields.add("Status", view.status);
    let deleted = view.deleted.as_ref();
    fields.add_some("Content", deleted.map(|it| format!("deleted on {}: {}", it.at, it.reason)));
    let why: Vec<&str> = view.reason.as_deref().into_iter().chain(why).collect();
    fields.add_some("Why", (!why.is_empty()).then(|| why.join("; ")));
    fields.add(
        "Calls",
        match view.calls {
            Some(calls) if view.decided == calls => calls.to_string(),
            Some(calls) => format!("{calls}, {} decided", view.decided),
            None => format!("{} so far, {} decided", view.stored, view.decided),
        },
    );
    for state in State::ALL {
        fields.add_some(&format!("  {state}"), view.counts.get(&state).filter(|count| **count > 0));
    }
    let source = view.source.as_ref();
    fields.add_some("Source", source.map(|source| format!("{} ({})", source.location, source.format)));
    fields.add("Created At", view.created_at);
    let ran = (view.run_ms > 0).then(|| format!("{} on all slots together", millis(view.run_ms)));
    fields.add_some("Ran For", ran);
    let workers: Vec<&str> = view.workers.iter().map(String::as_str).collect();
    fields.add_some("Workers", (!workers.is_empty()).then(|| workers.join(", ")));
    if let (Some(pace), Some(ends_at)) = (view.pace_per_s(), view.ends_at()) {
        fields.add("Pace", format!("{pace:.1} calls/s on average, until about {ends_at}"));
    }
    fields.add_some("Last Heard", view.heard_at.filter(|_| !view.status.is_final()));
    for other in others {
        fields.add(if other.is_older { "Before It" } else { "Beside It" }, other);
    }
    fields.add("Chunks", format!("{}, {} of outcomes", view.chunks, plural(view.parts, "part")));
    let cost = Cost::of(view.requests.clone(), view.decided, None);
    fields.add_some("Cost", (cost.requests_total > 0).then(|| format!("{cost} (what workers asked)")));
    fields.add_some("Retry Of", view.retry_of);
    view.retries.iter().for_each(|retry| fields.add("Retried By", retry));
    if let Some(fired) = &view.fired {
        fields.add_some("Then", fired.then.map(|call| format!("call {call}")));
        if let Some(webhook) = &fired.webhook {
            let end = if webhook.delivered { "delivered" } else { "not delivered" };
            let tries = plural(webhook.tries.into(), "try");
            fields.add("Webhook", format!("{end} in {tries}: {}", webhook.answer));
        }
    }
    fields
}

/// Whether config values are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// `***`, but for references to secrets.
    Masked,
    Revealed,
}

impl Values {
    pub fn of(self, config: &Config) -> Config {
        match self {
            Values::Masked => masked(config),
            Values::Revealed => config.clone(),
        }
    }
}

pub fn app_record(name: &AppName, app: &App, values: Values) -> Value {
    json!({
        "name": name,
        "config": values.of(&app.config),
        "annotations": app.annotations,
        "retention": app.retention,
        "created_at": app.created_at,
        "updated_at": app.updated_at,
    })
}

pub fn function_record(app: &AppName, function: &Function, values: Values) -> Value {
    json!({
        "app": app,
        "name": function.name,
        "route": function.route,
        "type": function.kind,
        "version": function.version,
        "config": values.of(&function.config),
        "annotations": function.annotations,
        "created_at": function.created_at,
        "updated_at": function.updated_at,
    })
}

/// A function with everything of its current version.
pub fn version_record(app: &AppName, function: &Function, version: &Version, values: Values) -> Value {
    let mut record = function_record(app, function, values);
    record["label"] = json!(version.label);
    record["source"] = json!(version.source);
    record["os"] = json!(version.os);
    record["arch"] = json!(version.arch);
    record["runtime"] = json!(version.runtime);
    record["format"] = json!(version.format);
    record["command"] = json!(version.command);
    record["content_type"] = json!(version.content_type);
    record["limits"] = json!(version.limits);
    record["deployed_at"] = json!(version.created_at);
    record
}

pub fn value<T: serde::Serialize + ?Sized>(of: &T) -> Result<Value> {
    serde_json::to_value(of).map_err(|error| Error::internal(format!("encode the answer: {error}")))
}
