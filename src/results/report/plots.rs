//! The plots as SVG, with the colours of the page, so that they are readable in light and in dark. Every mark has a title.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::gather::{DrawnCall, FINAL, OTHERS, Order, ReportData, order};
use super::scale::{Scale, duration_ticks, time_ticks, value_ticks};
use super::text::{calls, cell, count, escape, millis, number, rate, table};
use crate::results::reasons::Group;

const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 984.0;
const LABEL_WIDTH: f64 = 110.0;

pub(super) struct Svg {
    body: String,
    height: f64,
}

impl Svg {
    fn new(height: f64) -> Svg {
        Svg { body: String::new(), height }
    }

    fn push(&mut self, markup: std::fmt::Arguments<'_>) {
        // Writing to memory.
        let _ = self.body.write_fmt(markup);
    }

    fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), title: &str) {
        self.push(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\">\
             <title>{}</title></rect>",
            escape(title)
        ));
    }

    fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(format_args!("<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>"));
    }

    fn text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        self.push(format_args!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(text)));
    }

    fn time_axis(&mut self, scale: Scale, bottom: f64, top: f64) {
        for tick in time_ticks(scale.max as u64) {
            let x = scale.at(tick as f64);
            self.line("grid", (x, top), (x, bottom));
            let label = if tick == 0 { "0".to_owned() } else { millis(tick) };
            self.text("tick mid", (x, bottom + 16.0), &label);
        }
    }

    fn value_axis(&mut self, scale: Scale, ticks: &[f64]) {
        for tick in ticks {
            let y = scale.at(*tick);
            self.line("grid", (LEFT, y), (RIGHT, y));
            self.text("tick end", (LEFT - 8.0, y + 4.0), &rate(*tick));
        }
    }

    fn finish(self, label: &str) -> String {
        format!(
            "<div class=\"plot\"><svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">{}</svg></div>",
            self.height,
            escape(label),
            self.body
        )
    }
}

/// Which calls ran when, worker by worker: each call, or how many at a time.
pub(super) fn timeline(data: &ReportData) -> Option<String> {
    if data.workers.is_empty() {
        return None;
    }
    Some(if data.drawn.is_empty() { areas(data) } else { bars(data) })
}

fn time_scale(data: &ReportData, left: f64) -> Scale {
    Scale { max: data.end_ms().max(1) as f64, from: left, to: RIGHT }
}

/// Calls of one worker that ran side by side are drawn one below the other.
fn bars(data: &ReportData) -> String {
    let mut by_worker: BTreeMap<Order<'_>, Vec<&DrawnCall>> = BTreeMap::new();
    for drawn in &data.drawn {
        by_worker.entry(order(&drawn.worker)).or_default().push(drawn);
    }
    let by_worker: Vec<_> =
        by_worker.into_iter().map(|((.., worker), drawn)| (worker, lanes(drawn))).collect();
    let all_lanes: usize = by_worker.iter().map(|(_, (_, lanes))| lanes).sum();
    let lane = (360.0 / all_lanes as f64).clamp(4.0, 16.0);
    let gap = 22.0;
    let height = all_lanes as f64 * lane + by_worker.len() as f64 * gap + 30.0;
    let scale = time_scale(data, 12.0);
    let mut svg = Svg::new(height);
    svg.time_axis(scale, height - 28.0, 4.0);
    let mut y = 0.0;
    for (worker, (placed, lanes)) in by_worker {
        svg.text("name", (12.0, y + 15.0), worker);
        y += gap;
        for (place, drawn) in placed {
            let x = scale.at(drawn.from_ms as f64);
            let width = (scale.at((drawn.from_ms + drawn.run_ms) as f64) - x).max(1.0);
            let again = match drawn.attempts {
                0 | 1 => String::new(),
                attempts => format!(", attempt {attempts}"),
            };
            let title = format!("{}: {} after {}{again}", drawn.call, drawn.status, millis(drawn.run_ms));
            let top = y + place as f64 * lane;
            svg.rect(drawn.status.as_str(), (x, top), (width, lane - lane.min(8.0) / 8.0), &title);
        }
        y += lanes as f64 * lane;
    }
    svg.finish("Timeline of calls by worker")
}

/// The first lane that is free when a call begins; and how many lanes there are.
fn lanes(mut drawn: Vec<&DrawnCall>) -> (Vec<(usize, &DrawnCall)>, usize) {
    drawn.sort_by_key(|drawn| (drawn.from_ms, drawn.call));
    let mut free_at: Vec<u64> = Vec::new();
    let mut placed = Vec::with_capacity(drawn.len());
    for drawn in drawn {
        let end = drawn.from_ms + drawn.run_ms.max(1);
        let free = free_at.iter().position(|free| *free <= drawn.from_ms);
        let lane = free.unwrap_or(free_at.len());
        free_at.resize(free_at.len().max(lane + 1), 0);
        free_at[lane] = end;
        placed.push((lane, drawn));
    }
    (placed, free_at.len())
}

/// How many calls each worker ran at a time.
fn areas(data: &ReportData) -> String {
    let widest = data.workers.values().map(|worker| worker.busy.width_ms).max().unwrap_or(1);
    let workers: Vec<_> = data
        .in_order()
        .into_iter()
        .map(|(name, worker)| (name, worker, worker.busy.at_least(widest)))
        .collect();
    let most = |bins: &[[u64; 1]]| bins.iter().map(|[busy]| *busy).max().unwrap_or_default();
    // The shared row of other workers has its own scale.
    let own = workers.iter().filter(|(name, ..)| *name != OTHERS).map(|(_, _, busy)| most(&busy.bins)).max();
    let row = if workers.len() > 16 { 26.0 } else { 44.0 };
    let height = workers.len() as f64 * row + 34.0;
    let scale = time_scale(data, 150.0);
    let mut svg = Svg::new(height);
    svg.time_axis(scale, height - 28.0, 4.0);
    for (index, (name, worker, busy)) in workers.iter().enumerate() {
        let bottom = (index as f64 + 1.0) * row;
        let max = if *name == OTHERS { most(&busy.bins) } else { own.unwrap_or(1) };
        let level = Scale { max: max as f64, from: bottom, to: bottom - row + 5.0 };
        let place = |index: usize| scale.at((index as u64 * widest) as f64);
        let mut path = format!("M{:.1} {bottom:.1}", place(0));
        for (index, [busy]) in busy.bins.iter().enumerate() {
            let y = level.at(*busy as f64);
            let _ = write!(path, "L{:.1} {y:.1}L{:.1} {y:.1}", place(index), place(index + 1));
        }
        let _ = write!(path, "L{:.1} {bottom:.1}Z", place(busy.bins.len()));
        let at_a_time = max as f64 / widest as f64;
        let title = format!("{name}: {}, at most {} at a time", calls(worker.calls), rate(at_a_time));
        svg.push(format_args!("<path class=\"area\" d=\"{path}\"><title>{}</title></path>", escape(&title)));
        svg.line("axis", (150.0, bottom), (RIGHT, bottom));
        svg.text("name end", (140.0, bottom - 6.0), &shortened(name));
    }
    svg.finish("How many calls each worker ran at a time")
}

fn shortened(name: &str) -> String {
    let chars = name.chars().count();
    if chars <= 20 {
        return name.to_owned();
    }
    let end: String = name.chars().skip(chars - 19).collect();
    format!("…{end}")
}

/// Calls decided a second, over time, by how they ended.
pub(super) fn throughput(data: &ReportData) -> Option<String> {
    // No narrower than can be seen, nor than a millisecond, which is the resolution of the rows.
    let decided = data.decided.at_least(data.end_ms().div_ceil(120).max(1));
    let most = decided.bins.iter().map(|bin| bin.iter().sum::<u64>()).max().filter(|most| *most > 0)?;
    let seconds = decided.width_ms as f64 / 1_000.0;
    let ticks = value_ticks(most as f64 / seconds);
    let (top, bottom) = (10.0, 232.0);
    let level = Scale { max: ticks.last().copied().unwrap_or(1.0), from: bottom, to: top };
    let scale = time_scale(data, LEFT);
    let mut svg = Svg::new(260.0);
    svg.value_axis(level, &ticks);
    svg.time_axis(scale, bottom, top);
    for (index, bin) in decided.bins.iter().enumerate() {
        let from = index as u64 * decided.width_ms;
        let x = scale.at(from as f64);
        let width = (scale.at((from + decided.width_ms) as f64) - x - 1.0).max(0.8);
        let mut below = 0;
        for (state, decided) in FINAL.iter().zip(bin).filter(|(_, decided)| **decided > 0) {
            let (low, high) =
                (level.at(below as f64 / seconds), level.at((below + decided) as f64 / seconds));
            below += decided;
            let title =
                format!("after {}: {state}, {} a second", millis(from), rate(*decided as f64 / seconds));
            svg.rect(state.as_str(), (x, high), (width, (low - high).max(0.5)), &title);
        }
    }
    Some(svg.finish("Calls decided a second over time"))
}

/// How long calls ran.
pub(super) fn histogram(data: &ReportData) -> Option<String> {
    let durations = &data.durations;
    if durations.count == 0 {
        return None;
    }
    let bins = durations.coarse(4.0);
    let (from, to) = (bins.first()?.0, bins.last()?.1);
    // Logarithmic: what lies between 1 and 2 s is as wide as what lies between 10 and 20.
    let place = |ms: f64| (ms + 1.0).log2();
    let width = (place(to) - place(from)).max(1e-9);
    let x_of = |ms: f64| LEFT + (RIGHT - LEFT) * ((place(ms) - place(from)) / width).clamp(0.0, 1.0);
    let most = bins.iter().map(|(_, _, count)| *count).max().unwrap_or(1);
    let ticks = value_ticks(most as f64);
    let (top, bottom) = (28.0, 232.0);
    let level = Scale { max: ticks.last().copied().unwrap_or(1.0), from: bottom, to: top };
    let mut svg = Svg::new(260.0);
    svg.value_axis(level, &ticks);
    for tick in duration_ticks(from, to) {
        svg.text("tick mid", (x_of(tick as f64), bottom + 16.0), &millis(tick));
    }
    for (low, high, count) in bins.iter().filter(|(_, _, count)| *count > 0) {
        let (x, end) = (x_of(*low), x_of(*high));
        let y = level.at(*count as f64);
        let title =
            format!("{} to {}: {}", millis(low.round() as u64), millis(high.round() as u64), calls(*count));
        svg.rect("bar", (x, y), ((end - x - 1.0).max(0.8), (bottom - y).max(0.5)), &title);
    }
    let mut last_end = f64::MIN;
    for (name, share) in [("median", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        let ms = durations.quantile(share);
        let x = x_of(ms as f64);
        svg.line("mark", (x, top - 8.0), (x, bottom));
        let label = format!("{name} {}", millis(ms));
        let (class, label_x, end) = match x + LABEL_WIDTH > RIGHT {
            true => ("label end", x - 4.0, x),
            false => ("label", x + 4.0, x + LABEL_WIDTH),
        };
        // Of two labels that would overlap, only the first is drawn.
        if end - LABEL_WIDTH >= last_end {
            svg.text(class, (label_x, top - 12.0), &label);
            last_end = end;
        }
    }
    Some(svg.finish("Histogram of durations"))
}

/// Failures by reason as a table with bars; the longest bar has the full width.
pub(super) fn ranked(groups: &[Group]) -> String {
    let most = groups.iter().map(|group| group.calls).max().unwrap_or(1).max(1);
    let rows = groups.iter().map(|Group { status, reason, calls, example }| {
        let share = *calls as f64 / most as f64 * 100.0;
        let bar = format!(
            "<span class=\"pill {status}\">{status}</span> <bdi>{}</bdi>\
             <div class=\"bar-bed\"><i class=\"{status}\" style=\"width:{share:.1}%\"></i></div>",
            escape(reason)
        );
        number(count(*calls)) + &cell("wide", &bar) + &cell("id", &example.to_string())
    });
    table("ranked", &[], rows)
}
