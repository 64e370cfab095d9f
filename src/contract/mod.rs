//! How a function is spoken to once its sandbox runs: its environment, and the formats `http-stream` and `default`.
//! Shared by all executors; knows no Docker, no process and no store.

pub mod default;
pub mod http_stream;
mod socket;

use std::collections::BTreeMap;
use std::process::ExitStatus;

use crate::seam::executor::{Invocation, Verdict};

/// The environment of a sandbox: the app's config, the function's over it, and over both what is reserved. It is the
/// same for every call of one version under one config; what differs from call to call travels in headers
/// (`http-stream`) or is added by [`default::env`].
pub fn env(invocation: &Invocation) -> Vec<(String, String)> {
    let app = invocation.app.to_string();
    let function = invocation.function.name.to_string();
    let mut env: BTreeMap<&str, String> = BTreeMap::new();
    for (key, value) in invocation.app_config.iter().chain(&invocation.function.config) {
        env.insert(key, value.clone());
    }
    env.insert("FN_APP_ID", app.clone());
    env.insert("FN_APP_NAME", app);
    env.insert("FN_FN_ID", function.clone());
    env.insert("FN_FN_NAME", function);
    env.insert("FN_FORMAT", invocation.version.format.to_string());
    env.insert("FN_MEMORY", invocation.version.limits.memory_mib.to_string());
    env.insert("FN_PATH", invocation.function.route.to_string());
    env.insert("FN_TYPE", invocation.function.kind.to_string());
    env.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// How a process ended, in the words of an outcome: `exit code 3`, `killed by signal 9`.
pub fn exit_reason(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => format!("ended with {status}"),
    }
}

/// The verdict on a process that failed.
pub fn exit_verdict(status: ExitStatus) -> Verdict {
    Verdict::of_exit(status.code().map(i64::from), exit_reason(status))
}

#[cfg(test)]
pub(crate) mod testing {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use crate::limits;
    use crate::model::{
        CallId, Config, Digest, Format, Function, Kind, Limits, Nonce, Source, Time, Version,
    };
    use crate::seam::ExecutionLog;
    use crate::seam::executor::Invocation;

    /// A call of `app`'s function `f`, to be bent by a test.
    pub fn invocation(format: Format, payload: &'static [u8]) -> Invocation {
        let source = Source::Archive { sha256: Digest::of(b""), bytes: 0 };
        let limits = Limits { timeout_ms: 10 * limits::TIMEOUT_MS_MIN, ..Limits::default() };
        Invocation {
            app: "app".parse().unwrap(),
            app_config: Config::new().into(),
            function: Arc::new(Function {
                name: "f".parse().unwrap(),
                route: "/f".parse().unwrap(),
                kind: Kind::Async,
                version: "0.0.1-000000000000".parse().unwrap(),
                config: Config::new(),
                annotations: BTreeMap::new(),
                created_at: Time(0),
                updated_at: Time(0),
                nonce: Nonce::new(1),
            }),
            version: Arc::new(Version {
                format,
                ..Version::new("0.0.1-000000000000", source, limits, Time(0)).unwrap()
            }),
            call: CallId::single(Time(1_700_000_000_000), 7),
            attempt: 2,
            env: Vec::new(),
            headers: BTreeMap::new(),
            content_type: Some("text/plain".to_owned()),
            payload: payload.to_vec().into(),
            execution_log: ExecutionLog::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Format;

    #[test]
    fn the_function_wins_over_the_app_and_reserved_names_over_both() {
        let mut invocation = testing::invocation(Format::HttpStream, b"");
        for (key, value) in [("A", "app"), ("B", "app"), ("FN_MEMORY", "1")] {
            Arc::make_mut(&mut invocation.app_config).insert(key.to_owned(), value.to_owned());
        }
        Arc::make_mut(&mut invocation.function).config.insert("B".to_owned(), "function".to_owned());
        Arc::make_mut(&mut invocation.function).config.insert("FN_FORMAT".to_owned(), "json".to_owned());

        let env: BTreeMap<String, String> = env(&invocation).into_iter().collect();
        let get = |key: &str| env[key].as_str();
        assert_eq!((get("A"), get("B")), ("app", "function"));
        assert_eq!((get("FN_MEMORY"), get("FN_FORMAT")), ("128", "http-stream"));
        assert_eq!((get("FN_APP_NAME"), get("FN_FN_NAME")), ("app", "f"));
        assert_eq!((get("FN_PATH"), get("FN_TYPE")), ("/f", "async"));
    }

    #[test]
    fn an_ended_process_says_how() {
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(exit_reason(ExitStatus::from_raw(3 << 8)), "exit code 3");
        assert_eq!(exit_reason(ExitStatus::from_raw(9)), "killed by signal 9");
    }
}
