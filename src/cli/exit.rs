//! How the process ends. Scripts rely on these numbers: keep them stable.

use std::fmt::Write as _;

use crate::error::Code;
use crate::model::State;

/// What a command's exit status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    Success,
    /// The call, or some calls, failed; only of commands that wait for them.
    CallFailed,
    /// The command line, the input or what stands in the store does not allow it.
    Usage,
    NotFound,
    WaitTimedOut,
    Unreachable,
    Stopped,
    /// A bug, or a store that contradicts the rules.
    Internal,
    Interrupted,
}

impl ExitCode {
    pub const ALL: [ExitCode; 9] = [
        ExitCode::Success,
        ExitCode::CallFailed,
        ExitCode::Usage,
        ExitCode::NotFound,
        ExitCode::WaitTimedOut,
        ExitCode::Unreachable,
        ExitCode::Stopped,
        ExitCode::Internal,
        ExitCode::Interrupted,
    ];

    pub fn number(self) -> u8 {
        match self {
            ExitCode::Success => 0,
            ExitCode::CallFailed => 1,
            ExitCode::Usage => 2,
            ExitCode::NotFound => 3,
            ExitCode::WaitTimedOut => 4,
            ExitCode::Unreachable => 5,
            ExitCode::Stopped => 6,
            ExitCode::Internal => 70,
            ExitCode::Interrupted => 130,
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            ExitCode::Success => "done; reading a call that failed is done too",
            ExitCode::CallFailed => "the call, or some of a batch, failed, of commands that wait for it",
            ExitCode::Usage => "wrong usage or input, or it conflicts with what is there",
            ExitCode::NotFound => "no such app, function, call, context",
            ExitCode::WaitTimedOut => "the wait ended before the call did",
            ExitCode::Unreachable => "store, queues or another service did not answer, or refused",
            ExitCode::Stopped => "stopped early, or the call or batch was cancelled",
            ExitCode::Internal => "a bug, or what is stored contradicts the rules",
            ExitCode::Interrupted => "interrupted by Ctrl-C",
        }
    }

    /// How a command ends that waited for a call and saw it reach this state.
    pub fn of_call(state: State) -> ExitCode {
        match state {
            State::Success => ExitCode::Success,
            State::Error | State::Timeout | State::Killed => ExitCode::CallFailed,
            State::Cancelled => ExitCode::Stopped,
            // Not an end; whoever waits sees these only when it gave up.
            State::Delayed | State::Queued | State::Running => ExitCode::WaitTimedOut,
        }
    }

    /// The table in `afn --help`.
    pub fn table() -> String {
        let mut table = String::from("Exit codes:\n");
        for code in ExitCode::ALL {
            let _ = writeln!(table, "  {:>3}  {}", code.number(), code.about());
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
        let mut numbers: Vec<u8> = ExitCode::ALL.iter().map(|code| code.number()).collect();
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
