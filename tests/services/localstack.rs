//! A context of its own for every test: the bucket is shared, prefix and queues are not. LocalStack forgets all of it
//! when it ends.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use afn::backend::aws::{Connection, ConnectionOptions};
use afn::context::{self, Context, Kind, Opened, QueueNames};
use afn::event::Silent;
use aws_sdk_cloudformation::types::{Capability, Parameter, StackStatus};

use crate::support::PATIENCE;

/// Set by `sh tests/run`; else where `localstack/up` puts it.
const ENDPOINT: &str = "AFN_TEST_LOCALSTACK";
const ENDPOINT_DEFAULT: &str = "http://127.0.0.1:4566";

pub fn endpoint() -> String {
    let endpoint = std::env::var(ENDPOINT).unwrap_or_else(|_| ENDPOINT_DEFAULT.to_owned());
    let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let answers = host
        .to_socket_addrs()
        .into_iter()
        .flatten()
        .any(|address| TcpStream::connect_timeout(&address, PATIENCE).is_ok());
    assert!(
        answers,
        "no LocalStack answers at {endpoint}: run `sh tests/run`, or `localstack/up` and this test again"
    );
    endpoint
}

/// A name that no other test, process or run has: lowercase letters, digits and `-`.
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    #[expect(clippy::disallowed_methods, reason = "names of a test differ from run to run")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    format!("{what}-{now:x}-{:x}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A context of which nothing was made yet but, perhaps, its bucket.
pub fn draft(what: &str) -> Context {
    let own = unique(what);
    let mut context = Context::new("localstack".parse().expect("a name"), Kind::Localstack);
    context.endpoint = Some(endpoint());
    context.prefix = format!("tests/{own}");
    context.queues = QueueNames::from_base(&own);
    context
}

/// A context that can be used.
pub async fn made(what: &str) -> Context {
    let context = draft(what);
    context::create(&context).await.expect("make bucket and queues");
    context
}

pub async fn open(context: &Context) -> Opened {
    context::open(context, Arc::new(Silent)).await.expect("open the context")
}

/// A context on what `infra/core.yaml` makes: a stack of its own, bucket and all.
pub async fn deployed(what: &str) -> Context {
    let mut context = draft(what);
    let stack = context.queues.calls.trim_end_matches("-calls").to_owned();
    deploy(&context, &stack).await;
    context.bucket = None;
    context::from_stack(context, &stack).await.expect("read the stack's outputs")
}

/// Deploys the core stack.
pub async fn deploy(context: &Context, stack: &str) {
    let prefix = Parameter::builder().parameter_key("Prefix").parameter_value(&context.prefix).build();
    let template = include_str!("../../infra/core.yaml");
    deploy_template(context, stack, template, vec![prefix]).await.expect("deploy the core stack");
}

/// Deploys a template; `Ok` only if all of it was made.
pub async fn deploy_template(
    context: &Context,
    stack: &str,
    template: &str,
    parameters: Vec<Parameter>,
) -> Result<(), String> {
    let cloudformation = connect(context).await.cloudformation;
    cloudformation
        .create_stack()
        .stack_name(stack)
        .template_body(template)
        .capabilities(Capability::CapabilityIam)
        .set_parameters(Some(parameters))
        .send()
        .await
        .expect("create the stack");
    // Some twenty resources, a few tenths of a second each.
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        let described = cloudformation.describe_stacks().stack_name(stack).send().await.expect("describe");
        let status = described.stacks()[0].stack_status().expect("a status").clone();
        if status != StackStatus::CreateInProgress {
            let events =
                cloudformation.describe_stack_events().stack_name(stack).send().await.expect("events");
            let reasons: Vec<&str> =
                events.stack_events().iter().filter_map(|event| event.resource_status_reason()).collect();
            // LocalStack counts what it does not know as made, and says so here only.
            let unknown = reasons.iter().any(|reason| reason.contains("not supported"));
            return match status {
                StackStatus::CreateComplete if !unknown => Ok(()),
                status => Err(format!("{status}: {reasons:?}")),
            };
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Err(format!("not complete after {PATIENCE:?}"))
}

pub async fn connect(context: &Context) -> Connection {
    let place = ConnectionOptions {
        endpoint: context.endpoint.clone(),
        region: context.region.clone(),
        profile: None,
        is_localstack: true,
    };
    Connection::open(&place).await.expect("connect")
}
