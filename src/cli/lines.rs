//! What a worker does, one line each on stderr.

use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::call_view::millis;
use super::printer::Printer;
use super::style::{Palette, Role};
use crate::event::{Event, Listener};
use crate::model::State;

/// Lines that may wait for a slow terminal; past that they are left out rather than hold up the calls.
const WAITING_MAX: usize = 1_024;

/// A listener whose lines are written by a thread of its own: the engine never waits for whoever reads stderr.
pub struct Lines {
    lines: Mutex<Option<SyncSender<String>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    palette: Palette,
}

impl Lines {
    pub fn new(printer: &Printer) -> Lines {
        let (sender, receiver) = sync_channel::<String>(WAITING_MAX);
        let to = printer.clone();
        let writer = std::thread::spawn(move || receiver.iter().for_each(|line| to.note(line)));
        Lines {
            lines: Mutex::new(Some(sender)),
            writer: Mutex::new(Some(writer)),
            palette: printer.palette(),
        }
    }
}

impl Listener for Lines {
    fn on(&self, event: Event) {
        let Some(line) = line(&event, self.palette) else { return };
        let lines = self.lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(lines) = lines.as_ref() {
            // Full: the reader is slower than the calls, and this line is left out.
            let _ = lines.try_send(line);
        }
    }
}

impl Lines {
    /// Writes what waits; what is said later is lost. To be called before the process ends.
    pub fn finish(&self) {
        drop(self.lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take());
        let writer = self.writer.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

/// `None`: there are too many of them to be told one by one.
pub fn line(event: &Event, palette: Palette) -> Option<String> {
    let warning = |text: String| format!("{} {text}", palette.paint(Role::Warning, "warning:"));
    Some(match event {
        Event::BatchCallEnded { .. } => return None,
        Event::WorkerStarted { worker, slots } => {
            format!("worker {worker} runs {} at once", plural(*slots as u64, "call"))
        }
        Event::WorkerStopped { worker, finished, handed_back } => {
            format!("worker {worker} stopped: {finished} finished, {handed_back} handed back")
        }
        Event::Draining { worker, running } => {
            format!("worker {worker} drains: {} still running", plural(*running as u64, "call"))
        }
        Event::WorkerSick { worker, why } => {
            warning(format!("worker {worker} cannot run functions and takes no calls: {why}"))
        }
        Event::WorkerHealthy { worker } => format!("worker {worker} can run functions again"),
        Event::CallStarted { app, call, function, attempt } => {
            let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
            format!("{call} started: {app}/{function}{again}")
        }
        Event::CallRetried { call, attempt, why, wait_ms, .. } => {
            format!("{call} attempt {attempt} failed: {why}; next in {}", millis(*wait_ms))
        }
        Event::CallStopped { call, status, ran_ms, .. } => match status {
            State::Cancelled => format!("{call} cancelled while running, stopped after {}", millis(*ran_ms)),
            status => format!("{call} stopped after {}: somebody else recorded {status}", millis(*ran_ms)),
        },
        Event::CallFinished { call, status, reason, run_ms, adopted, .. } => {
            let role = if *status == State::Success { Role::Good } else { Role::Error };
            let reason = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let adopted = if *adopted { " (recorded by somebody else)" } else { "" };
            let status = palette.paint(role, status.as_str()).to_string();
            format!("{call} {status} in {}{reason}{adopted}", millis(*run_ms))
        }
        Event::CallMismatched { call, why, .. } => {
            warning(format!("{call} cannot run on this worker: {why}"))
        }
        Event::CallRedelivered { call, delivery, suspect, .. } => {
            let alone = if *suspect { ", runs alone" } else { "" };
            format!("{call} came back from a lost worker: delivery {delivery}{alone}")
        }
        Event::RangeRedelivered { batch, first, last, delivery, suspects, .. } => {
            let alone = if *suspects > 0 { format!(", {suspects} run alone") } else { String::new() };
            format!(
                "{batch}: calls {first} to {last} came back from a lost worker: delivery {delivery}{alone}"
            )
        }
        Event::PartWritten { batch, recorded, adopted, stood, .. } => {
            let told = |count: u64, what: &str| match count {
                0 => String::new(),
                count => format!(", {count} {what}"),
            };
            let adopted = told(*adopted, "recorded by others");
            let stood = told(*stood, "of the log's parts stood already");
            format!("{batch}: {} recorded{adopted}{stood}", plural(*recorded, "outcome"))
        }
        Event::BatchFinished { batch, calls, failed, .. } => {
            let role = if *failed == 0 { Role::Good } else { Role::Error };
            let end = palette.paint(role, &format!("{failed} failed")).to_string();
            format!("{batch} finished: {}, {end}", plural(*calls, "call"))
        }
        Event::DeadLettered { queue, why } => {
            warning(format!("a message of queue {queue} went to the dead letters: {why}"))
        }
        Event::NewerMessage { queue, version } => warning(format!(
            "queue {queue} has messages of format {version}, which is newer than this afn: it is left to newer workers"
        )),
        Event::RequestRepeated { what, why } => warning(format!("{what} is tried again and again: {why}")),
        Event::RequestFailed { what, why } => warning(format!("{what}: {why}")),
        Event::SupervisorResent { app, batch } => {
            format!("batch {batch} of {app} had lost its supervisor and has one again")
        }
        Event::CallResent { app, call } => format!("{call} of {app} had lost its message and was sent again"),
    })
}

/// `1 call`, `2 calls`
pub fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_followed_by_its_id() {
        let app: crate::model::AppName = "asyncapp".parse().unwrap();
        let call: crate::model::CallId = "01BVJ5T7CA07WGE00000000000".parse().unwrap();
        let shown = |event: Event| line(&event, Palette::PLAIN).unwrap();
        let started = Event::CallStarted { app: app.clone(), call, function: "asyncfn".into(), attempt: 2 };
        assert_eq!(shown(started), "01BVJ5T7CA07WGE00000000000 started: asyncapp/asyncfn, attempt 2");
        let finished = Event::CallFinished {
            app,
            call,
            status: State::Error,
            reason: Some("exit code 3".into()),
            run_ms: 12,
            adopted: false,
        };
        assert_eq!(shown(finished), "01BVJ5T7CA07WGE00000000000 error in 12 ms: exit code 3");
    }
}
