//! A slot's runner: it pulls one call of a range after another, so that a call costs no task, no slot handed over and no
//! word with the range; and the desk that it shares with the range, where calls lie before they begin and after they ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::layout::part::{Row, RowResult};
use crate::limits;
use crate::model::Time;
use crate::seam::executor::{Calls, Fault, Run, Verdict, Work};
use crate::seam::{Body, Heard};
use crate::worker::Shared;
use crate::worker::batch_call::{self, Begun, Common, Ended, Open, Tried, Undecided};
use crate::worker::demand::Asking;
use crate::worker::phase::Phase;
use crate::worker::slots::{Class, Slot};

/// How long a runner keeps its slot while another chunk waits for one.
const TURN: Duration = Duration::from_millis(limits::RANGES_AHEAD_MS);

/// The calls of a range that have no row yet.
pub struct Desk {
    state: Mutex<State>,
    /// The range should look before its tick.
    wants: Notify,
}

struct State {
    /// Not begun, by number.
    todo: BTreeMap<u64, Open>,
    /// The worker asks for its next chunk when few are left of this one.
    asking: Asking,
    running: BTreeSet<u64>,
    /// Of those that are decided.
    rows: Vec<Row>,
    rows_bytes: u64,
    undecided: Vec<(Open, Undecided)>,
}

impl Desk {
    pub fn new(todo: BTreeMap<u64, Open>, asking: Asking) -> Arc<Desk> {
        let (running, rows, undecided) = Default::default();
        let mut state = State { todo, asking, running, rows, rows_bytes: 0, undecided };
        state.tell_demand();
        Arc::new(Desk { state: Mutex::new(state), wants: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Changes what was not begun.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let changed = change(&mut state);
        state.tell_demand();
        changed
    }

    /// How many were not begun.
    pub fn todo(&self) -> usize {
        self.state().todo.len()
    }

    /// Of those that were not begun.
    pub fn numbers(&self) -> BTreeSet<u64> {
        self.state().todo.keys().copied().collect()
    }

    /// Of those that were not begun, what was tried.
    pub fn tried(&self) -> Vec<(u64, Tried)> {
        let state = self.state();
        let tried = state.todo.iter().filter(|(_, open)| open.tried != Tried::default());
        tried.map(|(number, open)| (*number, open.tried)).collect()
    }

    /// The first that was not begun, which begins now. None while the range has rows enough to record: they would
    /// pile up.
    pub fn take(&self) -> Option<Open> {
        self.change(|state| {
            if state.rows_bytes >= limits::FLUSH_BYTES {
                return None;
            }
            let (number, open) = state.todo.pop_first()?;
            state.running.insert(number);
            Some(open)
        })
    }

    /// The one of this number, which begins now.
    pub fn take_number(&self, number: u64) -> Option<Open> {
        self.change(|state| {
            let open = state.todo.remove(&number)?;
            state.running.insert(number);
            Some(open)
        })
    }

    /// Takes away one that is not to begin.
    pub fn withdraw(&self, number: u64) -> Tried {
        self.change(|state| state.todo.remove(&number)).map(|open| open.tried).unwrap_or_default()
    }

    pub fn give_back(&self, open: Open) {
        self.change(|state| state.todo.insert(open.record.number, open));
    }

    /// The later half of what was not begun.
    pub fn split_off_half(&self) -> BTreeMap<u64, Open> {
        self.change(|state| {
            let middle = state.todo.keys().nth(state.todo.len() / 2).copied();
            middle.map(|middle| state.todo.split_off(&middle)).unwrap_or_default()
        })
    }

    pub fn retain(&self, keep: impl Fn(u64) -> bool) {
        self.change(|state| state.todo.retain(|number, _| keep(*number)));
    }

    pub fn take_todo(&self) -> BTreeMap<u64, Open> {
        self.change(|state| std::mem::take(&mut state.todo))
    }

    /// Those that were begun and have not ended.
    pub fn take_running(&self) -> BTreeSet<u64> {
        std::mem::take(&mut self.state().running)
    }

    /// Rows of those that are decided, and those that ended otherwise.
    pub fn take_ended(&self) -> (Vec<Row>, Vec<(Open, Undecided)>) {
        let mut state = self.state();
        state.rows_bytes = 0;
        (std::mem::take(&mut state.rows), std::mem::take(&mut state.undecided))
    }

    /// Whether the range has taken in all that ended.
    pub fn has_settled(&self) -> bool {
        let state = self.state();
        state.rows.is_empty() && state.undecided.is_empty()
    }

    fn decided(&self, row: Row) {
        let mut state = self.state();
        state.running.remove(&row.number);
        state.rows_bytes += row.bytes();
        state.rows.push(row);
        let wants = state.rows_bytes >= limits::FLUSH_BYTES;
        drop(state);
        if wants {
            self.wants.notify_one();
        }
    }

    fn ended(&self, open: Open, ended: Ended) {
        let why = match ended {
            Ok(row) => return self.decided(*row),
            Err(why) => why,
        };
        let mut state = self.state();
        state.running.remove(&open.record.number);
        state.undecided.push((open, why));
        drop(state);
        self.wants.notify_one();
    }

    /// Returns when something has ended that cannot wait for the range's tick.
    pub async fn wants(&self) {
        self.wants.notified().await;
    }
}

impl State {
    fn tell_demand(&mut self) {
        self.asking.set(self.todo.len() as u64);
    }
}

/// Runs `open` on a slot, and then, unless the range is careful, what is next as long as that may begin.
pub async fn run(shared: &Shared, common: &Common, desk: &Desk, open: Open, until: Duration, slot: Slot) {
    if common.careful {
        let (open, ended) = batch_call::run(shared, common, open, None).await;
        desk.ended(open, ended);
        drop(slot);
        return;
    }
    let _among_others = shared.solitude.read().await;
    let turn_ends = shared.seams.clock.monotonic() + TURN;
    let mut runner = Runner { shared, common, desk, until, turn_ends, in_hand: None, long: None };
    let mut next = Some(open);
    while let Some(open) = next {
        if let Some(work) = runner.begin(open) {
            shared.executor.run_many(work, &mut runner).await;
        }
        if runner.in_hand.is_some() {
            runner.ended(Err(Fault::Worker("the executor was closed".to_owned())));
        }
        let Some((open, begun)) = runner.long.take() else { break };
        let (open, ended) = batch_call::run(shared, common, open, begun).await;
        let goes_on = matches!(ended, Ok(_) | Err(Undecided::Later(_)));
        desk.ended(open, ended);
        next = if goes_on { runner.take() } else { None };
    }
    drop(slot);
}

struct Runner<'a> {
    shared: &'a Shared,
    common: &'a Common,
    desk: &'a Desk,
    /// Nothing begins after this.
    until: Duration,
    turn_ends: Duration,
    in_hand: Option<InHand>,
    /// A call that does not end with a plain success: it goes the long way, with what came of its first attempt if it
    /// had one.
    long: Option<(Open, Option<Begun>)>,
}

struct InHand {
    open: Open,
    taken_at: Time,
    heard: Heard,
}

impl Runner<'_> {
    /// The range's next call, unless others are first or nothing may begin.
    fn take(&mut self) -> Option<Open> {
        let Shared { phases, seams, slots, solitude, .. } = self.shared;
        let now = seams.clock.monotonic();
        let others_first = slots.wanted(Class::Call)
            || (now >= self.turn_ends && slots.wanted(Class::Chunk))
            // Somebody waits to be alone.
            || solitude.try_read().is_err();
        if phases.now() != Phase::Work || now >= self.until || others_first {
            return None;
        }
        self.desk.take()
    }

    /// `None`: it goes the long way from the start, since its payload lies beside the chunk.
    fn begin(&mut self, open: Open) -> Option<Work> {
        if open.record.input.is_some() {
            self.long = Some((open, None));
            return None;
        }
        let taken_at = self.shared.seams.now();
        let work =
            self.common.work(&open.record, open.record.payload.clone().into(), open.tried.attempts + 1);
        self.in_hand = Some(InHand { open, taken_at, heard: work.heard.clone() });
        Some(work)
    }
}

impl Calls for Runner<'_> {
    fn next(&mut self) -> Option<Work> {
        if self.long.is_some() {
            return None;
        }
        let open = self.take()?;
        self.begin(open)
    }

    fn ended(&mut self, run: Result<Run, Fault>) {
        let Some(InHand { mut open, taken_at, heard }) = self.in_hand.take() else { return };
        let run = match run {
            Ok(run) => match inline(run) {
                Ok((run, bytes)) => {
                    open.tried.attempts += 1;
                    let (number, result) = (open.record.number, RowResult::Inline(bytes));
                    let (shared, common) = (self.shared, self.common);
                    let row = batch_call::row_of(shared, common, number, open.tried, taken_at, run, result);
                    return self.desk.decided(row);
                }
                Err(run) => Ok(run),
            },
            fault => fault,
        };
        self.long = Some((open, Some(Begun { taken_at, heard, run })));
    }
}

/// A success with what it has as its result, if that lies in memory and fits into a row.
fn inline(mut run: Run) -> Result<(Run, Bytes), Run> {
    match &mut run.verdict {
        Verdict::Success { body: Body::Bytes(body), .. }
            if body.len() as u64 <= limits::RESULT_INLINE_BYTES_MAX =>
        {
            let bytes = std::mem::take(body);
            Ok((run, bytes))
        }
        _ => Err(run),
    }
}
