//! How the process ends. Scripts rely on these numbers: keep them stable.

use std::fmt::Write as _;

use crate::error::Code;
use crate::model::State;
use crate::results::batch::BatchStatus;
use crate::worker::Phase;

/// A command's exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    Success = 0,
    CallFailed = 1,
    Usage = 2,
    NotFound = 3,
    WaitTimedOut = 4,
    Unreachable = 5,
    Stopped = 6,
    Internal = 70,
    Interrupted = 130,
}

impl ExitCode {
    /// Each status with its meaning, as help and README list them.
    pub const MEANINGS: [(ExitCode, &str); 9] = [
        (ExitCode::Success, "done; reading a call that failed is done too"),
        (ExitCode::CallFailed, "the call, or some of a batch, failed, of commands that wait for it"),
        (ExitCode::Usage, "wrong usage or input, or it conflicts with what exists"),
        (ExitCode::NotFound, "no such app, function, call, context"),
        (ExitCode::WaitTimedOut, "the wait ended before the call did"),
        (ExitCode::Unreachable, "store, queues or another service did not answer, or refused"),
        (ExitCode::Stopped, "stopped early, or the call or batch was cancelled"),
        (ExitCode::Internal, "a bug, or what is stored contradicts the rules"),
        (ExitCode::Interrupted, "interrupted by Ctrl-C"),
    ];

    pub fn number(self) -> u8 {
        self as u8
    }

    /// Of a command that waited for a call, by the state that it saw last.
    pub fn of_call(state: State) -> ExitCode {
        match state {
            State::Success => ExitCode::Success,
            State::Error | State::Timeout | State::Killed => ExitCode::CallFailed,
            State::Cancelled => ExitCode::Stopped,
            // The command gave up before the call ended.
            State::Delayed | State::Queued | State::Running => ExitCode::WaitTimedOut,
        }
    }

    /// Of a command that waited for a batch, by the status that it saw last.
    pub fn of_batch(status: BatchStatus) -> ExitCode {
        match status {
            BatchStatus::Success => ExitCode::Success,
            BatchStatus::Failed => ExitCode::CallFailed,
            BatchStatus::Cancelled => ExitCode::Stopped,
            // The command gave up before the batch ended.
            BatchStatus::Submitting
            | BatchStatus::Queued
            | BatchStatus::Running
            | BatchStatus::Paused
            | BatchStatus::Cancelling => ExitCode::WaitTimedOut,
        }
    }

    /// Of a command that ran a worker. A worker that drained stopped well; one that handed its calls back stopped early.
    pub fn of_worker(stopped: Phase) -> ExitCode {
        match stopped {
            Phase::Run | Phase::Drain => ExitCode::Success,
            Phase::HandBack => ExitCode::Stopped,
        }
    }

    /// The table in `afn --help`.
    pub fn table() -> String {
        let mut table = String::from("Exit codes:\n");
        for (code, meaning) in ExitCode::MEANINGS {
            let _ = writeln!(table, "  {:>3}  {meaning}", code.number());
        }
        table
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        match code {
            Code::Invalid | Code::Conflict => ExitCode::Usage,
            Code::NotFound => ExitCode::NotFound,
            Code::CallFailed => ExitCode::CallFailed,
            Code::WaitTimedOut => ExitCode::WaitTimedOut,
            Code::Unreachable => ExitCode::Unreachable,
            Code::Stopped => ExitCode::Stopped,
            Code::Interrupted => ExitCode::Interrupted,
            Code::Internal => ExitCode::Internal,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> std::process::ExitCode {
        std::process::ExitCode::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_and_are_all_in_the_table() {
        let mut numbers: Vec<u8> = ExitCode::MEANINGS.iter().map(|(code, _)| code.number()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 70, 130]);
        assert_eq!(ExitCode::table().lines().count(), 1 + numbers.len());
    }

    #[test]
    fn a_waited_for_call_decides_the_exit() {
        for state in State::ALL {
            let expected = match state {
                State::Success => 0,
                State::Cancelled => 6,
                state if state.is_final() => 1,
                _ => 4,
            };
            assert_eq!(ExitCode::of_call(state).number(), expected, "{state}");
        }
    }
}
