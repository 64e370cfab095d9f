//! Functions in containers, through Docker's socket. Knows no store, no queue and no pool: it starts sandboxes, and
//! makes sure that none is left behind.

mod build;
mod client;
mod container;
mod context;
mod credentials;
mod hot;
mod image;
mod once;
mod owner;
mod reap;
mod sandbox;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

pub use build::Builder;

use self::client::Client;
use self::container::Container;
use self::hot::Hot;
use self::once::Once;
use self::owner::Owner;
use self::reap::Reaper;
use super::sandbox::{Launcher, Sandbox};
use crate::contract;
use crate::model::{Format, Source, Version};
use crate::seam::Clock;
use crate::seam::executor::{Fault, Mismatch, Work};

#[derive(Clone)]
pub struct DockerOptions {
    /// As in `DOCKER_HOST`; only unix sockets. `None`: where Docker puts it.
    pub host: Option<String>,
    /// Where `docker login` leaves its `config.json`.
    pub config_dir: PathBuf,
    /// Folders that containers and worker share are made under it: it must be at the same path for Docker as for us.
    pub work_dir: PathBuf,
    /// The network of functions that ask for one.
    pub network: String,
    pub clock: Arc<dyn Clock>,
}

impl DockerOptions {
    pub fn new(clock: Arc<dyn Clock>) -> DockerOptions {
        let home = std::env::home_dir().unwrap_or_default();
        let user = rustix::process::geteuid().as_raw();
        DockerOptions {
            host: None,
            config_dir: home.join(".docker"),
            work_dir: std::env::temp_dir().join(format!("afn-{user}")),
            network: "bridge".to_owned(),
            clock,
        }
    }
}

/// Starts containers. Dropped without [`Launcher::close`], as in a crash, its containers are left to the next
/// launcher on this machine.
pub struct DockerLauncher {
    client: Client,
    reaper: Reaper,
    options: DockerOptions,
}

impl DockerLauncher {
    /// Asks Docker what it is. To be called within a runtime, which the reaper's task runs on.
    pub async fn connect(options: DockerOptions) -> Result<DockerLauncher, String> {
        let client = Client::connect(options.host.as_deref()).await?;
        let owner = Owner::new(&options.work_dir.join("docker"))?;
        let reaper = Reaper::new(client.docker.clone(), Arc::clone(&options.clock), owner);
        Ok(DockerLauncher { client, reaper, options })
    }

    /// Makes the container of a call and attaches to it.
    async fn prepare(
        &self,
        work: &Work,
    ) -> Result<(Container, bollard::container::AttachContainerResults), Fault> {
        let Source::Image { reference, digest } = &work.version.source else {
            return Err(Fault::Mismatch(not_an_image()));
        };
        let options = &self.options;
        let clock = &options.clock;
        let image =
            image::resolve(&self.client, &**clock, &options.config_dir, reference, digest.as_deref()).await?;
        let streams = work.version.format == Format::HttpStream;
        let env = if streams {
            let mut env = contract::env(work);
            env.push(contract::http_stream::listener(sandbox::SHARED_DIR));
            env
        } else {
            let deadline = clock.now().plus_ms(work.version.limits.timeout_ms);
            contract::default::env(work, deadline)
        };
        let ticket = self.reaper.ticket(streams);
        let ticket = ticket
            .map_err(|error| Fault::Worker(format!("cannot make a folder for a container: {error}")))?;
        let body = sandbox::container(sandbox::Plan {
            work,
            image: &image,
            env,
            shared_dir: ticket.dir(),
            network: &options.network,
            owner_dir: self.reaper.owner_dir(),
        });
        let container = Container::create(&self.client.docker, clock, ticket, body).await?;
        let attached = container.attach(!streams).await?;
        Ok((container, attached))
    }
}

#[async_trait]
impl Launcher for DockerLauncher {
    fn suits(&self, version: &Version) -> Result<(), Mismatch> {
        if !matches!(version.source, Source::Image { .. }) {
            return Err(not_an_image());
        }
        let os = version.os.as_deref().unwrap_or(&self.client.os);
        let arch = version.arch.as_deref().unwrap_or(&self.client.arch);
        if os == self.client.os && arch == self.client.arch {
            return Ok(());
        }
        let Client { os: own_os, arch: own_arch, .. } = &self.client;
        Err(Mismatch(format!("{os}/{arch} image, this worker runs {own_os}/{own_arch}")))
    }

    async fn start(&self, work: &Work) -> Result<Box<dyn Sandbox>, Fault> {
        let (container, attached) = self.prepare(work).await?;
        let clock = Arc::clone(&self.options.clock);
        Ok(match work.version.format {
            Format::Default => Box::new(Once::new(container, attached, clock)),
            Format::HttpStream => Box::new(Hot::start(container, attached, clock, work).await?),
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
    Mismatch("a folder and no image, Docker runs images".to_owned())
}
