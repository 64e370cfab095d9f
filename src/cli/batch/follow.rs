//! Follows a batch to its end and tells how far it has come: a bar on a terminal, lines elsewhere, events for programs.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use super::bar;
use super::live::Live;
use super::progress::{Meter, Sight, event, line};
use crate::cli::args::ProgressStyle;
use crate::cli::printer::Printer;
use crate::error::Result;
use crate::model::price::PUBLISHED;
use crate::model::{BatchId, State};
use crate::results::batch::{BatchView, Look, Progress};
use crate::seam::Seams;

/// The time between two looks at the store is a tenth of the time so far, within these.
const LOOK_MIN: Duration = Duration::from_millis(250);
const LOOK_MAX: Duration = Duration::from_secs(10);
/// The least where a worker in this process tells what happens: a look is for what others do.
const LOOK_MIN_LIVE: Duration = Duration::from_secs(5);
const REDRAW: Duration = Duration::from_millis(200);
/// Between two lines, or events.
const LINE_EVERY: Duration = Duration::from_secs(5);
const EVENT_EVERY: Duration = Duration::from_secs(1);

/// What `auto` means here.
pub fn resolve(style: ProgressStyle, printer: &Printer) -> ProgressStyle {
    match style {
        _ if printer.is_json() => ProgressStyle::Json,
        ProgressStyle::Auto if printer.is_quiet() => ProgressStyle::None,
        ProgressStyle::Auto if std::io::stderr().is_terminal() && !dumb() => ProgressStyle::Bar,
        ProgressStyle::Auto => ProgressStyle::Lines,
        style => style,
    }
}

fn dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|value| value == "dumb")
}

pub struct Follow<'a> {
    printer: &'a Printer,
    seams: &'a Seams,
    style: ProgressStyle,
    /// The worker in this process, if there is one.
    live: Option<&'a Live>,
    batch: BatchId,
    progress: Progress,
    seen: Option<Look>,
    meter: Meter,
    begun: Duration,
    told_at: Option<Duration>,
    /// Decided before the worker in this process began.
    before: BTreeMap<State, u64>,
}

impl<'a> Follow<'a> {
    pub async fn begin(
        printer: &'a Printer,
        seams: &'a Seams,
        style: ProgressStyle,
        live: Option<&'a Live>,
        batch: BatchId,
    ) -> Result<Follow<'a>> {
        let progress = Progress::open(seams, batch).await?;
        Ok(Follow {
            printer,
            seams,
            style,
            live,
            batch,
            progress,
            seen: None,
            meter: Meter::default(),
            begun: seams.clock.monotonic(),
            told_at: None,
            before: BTreeMap::new(),
        })
    }

    /// Says no more; looks often, for what comes at the end of a batch.
    pub fn quietly(&mut self) {
        self.style = ProgressStyle::None;
        self.live = None;
        self.begun = self.seams.clock.monotonic();
    }

    /// Returns once a look satisfies, the last one of before it included. `on_look` sees every look.
    pub async fn until(
        &mut self,
        is_enough: impl Fn(&BatchView) -> bool,
        mut on_look: impl FnMut(&BatchView),
    ) -> Result<BatchView> {
        let mut look = match self.seen.take() {
            Some(look) => look,
            None => self.first_look().await?,
        };
        loop {
            on_look(&look.view);
            if is_enough(&look.view) {
                self.tell(&look, true)?;
                self.printer.bar(None);
                return Ok(self.seen.insert(look).view.clone());
            }
            self.pause(&look).await?;
            look = self.progress.look().await?;
        }
    }

    async fn first_look(&mut self) -> Result<Look> {
        let look = self.progress.look().await?;
        if let Some(live) = self.live {
            self.before = look.view.counts.clone();
            for (state, count) in live.ended() {
                let before = self.before.entry(state).or_default();
                *before = before.saturating_sub(count);
            }
        }
        Ok(look)
    }

    async fn pause(&mut self, look: &Look) -> Result<()> {
        let now = self.seams.clock.monotonic();
        let soonest = if self.live.is_some() { LOOK_MIN_LIVE } else { LOOK_MIN };
        let end = now + (now.saturating_sub(self.begun) / 10).clamp(soonest, LOOK_MAX);
        loop {
            self.tell(look, false)?;
            let left = end.saturating_sub(self.seams.clock.monotonic());
            if left.is_zero() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = over(self.live) => return Ok(()),
                () = self.seams.clock.sleep(left.min(REDRAW)) => {}
            }
        }
    }

    fn tell(&mut self, look: &Look, is_last: bool) -> Result<()> {
        let now = self.seams.clock.monotonic();
        let since = self.told_at.map(|at| now.saturating_sub(at));
        let every = match self.style {
            ProgressStyle::None | ProgressStyle::Auto => return Ok(()),
            ProgressStyle::Bar => REDRAW / 2,
            ProgressStyle::Lines => LINE_EVERY,
            ProgressStyle::Json => EVENT_EVERY,
        };
        match since {
            None if self.style == ProgressStyle::Lines && !is_last => {
                // A batch that is over before the first line is due has its last words.
                self.told_at = Some(now);
            }
            Some(since) if since < every && !is_last => return Ok(()),
            _ => self.told_at = Some(now),
        }
        let sight = self.sight(look);
        let pace = self.meter.take(now, &sight);
        match self.style {
            ProgressStyle::None | ProgressStyle::Auto => {}
            ProgressStyle::Bar => self.printer.bar(Some(bar::draw(&sight, &pace, bar::width()))),
            ProgressStyle::Lines if since.is_some() && !is_last => self.printer.note(line(&sight, &pace)),
            ProgressStyle::Lines => {}
            ProgressStyle::Json => self.printer.line(event(self.batch, &sight, &pace))?,
        }
        Ok(())
    }

    /// What the store tells, and what is known here before it does.
    fn sight(&self, look: &Look) -> Sight {
        let view = &look.view;
        let mut counts = view.counts.clone();
        let mut workers = view.workers.len();
        if let Some(live) = self.live {
            workers = workers.max(1);
            for (state, ended) in live.ended() {
                let here = self.before.get(&state).copied().unwrap_or_default() + ended;
                let count = counts.entry(state).or_default();
                *count = (*count).max(here);
            }
        }
        Sight {
            calls: view.calls.unwrap_or(view.stored),
            is_whole: view.calls.is_some(),
            counts,
            workers,
            dollars: PUBLISHED.dollars(&view.requests).total,
        }
    }
}

async fn over(live: Option<&Live>) {
    match live {
        Some(live) => live.over().await,
        None => std::future::pending().await,
    }
}
