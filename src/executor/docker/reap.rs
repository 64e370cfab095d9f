//! No container outlives its use. Each has a ticket, and a task of the launcher's removes the containers whose tickets were
//! dropped, and those that a dead worker left on this machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};

use super::client;
use super::shared::SharedDirs;
use crate::executor::owner::{self, Life, Owner};
use crate::limits;
use crate::seam::Clock;

/// On every container of ours.
pub(super) const LABEL: &str = "afn";
/// The folder of the worker that a container belongs to.
pub(super) const LABEL_OWNER: &str = "afn.owner";

/// The wait before a removal that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How often, and how many times, a worker that ends looks whether removals have ended that were begun before.
const LAST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOKS_MAX: usize = 100;

pub(super) struct Reaper {
    containers: Arc<Containers>,
    tasks: Mutex<JoinSet<()>>,
}

/// The containers of this worker.
struct Containers {
    docker: Docker,
    clock: Arc<dyn Clock>,
    owner: Owner,
    dirs: SharedDirs,
    /// Held while folders of dead workers are removed.
    removing: Mutex<()>,
    count: AtomicU32,
    /// The names of those in use. All others with this worker's label are to be removed.
    live: Mutex<BTreeSet<String>>,
    /// The names of those that are no longer used, with their folders.
    dropped: mpsc::UnboundedSender<(String, Option<PathBuf>)>,
}

/// The right to a container's name. It exists before the container, so that a container whose creation was interrupted is
/// removed too.
pub(super) struct Ticket {
    containers: Arc<Containers>,
    pub(super) name: String,
    pub(super) dir: Option<PathBuf>,
    removed: bool,
}

impl Reaper {
    pub(super) fn new(docker: Docker, clock: Arc<dyn Clock>, owner: Owner, dirs: SharedDirs) -> Reaper {
        let (dropped, inbox) = mpsc::unbounded_channel();
        let (count, live, removing) = (AtomicU32::new(0), Mutex::default(), Mutex::default());
        let containers = Arc::new(Containers { docker, clock, owner, dirs, removing, count, live, dropped });
        let mut tasks = JoinSet::new();
        tasks.spawn(reap(Arc::clone(&containers), inbox));
        Reaper { containers, tasks: Mutex::new(tasks) }
    }

    pub(super) fn owner_dir(&self) -> &Path {
        self.containers.owner.dir()
    }

    /// A ticket, with a folder to share if one is asked for.
    pub(super) fn ticket(&self, with_dir: bool) -> std::io::Result<Ticket> {
        let containers = Arc::clone(&self.containers);
        let number = containers.count.fetch_add(1, Ordering::Relaxed) + 1;
        let dir = with_dir.then(|| containers.dirs.make(self.owner_dir(), number)).transpose()?;
        let owner = self.owner_dir().file_name().unwrap_or_default().to_string_lossy();
        let name = format!("afn-{owner}-{number}");
        containers.live().insert(name.clone());
        Ok(Ticket { containers, name, dir, removed: false })
    }

    /// Removes every container of this worker, used or not, and its folder.
    pub(super) async fn close(&self) {
        drop(std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner)));
        self.containers.live().clear();
        // The task that was just stopped may have begun to remove one. It is there until Docker has done so.
        for _ in 0..LAST_LOOKS_MAX {
            match self.containers.sweep().await {
                Some(left) if left > 0 => self.containers.clock.sleep(LAST_LOOK).await,
                _ => break,
            }
        }
        let containers = Arc::clone(&self.containers);
        let _ = spawn_blocking(move || SharedDirs::remove_all(containers.owner.dir())).await;
    }
}

impl Ticket {
    /// Removes the container now. If that fails, the reaper tries again.
    pub(super) async fn remove(mut self) {
        self.removed = self.containers.remove(&self.name).await.is_ok();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.containers.live().remove(&self.name);
        if self.removed {
            self.dir.take().into_iter().for_each(SharedDirs::remove);
        } else {
            // When the reaper has ended already, the last sweep removes it.
            let _ = self.containers.dropped.send((self.name.clone(), self.dir.take()));
        }
    }
}

async fn reap(containers: Arc<Containers>, mut dropped: mpsc::UnboundedReceiver<(String, Option<PathBuf>)>) {
    let pause = |clean: bool| if clean { limits::REAP_EVERY } else { RETRY_AFTER };
    let mut wait = pause(containers.reap_dead_workers().await);
    loop {
        tokio::select! {
            biased;
            unused = dropped.recv() => {
                let Some((name, dir)) = unused else { return };
                // Docker may still be creating it; then it is not found yet, and is swept later.
                if containers.remove(&name).await != Ok(true) {
                    wait = RETRY_AFTER;
                }
                dir.into_iter().for_each(SharedDirs::remove);
            },
            () = containers.clock.sleep(wait) => {
                let swept = containers.sweep().await;
                wait = pause(containers.reap_dead_workers().await && swept == Some(0));
            }
        }
    }
}

impl Containers {
    fn live(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills a container and removes it with its volumes. False: it does not exist.
    ///
    /// Errors: also while Docker still removes it because it was asked to before.
    async fn remove(&self, name: &str) -> Result<bool, String> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.docker.remove_container(name, Some(options)).await {
            Ok(()) => Ok(true),
            Err(error) if client::is_not_found(&error) => Ok(false),
            Err(error) => Err(client::describe(&error)),
        }
    }

    async fn list(&self, label: String) -> Option<Vec<ContainerSummary>> {
        let filters = [("label", vec![label])].into();
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        self.docker.list_containers(Some(options)).await.ok()
    }

    /// Removes those of this worker's containers that are not in use. Returns how many of them are left; `None` when Docker
    /// does not say.
    async fn sweep(&self) -> Option<usize> {
        let own = self.list(format!("{LABEL_OWNER}={}", self.owner.dir().display())).await?;
        let mut left = 0;
        for name in own.iter().filter_map(name_of) {
            let unused = !self.live().contains(name);
            if unused && self.remove(name).await.is_err() {
                left += 1;
            }
        }
        Some(left)
    }

    /// Removes what workers left that died on this machine: their containers, then their folders. A worker is dead when
    /// its folder is not locked. Without the folder (a reboot has emptied `/tmp`, or it is in another mount namespace,
    /// where the worker may be alive) only containers that have ended are removed. Returns whether nothing failed.
    async fn reap_dead_workers(self: &Arc<Self>) -> bool {
        let Some(all) = self.list(LABEL.to_owned()).await else { return false };
        for container in &all {
            let owner = container.labels.as_ref().and_then(|labels| labels.get(LABEL_OWNER));
            let (Some(owner), Some(name)) = (owner.map(Path::new), name_of(container)) else { continue };
            if owner == self.owner.dir() {
                continue;
            }
            use ContainerSummaryStateEnum::{DEAD, EXITED};
            // While the lock is held, no worker takes the folder.
            let life = owner::look(owner);
            let is_left = match &life {
                Ok(Life::Dead(_lock)) => true,
                Ok(Life::Unknown) => matches!(container.state, Some(EXITED | DEAD)),
                Ok(Life::Alive) | Err(_) => false,
            };
            if is_left && self.remove(name).await.is_err() {
                return false;
            }
        }
        self.remove_dead_folders();
        true
    }

    /// In a thread of its own: functions may have left so much that containers to be removed must not wait for it.
    fn remove_dead_folders(self: &Arc<Self>) {
        let containers = Arc::clone(self);
        spawn_blocking(move || {
            if let Ok(_one_at_a_time) = containers.removing.try_lock() {
                containers.owner.remove_dead(SharedDirs::remove_all);
            }
        });
    }
}

/// A container's name as it was given; Docker puts a slash before it.
fn name_of(container: &ContainerSummary) -> Option<&str> {
    let name = container.names.as_ref()?.first()?;
    Some(name.strip_prefix('/').unwrap_or(name))
}
