//! The `default` format: one process per call, payload on stdin, answer on stdout, log on stderr; the exit code
//! decides. What executors share of it: the environment of a call, and the conversation with its process.

use std::collections::BTreeMap;
use std::pin::pin;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::limits;
use crate::model::Time;
use crate::seam::body::{BodyWriter, BodyWriterError, Pieces};
use crate::seam::executor::{Fault, Invocation, Verdict};

/// The environment of one call: [`super::env`] and what is this call's alone.
pub fn env(invocation: &Invocation, deadline: Time) -> Vec<(String, String)> {
    let mut env = super::env(invocation);
    env.extend(header_variables(invocation));
    env.push(("FN_CALL_ID".to_owned(), invocation.call.to_string()));
    env.push(("FN_DEADLINE".to_owned(), deadline.to_string()));
    env.push(("FN_METHOD".to_owned(), "POST".to_owned()));
    env.push(("FN_REQUEST_URL".to_owned(), format!("/r/{}{}", invocation.app, invocation.function.route)));
    env.push(("AFN_ATTEMPT".to_owned(), invocation.attempt.to_string()));
    env.extend(invocation.env.iter().cloned());
    env
}

/// Several names may come to one variable, and a caller chooses names: the one that a server writes, with `-`, wins.
fn header_variables(invocation: &Invocation) -> BTreeMap<String, String> {
    let is_usual = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let headers = invocation.headers.iter().map(|(name, value)| (name.as_str(), value));
    let (usual, unusual): (Vec<_>, Vec<_>) = headers.partition(|(name, _)| is_usual(name));
    let content_type = invocation.content_type.iter().map(|value| ("content-type", value));
    let in_order = unusual.into_iter().chain(usual).chain(content_type);
    // An environment cannot hold NUL; such a header is no text anyway.
    let texts = in_order.filter(|(_, value)| !value.contains('\0'));
    texts.map(|(name, value)| (header_variable(name), value.clone())).collect()
}

fn header_variable(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("FN_HEADER_{}", name.chars().map(plain).collect::<String>())
}

/// What ends a call before its process does: a verdict, or the worker's fault.
pub type Cut = Result<Verdict, Fault>;

/// Adds a piece to an answer.
pub fn take_in(answer: &mut BodyWriter, piece: &[u8]) -> Result<(), Cut> {
    answer.write(piece).map_err(|error| match error {
        BodyWriterError::TooLarge { bytes_max } => {
            Ok(Verdict::Error { reason: format!("result too large: limit {} MiB", bytes_max / limits::MIB) })
        }
        BodyWriterError::Io(error) => Err(Fault::Worker(format!("cannot spool a result: {error}"))),
    })
}

/// Runs one call: writes the payload to `stdin`, and drives `output`, which reads stdout and stderr, until `exit`. What is
/// still to be read then has until `grace`; false: that was not enough.
pub async fn converse<E>(
    stdin: impl AsyncWrite + Unpin,
    payload: Pieces,
    output: impl Future<Output = Result<(), Cut>>,
    exit: impl Future<Output = Result<E, Fault>>,
    grace: impl Future<Output = ()>,
) -> Result<(E, bool), Cut> {
    // All at once, or a full pipe would block the others.
    let (mut feed, mut output, mut exit) = (pin!(feed(stdin, payload)), pin!(output), pin!(exit));
    let (mut feeding, mut reading) = (true, true);
    let exit = loop {
        tokio::select! { biased;
            read = &mut output, if reading => {
                read?;
                reading = false;
            }
            fed = &mut feed, if feeding => {
                fed.map_err(Err)?;
                feeding = false;
            }
            exit = &mut exit => break exit.map_err(Err)?,
        }
    };
    if reading {
        tokio::select! { biased;
            read = output => read?,
            () = grace => return Ok((exit, false)),
        }
    }
    Ok((exit, true))
}

/// Writes the payload and closes the pipe. A function need not read it, so a pipe that breaks is no fault.
async fn feed(mut stdin: impl AsyncWrite + Unpin, payload: Pieces) -> Result<(), Fault> {
    for piece in payload {
        let piece = piece.map_err(|error| Fault::Worker(format!("cannot read a payload: {error}")))?;
        if stdin.write_all(&piece).await.is_err() {
            return Ok(());
        }
    }
    let _ = stdin.shutdown().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::contract::testing;
    use crate::model::Format;

    proptest! {
        #[test]
        fn an_answer_is_its_pieces_or_too_large(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12), limit in 0u64..300,
        ) {
            let whole = pieces.concat();
            let mut answer = BodyWriter::new(limit);
            let taken = pieces.iter().try_for_each(|piece| take_in(&mut answer, piece));
            prop_assert_eq!(taken.is_ok(), whole.len() as u64 <= limit);
            if taken.is_ok() {
                prop_assert_eq!(answer.finish().to_bytes().unwrap(), whole);
            }
        }
    }

    #[test]
    fn a_call_finds_itself_in_its_environment() {
        let mut invocation = testing::invocation(Format::Default, b"");
        invocation.headers.insert("X-Trace.Id".to_owned(), "7".to_owned());
        invocation.headers.insert("x-bad".to_owned(), "a\0b".to_owned());
        invocation.env.push(("AFN_NUMBER".to_owned(), "7".to_owned()));
        let env: BTreeMap<String, String> = env(&invocation, Time(1_700_000_010_000)).into_iter().collect();

        assert_eq!(env["FN_CALL_ID"], invocation.call.to_string());
        assert_eq!(env["AFN_ATTEMPT"], "2");
        assert_eq!(env["AFN_NUMBER"], "7");
        assert_eq!(env["FN_DEADLINE"], "2023-11-14T22:13:30.000Z");
        assert_eq!(env["FN_HEADER_X_TRACE_ID"], "7");
        assert_eq!(env["FN_HEADER_CONTENT_TYPE"], "text/plain");
        assert_eq!(env["FN_REQUEST_URL"], "/r/app/f");
        assert_eq!(env["FN_FORMAT"], "default");
        assert!(!env.contains_key("FN_HEADER_X_BAD"));
    }

    #[test]
    fn no_spelling_of_a_header_takes_the_place_of_the_usual_one() {
        let mut invocation = testing::invocation(Format::Default, b"");
        for (name, value) in [
            ("Fn-Http-Method", "PUT"),
            ("Fn.Http.Method", "forged"),
            ("fn~http|method", "forged"),
            ("~Fn_Http_Method", "other"),
            ("Content.Type", "forged"),
            ("content|type", "forged"),
        ] {
            invocation.headers.insert(name.to_owned(), value.to_owned());
        }
        let env = env(&invocation, Time(0));
        let found = |name: &str| -> Vec<&str> {
            env.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
        };
        assert_eq!(found("FN_HEADER_FN_HTTP_METHOD"), ["PUT"]);
        assert_eq!(found("FN_HEADER_CONTENT_TYPE"), ["text/plain"]);
        assert_eq!(found("FN_HEADER__FN_HTTP_METHOD"), ["other"]);
    }

    #[test]
    fn an_answer_past_the_limit_fails_the_call() {
        let mut answer = BodyWriter::new(limits::MIB);
        take_in(&mut answer, b"fits").unwrap();
        let failure = take_in(&mut answer, &vec![0; limits::MIB as usize]).unwrap_err();
        let Ok(Verdict::Error { reason }) = failure else { panic!("{failure:?}") };
        assert_eq!(reason, "result too large: limit 1 MiB");
    }
}
