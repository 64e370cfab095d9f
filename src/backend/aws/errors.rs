//! What the SDK's errors mean to the seams, decided here and nowhere else. The question is always whether a request was
//! done: `Busy` only where it certainly was not, `Lost` wherever it may have been.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::error::Error;
use crate::seam::queue::QueueError;
use crate::seam::{StoreError, Unreached};

/// What became of a request, before a seam gives it a meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    Answer(Answer),
    /// It never left: nobody was there.
    NoConnection(String),
    /// The same, told with the address; or there is nothing to sign it with.
    Unreached(Unreached),
    /// It may have arrived.
    NoAnswer(String),
    /// It will never be sent like this.
    Impossible(String),
}

/// An error that the service stated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    pub code: String,
    pub message: String,
}

impl Answer {
    pub fn is_no_queue(&self) -> bool {
        ["QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"].contains(&self.code.as_str())
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            ("", _) => write!(f, "HTTP status {}", self.status),
            (code, "") => f.write_str(code),
            (code, message) => write!(f, "{code}: {message}"),
        }
    }
}

impl<E> From<SdkError<E, HttpResponse>> for Failure
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Failure {
        match &error {
            SdkError::ServiceError(service) => Failure::Answer(Answer {
                status: service.raw().status().as_u16(),
                code: service.err().code().unwrap_or_default().to_owned(),
                message: service.err().message().unwrap_or_default().to_owned(),
            }),
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Failure::NoAnswer(chain(&error)),
            _ => match find::<CredentialsError>(&error) {
                Some(credentials) => no_credentials(credentials),
                None if never_connected(&error) => Failure::NoConnection(root(&error)),
                None if matches!(error, SdkError::DispatchFailure(_)) => Failure::NoAnswer(chain(&error)),
                None => Failure::Impossible(chain(&error)),
            },
        }
    }
}

impl Failure {
    /// The same, with the address that was tried.
    pub fn at(self, place: &Address) -> Failure {
        match self {
            Failure::NoConnection(why) => Failure::Unreached(Unreached {
                what: format!("{} cannot be reached", place.address),
                why,
                way_out: place.way_out.to_owned(),
                may_come: true,
            }),
            Failure::NoAnswer(why) => Failure::NoAnswer(format!("{}: {why}", place.address)),
            failure => failure,
        }
    }
}

/// Where requests go, as people know it.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub address: String,
    /// What to do when nobody is there.
    pub way_out: &'static str,
}

fn no_credentials(error: &CredentialsError) -> Failure {
    let why = chain(error);
    if why.contains("cargo feature(s) enabled: sso") {
        return Failure::Impossible(
            "the profile signs in by IAM Identity Center, which this afn was built without; build it with \
             `cargo install --path . --features sso`, or use other credentials"
                .to_owned(),
        );
    }
    let unsigned = |what: &str, why: String, may_come: bool| {
        let way_out = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
        Failure::Unreached(Unreached { what: what.to_owned(), why, way_out: way_out.to_owned(), may_come })
    };
    match error {
        CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_) => {
            unsigned("AWS credentials cannot be fetched", root(error), true)
        }
        CredentialsError::CredentialsNotLoaded(_) => unsigned(
            "no AWS credentials were found",
            "neither in the environment nor in the profile, nor of a web identity, a container or an instance"
                .to_owned(),
            false,
        ),
        _ => Failure::Impossible(format!("the AWS credentials cannot be used: {why}")),
    }
}

/// A name that does not resolve, a port that nobody listens on, a handshake that failed.
fn never_connected(error: &(dyn StdError + 'static)) -> bool {
    find::<hyper_util::client::legacy::Error>(error)
        .is_some_and(hyper_util::client::legacy::Error::is_connect)
        || find::<aws_smithy_runtime_api::client::dns::ResolveDnsError>(error).is_some()
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    causes(error).find_map(|error| error.downcast_ref())
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn StdError + 'static)| error.source())
}

/// What led to an error in the end.
fn root(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// An error and what led to it, in one line without repetitions.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut line = String::new();
    for error in causes(error) {
        let text = error.to_string();
        if text.is_empty() || line.contains(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
}

/// Asked too often, or at a bad moment: refused before anything was done.
const NOT_DONE: &[&str] = &[
    "BandwidthLimitExceeded",
    "ConditionalRequestConflict",
    "OperationAborted",
    "OverLimit",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    // The SDK has read the service's clock from this answer and signs the next request by it.
    "RequestTimeTooSkewed",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
];

/// What both services mean by an answer that says nothing of object or message.
enum Verdict {
    Busy,
    Lost,
    Refused,
}

fn verdict(answer: &Answer) -> Verdict {
    if NOT_DONE.contains(&answer.code.as_str()) || answer.status == 429 {
        return Verdict::Busy;
    }
    // 400 RequestTimeout: S3 gave up on our body.
    match answer.status {
        408 | 500.. => Verdict::Lost,
        _ if answer.code == "RequestTimeout" => Verdict::Lost,
        _ => Verdict::Refused,
    }
}

/// What a request to the store wanted, where that decides what an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Create,
    Replace,
    /// To read, list or delete.
    Other,
}

pub(super) fn store_error(failure: impl Into<Failure>, wanted: Wanted, bucket: &str) -> StoreError {
    let answer = match failure.into() {
        Failure::NoConnection(why) => return StoreError::Busy(why),
        Failure::Unreached(unreached) => return StoreError::Unreached(unreached),
        Failure::NoAnswer(why) => return StoreError::Lost(why),
        Failure::Impossible(why) => return StoreError::Refused(why),
        Failure::Answer(answer) => answer,
    };
    match (answer.status, answer.code.as_str(), wanted) {
        (412, _, Wanted::Create) => StoreError::Exists,
        (412, _, Wanted::Replace) => StoreError::Changed,
        (404, "NoSuchBucket", _) => {
            StoreError::Refused(format!("there is no bucket `{bucket}`; `afn context create` makes it"))
        }
        (404, _, _) => StoreError::NotFound,
        (301, _, _) | (_, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _) => {
            StoreError::Refused(format!(
                "bucket `{bucket}` is in another region ({answer}); give the context its region"
            ))
        }
        (403, _, _) if !matches!(verdict(&answer), Verdict::Busy) => {
            StoreError::Refused(format!("these credentials may not do this in bucket `{bucket}` ({answer})"))
        }
        _ => match verdict(&answer) {
            Verdict::Busy => StoreError::Busy(answer.to_string()),
            Verdict::Lost => StoreError::Lost(answer.to_string()),
            Verdict::Refused => StoreError::Refused(answer.to_string()),
        },
    }
}

pub(super) fn queue_error(failure: impl Into<Failure>, queue: &str) -> QueueError {
    let answer = match failure.into() {
        Failure::NoConnection(why) => return QueueError::Busy(why),
        Failure::Unreached(unreached) => return QueueError::Unreached(unreached),
        Failure::NoAnswer(why) => return QueueError::Lost(why),
        Failure::Impossible(why) => return QueueError::Refused(why),
        Failure::Answer(answer) => answer,
    };
    match answer.code.as_str() {
        "MessageNotInflight" | "ReceiptHandleIsInvalid" => QueueError::Gone,
        // SQS says so of a receipt whose message was deleted or whose time is over; the parameter is named in the text.
        "InvalidParameterValue" if answer.message.contains("ReceiptHandle") => QueueError::Gone,
        _ if answer.is_no_queue() => {
            QueueError::Refused(format!("there is no queue `{queue}`; `afn context create` makes it"))
        }
        _ => match verdict(&answer) {
            Verdict::Busy => QueueError::Busy(answer.to_string()),
            Verdict::Lost => QueueError::Lost(answer.to_string()),
            Verdict::Refused if answer.status == 403 => QueueError::Refused(format!(
                "these credentials may not do this with queue `{queue}` ({answer})"
            )),
            Verdict::Refused => QueueError::Refused(answer.to_string()),
        },
    }
}

/// Of one entry of a batch that was answered: by the service's own word it was not done, unless it failed within.
pub(super) fn entry_error(code: &str, message: Option<&str>, our_fault: bool, queue: &str) -> QueueError {
    let status = if our_fault { 400 } else { 500 };
    let answer = Answer { status, code: code.to_owned(), message: message.unwrap_or_default().to_owned() };
    queue_error(Failure::Answer(answer), queue)
}

impl From<Failure> for Error {
    /// Of requests that make or look up what a context stands on.
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Answer(answer) => Error::unreachable(answer.to_string()),
            Failure::Unreached(unreached) => unreached.into(),
            Failure::NoConnection(why) | Failure::NoAnswer(why) | Failure::Impossible(why) => {
                Error::unreachable(why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str, message: &str) -> Failure {
        Failure::Answer(Answer { status, code: code.into(), message: message.into() })
    }

    fn store(status: u16, code: &str, wanted: Wanted) -> StoreError {
        store_error(answer(status, code, ""), wanted, "b")
    }

    #[test]
    fn a_condition_that_failed_says_what_it_was() {
        assert_eq!(store(412, "PreconditionFailed", Wanted::Create), StoreError::Exists);
        assert_eq!(store(412, "PreconditionFailed", Wanted::Replace), StoreError::Changed);
        assert_eq!(store(404, "NoSuchKey", Wanted::Replace), StoreError::NotFound);
    }

    #[test]
    fn a_crossed_write_is_not_an_existing_object() {
        assert!(matches!(store(409, "ConditionalRequestConflict", Wanted::Create), StoreError::Busy(_)));
    }

    #[test]
    fn only_what_was_turned_away_is_busy() {
        for (status, code) in
            [(503, "SlowDown"), (429, ""), (400, "RequestThrottled"), (403, "RequestTimeTooSkewed")]
        {
            assert!(matches!(store(status, code, Wanted::Create), StoreError::Busy(_)), "{status} {code}");
        }
        for (status, code) in
            [(500, "InternalError"), (503, "ServiceUnavailable"), (502, ""), (400, "RequestTimeout")]
        {
            assert!(matches!(store(status, code, Wanted::Create), StoreError::Lost(_)), "{status} {code}");
        }
    }

    #[test]
    fn what_a_person_must_mend_is_refused_and_named() {
        let refused = |status, code, part: &str| match store(status, code, Wanted::Create) {
            StoreError::Refused(why) => assert!(why.contains(part), "{why}"),
            other => panic!("{code}: {other:?}"),
        };
        refused(404, "NoSuchBucket", "no bucket `b`");
        refused(403, "AccessDenied", "may not do this in bucket `b`");
        refused(301, "PermanentRedirect", "another region");
        refused(400, "InvalidRequest", "InvalidRequest");
    }

    #[test]
    fn a_receipt_that_is_over_is_gone() {
        let queue = |status, code, message| queue_error(answer(status, code, message), "q");
        assert_eq!(queue(400, "MessageNotInflight", ""), QueueError::Gone);
        let text = "Value x for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available \
                    for visibility timeout change.";
        assert_eq!(queue(400, "InvalidParameterValue", text), QueueError::Gone);
        let text = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
        assert!(matches!(queue(400, "InvalidParameterValue", text), QueueError::Refused(_)));
        assert!(
            matches!(queue(400, "QueueDoesNotExist", ""), QueueError::Refused(why) if why.contains("`q`"))
        );
        assert!(matches!(queue(403, "OverLimit", ""), QueueError::Busy(_)));
    }

    #[test]
    fn an_entry_is_judged_like_a_request() {
        assert!(matches!(entry_error("InternalError", None, false, "q"), QueueError::Lost(_)));
        assert!(matches!(entry_error("InvalidMessageContents", None, true, "q"), QueueError::Refused(_)));
    }
}
