//! The page: what a person needs first comes first.

use super::gather::{DRAWN_MAX, FINAL, OTHERS, ReportData};
use super::plots;
use super::text::{calls, cell, count, escape, millis, name, number, rate, table};
use crate::model::price::PUBLISHED;
use crate::model::{State, Time};
use crate::results::batch::BatchView;
use crate::results::cost::{Cost, shown};

const REASONS_SHOWN: usize = 12;
const STYLE: &str = include_str!("page.css");

pub(super) fn of(view: &BatchView, data: &ReportData, cost: Option<Cost>) -> String {
    let cost = cost.unwrap_or_else(|| Cost::of(view.requests.clone(), view.decided, data.worker_ms()));
    let timeline_note = match data.drawn.is_empty() {
        true => format!(
            "how many calls each worker ran at a time; single calls are drawn up to {}",
            count(DRAWN_MAX as u64)
        ),
        false => "each call, from its start to its end, by worker".to_owned(),
    };
    let cards = [
        card("Timeline", &timeline_note, plots::timeline(data)),
        card("Throughput", "calls decided a second, by how they ended", plots::throughput(data)),
        card("Durations", "the function's own time of each call", plots::histogram(data)),
        card("Where the time went", "of a call, from its acceptance on", waits(data)),
        card("Failures by reason", "with the first call that ended so", failures(view, data)),
        card("Workers", "times from the submission on", workers(data)),
        card("Slowest calls", "by the function's own time", slowest(view, data)),
        card("Requests and dollars", &cost_note(&cost), costs(&cost)),
        card("The batch", "as it was submitted and as it lies in the store", Some(facts(view, data))),
    ];
    format!("{}{}{}</main></body></html>\n", head(view, data), tiles(view, data, &cost), cards.concat())
}

fn head(view: &BatchView, data: &ReportData) -> String {
    let name = view.function.as_ref().map_or_else(|| view.app.to_string(), ToString::to_string);
    let legend = FINAL.iter().filter(|state| data.count(**state) > 0);
    let legend: String =
        legend.map(|state| format!("<span><i class=\"{state}\"></i>{state}</span>")).collect();
    let incomplete = data.incomplete.as_ref().map(|error| format!("incomplete: {error}"));
    let notices = view.reason.as_deref().into_iter().chain(incomplete.as_deref());
    let notice: String =
        notices.map(|text| format!("<p class=\"notice\"><bdi>{}</bdi></p>", escape(text))).collect();
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{name}: batch {batch}</title><style>{STYLE}</style></head><body><main>\
         <header><p class=\"over\">{app}</p><h1><bdi>{name}</bdi> <span class=\"pill {status}\">{status}</span></h1>\
         <p class=\"sub\"><code>{batch}</code> · submitted {created}</p><p class=\"legend\">{legend}</p></header>{notice}",
        name = escape(&name),
        app = escape(view.app.as_str()),
        batch = view.batch,
        status = view.status,
        created = second(view.created_at),
    )
}

fn tiles(view: &BatchView, data: &ReportData, cost: &Cost) -> String {
    let decided: u64 = FINAL.iter().map(|state| data.count(*state)).sum();
    let undecided = match data.calls.saturating_sub(decided) {
        0 => "all decided".to_owned(),
        open => format!("{} not decided", count(open)),
    };
    // Never a hundred per cent while one failed.
    let share = match data.count(State::Success) {
        all if all == decided && all > 0 => 100.0,
        succeeded => (succeeded as f64 / decided.max(1) as f64 * 100.0).min(99.99),
    };
    let share = format!("{share:.2}").trim_end_matches('0').trim_end_matches('.').to_owned();
    let per_second = decided as f64 / (data.end_ms().max(1) as f64 / 1_000.0);
    let workers = match data.workers.len() {
        1 => "1 worker".to_owned(),
        most if data.workers.contains_key(OTHERS) => format!("more than {} workers", most - 1),
        workers => format!("{workers} workers"),
    };
    let dollars = match cost.dollars_a_million() {
        Some(dollars) => format!("{} a million calls", shown(dollars)),
        None => format!("{} requests", count(cost.requests_total)),
    };
    let tiles = [
        ("Calls", count(view.calls.unwrap_or(data.calls)), undecided),
        ("Succeeded", format!("{share} %"), format!("{} failed", count(data.failed()))),
        ("Took", millis(data.end_ms()), format!("{} a second", rate(per_second))),
        ("Function time", millis(data.run_ms), workers),
        ("Cost on AWS", shown(cost.dollars.total), dollars),
    ];
    let tiles = tiles.map(|(name, value, below)| {
        let (value, below) = (escape(&value), escape(&below));
        format!("<div class=\"tile\"><p>{name}</p><strong>{value}</strong><small>{below}</small></div>")
    });
    format!("<section class=\"tiles\">{}</section>", tiles.concat())
}

/// Nothing without content.
fn card(title: &str, note: &str, content: Option<String>) -> String {
    let Some(content) = content else { return String::new() };
    let note = escape(note);
    format!("<section class=\"card\"><h2>{title}</h2><p class=\"note\">{note}</p>{content}</section>")
}

fn waits(data: &ReportData) -> Option<String> {
    let rows = [
        ("queued", "until a worker took it up", &data.waits),
        ("start", "until the function had it", &data.starts),
        ("run", "the function's own time", &data.durations),
    ];
    let rows = rows.into_iter().map(|(name, meaning, durations)| {
        let quantiles = [0.5, 0.9, 0.99, 1.0].map(|share| number(millis(durations.quantile(share))));
        format!("<th>{name} <small>{meaning}</small></th>{}", quantiles.concat())
    });
    (data.durations.count > 0).then(|| table("", &["", "#median", "#p90", "#p99", "#longest"], rows))
}

fn failures(view: &BatchView, data: &ReportData) -> Option<String> {
    let groups = data.reasons.groups();
    let (named, others) = groups.split_at(groups.len().min(REASONS_SHOWN));
    let rest: u64 = others.iter().map(|group| group.calls).sum();
    let rest = match rest {
        0 => String::new(),
        rest => format!("<p class=\"note\">and {} for other reasons</p>", calls(rest)),
    };
    (!groups.is_empty()).then(|| {
        format!(
            "{}{rest}<p class=\"commands\"><code>afn batch results {batch} --status error</code>\
             <code>afn batch retry {batch}</code></p>",
            plots::ranked(named),
            batch = view.batch
        )
    })
}

fn workers(data: &ReportData) -> Option<String> {
    let rows = data.in_order().into_iter().map(|(worker_name, worker)| {
        let numbers = [
            count(worker.calls),
            count(worker.failed),
            millis(worker.run_ms),
            format!("after {}", millis(worker.first_ms.unwrap_or_default())),
            format!("after {}", millis(worker.last_ms)),
        ];
        name("", worker_name) + &numbers.map(number).concat()
    });
    let head = ["worker", "#calls", "#failed", "#function time", "#first call", "#last end"];
    (!data.workers.is_empty()).then(|| table("", &head, rows))
}

fn slowest(view: &BatchView, data: &ReportData) -> Option<String> {
    let rows = data.slowest.iter().map(|(run_ms, call, status)| {
        let pill = cell("", &format!("<span class=\"pill {status}\">{status}</span>"));
        number(millis(*run_ms)) + &pill + &cell("wide id", &call.to_string())
    });
    let app = escape(view.app.as_str());
    (!data.slowest.is_empty()).then(|| {
        table("", &[], rows) + &format!("<p class=\"commands\"><code>afn get logs {app} CALL</code></p>")
    })
}

fn costs(cost: &Cost) -> Option<String> {
    let spent = cost.requests.iter().filter(|(_, requests)| **requests > 0);
    let rows = spent.map(|(operation, requests)| {
        let dollars = PUBLISHED.of(operation) * *requests as f64;
        let share = if cost.dollars.total > 0.0 { dollars / cost.dollars.total * 100.0 } else { 0.0 };
        let bar = format!("<div class=\"bar-bed\"><i class=\"bar\" style=\"width:{share:.1}%\"></i></div>");
        name("", operation) + &number(count(*requests)) + &number(shown(dollars)) + &cell("wide", &bar)
    });
    let (requests, dollars) = (count(cost.requests_total), shown(cost.dollars.total));
    let sum = cell("", "all") + &number(requests) + &number(dollars) + &cell("", "");
    let head = ["operation", "#requests", "#dollars", ""];
    (cost.requests_total > 0).then(|| table("summed", &head, rows.chain([sum])))
}

fn cost_note(cost: &Cost) -> String {
    let rates = [
        cost.requests_per_call.map(|requests| format!("{requests:.4} requests a call")),
        cost.dollars_per_call.map(|dollars| format!("{} a call", shown(dollars))),
        cost.dollars_per_worker_hour.map(|dollars| format!("{} a worker-hour", shown(dollars))),
        Some("published prices of S3 Standard and SQS in us-east-1".to_owned()),
    ];
    rates.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn facts(view: &BatchView, data: &ReportData) -> String {
    let retries: Vec<String> = view.retries.iter().map(ToString::to_string).collect();
    let facts = [
        ("route", view.route.as_ref().map(ToString::to_string)),
        ("version", view.version.as_ref().map(ToString::to_string)),
        ("source", view.source.as_ref().map(|source| format!("{} ({})", source.location, source.format))),
        ("sealed", view.sealed.as_ref().map(|sealed| format!("{}, by {}", second(sealed.at), sealed.by))),
        ("attempts", Some(count(data.attempts))),
        ("stored as", Some(format!("{} chunks, {} parts", count(view.chunks), count(view.parts)))),
        ("retry of", view.retry_of.map(|batch| batch.to_string())),
        ("retried as", Some(retries.join(", ")).filter(|retries| !retries.is_empty())),
    ];
    let known = facts.into_iter().filter_map(|(fact, value)| Some((fact, value?)));
    table("facts", &[], known.map(|(fact, value)| format!("<th>{fact}</th>{}", name("wide", &value))))
}

/// `2026-09-21 14:13:20 UTC`
fn second(time: Time) -> String {
    let text = time.to_string();
    format!("{} {} UTC", &text[..10], &text[11..19])
}
