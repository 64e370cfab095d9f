//! How a batch is shown.

use std::fmt::Write as _;

use super::ending::told;
use crate::cli::call_view::millis;
use crate::cli::lines::plural;
use crate::model::State;
use crate::results::batch::BatchView;
use crate::results::cost::Cost;

/// Everything that is known of a batch, a line each; what is not known yet is left out.
pub fn detailed(view: &BatchView, why: Option<&str>) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "{:<14}{value}", format!("{name}:"));
        }
    };
    let version = view.version.as_ref().map(|version| format!(", version {version}")).unwrap_or_default();
    let function = view.function.as_ref().zip(view.route.as_ref());
    line("ID", Some(view.batch.to_string()));
    line("App", Some(view.app.to_string()));
    line("Function", function.map(|(name, route)| format!("{name} ({route}{version})")));
    line("Status", Some(view.status.to_string()));
    let why: Vec<&str> = view.reason.as_deref().into_iter().chain(why).collect();
    line("Why", (!why.is_empty()).then(|| why.join("; ")));
    line("Calls", Some(calls(view)));
    for state in State::ALL {
        let count = view.counts.get(&state).filter(|count| **count > 0);
        line(&format!("  {state}"), count.map(u64::to_string));
    }
    line("Source", view.source.as_ref().map(|source| format!("{} ({})", source.location, source.format)));
    line("Created At", Some(view.created_at.to_string()));
    line("Ran For", (view.run_ms > 0).then(|| format!("{} on all slots together", millis(view.run_ms))));
    line(
        "Workers",
        (!view.workers.is_empty()).then(|| view.workers.iter().cloned().collect::<Vec<_>>().join(", ")),
    );
    line("Chunks", Some(format!("{}, {} of outcomes", view.chunks, plural(view.parts, "part"))));
    let cost = Cost::of(view.requests.clone(), view.decided, None);
    line("Cost", (cost.requests_total > 0).then(|| format!("{} (what workers asked)", told(&cost))));
    line("Retry Of", view.retry_of.map(|batch| batch.to_string()));
    for retry in &view.retries {
        line("Retried By", Some(retry.to_string()));
    }
    if let Some(fired) = &view.fired {
        line("Then", fired.then.map(|call| format!("call {call}")));
        line(
            "Webhook",
            fired.webhook.as_ref().map(|webhook| {
                let end = if webhook.delivered { "delivered" } else { "not delivered" };
                format!(
                    "{end} in {}: {}",
                    plural(webhook.tries.into(), "try").replace("trys", "tries"),
                    webhook.answer
                )
            }),
        );
    }
    text
}

fn calls(view: &BatchView) -> String {
    match view.calls {
        Some(calls) if view.decided == calls => calls.to_string(),
        Some(calls) => format!("{calls}, {} decided", view.decided),
        None => format!("{} so far, {} decided", view.stored, view.decided),
    }
}
