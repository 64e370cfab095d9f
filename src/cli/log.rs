//! The log of a worker on stderr: listeners that write the engine's events as lines of text for people, or as lines of
//! JSON for programs that gather logs.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde::Serialize;

use super::format::{millis, plural};
use super::options::LogFormat;
use super::printer::Printer;
use super::text::{Line, Role};
use crate::embedded::worker_name;
use crate::event::{Event, Level, Listener};
use crate::model::{BatchId, State, Time};
use crate::seam::Clock as _;
use crate::seam::clock::SystemClock;

/// Lines that wait for a slow reader of stderr. Further lines are dropped: the log must not slow down the calls.
const WAITING_MAX: usize = 1_024;

/// Writes events to stderr in the format that the command was given, at once or from its own thread.
pub struct LogWriter {
    printer: Printer,
    /// Of this process. Most events do not name their worker.
    worker: String,
    queue: Mutex<Option<(SyncSender<Line>, JoinHandle<()>)>>,
}

impl LogWriter {
    /// Returns from each event once its line is written.
    pub fn direct(printer: &Printer) -> Arc<LogWriter> {
        Arc::new(LogWriter { printer: printer.clone(), worker: worker_name(), queue: Mutex::default() })
    }

    /// Never waits for the reader of stderr.
    pub fn background(printer: &Printer) -> Arc<LogWriter> {
        let (sender, receiver) = sync_channel::<Line>(WAITING_MAX);
        let to = printer.clone();
        let thread = std::thread::spawn(move || receiver.iter().for_each(|line| to.log(line)));
        let queue = Mutex::new(Some((sender, thread)));
        Arc::new(LogWriter { printer: printer.clone(), worker: worker_name(), queue })
    }

    /// Writes the lines that wait. To be called before the process ends.
    pub fn finish(&self) {
        let queue = self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some((sender, thread)) = queue {
            drop(sender);
            let _ = thread.join();
        }
    }
}

impl Listener for LogWriter {
    fn on(&self, event: Event) {
        let line = match self.printer.log_format {
            LogFormat::Text => text_line(&event),
            LogFormat::Json => json_line(&event, SystemClock.now(), &self.worker).map(Line::from),
        };
        let Some(line) = line else { return };
        match self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).as_ref() {
            // An error means that the queue is full, and drops this line.
            Some((queue, _)) => _ = queue.try_send(line),
            None => self.printer.log(line),
        }
    }
}

/// A line of the JSON log. Keep the keys stable.
#[derive(Serialize)]
struct Record<'a> {
    time: Time,
    level: Level,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'a str>,
    /// Of a batch's call: the call's id names the batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<BatchId>,
    /// The event's own fields, its name among them.
    #[serde(flatten)]
    event: &'a Event,
}

/// `None` for the events that the text log leaves out too.
fn json_line(event: &Event, time: Time, worker: &str) -> Option<String> {
    let line = Record {
        time,
        level: event.level(),
        message: message(event)?.plain(),
        worker: (!event.names_worker()).then_some(worker),
        batch: event.call().and_then(|call| call.batch()),
        event,
    };
    Some(serde_json::to_string(&line).expect("an event has string keys"))
}

pub fn text_line(event: &Event) -> Option<Line> {
    let message = message(event)?;
    Some(match event.level() {
        Level::Warning => Line::default().painted(Role::Warning, "warning:").and(" ").followed_by(message),
        _ => message,
    })
}

/// `None` for events that are too many to have a line each, or are for programs.
fn message(event: &Event) -> Option<Line> {
    let text = match event {
        Event::BatchCallEnded { .. }
        | Event::ChunkDispatched { .. }
        | Event::SecondsPerCall { .. }
        | Event::CallsLeft { .. }
        | Event::OldestUndecidedSeconds { .. }
        | Event::WorkersWanted { .. } => return None,
        Event::CallFinished { call, status, reason, run_ms, adopted, .. } => {
            let role = if *status == State::Success { Role::Success } else { Role::Error };
            let reason = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let adopted = if *adopted { " (recorded by somebody else)" } else { "" };
            let end = format!(" in {}{reason}{adopted}", millis(*run_ms));
            return Some(Line::from(format!("{call} ")).painted(role, status).and(end));
        }
        Event::BatchFinished { batch, calls, failed, .. } => {
            let role = if *failed == 0 { Role::Success } else { Role::Error };
            let line = Line::from(format!("{batch} finished: {}, ", plural(*calls, "call")));
            return Some(line.painted(role, format!("{failed} failed")));
        }
        Event::SourceFormatFound { source, what } => format!("`{source}` {what}"),
        Event::WorkerStarted { worker, slots } => {
            format!("worker {worker} runs {} at once", plural(*slots as u64, "call"))
        }
        Event::WorkerStopped { worker, finished, handed_back } => {
            format!(
                "worker {worker} stopped: {} finished, {handed_back} returned to the queue",
                plural(*finished, "message")
            )
        }
        Event::Draining { worker, running } => {
            format!("worker {worker} drains: {} still running", plural(*running as u64, "call"))
        }
        Event::WorkerSick { worker, why } => {
            format!("worker {worker} cannot run functions and takes no calls: {why}")
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
        Event::CallMismatched { call, why, .. } => {
            format!("{call} cannot run on this worker: {why}")
        }
        Event::BatchMismatched { batch, why, .. } => {
            format!("calls of batch {batch} cannot run on this worker: {why}")
        }
        Event::BatchPaused { batch, .. } => format!("batch {batch} is paused"),
        Event::VersionRefused { worker, app, function, why } => {
            format!("worker {worker} takes no more calls of {app}/{function}: {why}")
        }
        Event::CallRedelivered { call, delivery, suspect, .. } => {
            let alone = if *suspect { ", runs in quarantine" } else { "" };
            format!("{call} came back from a lost worker: delivery {delivery}{alone}")
        }
        Event::RangeRedelivered { batch, first, last, delivery, suspects, .. } => {
            let alone = if *suspects > 0 { format!(", {suspects} run in quarantine") } else { String::new() };
            format!(
                "{batch}: calls {first} to {last} came back from a lost worker: delivery {delivery}{alone}"
            )
        }
        Event::PartWritten { batch, recorded, adopted, stood, .. } => {
            let if_any = |count: u64, what: &str| match count {
                0 => String::new(),
                count => format!(", {count} {what}"),
            };
            let adopted = if_any(*adopted, "recorded by others");
            let stood = if_any(*stood, "of the log's parts stood already");
            format!("{batch}: {} recorded{adopted}{stood}", plural(*recorded, "outcome"))
        }
        Event::DeadLettered { queue, why } => {
            format!("a message of queue {queue} went to the dead letters: {why}")
        }
        Event::NewerMessage { queue, version } => format!(
            "queue {queue} has a message of format {version}, which is newer than this afn: it goes back to the queue. \
             Upgrade this worker to run it"
        ),
        Event::UnreadableMessage { queue, why } => format!(
            "queue {queue} has a message that this afn cannot read: {why}. It goes back to the queue, and later to the dead \
             letters"
        ),
        Event::ForeignMessage { queue, store, own } => format!(
            "queue {queue} has a message of store {store}, this worker serves store {own}: it goes back to the queue. Two \
             contexts share this queue; `afn context create NAME --queues BASE` gives one of them queues of its own"
        ),
        Event::TaskPanicked { worker, what, why } => {
            format!("worker {worker} has a bug, its {what} panicked: {why}")
        }
        Event::RequestRepeated { what, why } => format!("{what} is retried: {why}"),
        Event::RequestFailed { what, why } => format!("{what}: {why}"),
        Event::SupervisorResent { app, batch } => {
            format!("batch {batch} of {app} had lost its supervisor and has one again")
        }
        Event::CallResent { app, call } => format!("{call} of {app} had lost its message and was sent again"),
    };
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::CallId;

    #[test]
    fn a_call_is_followed_by_its_id() {
        let app: crate::model::AppName = "asyncapp".parse().unwrap();
        let call: crate::model::CallId = "01BVJ5T7CA07WGE00000000000".parse().unwrap();
        let shown = |event: Event| text_line(&event).unwrap().plain();
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

    fn logged(event: Event) -> Value {
        serde_json::from_str(&json_line(&event, Time(1_700_000_000_000), "laptop-1").unwrap()).unwrap()
    }

    #[test]
    fn a_line_tells_what_it_is_about() {
        let app: crate::model::AppName = "asyncapp".parse().unwrap();
        let call: CallId = "01BVJ5T7CA07WGE00000000000".parse().unwrap();
        let started = Event::CallStarted { app: app.clone(), call, function: "asyncfn".into(), attempt: 2 };
        assert_eq!(
            logged(started),
            json!({
                "time": "2023-11-14T22:13:20.000Z",
                "level": "info",
                "event": "call_started",
                "app": "asyncapp",
                "call": "01BVJ5T7CA07WGE00000000000",
                "worker": "laptop-1",
                "function": "asyncfn",
                "attempt": 2,
                "message": "01BVJ5T7CA07WGE00000000000 started: asyncapp/asyncfn, attempt 2",
            })
        );
        let batch = BatchId::new(Time(1_700_000_000_000), 7);
        let finished = Event::CallFinished {
            app,
            call: batch.call(3),
            status: State::Error,
            reason: Some("exit code 3".into()),
            run_ms: 12,
            adopted: false,
        };
        let finished = logged(finished);
        assert_eq!(finished["batch"], json!(batch));
        assert_eq!((&finished["status"], &finished["reason"]), (&json!("error"), &json!("exit code 3")));
    }

    #[test]
    fn a_worker_is_named_once_and_a_warning_is_one() {
        let sick = Event::WorkerSick { worker: "other-2".into(), why: "no Docker".into() };
        let text = json_line(&sick, Time(0), "laptop-1").unwrap();
        assert_eq!(text.matches("\"worker\"").count(), 1, "{text}");
        let sick = logged(sick);
        assert_eq!((&sick["worker"], &sick["level"]), (&json!("other-2"), &json!("warning")));
        let message = sick["message"].as_str().unwrap();
        assert!(message.starts_with("worker other-2 cannot run functions"), "{message}");
        let ended = Event::BatchCallEnded {
            batch: BatchId::new(Time(0), 1),
            number: 1,
            status: State::Success,
            reason: None,
        };
        assert_eq!(json_line(&ended, Time(0), "laptop-1"), None);
    }
}
