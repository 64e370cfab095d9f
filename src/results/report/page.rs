//! The page: what a person wants to know first stands first.

use std::fmt::Write as _;

use super::gather::{DRAWN_MAX, FINAL, Gathered, OTHERS};
use super::plots;
use super::text::{calls, count, escape, millis, rate};
use crate::model::price::PUBLISHED;
use crate::model::{State, Time};
use crate::results::batch::BatchView;
use crate::results::cost::{Cost, shown};

const REASONS_SHOWN: usize = 12;
const STYLE: &str = include_str!("page.css");

pub(super) fn of(view: &BatchView, gathered: &Gathered, cost: Option<Cost>) -> String {
    let cost = cost.unwrap_or_else(|| Cost::of(view.requests.clone(), view.decided, gathered.worker_ms()));
    let mut page = Page { html: String::with_capacity(64 * 1024) };
    page.head(view, gathered);
    page.tiles(view, gathered, &cost);
    page.card("Timeline", &timeline_note(gathered), plots::timeline(gathered));
    page.card("Throughput", "calls decided a second, by how they ended", plots::throughput(gathered));
    page.card("Durations", "the function's own time of each call", plots::histogram(gathered));
    page.waits(gathered);
    page.failures(view, gathered);
    page.workers(gathered);
    page.slowest(view, gathered);
    page.cost(&cost);
    page.facts(view, gathered);
    page.html.push_str("</main></body></html>\n");
    page.html
}

fn timeline_note(gathered: &Gathered) -> String {
    if gathered.drawn.is_empty() {
        format!(
            "how many calls each worker ran at a time; single calls are drawn up to {}",
            count(DRAWN_MAX as u64)
        )
    } else {
        "each call, from its start to its end, by worker".to_owned()
    }
}

struct Page {
    html: String,
}

impl Page {
    fn push(&mut self, markup: std::fmt::Arguments<'_>) {
        // Writing to memory.
        let _ = self.html.write_fmt(markup);
    }

    fn head(&mut self, view: &BatchView, gathered: &Gathered) {
        let name = view.function.as_ref().map_or_else(|| view.app.to_string(), ToString::to_string);
        let (name, app) = (escape(&name), escape(view.app.as_str()));
        let legend = FINAL.iter().filter(|state| gathered.count(**state) > 0);
        let legend: String =
            legend.map(|state| format!("<span><i class=\"{state}\"></i>{state}</span>")).collect();
        self.push(format_args!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">\
             <title>{name}: batch {batch}</title><style>{STYLE}</style></head><body><main>\
             <header><p class=\"over\">{app}</p><h1><bdi>{name}</bdi> <span class=\"pill {status}\">{status}</span></h1>\
             <p class=\"sub\"><code>{batch}</code> · submitted {created}</p><p class=\"legend\">{legend}</p></header>",
            batch = view.batch,
            status = view.status,
            created = second(view.created_at),
        ));
        if let Some(reason) = &view.reason {
            self.push(format_args!("<p class=\"notice\"><bdi>{}</bdi></p>", escape(reason)));
        }
    }

    fn tiles(&mut self, view: &BatchView, gathered: &Gathered, cost: &Cost) {
        let decided: u64 = FINAL.iter().map(|state| gathered.count(*state)).sum();
        let took_ms = gathered.end_ms();
        let open = gathered.calls.saturating_sub(decided);
        let per_second = decided as f64 / (took_ms.max(1) as f64 / 1_000.0);
        let succeeded = gathered.count(State::Success);
        let share = if decided > 0 { succeeded as f64 / decided as f64 * 100.0 } else { 0.0 };
        self.html.push_str("<section class=\"tiles\">");
        let undecided =
            if open > 0 { format!("{} not decided", count(open)) } else { "all decided".to_owned() };
        self.tile("Calls", &count(view.calls.unwrap_or(gathered.calls)), &undecided);
        // Never a hundred per cent while one failed.
        let share = if share < 100.0 { share.min(99.99) } else { share };
        let shown_share = format!("{share:.2}").trim_end_matches('0').trim_end_matches('.').to_owned();
        self.tile("Succeeded", &format!("{shown_share} %"), &format!("{} failed", count(gathered.failed())));
        self.tile("Took", &millis(took_ms), &format!("{} a second", rate(per_second)));
        let workers = match gathered.workers.len() {
            1 => "1 worker".to_owned(),
            most if gathered.workers.contains_key(OTHERS) => format!("more than {} workers", most - 1),
            workers => format!("{workers} workers"),
        };
        self.tile("Function time", &millis(gathered.run_ms), &workers);
        let rate = cost.dollars_a_million().map(|dollars| format!("{} a million calls", shown(dollars)));
        let requests = || format!("{} requests", count(cost.requests_total));
        self.tile("Cost on AWS", &shown(cost.dollars.total), &rate.unwrap_or_else(requests));
        self.html.push_str("</section>");
    }

    fn tile(&mut self, name: &str, value: &str, below: &str) {
        self.push(format_args!(
            "<div class=\"tile\"><p>{name}</p><strong>{}</strong><small>{}</small></div>",
            escape(value),
            escape(below)
        ));
    }

    fn card(&mut self, title: &str, note: &str, content: Option<String>) {
        let Some(content) = content else { return };
        self.push(format_args!(
            "<section class=\"card\"><h2>{title}</h2><p class=\"note\">{}</p>{content}</section>",
            escape(note)
        ));
    }

    fn waits(&mut self, gathered: &Gathered) {
        if gathered.durations.count() == 0 {
            return;
        }
        let mut table = String::from(
            "<table><tr><th></th><th class=\"num\">median</th><th class=\"num\">p90</th><th class=\"num\">p99</th>\
             <th class=\"num\">longest</th></tr>",
        );
        let rows = [
            ("queued", "until a worker took it up", &gathered.waits),
            ("start", "until the function had it", &gathered.starts),
            ("run", "the function's own time", &gathered.durations),
        ];
        for (name, meaning, durations) in rows {
            let _ = write!(table, "<tr><th>{name} <small>{meaning}</small></th>");
            for share in [0.5, 0.9, 0.99, 1.0] {
                let _ = write!(table, "<td class=\"num\">{}</td>", millis(durations.quantile(share)));
            }
            table.push_str("</tr>");
        }
        table.push_str("</table>");
        self.card("Where the time went", "of a call, from its acceptance on", Some(table));
    }

    fn failures(&mut self, view: &BatchView, gathered: &Gathered) {
        let groups = gathered.reasons.groups();
        if groups.is_empty() {
            return;
        }
        let rows: Vec<_> = groups
            .iter()
            .take(REASONS_SHOWN)
            .map(|group| (group.status, group.reason.clone(), group.calls, group.example.to_string()))
            .collect();
        let mut content = plots::ranked(&rows);
        let rest: u64 = groups.iter().skip(REASONS_SHOWN).map(|group| group.calls).sum();
        if rest > 0 {
            let _ = write!(content, "<p class=\"note\">and {} for other reasons</p>", calls(rest));
        }
        let _ = write!(
            content,
            "<p class=\"commands\"><code>afn batch results {0} --status error</code>\
             <code>afn batch retry {0}</code></p>",
            view.batch
        );
        self.card("Failures by reason", "with the first call that ended so", Some(content));
    }

    fn workers(&mut self, gathered: &Gathered) {
        if gathered.workers.is_empty() {
            return;
        }
        let mut table = String::from(
            "<table><tr><th>worker</th><th class=\"num\">calls</th><th class=\"num\">failed</th>\
             <th class=\"num\">function time</th><th class=\"num\">first call</th><th class=\"num\">last end</th></tr>",
        );
        for (name, worker) in gathered.in_order() {
            let _ = write!(
                table,
                "<tr><td><bdi>{}</bdi></td><td class=\"num\">{}</td><td class=\"num\">{}</td>\
                 <td class=\"num\">{}</td><td class=\"num\">after {}</td><td class=\"num\">after {}</td></tr>",
                escape(name),
                count(worker.calls),
                count(worker.failed),
                millis(worker.run_ms),
                millis(worker.first_ms.unwrap_or_default()),
                millis(worker.last_ms),
            );
        }
        table.push_str("</table>");
        self.card("Workers", "times from the submission on", Some(table));
    }

    fn slowest(&mut self, view: &BatchView, gathered: &Gathered) {
        if gathered.slowest.is_empty() {
            return;
        }
        let mut table = String::from("<table>");
        for (run_ms, call, status) in &gathered.slowest {
            let _ = write!(
                table,
                "<tr><td class=\"num\">{}</td><td><span class=\"pill {status}\">{status}</span></td>\
                 <td class=\"wide id\">{call}</td></tr>",
                millis(*run_ms)
            );
        }
        let _ = write!(
            table,
            "</table><p class=\"commands\"><code>afn get logs {} CALL</code></p>",
            escape(view.app.as_str())
        );
        self.card("Slowest calls", "by the function's own time", Some(table));
    }

    fn cost(&mut self, cost: &Cost) {
        if cost.requests_total == 0 {
            return;
        }
        let mut table = String::from(
            "<table><tr><th>operation</th><th class=\"num\">requests</th><th class=\"num\">dollars</th><th></th></tr>",
        );
        for (operation, requests) in cost.requests.iter().filter(|(_, requests)| **requests > 0) {
            let dollars = PUBLISHED.of(operation) * *requests as f64;
            let share = if cost.dollars.total > 0.0 { dollars / cost.dollars.total * 100.0 } else { 0.0 };
            let _ = write!(
                table,
                "<tr><td>{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td>\
                 <td class=\"wide\"><div class=\"bar-bed\"><i class=\"bar\" style=\"width:{share:.1}%\"></i></div></td></tr>",
                escape(operation),
                count(*requests),
                shown(dollars),
            );
        }
        let _ = write!(
            table,
            "<tr class=\"sum\"><td>all</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td></td></tr></table>",
            count(cost.requests_total),
            shown(cost.dollars.total)
        );
        let mut told = Vec::new();
        if let Some(per_call) = cost.requests_per_call {
            told.push(format!("{per_call:.4} requests a call"));
        }
        if let Some(dollars) = cost.dollars_per_call {
            told.push(format!("{} a call", shown(dollars)));
        }
        if let Some(dollars) = cost.dollars_per_worker_hour {
            told.push(format!("{} a worker-hour", shown(dollars)));
        }
        told.push("published prices of S3 Standard and SQS in us-east-1".to_owned());
        self.card("Requests and dollars", &told.join(" · "), Some(table));
    }

    fn facts(&mut self, view: &BatchView, gathered: &Gathered) {
        let mut table = String::from("<table class=\"facts\">");
        let mut fact = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(
                    table,
                    "<tr><th>{name}</th><td class=\"wide\"><bdi>{}</bdi></td></tr>",
                    escape(&value)
                );
            }
        };
        fact("route", view.route.as_ref().map(ToString::to_string));
        fact("version", view.version.as_ref().map(ToString::to_string));
        fact("source", view.source.as_ref().map(|source| format!("{} ({})", source.location, source.format)));
        fact("sealed", view.sealed.as_ref().map(|sealed| format!("{}, by {}", second(sealed.at), sealed.by)));
        fact("attempts", Some(count(gathered.attempts)));
        fact("stored as", Some(format!("{} chunks, {} parts", count(view.chunks), count(view.parts))));
        fact("retry of", view.retry_of.map(|batch| batch.to_string()));
        let retries: Vec<String> = view.retries.iter().map(ToString::to_string).collect();
        fact("retried as", Some(retries.join(", ")).filter(|retries| !retries.is_empty()));
        table.push_str("</table>");
        self.card("The batch", "as it was submitted and as it lies in the store", Some(table));
    }
}

/// `2026-09-21 14:13:20 UTC`
fn second(time: Time) -> String {
    let text = time.to_string();
    format!("{} {} UTC", &text[..10], &text[11..19])
}
