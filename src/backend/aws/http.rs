//! The HTTP client of the SDK: rustls on ring, so that no C++ compiler and no cmake is needed. Talks plain HTTP to an
//! `http://` endpoint.

use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

pub(super) fn client() -> SharedHttpClient {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}
