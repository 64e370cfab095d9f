//! Runs functions in containers, through Docker's socket. Knows no store, no queue and no pool. It starts sandboxes and
//! removes them all.

mod allowed;
mod build;
mod client;
mod container;
mod context;
mod credentials;
mod image;
mod network;
mod one_call;
mod reap;
mod sandbox;
mod shared;
mod stream;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

pub use allowed::AllowedImages;
pub use build::Builder;

use self::client::Client;
use self::container::Container;
use self::network::Network;
use self::one_call::OneCallContainer;
use self::reap::Reaper;
use self::stream::StreamContainer;
use super::owner::Owner;
use super::sandbox::{CONTAINERS_ONLY, Launcher, Sandbox};
use crate::contract;
use crate::model::{Format, Source, Version};
use crate::seam::Clock;
use crate::seam::executor::{Fault, Invocation, Mismatch};

#[derive(Clone)]
pub struct DockerOptions {
    /// As in `DOCKER_HOST`; only unix sockets. `None`: where Docker puts it.
    pub host: Option<String>,
    /// Where `docker login` leaves its `config.json`.
    pub config_dir: PathBuf,
    /// Folders that containers and worker share are made under it: it must be at the same path for Docker as for us.
    pub work_dir: PathBuf,
    /// Which images are run, for those who deploy.
    pub images: AllowedImages,
    /// Of functions that ask for a network: its name, and the program that closes addresses to it.
    pub network: String,
    pub iptables: Option<PathBuf>,
    pub clock: Arc<dyn Clock>,
}

impl DockerOptions {
    pub fn new(clock: Arc<dyn Clock>, run_dir: &Path) -> DockerOptions {
        let home = std::env::home_dir().unwrap_or_default();
        DockerOptions {
            host: None,
            config_dir: home.join(".docker"),
            work_dir: run_dir.to_owned(),
            images: AllowedImages::default(),
            network: network::NAME.to_owned(),
            iptables: network::iptables(),
            clock,
        }
    }
}

/// Starts containers. Dropped without [`Launcher::close`], as in a crash, its containers are left to the next
/// launcher on this machine.
pub struct DockerLauncher {
    client: Client,
    reaper: Reaper,
    network: Arc<Network>,
    options: DockerOptions,
}

impl DockerLauncher {
    /// Asks Docker what it is. To be called within a runtime, which the reaper's task runs on.
    pub async fn connect(options: DockerOptions) -> Result<DockerLauncher, String> {
        let client = Client::connect(options.host.as_deref()).await?;
        let owner = Owner::new(&options.work_dir.join("docker"), None)?;
        let dirs = shared::SharedDirs::new(&client.socket);
        let reaper = Reaper::new(client.docker.clone(), Arc::clone(&options.clock), owner, dirs);
        let (docker, clock) = (client.docker.clone(), options.clock.clone());
        let (name, iptables) = (options.network.clone(), options.iptables.clone());
        let network = Network::new(docker, &client.socket, clock, name, iptables).await.into();
        Ok(DockerLauncher { client, reaper, network, options })
    }

    /// Why functions that ask for a network can reach the cloud's metadata service; `None`: they cannot.
    pub fn leaves_metadata_open(&self) -> Option<&str> {
        self.network.open()
    }

    /// Creates the container of a call and attaches to it.
    async fn prepare(
        &self,
        invocation: &Invocation,
    ) -> Result<(Container, bollard::container::AttachContainerResults), Fault> {
        let Source::Image { reference, digest } = &invocation.version.source else {
            return Err(Fault::Mismatch(not_an_image()));
        };
        let options = &self.options;
        let clock = &options.clock;
        let image =
            image::resolve(&self.client, &**clock, &options.config_dir, reference, digest.as_deref()).await?;
        let streams = invocation.version.format == Format::HttpStream;
        let env = if streams {
            let mut env = contract::env(invocation);
            env.push(contract::http_stream::listener(sandbox::SHARED_DIR));
            env
        } else {
            let deadline = clock.now().plus_ms(invocation.version.limits.timeout_ms);
            contract::default::env(invocation, deadline)
        };
        let network = invocation.version.limits.network.then(|| self.network.clone());
        if let Some(network) = &network {
            network.ensure().await?;
        }
        let ticket = self.reaper.ticket(streams);
        let ticket = ticket
            .map_err(|error| Fault::Worker(format!("cannot make a folder for a container: {error}")))?;
        let body = sandbox::container(sandbox::ContainerSpec {
            invocation,
            image: &image,
            env,
            shared_dir: ticket.dir.as_deref(),
            network: network.as_ref().map_or("none", |network| &network.name),
            owner_dir: self.reaper.owner_dir(),
        });
        let container = Container::create(&self.client.docker, clock, ticket, body, network).await?;
        let attached = container.attach().await?;
        Ok((container, attached))
    }
}

#[async_trait]
impl Launcher for DockerLauncher {
    fn suits(&self, version: &Version) -> Result<(), Mismatch> {
        let Source::Image { reference, digest } = &version.source else { return Err(not_an_image()) };
        self.options.images.check(reference, digest.as_deref())?;
        let os = version.os.as_deref().unwrap_or(&self.client.os);
        let arch = version.arch.as_deref().unwrap_or(&self.client.arch);
        if os == self.client.os && arch == self.client.arch {
            return Ok(());
        }
        let Client { os: own_os, arch: own_arch, .. } = &self.client;
        Err(Mismatch(format!("{os}/{arch} image, this worker runs {own_os}/{own_arch}")))
    }

    async fn start(&self, invocation: &Invocation) -> Result<Box<dyn Sandbox>, Fault> {
        self.suits(&invocation.version).map_err(Fault::Mismatch)?;
        let (container, attached) = self.prepare(invocation).await?;
        let clock = Arc::clone(&self.options.clock);
        Ok(match invocation.version.format {
            Format::Default => Box::new(OneCallContainer { container, clock, attached: Some(attached) }),
            Format::HttpStream => {
                Box::new(StreamContainer::start(container, attached, clock, invocation).await?)
            }
        })
    }

    async fn probe(&self) -> Result<(), String> {
        self.client.ping().await
    }

    async fn close(&self) {
        self.reaper.close().await;
    }
}

fn not_an_image() -> Mismatch {
    Mismatch(CONTAINERS_ONLY.to_owned())
}
