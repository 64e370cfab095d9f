//! The network of functions that ask for one: a bridge of afn's own, between whose containers nothing travels. Where the
//! worker is root beside Docker, it also closes the way to the cloud's metadata service, which hands out this machine's
//! credentials, and to this machine itself.
//!
//! Bridge and rules belong to the machine, and others can remove them (`docker network prune`, a reload of the firewall) while
//! the worker lives. So they are looked at again and again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as DockerError;
use bollard::models::NetworkCreateRequest;
use tokio::process::Command;
use tokio::sync::Mutex;

use super::client;
use super::shared::is_beside;
use crate::seam::Clock;
use crate::seam::executor::{Fault, Mismatch};

/// Also what the name of the bridge begins with.
pub(super) const NAME: &str = "afn";
const OPTION_ICC: &str = "com.docker.network.bridge.enable_icc";
const OPTION_NAME: &str = "com.docker.network.bridge.name";
/// Of EC2 (and most other clouds), ECS, EKS and Alibaba Cloud.
const METADATA: [&str; 4] =
    ["169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "100.100.100.200/32"];
/// Azure's second one, which is the name server of its machines too: that stays open.
const METADATA_WITH_DNS: &str = "168.63.129.16/32";
/// Between two looks at network and rules.
const LOOK_EVERY: Duration = Duration::from_secs(30);

pub(super) struct Network {
    docker: Docker,
    clock: Arc<dyn Clock>,
    pub(super) name: String,
    bridge: String,
    /// Sets the rules, or why functions can reach the metadata service.
    closes: Result<PathBuf, String>,
    /// `None`: to be looked at before the next start.
    looked_at: Mutex<Option<Duration>>,
}

impl Network {
    /// Tries the rules once. `socket`: the one on which Docker listens.
    pub(super) async fn new(
        docker: Docker,
        socket: &Path,
        clock: Arc<dyn Clock>,
        name: String,
        iptables: Option<PathBuf>,
    ) -> Network {
        let is_root = rustix::process::geteuid().is_root() && is_beside(socket, "net");
        let closes = match iptables {
            _ if !is_root => Err("a worker that is root, beside Docker, closes both".to_owned()),
            Some(iptables) => Ok(iptables),
            None => Err("iptables, which closes both, is not installed".to_owned()),
        };
        let bridge = format!("{name}0");
        let mut network = Network { docker, clock, name, bridge, closes, looked_at: Mutex::default() };
        if let Err(why) = network.close().await {
            network.closes = Err(format!("they cannot be closed: {why}"));
        }
        network
    }

    /// Why functions can reach the metadata service; `None`: they cannot.
    pub(super) fn open(&self) -> Option<&str> {
        self.closes.as_ref().err().map(String::as_str)
    }

    /// Makes the bridge unless it exists, and adds the rules that are missing. What keeps it from that is no sickness of the
    /// worker: functions without a network run.
    pub(super) async fn ensure(&self) -> Result<(), Fault> {
        let mut looked_at = self.looked_at.lock().await;
        let now = self.clock.monotonic();
        if looked_at.is_some_and(|at| now.saturating_sub(at) < LOOK_EVERY) {
            return Ok(());
        }
        self.make().await?;
        self.close().await.map_err(|why| {
            Fault::Mismatch(Mismatch(format!(
                "this worker cannot close the metadata service to functions with a network: {why}"
            )))
        })?;
        *looked_at = Some(now);
        Ok(())
    }

    /// Makes it again at once, after a container did not start without it.
    pub(super) async fn restore(&self) -> Result<(), Fault> {
        *self.looked_at.lock().await = None;
        self.ensure().await
    }

    async fn make(&self) -> Result<(), Fault> {
        let Network { docker, name, bridge, .. } = self;
        let options =
            [(OPTION_ICC, "false"), (OPTION_NAME, bridge)].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some("bridge".to_owned()),
            options: Some(options.clone().into()),
            ..NetworkCreateRequest::default()
        };
        let network = match docker.inspect_network(name, None).await {
            Err(error) if client::is_not_found(&error) => match docker.create_network(request).await {
                // Another worker was faster.
                Err(error) if client::status(&error) == Some(409) => docker.inspect_network(name, None).await,
                Err(error) => Err(error),
                Ok(_) => return Ok(()),
            },
            found => found,
        };
        let found = network.map_err(|error| {
            let fault = client::fault("cannot make a network for functions", &error);
            // Docker answers, so other functions run.
            match client::status(&error) {
                Some(_) => Fault::Mismatch(Mismatch(fault.to_string())),
                None => fault,
            }
        })?;
        let found = found.options.unwrap_or_default();
        match options.iter().all(|(name, value)| found.get(name) == Some(value)) {
            true => Ok(()),
            false => Err(Fault::Mismatch(Mismatch(format!(
                "docker's network `{name}` is not the one that afn makes, in which containers do not reach each other: \
                 `docker network rm {name}` on this worker's machine"
            )))),
        }
    }

    /// Adds the rules that are missing, where this worker closes the metadata service. They last as long as the machine runs,
    /// unless somebody removes them.
    async fn close(&self) -> Result<(), String> {
        let (Ok(iptables), bridge) = (&self.closes, &*self.bridge) else { return Ok(()) };
        let to = |address| vec!["DOCKER-USER", "-i", bridge, "-d", address];
        let mut rules: Vec<Vec<&str>> = METADATA.into_iter().map(to).collect();
        rules.push([to(METADATA_WITH_DNS), vec!["-p", "tcp", "!", "--dport", "53"]].concat());
        // The bridge's own address, and whatever listens on this machine.
        rules.push(vec!["INPUT", "-i", bridge]);
        for rule in rules {
            let rule = [&rule[..], &["-j", "REJECT"]].concat();
            if !run(iptables, "-C", &rule).await?.status.success() {
                let added = run(iptables, "-I", &rule).await?;
                if !added.status.success() {
                    let output = String::from_utf8_lossy(&added.stderr);
                    return Err(output.lines().next().unwrap_or_default().to_owned());
                }
            }
        }
        Ok(())
    }
}

/// Whether Docker says that the network is gone which a container is to join.
pub(super) fn is_missing<T>(answer: &Result<T, DockerError>) -> bool {
    let is_network = |error: &DockerError| client::describe(error).contains(client::NETWORK);
    answer.as_ref().err().is_some_and(|error| client::is_not_found(error) && is_network(error))
}

pub(super) fn iptables() -> Option<PathBuf> {
    ["/usr/sbin/iptables", "/sbin/iptables", "/usr/bin/iptables"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
}

async fn run(iptables: &Path, how: &str, rule: &[&str]) -> Result<std::process::Output, String> {
    let mut command = Command::new(iptables);
    command.args(["-w", how]).args(rule).env_clear().kill_on_drop(true);
    command.output().await.map_err(|error| format!("{}: {error}", iptables.display()))
}
