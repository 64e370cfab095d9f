//! No container outlives its use: each has a ticket, and what is left when a ticket is dropped is removed by a task
//! that the launcher owns; so is what a dead worker left on this machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::client;
use super::owner::{self, Life, Owner};
use crate::limits;
use crate::seam::Clock;

/// On every container of ours.
pub(super) const LABEL: &str = "afn";
/// The folder of the worker that a container belongs to.
pub(super) const LABEL_OWNER: &str = "afn.owner";

/// A removal that failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) struct Reaper {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
}

struct Shared {
    docker: Docker,
    clock: Arc<dyn Clock>,
    owner: Owner,
    count: AtomicU32,
    /// The names of containers that are in use. Whatever else carries our label is to be removed.
    live: Mutex<BTreeSet<String>>,
    dropped: mpsc::UnboundedSender<Estate>,
}

/// What an unused container leaves.
struct Estate {
    name: String,
    dir: Option<PathBuf>,
}

/// The right to a container's name; made before the container, so that not even one whose making was interrupted is
/// forgotten.
pub(super) struct Ticket {
    shared: Arc<Shared>,
    name: String,
    dir: Option<PathBuf>,
    removed: bool,
}

impl Reaper {
    pub(super) fn new(docker: Docker, clock: Arc<dyn Clock>, owner: Owner) -> Reaper {
        let (dropped, estates) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            docker,
            clock,
            owner,
            count: AtomicU32::new(0),
            live: Mutex::default(),
            dropped,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(run(Arc::clone(&shared), estates));
        Reaper { shared, tasks: Mutex::new(tasks) }
    }

    pub(super) fn owner_dir(&self) -> &Path {
        self.shared.owner.dir()
    }

    /// A ticket, with a folder to share if one is asked for.
    pub(super) fn ticket(&self, with_dir: bool) -> std::io::Result<Ticket> {
        let number = self.shared.count.fetch_add(1, Ordering::Relaxed) + 1;
        let dir = if with_dir { Some(self.shared.owner.shared_dir(number)?) } else { None };
        let owner = self.shared.owner.dir().file_name().unwrap_or_default().to_string_lossy();
        let name = format!("afn-{owner}-{number}");
        self.shared.live().insert(name.clone());
        Ok(Ticket { shared: Arc::clone(&self.shared), name, dir, removed: false })
    }

    /// Removes every container of this worker, used or not, and its folder.
    pub(super) async fn close(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        drop(tasks);
        self.shared.live().clear();
        self.shared.sweep().await;
        let _ = std::fs::remove_dir_all(self.shared.owner.dir());
    }
}

impl Ticket {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Removes the container now; what cannot be is left to the reaper.
    pub(super) async fn remove(mut self) {
        self.removed = self.shared.remove(&self.name).await.is_ok();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.live().remove(&self.name);
        if self.removed {
            remove_dir(self.dir.as_deref());
        } else {
            // No task takes it any more: then the last sweep does.
            let _ = self.shared.dropped.send(Estate { name: self.name.clone(), dir: self.dir.take() });
        }
    }
}

async fn run(shared: Arc<Shared>, mut estates: mpsc::UnboundedReceiver<Estate>) {
    let pause = |clean: bool| if clean { Duration::from_millis(limits::REAP_EVERY_MS) } else { AGAIN };
    let mut wait = pause(shared.reap_the_dead().await);
    loop {
        tokio::select! {
            biased;
            estate = estates.recv() => match estate {
                Some(estate) => {
                    // Its making may still be under way in the daemon, then it is not found yet: it is swept later.
                    if shared.remove(&estate.name).await != Ok(Removed::Yes) {
                        wait = AGAIN;
                    }
                    remove_dir(estate.dir.as_deref());
                }
                None => return,
            },
            () = shared.clock.sleep(wait) => {
                let swept = shared.sweep().await;
                wait = pause(shared.reap_the_dead().await && swept);
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Removed {
    Yes,
    WasNotThere,
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills a container and removes it with its volumes.
    async fn remove(&self, name: &str) -> Result<Removed, String> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.docker.remove_container(name, Some(options)).await {
            Ok(()) => Ok(Removed::Yes),
            Err(error) if client::is_not_found(&error) => Ok(Removed::WasNotThere),
            // Somebody else is at it.
            Err(error) if client::status(&error) == Some(409) => Ok(Removed::Yes),
            Err(error) => Err(client::describe(&error)),
        }
    }

    async fn list(&self, label: String) -> Result<Vec<ContainerSummary>, String> {
        let filters = [("label", vec![label])].into();
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        self.docker.list_containers(Some(options)).await.map_err(|error| client::describe(&error))
    }

    /// Removes those of this worker's containers that are not in use; whether all of them are gone.
    async fn sweep(&self) -> bool {
        let Ok(ours) = self.list(format!("{LABEL_OWNER}={}", self.owner.dir().display())).await else {
            return false;
        };
        let mut clean = true;
        for name in ours.iter().filter_map(name_of) {
            let unused = !self.live().contains(name);
            if unused {
                clean &= self.remove(name).await.is_ok();
            }
        }
        clean
    }

    /// Removes what workers left that died on this machine: their containers, then their folders. A worker is dead
    /// when the lock on its folder can be had. When there is no such folder (a reboot has emptied `/tmp`, or it lies
    /// in another mount namespace, where the worker may well live) only containers that have ended are removed. Whether
    /// nothing failed.
    async fn reap_the_dead(&self) -> bool {
        let Ok(all) = self.list(LABEL.to_owned()).await else {
            return false;
        };
        for container in &all {
            let owner = container.labels.as_ref().and_then(|labels| labels.get(LABEL_OWNER));
            let (Some(owner), Some(name)) = (owner, name_of(container)) else {
                continue;
            };
            if Path::new(owner) == self.owner.dir() {
                continue;
            }
            let life = owner::look(Path::new(owner));
            let ended = matches!(
                container.state,
                Some(ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD)
            );
            let doomed = match life {
                Ok(Life::Dead(_)) => true,
                Ok(Life::Unknown) => ended,
                Ok(Life::Alive) | Err(_) => false,
            };
            if doomed && self.remove(name).await.is_err() {
                return false;
            }
        }
        self.remove_dead_dirs();
        true
    }

    fn remove_dead_dirs(&self) {
        let Some(Ok(entries)) = self.owner.dir().parent().map(std::fs::read_dir) else {
            return;
        };
        for dir in entries.flatten().map(|entry| entry.path()).filter(|dir| dir.is_dir()) {
            if let Ok(Life::Dead(_lock)) = owner::look(&dir) {
                let _ = std::fs::remove_dir_all(&dir);
            }
        }
    }
}

/// A container's name as it was given; Docker answers it with a slash before it.
fn name_of(container: &ContainerSummary) -> Option<&str> {
    let name = container.names.as_ref()?.first()?;
    Some(name.strip_prefix('/').unwrap_or(name))
}

/// What was in it may belong to the container's user; what cannot be removed goes with the worker's folder.
fn remove_dir(dir: Option<&Path>) {
    if let Some(dir) = dir {
        let _ = std::fs::remove_dir_all(dir);
    }
}
