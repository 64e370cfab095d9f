//! The connection to Docker's unix socket, and whose fault an error is. Knows nothing of functions.

use std::path::PathBuf;

use bollard::errors::Error as DockerError;
use bollard::{API_DEFAULT_VERSION, Docker};

use crate::error::causes;
use crate::limits;
use crate::seam::executor::Fault;

const SOCKET_DEFAULT: &str = "/var/run/docker.sock";
/// Docker 20.10.
const API_VERSION_MIN: (usize, usize) = (1, 41);

/// A daemon that has answered, and what it runs.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) docker: Docker,
    pub(super) socket: PathBuf,
    /// As Docker and Go spell them: `linux`, `amd64`.
    pub(super) os: String,
    pub(super) arch: String,
}

impl Client {
    /// `host` is written as in `DOCKER_HOST`; `None` is the socket where Docker puts it.
    pub(super) async fn connect(host: Option<&str>) -> Result<Client, String> {
        let path = match host.filter(|host| !host.is_empty()) {
            None => SOCKET_DEFAULT,
            Some(host) if host.starts_with('/') => host,
            Some(host) => host.strip_prefix("unix://").ok_or_else(|| {
                format!("docker host `{host}` is not a unix socket like unix://{SOCKET_DEFAULT}")
            })?,
        };
        let timeout = limits::DOCKER_REQUEST_MAX;
        let docker = Docker::connect_with_unix(path, timeout.as_secs(), API_DEFAULT_VERSION)
            .map_err(|_| format!("docker is not there: no socket at {path}"))?
            .with_request_modifier(url_safe_credentials)
            .negotiate_version()
            .await
            .map_err(|error| format!("docker does not answer on {path}: {}", describe(&error)))?;
        let api = docker.client_version();
        if (api.major_version, api.minor_version) < API_VERSION_MIN {
            return Err(format!("docker speaks API {api}, the oldest that will do is 1.41 (Docker 20.10)"));
        }
        let version = docker.version().await.map_err(|error| describe(&error))?;
        Ok(Client {
            docker,
            socket: path.into(),
            os: version.os.unwrap_or_else(|| "linux".to_owned()),
            arch: version.arch.unwrap_or_default(),
        })
    }

    /// A real round trip.
    pub(super) async fn ping(&self) -> Result<(), String> {
        match self.docker.ping().await {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("docker does not answer: {}", describe(&error))),
        }
    }
}

/// Docker reads these headers in the URL-safe alphabet, the client writes them in the other one.
fn url_safe_credentials(mut request: bollard::BollardRequest) -> bollard::BollardRequest {
    for name in ["x-registry-auth", "x-registry-config"] {
        if let Some(value) = request.headers_mut().get_mut(name)
            && let Ok(text) = value.to_str()
            && let Ok(safe) = text.replace('+', "-").replace('/', "_").parse()
        {
            *value = safe;
        }
    }
    request
}

/// Docker's message, without the words that the client adds.
pub(super) fn describe(error: &DockerError) -> String {
    match error {
        DockerError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        DockerError::DockerStreamError { error } => error.trim().to_owned(),
        DockerError::RequestTimeoutError => {
            format!("no answer within {} s", limits::DOCKER_REQUEST_MAX.as_secs())
        }
        error => chain(error),
    }
}

/// An error and its sources, innermost last: the transport's own words hide what happened.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in causes(error).skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

pub(super) fn status(error: &DockerError) -> Option<u16> {
    match error {
        DockerError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

pub(super) fn is_not_found(error: &DockerError) -> bool {
    status(error) == Some(404)
}

/// Signs of a refusal that says nothing about the function. Containers join no network but afn's own.
const NO_SPACE: &str = "no space left";
const NAME_IN_USE: &str = "is already in use";
pub(super) const NETWORK: &str = "network afn";

/// Whose fault it is that a container was not made or started: a request that Docker refuses as wrong (4xx: no such
/// command, a limit it cannot set) is the function's, everything else is this machine's.
pub(super) fn fault(doing: &str, error: &DockerError) -> Fault {
    let message = describe(error);
    let refused = matches!(status(error), Some(400..=499));
    if message.contains("OOM-killed") || message.contains("memory limit too low") {
        Fault::Function(format!("{doing}: out of memory before the function began: {message}"))
    } else if refused && ![NO_SPACE, NAME_IN_USE, NETWORK].iter().any(|sign| message.contains(sign)) {
        Fault::Function(format!("{doing}: {message}"))
    } else {
        Fault::Worker(format!("{doing}: docker: {message}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_error(status_code: u16, message: &str) -> DockerError {
        DockerError::DockerResponseServerError { status_code, message: message.to_owned() }
    }

    #[test]
    fn a_refused_request_is_the_functions_fault_and_the_rest_the_workers() {
        let wrong = server_error(400, "exec: \"nope\": executable file not found in $PATH");
        assert!(matches!(fault("cannot start", &wrong), Fault::Function(why) if why.contains("nope")));
        for error in [
            server_error(500, "devmapper is broken"),
            server_error(400, "write /x: no space left on device"),
            server_error(409, "the container name \"/x\" is already in use"),
            server_error(404, "network afn not found"),
            DockerError::RequestTimeoutError,
        ] {
            assert!(matches!(fault("cannot start", &error), Fault::Worker(_)), "{error}");
        }
        let starved = server_error(500, "container init was OOM-killed (memory limit too low?)");
        assert!(matches!(fault("cannot start", &starved), Fault::Function(_)));
    }

    #[tokio::test]
    async fn a_host_that_is_no_unix_socket_is_refused_by_name() {
        let why = Client::connect(Some("tcp://10.0.0.1:2375")).await.err().unwrap();
        assert!(why.contains("tcp://10.0.0.1:2375"), "{why}");
        let why = Client::connect(Some("unix:///nowhere/docker.sock")).await.err().unwrap();
        assert_eq!(why, "docker is not there: no socket at /nowhere/docker.sock");
    }
}
