//! How to reach AWS, or what stands in for it: region, endpoint, credentials, timeouts. Retries are off.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::{self, ProfileFileCredentialsProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::Builder as HttpClientBuilder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::os_shim_internal::{Env, Fs};

use super::errors::{Endpoint, chain};
use crate::error::{Error, Result};
use crate::limits;

/// Where to connect, and as whom.
#[derive(Debug, Clone, Default)]
pub struct ConnectionOptions {
    /// Instead of AWS's own addresses, or those of the SDK's environment.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub profile: Option<String>,
    /// LocalStack does not check credentials: made-up ones are used if the environment has none.
    pub is_localstack: bool,
}

/// The SDK's configuration and the clients made of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connection {
    pub s3: aws_sdk_s3::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub cloudformation: aws_sdk_cloudformation::Client,
    pub region: String,
    pub(super) endpoint: Endpoint,
    /// How long a single receive may wait for messages.
    pub(super) long_poll: Duration,
}

impl Connection {
    pub async fn open(options: &ConnectionOptions) -> Result<Connection> {
        let config = load(options).await?;
        let Some(region) = config.region().map(ToString::to_string) else {
            return Err(Error::invalid("no AWS region is set")
                .with_hint("set AWS_REGION, or give the context one with `--region`"));
        };
        // Buckets in the host name need DNS for every bucket, which only AWS has.
        let elsewhere = config.endpoint_url().is_some();
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(elsewhere).build();
        let endpoint = Endpoint {
            sts: aws_sdk_sts::Client::new(&config),
            region: region.clone(),
            address: config.endpoint_url().map_or_else(|| format!("AWS in {region}"), str::to_owned),
            hint: match options.is_localstack {
                true => "`sh localstack/up` starts LocalStack; AFN_ENDPOINT says where it is",
                false => "see that endpoint and region are right, and that the network is up",
            },
        };
        Ok(Connection {
            endpoint,
            s3: aws_sdk_s3::Client::from_conf(s3),
            sqs: aws_sdk_sqs::Client::new(&config),
            cloudformation: aws_sdk_cloudformation::Client::new(&config),
            region,
            long_poll: if options.is_localstack { limits::LONG_POLL_LOCALSTACK } else { limits::LONG_POLL },
        })
    }
}

impl Connection {
    /// Of these credentials.
    pub async fn account(&self) -> Result<String> {
        self.endpoint.account().await.map_err(Error::from)
    }
}

pub(super) async fn load(options: &ConnectionOptions) -> Result<SdkConfig> {
    // rustls on ring needs no C++ compiler and no cmake.
    let http = HttpClientBuilder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.clone())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts(Duration::ZERO));
    if let Some(endpoint) = &options.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    }
    match &options.profile {
        Some(profile) => loader = loader.profile_name(profile),
        None if options.is_localstack => {
            let environment = EnvironmentVariableCredentialsProvider::new();
            let made_up = Credentials::new("test", "test", None, None, "localstack");
            let chain = CredentialsProviderChain::first_try("environment", environment)
                .or_else("localstack", made_up);
            loader = loader.credentials_provider(chain);
        }
        None => {}
    }
    let config = loader.load().await;
    let Some(profile) = &options.profile else { return Ok(config) };
    check_profile(profile).await?;
    // The SDK would take keys of the environment first: somebody who names a profile would act in another account.
    let provider = ProviderConfig::default().with_region(config.region().cloned()).with_http_client(http);
    let credentials =
        ProfileFileCredentialsProvider::builder().profile_name(profile).configure(&provider).build();
    let credentials = SharedCredentialsProvider::new(credentials);
    Ok(config.into_builder().credentials_provider(credentials).build())
}

async fn check_profile(profile: &str) -> Result<()> {
    let files =
        profile::load(&Fs::real(), &Env::real(), &Default::default(), None).await.map_err(|error| {
            Error::invalid(format!("cannot read profile `{profile}`: {}", chain(&error))).with_source(error)
        })?;
    if files.get_profile(profile).is_some() {
        return Ok(());
    }
    Err(Error::invalid(format!("there is no profile `{profile}` in the AWS files")).with_hint(
        "`aws configure list-profiles` lists those there are; AFN_PROFILE, the context or --source-profile names this one",
    ))
}

/// For one request: `more` is what it may take by its nature, a long poll or a large body.
pub(super) fn timeouts(more: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(limits::CONNECT_MAX)
        .operation_attempt_timeout(limits::ANSWER_MAX + more)
        .build()
}

/// What a body of this size adds to the timeout.
pub(super) fn upload_time(bytes: u64) -> Duration {
    Duration::from_millis(bytes * 1_000 / limits::UPLOAD_BYTES_PER_SECOND_MIN)
}
