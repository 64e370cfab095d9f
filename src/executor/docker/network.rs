//! The network of functions that ask for one: a bridge of afn's own, between whose containers nothing travels. Where the
//! worker is root beside Docker, it also closes the way to the cloud's metadata service, which hands out this machine's
//! credentials, and to this machine itself.

use std::path::Path;

use bollard::Docker;
use bollard::models::NetworkCreateRequest;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::client;
use super::shared::is_beside;
use crate::seam::executor::Fault;

pub(super) const NAME: &str = "afn";
const BRIDGE: &str = "afn0";
const OPTION_ICC: &str = "com.docker.network.bridge.enable_icc";
const OPTION_NAME: &str = "com.docker.network.bridge.name";
/// Of EC2 (and most other clouds), ECS and EKS.
const METADATA: [&str; 3] = ["169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32"];

pub(super) struct Network {
    ready: OnceCell<()>,
    /// Functions cannot reach the metadata service.
    pub(super) closes: bool,
}

impl Network {
    /// `socket`: the one on which Docker listens.
    pub(super) fn new(socket: &Path) -> Network {
        let is_root = rustix::process::geteuid().is_root();
        Network {
            ready: OnceCell::new(),
            closes: is_root && is_beside(socket, "net") && iptables().is_some(),
        }
    }

    /// Makes the bridge unless it exists, and returns its name.
    pub(super) async fn ensure(&self, docker: &Docker) -> Result<&'static str, Fault> {
        let make = || async {
            make(docker).await?;
            if self.closes { close().await } else { Ok(()) }
        };
        self.ready.get_or_try_init(make).await?;
        Ok(NAME)
    }
}

async fn make(docker: &Docker) -> Result<(), Fault> {
    let options = [(OPTION_ICC, "false"), (OPTION_NAME, BRIDGE)].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let request = NetworkCreateRequest {
        name: NAME.to_owned(),
        driver: Some("bridge".to_owned()),
        options: Some(options.clone().into()),
        ..NetworkCreateRequest::default()
    };
    let network = match docker.inspect_network(NAME, None).await {
        Err(error) if client::is_not_found(&error) => match docker.create_network(request).await {
            // Another worker was faster.
            Err(error) if client::status(&error) == Some(409) => docker.inspect_network(NAME, None).await,
            Err(error) => Err(error),
            Ok(_) => return Ok(()),
        },
        found => found,
    };
    let found = network.map_err(|error| client::fault("cannot make a network for functions", &error))?;
    let found = found.options.unwrap_or_default();
    match options.iter().all(|(name, value)| found.get(name) == Some(value)) {
        true => Ok(()),
        false => Err(Fault::Worker(format!(
            "docker's network `{NAME}` is not the one that afn makes, in which containers do not reach each other: \
             `docker network rm {NAME}`"
        ))),
    }
}

fn iptables() -> Option<&'static str> {
    ["/usr/sbin/iptables", "/sbin/iptables", "/usr/bin/iptables"]
        .into_iter()
        .find(|path| Path::new(path).exists())
}

/// Adds the rules that are missing. They last as long as the machine runs.
async fn close() -> Result<(), Fault> {
    let reject = ["-j", "REJECT"];
    let mut rules: Vec<Vec<&str>> = METADATA
        .iter()
        .map(|address| [&["DOCKER-USER", "-i", BRIDGE, "-d", address][..], &reject].concat())
        .collect();
    // The bridge's own address, and whatever listens on this machine.
    rules.push([&["INPUT", "-i", BRIDGE][..], &reject].concat());
    for rule in rules {
        if !run("-C", &rule).await?.status.success() {
            let added = run("-I", &rule).await?;
            if !added.status.success() {
                let output = String::from_utf8_lossy(&added.stderr);
                return Err(failed(output.lines().next().unwrap_or_default()));
            }
        }
    }
    Ok(())
}

async fn run(how: &str, rule: &[&str]) -> Result<std::process::Output, Fault> {
    let Some(program) = iptables() else { return Err(failed("iptables is not installed")) };
    let mut command = Command::new(program);
    command.args(["-w", how]).args(rule).env_clear().kill_on_drop(true);
    command.output().await.map_err(|error| failed(&error.to_string()))
}

fn failed(why: &str) -> Fault {
    Fault::Worker(format!(
        "cannot close the metadata service to functions with a network: {why}; a worker that is not root leaves it open"
    ))
}
