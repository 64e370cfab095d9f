//! Images from folders, through Docker's own builder.

use std::path::Path;

use async_trait::async_trait;
use bollard::errors::Error as DockerError;
use bollard::query_parameters::{BuildImageOptionsBuilder, PushImageOptionsBuilder};
use futures_util::StreamExt as _;

use super::client::{self, Client};
use super::{DockerOptions, context, credentials, image};
use crate::deploy::builder::{BuildRequest, BuiltImage, ImageBuilder, Log};
use crate::error::{Error, Result};
use crate::limits;

/// Builds and pushes. Docker is asked only when there is something to do.
pub struct Builder(pub DockerOptions);

impl Builder {
    async fn client(&self) -> Result<Client> {
        let client = Client::connect(self.0.host.as_deref()).await;
        client.map_err(|why| {
            Error::unreachable(why)
                .with_hint("start Docker, or deploy without it: then the folder itself is run, as a process")
        })
    }
}

#[async_trait]
impl ImageBuilder for Builder {
    async fn build(&self, request: BuildRequest<'_>) -> Result<BuiltImage> {
        let client = self.client().await?;
        let (dir, dockerfile) = (request.context_dir.to_owned(), request.dockerfile.to_owned());
        let packed = tokio::task::spawn_blocking(move || context::pack(&dir, &dockerfile)).await;
        let packed =
            packed.map_err(|error| Error::internal(format!("packing {}: {error}", request.tag)))??;
        let build_args = request.build_args.iter().map(|(name, value)| (name.clone(), value.clone()));
        let options = BuildImageOptionsBuilder::default()
            .dockerfile(context::DOCKERFILE)
            .t(request.tag)
            .nocache(request.no_cache)
            .rm(true)
            .forcerm(true)
            .buildargs(&build_args.collect())
            .build();
        let mut logins = Vec::new();
        for base in bases(request.dockerfile) {
            let login = login(&self.0.config_dir, base).await?;
            logins.extend(login.and_then(|login| Some((login.serveraddress.clone()?, login))));
        }

        let docker = client.docker.clone().with_timeout(limits::BUILD_MAX);
        let body = bollard::body_try_stream(context::pieces(packed));
        let mut answers = docker.build_image(options, Some(logins.into_iter().collect()), Some(body));
        let mut lines = Lines::default();
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(info) => {
                    let status = info.status.filter(|_| info.progress_detail.is_none());
                    for text in
                        [info.stream, status.map(|status| format!("{status}\n"))].into_iter().flatten()
                    {
                        lines.take(&text, request.log);
                    }
                }
                Err(error) => {
                    lines.end(request.log);
                    return Err(build_error(request.tag, lines.step.as_deref(), &error));
                }
            }
        }
        lines.end(request.log);
        let built = self.inspect(request.tag).await?;
        built.ok_or_else(|| Error::internal(format!("Docker built {} and does not know it", request.tag)))
    }

    async fn push(&self, reference: &str, log: &Log<'_>) -> Result<String> {
        let client = self.client().await?;
        let login = login(&self.0.config_dir, reference).await?;
        let (name, tag) = split_tag(reference);
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let docker = client.docker.clone().with_timeout(limits::BUILD_MAX);
        let mut answers = docker.push_image(name, Some(options), login);
        while let Some(answer) = answers.next().await {
            let info = answer.map_err(|error| push_error(reference, &error))?;
            // Progress bars change too often for a log.
            if let (Some(status), None) = (info.status, info.progress_detail.and_then(|bar| bar.current)) {
                log(&status);
            }
        }
        let pushed = image::inspect(&client.docker, reference).await.ok().flatten();
        let digests = pushed.and_then(|image| image.repo_digests).unwrap_or_default();
        let own = |digest: &String| digest.split_once('@').is_some_and(|(repo, _)| repo == name);
        digests.into_iter().find(own).ok_or_else(|| {
            Error::internal(format!("Docker pushed {reference} and does not say by what digest to pull it"))
        })
    }

    async fn available(&self) -> Result<(), String> {
        Client::connect(self.0.host.as_deref()).await?.ping().await
    }

    async fn inspect(&self, reference: &str) -> Result<Option<BuiltImage>> {
        let client = self.client().await?;
        let found = image::inspect(&client.docker, reference).await.map_err(|error| {
            Error::unreachable(format!("cannot look up image {reference}: {}", client::describe(&error)))
        })?;
        Ok(found.map(|found| BuiltImage {
            reference: reference.to_owned(),
            digest: found.id.unwrap_or_default(),
            os: found.os.filter(|os| !os.is_empty()).unwrap_or(client.os),
            arch: found.architecture.filter(|arch| !arch.is_empty()).unwrap_or(client.arch),
        }))
    }
}

async fn login(config_dir: &Path, reference: &str) -> Result<Option<bollard::auth::DockerCredentials>> {
    credentials::find(config_dir, reference).await.map_err(Error::invalid)
}

/// The images that a Dockerfile starts from.
fn bases(dockerfile: &str) -> impl Iterator<Item = &str> {
    dockerfile.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| word.eq_ignore_ascii_case("from"))?;
        words.find(|word| !word.starts_with("--"))
    })
}

fn split_tag(reference: &str) -> (&str, &str) {
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    }
}

/// Joins the pieces of a builder's output to lines.
#[derive(Default)]
struct Lines {
    open: String,
    /// The last step that began: `Step 2/5 : RUN go build`.
    step: Option<String>,
}

impl Lines {
    fn take(&mut self, text: &str, log: &Log<'_>) {
        self.open.push_str(text);
        while let Some(end) = self.open.find('\n') {
            let line: String = self.open.drain(..=end).collect();
            self.line(line.trim_end(), log);
        }
    }

    fn end(&mut self, log: &Log<'_>) {
        let rest = std::mem::take(&mut self.open);
        self.line(rest.trim_end(), log);
    }

    fn line(&mut self, line: &str, log: &Log<'_>) {
        if line.is_empty() {
            return;
        }
        if line.starts_with("Step ") {
            self.step = Some(line.to_owned());
        }
        log(line);
    }
}

fn build_error(tag: &str, step: Option<&str>, error: &DockerError) -> Error {
    let message = client::describe(error);
    let at = step.map(|step| format!(" at {step}")).unwrap_or_default();
    let base_is_missing = ["pull access denied", "manifest unknown", "no such host", "not found: manifest"];
    match error {
        DockerError::DockerResponseServerError { .. } | DockerError::DockerStreamError { .. } => {
            let failed = Error::invalid(format!("building {tag} failed{at}: {message}"));
            if base_is_missing.iter().any(|words| message.contains(words)) {
                failed.with_hint(
                    "set `build_image` and `run_image` in func.yaml to images that can be had here; or publish the \
                     folder itself, with `afn deploy --no-image`",
                )
            } else {
                failed.with_hint("`afn deploy --verbose` shows the whole output of the build")
            }
        }
        _ => Error::unreachable(format!("building {tag} broke off{at}: {message}")),
    }
}

fn push_error(reference: &str, error: &DockerError) -> Error {
    let message = client::describe(error);
    let failed = Error::unreachable(format!("pushing {reference} failed: {message}"));
    let lower = message.to_lowercase();
    if ["denied", "unauthorized", "authentication", "no basic auth"].iter().any(|word| lower.contains(word)) {
        let registry = credentials::registry(reference);
        failed.with_hint(format!(
            "`docker login {registry}` first, or `--local` keeps the image on this machine"
        ))
    } else {
        failed.with_hint("`--local` keeps the image on this machine")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_what_from_names() {
        let text =
            "# from nothing\nARG X\nFROM --platform=linux/amd64 golang:1 AS build\nRUN x\nfrom scratch\n";
        assert_eq!(bases(text).collect::<Vec<_>>(), ["golang:1", "scratch"]);
    }

    #[test]
    fn a_tag_is_not_a_port() {
        assert_eq!(split_tag("localhost:5000/a/b"), ("localhost:5000/a/b", "latest"));
        assert_eq!(split_tag("localhost:5000/a/b:0.0.2"), ("localhost:5000/a/b", "0.0.2"));
        assert_eq!(split_tag("b"), ("b", "latest"));
    }

    #[test]
    fn pieces_become_lines_and_the_last_step_is_kept() {
        let seen = std::sync::Mutex::new(Vec::new());
        let log = |line: &str| seen.lock().unwrap().push(line.to_owned());
        let mut lines = Lines::default();
        for piece in ["Step 1/2 : FROM scratch\n --->", " 123\nStep 2/2 : RUN x\n", "\n", "half"] {
            lines.take(piece, &log);
        }
        lines.end(&log);
        assert_eq!(lines.step.as_deref(), Some("Step 2/2 : RUN x"));
        let seen = seen.lock().unwrap();
        assert_eq!(*seen, ["Step 1/2 : FROM scratch", " ---> 123", "Step 2/2 : RUN x", "half"]);
    }

    #[tokio::test]
    async fn without_docker_the_error_names_the_way_out() {
        let clock = std::sync::Arc::new(crate::seam::clock::SystemClock);
        let host = Some("unix:///nowhere/docker.sock".to_owned());
        let builder = Builder(DockerOptions { host, ..DockerOptions::new(clock, Path::new("/nowhere")) });
        let error = builder.inspect("x").await.unwrap_err();
        assert_eq!(error.message(), "docker is not there: no socket at /nowhere/docker.sock");
        assert!(error.hint_text().unwrap().contains("deploy without it"));
    }
}
