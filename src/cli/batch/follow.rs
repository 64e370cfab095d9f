//! Follows a batch to its end and shows its progress: a bar on a terminal, lines elsewhere, events for programs. Reads the
//! store; the worker of this process adds its own events, which it writes to the store seconds later.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::progress::{self, Meter, Snapshot, event, line};
use crate::cli::log::{self, LogWriter};
use crate::cli::options::{LogFormat, ProgressStyle};
use crate::cli::printer::Printer;
use crate::cli::text::is_dumb_terminal;
use crate::error::Result;
use crate::event::{Event, Level, Listener};
use crate::model::price::PUBLISHED;
use crate::model::{BatchId, State};
use crate::results::batch::{BatchMonitor, BatchView, ProgressReport};
use crate::results::reasons::{self, Group, Reasons};
use crate::seam::Deps;

/// The store is read again after a tenth of the time so far, within these bounds.
const POLL_MIN: Duration = Duration::from_millis(250);
const POLL_MAX: Duration = Duration::from_secs(10);
/// With a worker in this process, whose events come without a poll.
const POLL_MIN_WITH_WORKER: Duration = Duration::from_secs(5);
const REDRAW: Duration = Duration::from_millis(200);
/// Between two lines, or events.
const LINE_EVERY: Duration = Duration::from_secs(5);
const EVENT_EVERY: Duration = Duration::from_secs(1);

/// Replaces `auto` by the style that suits this command and terminal.
pub fn resolve(style: ProgressStyle, printer: &Printer) -> ProgressStyle {
    match style {
        _ if printer.is_json() => ProgressStyle::Json,
        ProgressStyle::Auto if printer.is_quiet => ProgressStyle::None,
        ProgressStyle::Auto if std::io::stderr().is_terminal() && !is_dumb_terminal() => ProgressStyle::Bar,
        ProgressStyle::Auto => ProgressStyle::Lines,
        style => style,
    }
}

pub struct Follow<'a> {
    printer: &'a Printer,
    deps: &'a Deps,
    style: ProgressStyle,
    /// The worker in this process, if there is one.
    events: Option<&'a LocalEvents>,
    batch: BatchId,
    progress: BatchMonitor,
    last: ProgressReport,
    meter: Meter,
    begun: Duration,
    shown_at: Option<Duration>,
    /// Why most calls failed, by the store, and how many had failed then.
    stored_reason: Option<Group>,
    failed_then: u64,
    /// Decided before the worker in this process began.
    before: BTreeMap<State, u64>,
}

impl<'a> Follow<'a> {
    pub async fn begin(
        printer: &'a Printer,
        deps: &'a Deps,
        style: ProgressStyle,
        events: Option<&'a LocalEvents>,
        batch: BatchId,
    ) -> Result<Follow<'a>> {
        let mut progress = BatchMonitor::open(deps, batch).await?;
        let last = progress.look().await?;
        let mut before = last.view.counts.clone();
        for (state, count) in events.map(LocalEvents::ended).unwrap_or_default() {
            let before = before.entry(state).or_default();
            *before = before.saturating_sub(count);
        }
        Ok(Follow {
            printer,
            deps,
            style,
            events,
            batch,
            progress,
            last,
            meter: Meter::default(),
            begun: deps.clock.monotonic(),
            shown_at: None,
            stored_reason: None,
            failed_then: 0,
            before,
        })
    }

    /// Shows no more progress and polls often: what follows the end of a batch comes soon.
    pub fn silence(&mut self) {
        self.style = ProgressStyle::None;
        self.events = None;
        self.begun = self.deps.clock.monotonic();
    }

    /// Returns the first view that is enough; that may be the last view of an earlier call. `on_view` gets every view.
    pub async fn until(
        &mut self,
        is_enough: impl Fn(&BatchView) -> bool,
        on_view: impl Fn(&BatchView),
    ) -> Result<BatchView> {
        loop {
            on_view(&self.last.view);
            if is_enough(&self.last.view) {
                self.show(true)?;
                self.printer.bar(None::<String>);
                return Ok(self.last.view.clone());
            }
            self.pause().await?;
            self.last = self.progress.look().await?;
            self.look_at_reasons().await;
        }
    }

    /// Reads why calls failed, if no worker of this process knows: each time that the failures have doubled.
    async fn look_at_reasons(&mut self) {
        let view = &self.last.view;
        if self.style == ProgressStyle::None
            || self.events.is_some()
            || view.failed() < 2 * self.failed_then.max(1)
        {
            return;
        }
        self.failed_then = view.failed();
        // For people: tried once.
        let groups = reasons::of_first_calls(self.deps, view).await.unwrap_or_default();
        self.stored_reason = groups.into_iter().next().or(self.stored_reason.take());
    }

    async fn pause(&mut self) -> Result<()> {
        let now = self.deps.clock.monotonic();
        let soonest = if self.events.is_some() { POLL_MIN_WITH_WORKER } else { POLL_MIN };
        let end = now + (now.saturating_sub(self.begun) / 10).clamp(soonest, POLL_MAX);
        loop {
            self.show(false)?;
            let left = end.saturating_sub(self.deps.clock.monotonic());
            if left.is_zero() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = finished(self.events) => return Ok(()),
                () = self.deps.clock.sleep(left.min(REDRAW)) => {}
            }
        }
    }

    fn show(&mut self, is_last: bool) -> Result<()> {
        let now = self.deps.clock.monotonic();
        let since = self.shown_at.map(|at| now.saturating_sub(at));
        let every = match self.style {
            ProgressStyle::None | ProgressStyle::Auto => return Ok(()),
            ProgressStyle::Bar => REDRAW / 2,
            ProgressStyle::Lines => LINE_EVERY,
            ProgressStyle::Json => EVENT_EVERY,
        };
        if !is_last && since.is_some_and(|since| since < every) {
            return Ok(());
        }
        self.shown_at = Some(now);
        let snapshot = self.snapshot();
        let pace = self.meter.add(now, &snapshot);
        match self.style {
            ProgressStyle::None | ProgressStyle::Auto => {}
            ProgressStyle::Bar => self.printer.bar(Some(progress::bar(&snapshot, &pace, progress::width()))),
            // The first line is due after a while: a short batch has its summary alone.
            ProgressStyle::Lines if since.is_some() && !is_last => self.printer.note(line(&snapshot, &pace)),
            ProgressStyle::Lines => {}
            ProgressStyle::Json => self.printer.line(event(self.batch, &snapshot, &pace))?,
        }
        Ok(())
    }

    /// What the store has, and what the worker of this process knows before the store has it.
    fn snapshot(&self) -> Snapshot {
        let view = &self.last.view;
        let mut counts = view.counts.clone();
        let mut workers = view.workers.len();
        if let Some(events) = self.events {
            workers = workers.max(1);
            for (state, ended) in events.ended() {
                let here = self.before.get(&state).copied().unwrap_or_default() + ended;
                let count = counts.entry(state).or_default();
                *count = (*count).max(here);
            }
        }
        Snapshot {
            calls: view.calls.unwrap_or(view.stored),
            is_whole: view.calls.is_some(),
            counts,
            workers,
            most_frequent: self.events.map_or(self.stored_reason.clone(), LocalEvents::most_frequent),
            dollars: PUBLISHED.dollars(&view.requests).total,
        }
    }
}

async fn finished(events: Option<&LocalEvents>) {
    match events {
        Some(events) => events.finished.notified().await,
        None => std::future::pending().await,
    }
}

/// Listens to the worker in this process: counts the calls of one batch that end, and writes the log.
pub struct LocalEvents {
    printer: Printer,
    log: Arc<LogWriter>,
    batch: OnceLock<BatchId>,
    ended: Mutex<BTreeMap<State, u64>>,
    reasons: Mutex<Reasons>,
    finished: Notify,
    mismatch: watch::Sender<Option<String>>,
}

impl LocalEvents {
    pub fn new(printer: &Printer) -> LocalEvents {
        LocalEvents {
            printer: printer.clone(),
            log: LogWriter::direct(printer),
            batch: OnceLock::new(),
            ended: Mutex::default(),
            reasons: Mutex::default(),
            finished: Notify::new(),
            mismatch: watch::Sender::new(None),
        }
    }

    pub fn follow(&self, batch: BatchId) {
        let _ = self.batch.set(batch);
    }

    fn ended(&self) -> BTreeMap<State, u64> {
        self.ended.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Why most calls failed that ended here.
    fn most_frequent(&self) -> Option<Group> {
        let reasons = self.reasons.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        reasons.groups().into_iter().next()
    }

    /// Returns once the worker received a call of the batch that it cannot run, with the reason.
    pub async fn mismatch(&self) -> String {
        let mut mismatch = self.mismatch.subscribe();
        let why = mismatch.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.unwrap_or_default()
    }
}

impl Listener for LocalEvents {
    fn on(&self, event: Event) {
        match &event {
            Event::BatchCallEnded { batch, number, status, reason } if self.batch.get() == Some(batch) => {
                let mut reasons = self.reasons.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                reasons.add_call(batch.call(*number), *number, *status, reason.as_deref());
                let mut ended = self.ended.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                *ended.entry(*status).or_default() += 1;
            }
            Event::BatchMismatched { batch, why, .. } if self.batch.get() == Some(batch) => {
                self.mismatch.send_replace(Some(why.clone()));
            }
            Event::BatchFinished { batch, .. } if self.batch.get() == Some(batch) => {
                self.finished.notify_one();
            }
            _ => {}
        }
        // People see warnings alone beside a bar; a log for programs is complete.
        if event.level() == Level::Warning || self.printer.log_format == LogFormat::Json {
            self.log.on(event);
        } else if self.printer.is_verbose
            && let Some(line) = log::text_line(&event)
        {
            self.printer.detail(line);
        }
    }
}
