//! Turns the SDK's errors into those of store and queue. The question is always whether a request was done: `Busy` only
//! where it certainly was not, `Lost` wherever it may have been.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::error::operation::BuildError;

use crate::error::{Error, causes};
use crate::seam::queue::QueueError;
use crate::seam::{RequestError, RequestFailure, StoreError, Unreached};

/// Why a request failed, before it is known what that means for the object or message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The service answered with an error.
    Answer(Answer),
    /// The request was not sent: no connection could be made.
    NoConnection(String),
    Request(RequestFailure),
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
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => lost(chain(&error)),
            _ => match find::<CredentialsError>(&error) {
                Some(credentials) => no_credentials(credentials),
                None if never_connected(&error) => Failure::NoConnection(root(&error)),
                None if matches!(error, SdkError::DispatchFailure(_)) => lost(chain(&error)),
                None => refused(chain(&error)),
            },
        }
    }
}

/// A request that cannot even be built.
impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Failure {
        refused(error.to_string())
    }
}

pub(super) fn lost(why: String) -> Failure {
    Failure::Request(RequestFailure::Lost(why))
}

pub(super) fn refused(why: String) -> Failure {
    Failure::Request(RequestFailure::Refused(why))
}

impl Failure {
    /// Adds the address that was tried.
    pub fn at(self, endpoint: &Endpoint) -> Failure {
        let address = &endpoint.address;
        match self {
            Failure::NoConnection(why) => {
                let (what, hint) = (format!("{address} cannot be reached"), endpoint.hint.to_owned());
                let unreached = Unreached { what, why, hint, may_recover: true };
                Failure::Request(RequestFailure::Unreached(unreached))
            }
            Failure::Request(RequestFailure::Lost(why)) => lost(format!("{address}: {why}")),
            failure => failure,
        }
    }

    pub fn answer(self) -> Result<Answer, RequestFailure> {
        match self {
            Failure::Answer(answer) => Ok(answer),
            Failure::NoConnection(why) => Err(RequestFailure::Busy(why)),
            Failure::Request(failure) => Err(failure),
        }
    }
}

/// Where requests go, as users know it.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub sts: aws_sdk_sts::Client,
    pub region: String,
    pub address: String,
    /// What the user can do when nothing answers there.
    pub hint: &'static str,
}

impl Endpoint {
    /// The account of these credentials, of which most people have several. Needs no permission.
    pub async fn account(&self) -> Result<String, Failure> {
        let identity =
            self.sts.get_caller_identity().send().await.map_err(|error| Failure::from(error).at(self))?;
        Ok(identity.account.unwrap_or_else(|| "unknown".to_owned()))
    }

    /// Adds to a failure where a bucket or queue that is missing was looked for.
    pub async fn locate<E: RequestError>(&self, error: E) -> E {
        match error.failure() {
            Some(RequestFailure::Unreached(mut unreached)) if unreached.why.is_empty() => {
                let account = self.account().await.unwrap_or_else(|_| "unknown".to_owned());
                unreached.why =
                    format!("looked for in account {account}, {}, region {}", self.address, self.region);
                RequestFailure::Unreached(unreached).into()
            }
            _ => error,
        }
    }
}

/// Of a bucket or queue. [`Endpoint::locate`] adds where it was looked for.
fn missing(what: String) -> RequestFailure {
    let hint = "`afn context create NAME` makes what is missing; `afn context show` tells account, region, bucket and queues"
        .to_owned();
    RequestFailure::Unreached(Unreached { what, why: String::new(), hint, may_recover: false })
}

pub(super) fn no_credentials(error: &CredentialsError) -> Failure {
    let why = chain(error);
    if why.contains("cargo feature(s) enabled: sso") {
        return refused(
            "the profile signs in by IAM Identity Center, which this afn was built without; build it with \
             `cargo install --path . --features sso`, or use other credentials"
                .to_owned(),
        );
    }
    let unsigned = |what: &str, why: String, may_recover: bool| {
        let hint = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned();
        let unreached = Unreached { what: what.to_owned(), why, hint, may_recover };
        Failure::Request(RequestFailure::Unreached(unreached))
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
        _ => refused(format!("the AWS credentials cannot be used: {why}")),
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

/// The last cause of an error.
fn root(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// An error and its causes, in one line without repetitions.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
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

/// What both services mean by an error that is not about an object or message. `place`: `in bucket …`, `with queue …`.
pub(super) fn request_failure(answer: &Answer, place: &str) -> RequestFailure {
    let code = answer.code.as_str();
    match answer.status {
        _ if NOT_DONE.contains(&code) => RequestFailure::Busy(answer.to_string()),
        429 => RequestFailure::Busy(answer.to_string()),
        408 | 500.. => RequestFailure::Lost(answer.to_string()),
        // S3 gave up waiting for the body.
        400 if code == "RequestTimeout" => RequestFailure::Lost(answer.to_string()),
        403 => RequestFailure::Refused(format!("these credentials may not do this {place} ({answer})")),
        _ => RequestFailure::Refused(answer.to_string()),
    }
}

/// What a request to the store wanted, where that decides what an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Create,
    Replace,
    /// To read one version of an object.
    Version,
    /// To read, list or delete.
    Other,
}

pub(super) fn store_error(failure: Failure, wanted: Wanted, bucket: &str) -> StoreError {
    let answer = match failure.answer() {
        Ok(answer) => answer,
        Err(failure) => return failure.into(),
    };
    match (answer.status, answer.code.as_str(), wanted) {
        (412, _, Wanted::Create) => StoreError::Exists,
        (412, _, Wanted::Replace | Wanted::Version) => StoreError::Changed,
        // The range lies behind the end of what is there now.
        (416, _, Wanted::Version) => StoreError::Changed,
        (403, "InvalidObjectState", _) => {
            StoreError::Refused("it is archived, and has to be restored before it can be read".to_owned())
        }
        (404, "NoSuchBucket", _) => missing(format!("there is no bucket `{bucket}`")).into(),
        (404, _, _) => StoreError::NotFound,
        (301, _, _) | (_, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _) => {
            StoreError::Refused(format!(
                "bucket `{bucket}` is in another region ({answer}); give the context its region, or that of a source by --source-region"
            ))
        }
        _ => request_failure(&answer, &format!("in bucket `{bucket}`")).into(),
    }
}

pub(super) fn queue_error(failure: Failure, queue: &str) -> QueueError {
    let answer = match failure.answer() {
        Ok(answer) => answer,
        Err(failure) => return failure.into(),
    };
    match answer.code.as_str() {
        "MessageNotInflight" | "ReceiptHandleIsInvalid" => QueueError::Gone,
        // SQS answers so for a receipt whose message was deleted or whose time is over. The text names the parameter.
        "InvalidParameterValue" if answer.message.contains("ReceiptHandle") => QueueError::Gone,
        _ if answer.is_no_queue() => missing(format!("there is no queue `{queue}`")).into(),
        _ => request_failure(&answer, &format!("with queue `{queue}`")).into(),
    }
}

/// The error of one entry of a batch that was answered. The entry was not done, unless the service itself failed.
pub(super) fn entry_error(code: &str, message: Option<&str>, our_fault: bool, queue: &str) -> QueueError {
    let status = if our_fault { 400 } else { 500 };
    let answer = Answer { status, code: code.to_owned(), message: message.unwrap_or_default().to_owned() };
    queue_error(Failure::Answer(answer), queue)
}

impl From<Failure> for Error {
    /// For requests that create or look up what a context consists of.
    fn from(failure: Failure) -> Error {
        match failure.answer() {
            Ok(answer) => Error::unreachable(answer.to_string()),
            Err(RequestFailure::Unreached(unreached)) => unreached.into(),
            Err(failure) => Error::unreachable(failure.why()),
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
        assert_eq!(store(412, "PreconditionFailed", Wanted::Version), StoreError::Changed);
        assert_eq!(store(416, "InvalidRange", Wanted::Version), StoreError::Changed);
        assert_eq!(store(404, "NoSuchKey", Wanted::Version), StoreError::NotFound);
        assert_eq!(store(404, "NoSuchVersion", Wanted::Version), StoreError::NotFound);
        let refused = |why: &str| StoreError::Refused(why.to_owned());
        assert_eq!(
            store(403, "InvalidObjectState", Wanted::Version),
            refused("it is archived, and has to be restored before it can be read")
        );
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
        let bucket = store(404, "NoSuchBucket", Wanted::Create);
        assert!(matches!(bucket, StoreError::Unreached(of) if of.what.contains("no bucket `b`")));
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
            matches!(queue(400, "QueueDoesNotExist", ""), QueueError::Unreached(of) if of.what.contains("`q`"))
        );
        assert!(matches!(queue(403, "OverLimit", ""), QueueError::Busy(_)));
    }

    #[test]
    fn an_entry_is_judged_like_a_request() {
        assert!(matches!(entry_error("InternalError", None, false, "q"), QueueError::Lost(_)));
        assert!(matches!(entry_error("InvalidMessageContents", None, true, "q"), QueueError::Refused(_)));
    }
}
