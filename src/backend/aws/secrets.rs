//! Secrets of Systems Manager and Secrets Manager: one signed JSON request for each. Two SDK crates would do no more, and
//! take minutes to build.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::config::{ConnectionOptions, load};
use super::errors::{Answer, Endpoint, Failure, lost, no_credentials, refused, request_failure};
use crate::limits;
use crate::model::{AwsSecret, Time};
use crate::seam::{Clock, SecretError, Secrets, Unreached};

/// Secrets have at most 64 KiB, and quotes in JSON take more.
const ANSWER_BYTES_MAX: usize = 512 * limits::KIB as usize;
/// What is wrong with the worker and not with what it asked: another worker may do better.
const NOT_ACCEPTED: [&str; 4] = [
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "UnrecognizedClientException",
];
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// Connects at the first request: most workers never make one.
pub struct AwsSecrets {
    options: ConnectionOptions,
    clock: Arc<dyn Clock>,
    connection: OnceCell<Connection>,
}

struct Connection {
    config: SdkConfig,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    region: String,
}

/// A request: of which service, and what it says.
struct Question {
    service: &'static str,
    target: &'static str,
    body: Value,
    /// Where the text is in the answer.
    pointer: &'static str,
}

impl Question {
    fn new(secret: &AwsSecret) -> Question {
        match secret {
            AwsSecret::Parameter(name) => Question {
                service: "ssm",
                target: "AmazonSSM.GetParameter",
                body: json!({ "Name": name, "WithDecryption": true }),
                pointer: "/Parameter/Value",
            },
            AwsSecret::Secret(name) => Question {
                service: "secretsmanager",
                target: "secretsmanager.GetSecretValue",
                body: json!({ "SecretId": name }),
                pointer: "/SecretString",
            },
        }
    }

    /// The text, or why there is none. What the service sent is never part of the error: it may be the secret.
    fn read(&self, status: StatusCode, body: &[u8]) -> Result<String, Failure> {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let field = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
        if status.is_success() {
            let none = || refused(format!("{} holds no text for it", self.service));
            return field(self.pointer).map(str::to_owned).ok_or_else(none);
        }
        // `com.amazonaws.ssm#ParameterNotFound` is `ParameterNotFound`.
        let code = field("/__type").unwrap_or_default().rsplit('#').next().unwrap_or_default().to_owned();
        let message = field("/message").or_else(|| field("/Message")).unwrap_or_default().to_owned();
        Err(Failure::Answer(Answer { status: status.as_u16(), code, message }))
    }
}

impl AwsSecrets {
    pub fn new(options: ConnectionOptions, clock: Arc<dyn Clock>) -> AwsSecrets {
        AwsSecrets { options, clock, connection: OnceCell::new() }
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let config = load(&self.options).await.map_err(|error| refused(error.message().to_owned()))?;
        let region = config.region().map(ToString::to_string);
        let region = region.ok_or_else(|| refused("no AWS region is set; set AWS_REGION".to_owned()))?;
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| refused(format!("cannot read the certificates of this system: {error}")))?;
        let connector = connector.https_or_http().enable_http1().build();
        Ok(Connection { config, client: Client::builder(TokioExecutor::new()).build(connector), region })
    }

    async fn ask(&self, question: &Question) -> Result<String, Failure> {
        let connection = self.connection.get_or_try_init(|| self.connect()).await?;
        let endpoint = Endpoint {
            sts: aws_sdk_sts::Client::new(&connection.config),
            region: connection.region.clone(),
            address: connection.address(question.service),
            hint: "see that endpoint and region are right, and that the network is up",
        };
        let answered = async {
            let request = connection.sign(question, &endpoint.address, self.clock.now()).await?;
            let answer = connection.client.request(request).await.map_err(|error| {
                let why =
                    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                if error.is_connect() { Failure::NoConnection(why) } else { lost(why) }
            })?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| lost(format!("the answer was cut off: {error}")))?;
            question.read(status, &body.to_bytes())
        };
        match tokio::time::timeout(limits::ANSWER_MAX, answered).await {
            Ok(answer) => answer.map_err(|failure| failure.at(&endpoint)),
            Err(_) => Err(lost(format!("no answer within {} s", limits::ANSWER_MAX.as_secs())).at(&endpoint)),
        }
    }
}

impl Connection {
    fn address(&self, service: &str) -> String {
        match self.config.endpoint_url() {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => {
                let china = if self.region.starts_with("cn-") { ".cn" } else { "" };
                format!("https://{service}.{}.amazonaws.com{china}", self.region)
            }
        }
    }

    async fn sign(
        &self,
        question: &Question,
        address: &str,
        now: Time,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let provider = self.config.credentials_provider();
        let provider =
            provider.ok_or_else(|| refused("there is no provider of AWS credentials".to_owned()))?;
        let credentials = provider.provide_credentials().await.map_err(|error| no_credentials(&error))?;
        signed(question, address, &self.region, credentials, now).map_err(refused)
    }
}

fn signed(
    question: &Question,
    address: &str,
    region: &str,
    credentials: Credentials,
    now: Time,
) -> Result<Request<Full<Bytes>>, String> {
    let (uri, body) = (format!("{address}/"), question.body.to_string());
    let headers = [("content-type", CONTENT_TYPE), ("x-amz-target", question.target)];
    let identity = credentials.into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(question.service)
        .time(UNIX_EPOCH + Duration::from_millis(now.0))
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let signable =
        SignableRequest::new("POST", &uri, headers.into_iter(), SignableBody::Bytes(body.as_bytes()));
    let signed = signable.and_then(|request| sign(request, &params));
    let (instructions, _) = signed.map_err(|error| format!("cannot sign the request: {error}"))?.into_parts();
    let mut request = Request::post(&uri);
    for (name, value) in headers.into_iter().chain(instructions.headers()) {
        request = request.header(name, value);
    }
    request.body(Full::from(body)).map_err(|error| format!("`{uri}` cannot be asked: {error}"))
}

#[async_trait]
impl Secrets for AwsSecrets {
    async fn fetch(&self, secret: &AwsSecret) -> Result<String, SecretError> {
        self.ask(&Question::new(secret)).await.map_err(secret_error)
    }
}

fn secret_error(failure: Failure) -> SecretError {
    let answer = match failure.answer() {
        Ok(answer) => answer,
        Err(failure) => return failure.into(),
    };
    match answer.code.as_str() {
        "ParameterNotFound" | "ParameterVersionNotFound" | "ResourceNotFoundException" => {
            SecretError::NotFound
        }
        "AccessDeniedException" => {
            SecretError::Refused(format!("the worker's AWS credentials may not read it ({answer})"))
        }
        code if NOT_ACCEPTED.contains(&code) => SecretError::Unreached(Unreached {
            what: "AWS does not accept this worker's credentials".to_owned(),
            why: answer.to_string(),
            hint: "see that they are valid, and that the clock is right".to_owned(),
            may_recover: true,
        }),
        _ => request_failure(&answer, "with secrets").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(secret: AwsSecret, status: u16, body: &str) -> Result<String, SecretError> {
        let status = StatusCode::from_u16(status).unwrap();
        Question::new(&secret).read(status, body.as_bytes()).map_err(secret_error)
    }

    #[test]
    fn answers_are_texts_or_reasons() {
        let parameter = |status, body| read(AwsSecret::Parameter("/a".into()), status, body);
        let secret = |status, body| read(AwsSecret::Secret("a".into()), status, body);
        assert_eq!(parameter(200, r#"{"Parameter":{"Name":"/a","Value":"x\ny"}}"#), Ok("x\ny".into()));
        assert_eq!(secret(200, r#"{"SecretString":"{}"}"#), Ok("{}".into()));
        assert_eq!(
            parameter(400, r#"{"__type":"com.amazonaws.ssm#ParameterNotFound"}"#),
            Err(SecretError::NotFound)
        );
        assert_eq!(secret(400, r#"{"__type":"ResourceNotFoundException"}"#), Err(SecretError::NotFound));
        let denied = secret(400, r#"{"__type":"AccessDeniedException","Message":"no way"}"#).unwrap_err();
        assert_eq!(
            denied.to_string(),
            "the worker's AWS credentials may not read it (AccessDeniedException: no way)"
        );
        assert!(matches!(
            parameter(400, r#"{"__type":"ThrottlingException"}"#),
            Err(SecretError::Busy(why)) if why == "ThrottlingException"
        ));
        let expired = parameter(400, r#"{"__type":"ExpiredTokenException"}"#);
        assert!(matches!(expired, Err(SecretError::Unreached(unreached)) if unreached.may_recover));
        assert!(matches!(secret(500, "hush"), Err(SecretError::Lost(why)) if why == "HTTP status 500"));
        // Not a text, and nothing of it is told.
        let binary = secret(200, r#"{"SecretBinary":"aHVzaA=="}"#).unwrap_err();
        assert_eq!(binary, SecretError::Refused("secretsmanager holds no text for it".into()));
    }

    /// The signature was computed apart from this code, with botocore.
    #[test]
    fn requests_are_signed_for_their_service_and_region() {
        let question = Question::new(&AwsSecret::Parameter("/prod/db".into()));
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", Some("token".into()), None, "test");
        let now = "2026-11-24T10:00:00Z".parse().unwrap();
        let address = "https://ssm.eu-central-1.amazonaws.com";
        let request = signed(&question, address, "eu-central-1", credentials, now).unwrap();
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        assert_eq!(request.uri(), "https://ssm.eu-central-1.amazonaws.com/");
        assert_eq!(header("x-amz-target"), "AmazonSSM.GetParameter");
        assert_eq!(header("x-amz-security-token"), "token");
        let signature = "b41eb040b5995e6c3142163eab8d2d8752d54cb60bc15d4ef419f67c50c8dd75";
        assert!(header("authorization").ends_with(signature), "{}", header("authorization"));
    }
}
