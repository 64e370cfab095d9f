//! Parameters of Systems Manager, for functions whose config names them. The keeper here is LocalStack, which checks no
//! signature; `tests/iam` has Secrets Manager, and who may read what.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use super::harness;
use crate::support::world::{APP, World};

/// Makes a parameter that is encrypted, as `aws ssm put-parameter` does.
fn put_parameter(name: &str, value: &str) {
    let endpoint = harness::endpoint();
    let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let body = json!({ "Name": name, "Value": value, "Type": "SecureString", "Overwrite": true }).to_string();
    let mut stream = TcpStream::connect(host).expect("LocalStack answers");
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: AmazonSSM.PutParameter\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=test/20261124/us-east-1/ssm/aws4_request, SignedHeaders=host, Signature=0\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("a request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_function_is_given_the_parameter_that_its_config_names() {
    let world = World::on(harness::made("secrets").await);
    let name = format!("/{}/db", harness::unique("secrets"));
    world.deploy("f", "echo \"[$DB]\" | tr h H").await;
    world.afn(&format!("config function {APP} /f DB ssm:{name}")).await.ok();

    let call = async || world.afn(&format!("submit {APP} /f")).await.ok().trim().to_owned();
    let missing = call().await;
    let worked = world.afn("worker --drain").await;
    assert_eq!(worked.code, 0, "{}", worked.stderr);
    let status = world.afn(&format!("get call {APP} {missing} -o json")).await.json();
    let reason = format!(
        "config `DB`: `ssm:{name}` cannot be read: there is no such secret in the worker's account and region; \
         create it, or correct the reference"
    );
    assert_eq!((&status["status"], &status["reason"]), (&json!("error"), &json!(reason)));

    put_parameter(&name, "hush");
    let given = call().await;
    let worked = world.afn("worker --drain").await;
    assert!(worked.code == 0 && !worked.stderr.contains("hush"), "{}", worked.stderr);
    assert_eq!(world.afn(&format!("get result {APP} {given}")).await.ok(), "[HusH]\n");
    let shown = world.afn(&format!("inspect function {APP} /f --reveal")).await.json();
    assert_eq!(shown["config"], json!({ "DB": format!("ssm:{name}") }));

    // The worker's environment is its own in a remote context.
    world.afn(&format!("config function {APP} /f HOME env:HOME")).await.ok();
    let waits = call().await;
    let mut worker = world.worker("").await;
    worker.said("start it with --allow-env HOME").await;
    worker.terminate();
    assert_eq!(worker.ended().await, 0);
    world.afn(&format!("cancel {APP} {waits}")).await.ok();
}
