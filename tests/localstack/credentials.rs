//! Every kind of credentials that the SDK knows and we promise, with the real program: what finds none says what to do.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use super::harness;

const STATIC: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
const ROLE: &str = "arn:aws:iam::000000000000:role/worker";

/// A home with an AWS configuration file, and nothing of the environment of who runs the tests.
struct Person {
    home: tempfile::TempDir,
}

impl Person {
    fn new(config: &str) -> Person {
        let home = tempfile::tempdir().expect("a folder");
        std::fs::write(home.path().join("config"), config).expect("a file");
        Person { home }
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    /// `afn list apps` on the context `aws`, in the bucket of the context `localstack`.
    fn lists(&self, variables: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_afn"))
            .args(["list", "apps"])
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("AFN_CONTEXT", "aws")
            .env("AFN_BUCKET", "afn")
            .env("AFN_PREFIX", harness::unique("tests/credentials"))
            // For STS too, unlike AFN_ENDPOINT.
            .env("AWS_ENDPOINT_URL", harness::endpoint())
            .env("AFN_ENDPOINT", harness::endpoint())
            .env("AWS_CONFIG_FILE", self.home.path().join("config"))
            .env("AWS_SHARED_CREDENTIALS_FILE", self.home.path().join("none"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_REGION", "us-east-1")
            .envs(variables.iter().copied())
            .output()
            .expect("afn runs")
    }

    #[track_caller]
    fn may(&self, variables: &[(&str, &str)]) {
        let output = self.lists(variables);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[track_caller]
    fn may_not(&self, variables: &[(&str, &str)], code: i32, why: &str) {
        let output = self.lists(variables);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(why), "{stderr}");
    }
}

fn write(path: &str, text: &str) {
    std::fs::write(Path::new(path), text).expect("a file");
}

#[test]
fn static_keys() {
    Person::new("").may(&STATIC);
}

#[test]
fn a_profile_and_a_role_it_takes_on() {
    let config = format!(
        "[profile base]\naws_access_key_id = test\naws_secret_access_key = test\n\
         [profile worker]\nrole_arn = {ROLE}\nsource_profile = base\n"
    );
    let person = Person::new(&config);
    person.may(&[("AWS_PROFILE", "base")]);
    person.may(&[("AFN_PROFILE", "worker")]);
}

#[test]
fn a_process() {
    let answer = r#"{"Version":1,"AccessKeyId":"test","SecretAccessKey":"test"}"#;
    let person = Person::new("");
    write(&person.path("answer"), answer);
    write(
        &person.path("config"),
        &format!("[default]\ncredential_process = cat {}\n", person.path("answer")),
    );
    person.may(&[]);
}

#[test]
fn a_web_identity() {
    let person = Person::new("");
    let token = person.path("token");
    write(&token, "a.b.c");
    person.may(&[("AWS_WEB_IDENTITY_TOKEN_FILE", &token), ("AWS_ROLE_ARN", ROLE)]);
}

/// One answer over HTTP, as the agents of ECS and EC2 give it.
fn agent() -> (std::thread::JoinHandle<()>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let serve = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody asks");
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).expect("a request");
        let body = r#"{"AccessKeyId":"test","SecretAccessKey":"test","Token":"t","Expiration":"2099-01-01T00:00:00Z"}"#;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        stream.write_all((head + body).as_bytes()).expect("an answer");
    });
    (serve, format!("http://{address}/credentials"))
}

#[test]
fn a_container() {
    let (agent, url) = agent();
    Person::new("").may(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)]);
    agent.join().expect("it was asked");
}

#[test]
fn none_at_all() {
    Person::new("").may_not(&[], 5, "no AWS credentials were found");
}

#[test]
fn a_profile_that_is_not_there() {
    Person::new("[default]\n").may_not(&[("AFN_PROFILE", "gone")], 2, "there is no profile `gone`");
}

/// Without the feature `sso`; with it, the SDK asks for a sign-in instead.
#[cfg(not(feature = "sso"))]
#[test]
fn identity_center_names_the_feature() {
    let config = "[profile people]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = dev\n\
                  [sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://corp.invalid/start\n";
    Person::new(config).may_not(&[("AFN_PROFILE", "people")], 5, "--features sso");
}
