//! How to reach AWS, or what stands in for it: region, endpoint, credentials, timeouts. Retries are off.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

use super::errors::Address;
use super::http;
use crate::error::{Error, Result};
use crate::limits;

/// Where to connect, and as whom.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Instead of AWS's own addresses, or those of the SDK's environment.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub profile: Option<String>,
    /// Nobody checks credentials there: made-up ones will do when the environment has none.
    pub is_localstack: bool,
}

/// The SDK's configuration and the clients made of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connection {
    pub s3: aws_sdk_s3::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub cloudformation: aws_sdk_cloudformation::Client,
    pub region: String,
    pub(super) address: Address,
    /// How long a single receive may wait for messages.
    pub(super) long_poll: Duration,
}

impl Connection {
    pub async fn open(place: &Place) -> Result<Connection> {
        let config = load(place).await;
        let Some(region) = config.region().map(ToString::to_string) else {
            return Err(Error::invalid("no AWS region is set")
                .hint("set AWS_REGION, or give the context one with `--region`"));
        };
        // Buckets in the host name need DNS for every bucket, which only AWS has.
        let elsewhere = config.endpoint_url().is_some();
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(elsewhere).build();
        let address = Address {
            address: config.endpoint_url().map_or_else(|| format!("AWS in {region}"), str::to_owned),
            way_out: match place.is_localstack {
                true => "`sh localstack/up` starts LocalStack; AFN_ENDPOINT says where it is",
                false => "see that endpoint and region are right, and that the network is up",
            },
        };
        Ok(Connection {
            address,
            s3: aws_sdk_s3::Client::from_conf(s3),
            sqs: aws_sdk_sqs::Client::new(&config),
            cloudformation: aws_sdk_cloudformation::Client::new(&config),
            region,
            long_poll: Duration::from_millis(match place.is_localstack {
                true => limits::LONG_POLL_LOCALSTACK_MS,
                false => limits::LONG_POLL_MS,
            }),
        })
    }
}

async fn load(place: &Place) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http::client())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts(Duration::ZERO));
    if let Some(endpoint) = &place.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(region) = &place.region {
        loader = loader.region(Region::new(region.clone()));
    }
    match &place.profile {
        Some(profile) => loader = loader.profile_name(profile),
        None if place.is_localstack => {
            let environment = EnvironmentVariableCredentialsProvider::new();
            let made_up = Credentials::new("test", "test", None, None, "localstack");
            let chain = CredentialsProviderChain::first_try("environment", environment)
                .or_else("localstack", made_up);
            loader = loader.credentials_provider(chain);
        }
        None => {}
    }
    loader.load().await
}

/// For one request: `more` is what it may take by its nature, a long poll or a large body.
pub(super) fn timeouts(more: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(limits::CONNECT_MS_MAX))
        .operation_attempt_timeout(Duration::from_millis(limits::ANSWER_MS_MAX) + more)
        .build()
}

/// What a body of this size adds to the timeout.
pub(super) fn upload_time(bytes: u64) -> Duration {
    Duration::from_millis(bytes * 1_000 / limits::UPLOAD_BYTES_PER_SECOND_MIN)
}
