//! Logins to registries, as `docker login` stores them: in `config.json`, or in a credential helper that it names.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

/// Docker's own registry, as references leave it out and `config.json` spells it.
pub(super) const HUB: &str = "docker.io";
const HUB_SERVER: &str = "https://index.docker.io/v1/";

#[derive(Debug, Default, Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, DockerCredentials>,
    #[serde(default, rename = "credHelpers")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    creds_store: Option<String>,
}

#[derive(Debug, Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// The registry that a reference names: the part before its first slash, if that looks like a host. Docker's rules: no
/// repository has upper case, so a part with it is a host.
pub(super) fn registry(reference: &str) -> &str {
    let is_of_host = |c: char| c == '.' || c == ':' || c.is_uppercase();
    match reference.split_once('/') {
        Some((host, _)) if host.contains(is_of_host) || host == "localhost" => match host {
            "index.docker.io" => HUB,
            host => host,
        },
        _ => HUB,
    }
}

/// The login in `config_dir/config.json` for the registry of a reference. `None` is no error: the registry may require no
/// login.
pub(super) async fn find(config_dir: &Path, reference: &str) -> Result<Option<DockerCredentials>, String> {
    let path = config_dir.join("config.json");
    let text = match tokio::fs::read_to_string(&path).await {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    let config: ConfigFile =
        serde_json::from_str(&text).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let registry = registry(reference);
    let server = if registry == HUB { HUB_SERVER } else { registry };
    let helper = config.cred_helpers.get(registry).or(config.cred_helpers.get(server));
    if let Some(helper) = helper.or(config.creds_store.as_ref()) {
        return ask(helper, server).await;
    }
    let entry = config.auths.into_iter().find(|(name, _)| host_of(name) == host_of(server));
    entry.map(|(_, login)| decode(login, server)).transpose()
}

/// `auths` has hosts, and URLs from older days.
fn host_of(server: &str) -> &str {
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    server.split('/').next().unwrap_or(server)
}

/// A login of `auths`, as Docker takes it.
fn decode(mut login: DockerCredentials, server: &str) -> Result<DockerCredentials, String> {
    login.serveraddress = Some(server.to_owned());
    login.identitytoken.take_if(|token| token.is_empty());
    login.registrytoken.take_if(|token| token.is_empty());
    if let Some(encoded) = login.auth.take().filter(|encoded| !encoded.is_empty()) {
        let pair = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (username, password) = pair
            .as_deref()
            .and_then(|pair| pair.split_once(':'))
            .ok_or_else(|| format!("docker's config.json has a broken `auth` for {server}"))?;
        login.username = Some(username.to_owned());
        login.password = Some(password.trim_end_matches('\0').to_owned());
    }
    Ok(login)
}

/// Credential helpers are programs that take the server's name and answer with JSON.
async fn ask(helper: &str, server: &str) -> Result<Option<DockerCredentials>, String> {
    let program = format!("docker-credential-{helper}");
    let failed = |why: &dyn std::fmt::Display| format!("credential helper `{program}` failed: {why}");
    let mut child = tokio::process::Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(server.as_bytes()).await.map_err(|error| failed(&error))?;
    }
    let output = child.wait_with_output().await.map_err(|error| failed(&error))?;
    let answer = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        // The helpers' protocol has no code for this, only this text. The registry may require no login.
        if answer.contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed(&answer.trim()));
    }
    let answer: HelperAnswer = serde_json::from_str(&answer).map_err(|error| failed(&error))?;
    let mut found =
        DockerCredentials { serveraddress: Some(server.to_owned()), ..DockerCredentials::default() };
    if answer.username == "<token>" {
        found.identitytoken = Some(answer.secret);
    } else {
        found.username = Some(answer.username);
        found.password = Some(answer.secret);
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_its_registry() {
        for (reference, expected) in [
            ("busybox", HUB),
            ("library/busybox:1", HUB),
            ("index.docker.io/library/busybox", HUB),
            ("localhost/x", "localhost"),
            ("EVIL/x", "EVIL"),
            ("localhost:5000/x:1", "localhost:5000"),
            ("123.dkr.ecr.eu-west-1.amazonaws.com/team/x@sha256:00", "123.dkr.ecr.eu-west-1.amazonaws.com"),
        ] {
            assert_eq!(registry(reference), expected, "{reference}");
        }
    }

    #[tokio::test]
    async fn logins_are_found_by_host_whatever_their_spelling() {
        let dir = tempfile::tempdir().unwrap();
        let config = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "amFjazpzZTpjcmV0"},
            "https://reg.example.com": {"identitytoken": "tok"},
            "broken.example.com": {"auth": "!!"}
        }}"#;
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        let found = |reference: &'static str| find(dir.path(), reference);

        let hub = found("busybox").await.unwrap().unwrap();
        assert_eq!(hub.username.as_deref(), Some("jack"));
        assert_eq!(hub.password.as_deref(), Some("se:cret"));
        assert_eq!(hub.serveraddress.as_deref(), Some(HUB_SERVER));
        let token = found("reg.example.com/a/b:1").await.unwrap().unwrap();
        assert_eq!(token.identitytoken.as_deref(), Some("tok"));
        assert_eq!(found("other.example.com/x").await.unwrap(), None);
        assert!(found("broken.example.com/x").await.unwrap_err().contains("broken.example.com"));
    }

    #[tokio::test]
    async fn no_file_is_no_login_and_a_missing_helper_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(dir.path(), "busybox").await.unwrap(), None);
        let config = r#"{"credHelpers": {"reg.example.com": "no-such-helper"}}"#;
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        let why = find(dir.path(), "reg.example.com/x").await.unwrap_err();
        assert!(why.contains("docker-credential-no-such-helper"), "{why}");
    }
}
