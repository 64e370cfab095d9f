//! Images: which one a version means, whether it is here, and fetching it if not.
//!
//! A version that recorded what was built runs that and nothing else, wherever its tag has moved since. When an image
//! is not here and cannot be fetched, three cases differ. Its registry does not have it, or refuses us, or has
//! an unknown name: the function's fault, recorded after a few tries. The registry does not answer: this
//! worker cannot run this version now, but can run others, so it is a mismatch, and recorded only after an hour of
//! it. Docker itself fails: the worker's fault.

use std::path::Path;

use bollard::Docker;
use bollard::models::ImageInspect;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt as _;

use super::client::{self, Client};
use super::credentials;
use crate::limits;
use crate::seam::Clock;
use crate::seam::executor::{Fault, Mismatch};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) id: String,
    /// Where the image would like to have volumes.
    pub(super) volumes: Vec<String>,
}

/// What is known here of an image; `None` when it is not here.
pub(super) async fn inspect(
    docker: &Docker,
    name: &str,
) -> Result<Option<ImageInspect>, bollard::errors::Error> {
    match docker.inspect_image(name).await {
        Ok(image) => Ok(Some(image)),
        Err(error) if client::is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Finds the image that a version means, fetching it if it is not here.
pub(super) async fn resolve(
    client: &Client,
    clock: &dyn Clock,
    config_dir: &Path,
    reference: &str,
    digest: Option<&str>,
) -> Result<Image, Fault> {
    // An image id, a repo digest (`name@sha256:…`, which can be fetched by it), or nothing but the name.
    let wanted = digest.unwrap_or(reference);
    if let Some(image) = find(client, wanted).await? {
        return Ok(image);
    }
    let fetch_by = if wanted.contains('@') { wanted } else { reference };
    pull(client, clock, config_dir, fetch_by, digest).await?;
    match find(client, wanted).await? {
        Some(image) => Ok(image),
        None => Err(Fault::Function(format!(
            "image not found: {reference} is another image by now than the one deployed ({})",
            short(wanted)
        ))),
    }
}

/// An image id as people write it.
fn short(id: &str) -> &str {
    id.get(.."sha256:".len() + 12).filter(|short| short.starts_with("sha256:")).unwrap_or(id)
}

async fn find(client: &Client, name: &str) -> Result<Option<Image>, Fault> {
    let found = inspect(&client.docker, name).await;
    let found = found.map_err(|error| client::fault(&format!("cannot look up image {name}"), &error))?;
    Ok(found.map(|image| Image {
        id: image.id.unwrap_or_else(|| name.to_owned()),
        volumes: image.config.and_then(|config| config.volumes).unwrap_or_default(),
    }))
}

async fn pull(
    client: &Client,
    clock: &dyn Clock,
    config_dir: &Path,
    reference: &str,
    digest: Option<&str>,
) -> Result<(), Fault> {
    let shown = match digest {
        Some(id) if !id.contains('@') => format!("{reference} ({})", short(id)),
        _ => reference.to_owned(),
    };
    let login = credentials::find(config_dir, reference).await.map_err(Fault::Worker)?;
    // A name alone would mean all its tags.
    let tagged = reference.contains('@') || reference.rsplit('/').next().is_some_and(|end| end.contains(':'));
    let name = if tagged { reference.to_owned() } else { format!("{reference}:latest") };
    let options = CreateImageOptionsBuilder::default().from_image(&name).build();
    let docker = client.docker.clone().with_timeout(limits::PULL_MAX);
    let mut progress = docker.create_image(Some(options), None, login);
    let pulled = async {
        while let Some(step) = progress.next().await {
            step?;
        }
        Ok::<_, bollard::errors::Error>(())
    };
    tokio::select! {
        biased;
        pulled = pulled => pulled.map_err(|error| pull_fault(&shown, &error)),
        () = clock.sleep(limits::PULL_MAX) => Err(Fault::Mismatch(Mismatch(format!(
            "image {shown} is not here, and was not fetched within {} min",
            limits::ms(limits::PULL_MAX) / 60_000
        )))),
    }
}

fn pull_fault(reference: &str, error: &bollard::errors::Error) -> Fault {
    let message = client::describe(error);
    let has = |words: &[&str]| words.iter().any(|word| message.to_lowercase().contains(word));
    let is_dockers_answer =
        client::status(error).is_some() || matches!(error, bollard::errors::Error::DockerStreamError { .. });
    // The order matters: a registry's "not found" may come in a 500 of Docker's.
    if !is_dockers_answer {
        Fault::Worker(format!("cannot fetch image {reference}: docker: {message}"))
    } else if has(&["no space left", "read-only file system", "input/output error"]) {
        Fault::Worker(format!("cannot fetch image {reference}: {message}"))
    } else if client::is_not_found(error)
        || has(&["not found", "manifest unknown", "does not exist", "access denied", "no such host"])
        || has(&["unauthorized", "authentication required", "forbidden", "invalid reference"])
        || has(&["no matching manifest", "no basic auth credentials", "name unknown"])
    {
        Fault::Function(format!(
            "image not found: {reference} is not here, and fetching it failed: {message}"
        ))
    } else {
        Fault::Mismatch(Mismatch(format!(
            "image {reference} is not here, and its registry does not answer: {message}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::errors::Error as DockerError;

    fn answered(status_code: u16, message: &str) -> Fault {
        let message = message.to_owned();
        pull_fault("reg.example.com/x:1", &DockerError::DockerResponseServerError { status_code, message })
    }

    #[test]
    fn an_absent_image_is_the_functions_fault() {
        for (status, message) in [
            (404, "manifest for reg.example.com/x:1 not found: manifest unknown"),
            (404, "pull access denied for x, repository does not exist or may require 'docker login'"),
            (500, "Get \"https://reg.example.com/v2/\": dial tcp: lookup reg.example.com: no such host"),
            (500, "unauthorized: authentication required"),
        ] {
            let fault = answered(status, message);
            assert!(
                matches!(&fault, Fault::Function(why) if why.starts_with("image not found: reg.example.com/x:1")),
                "{fault:?}"
            );
        }
    }

    #[test]
    fn a_registry_that_does_not_answer_keeps_only_this_version_from_running() {
        for message in [
            "Get \"https://reg.example.com/v2/\": dial tcp 10.0.0.1:443: connect: connection refused",
            "Get \"https://reg.example.com/v2/\": net/http: request canceled while waiting for connection",
            "toomanyrequests: You have reached your pull rate limit",
            "received unexpected HTTP status: 503 Service Unavailable",
        ] {
            let fault = answered(500, message);
            assert!(matches!(&fault, Fault::Mismatch(_)), "{fault:?}");
        }
    }

    #[test]
    fn a_machine_that_cannot_take_the_image_is_sick() {
        let full = "failed to register layer: write /usr/lib/x: no space left on device";
        assert!(matches!(answered(500, full), Fault::Worker(_)));
        let gone = pull_fault("x", &DockerError::RequestTimeoutError);
        assert!(matches!(gone, Fault::Worker(_)));
    }
}
