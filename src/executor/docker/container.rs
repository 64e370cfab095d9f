//! One container, from its making to its removal, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::container::AttachContainerResults;
use bollard::errors::Error as DockerError;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, EventsOptionsBuilder,
    StartContainerOptions, WaitContainerOptions,
};
use futures_util::StreamExt as _;

use super::client;
use super::network::{self, Network};
use super::reap::Ticket;
use crate::seam::Clock;
use crate::seam::executor::{Fault, Verdict};

/// Dropping it leaves the container to the reaper.
pub(super) struct Container {
    docker: Docker,
    clock: Arc<dyn Clock>,
    pub(super) ticket: Ticket,
    /// What it joins when it is started.
    network: Option<Arc<Network>>,
    takes_stdin: bool,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContainerExit {
    pub(super) exit_code: i64,
    pub(super) out_of_memory: bool,
}

impl ContainerExit {
    /// Of one that failed.
    pub(super) fn verdict(self, memory_mib: u64) -> Verdict {
        Verdict::of_exit((!self.out_of_memory).then_some(self.exit_code), self.reason(memory_mib))
    }

    pub(super) fn reason(self, memory_mib: u64) -> String {
        if self.out_of_memory {
            return format!("out of memory: limit {memory_mib} MiB");
        }
        // The init process exits with this code when a signal has ended the function.
        match signal_name(self.exit_code - 128) {
            Some(name) => format!("exit code {} (SIG{name})", self.exit_code),
            None => format!("exit code {}", self.exit_code),
        }
    }
}

/// The name of a signal on Linux.
fn signal_name(signal: i64) -> Option<&'static str> {
    const FROM_1: &str = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP \
        TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";
    FROM_1.split(' ').nth(usize::try_from(signal - 1).ok()?)
}

impl Container {
    pub(super) async fn create(
        docker: &Docker,
        clock: &Arc<dyn Clock>,
        ticket: Ticket,
        body: ContainerCreateBody,
        network: Option<Arc<Network>>,
    ) -> Result<Container, Fault> {
        let options = CreateContainerOptionsBuilder::default().name(&ticket.name).build();
        let takes_stdin = body.attach_stdin == Some(true);
        let mut created = docker.create_container(Some(options.clone()), body.clone()).await;
        if let Some(network) = network.as_ref().filter(|_| network::is_missing(&created)) {
            network.restore().await?;
            created = docker.create_container(Some(options), body).await;
        }
        created.map_err(|error| client::fault("cannot make the container", &error))?;
        Ok(Container { docker: docker.clone(), clock: Arc::clone(clock), ticket, network, takes_stdin })
    }

    /// To be called before the start, so that no output is missed.
    pub(super) async fn attach(&self) -> Result<AttachContainerResults, Fault> {
        let options = AttachContainerOptionsBuilder::default()
            .stream(true)
            .stdin(self.takes_stdin)
            .stdout(true)
            .stderr(true)
            .build();
        let attached = self.docker.attach_container(&self.ticket.name, Some(options)).await;
        attached.map_err(|error| client::fault("cannot attach to the container", &error))
    }

    /// Returns what it is attached to.
    pub(super) async fn start(
        &self,
        attached: AttachContainerResults,
    ) -> Result<AttachContainerResults, Fault> {
        let start = || self.docker.start_container(&self.ticket.name, None::<StartContainerOptions>);
        let (mut attached, mut started) = (attached, start().await);
        if let Some(network) = self.network.as_ref().filter(|_| network::is_missing(&started)) {
            network.restore().await?;
            // Docker has closed the streams of the start that failed.
            attached = self.attach().await?;
            started = start().await;
        }
        started.map_err(|error| client::fault("cannot start the container", &error))?;
        Ok(attached)
    }

    /// Waits for a started container to end.
    pub(super) async fn ended(&self) -> Result<ContainerExit, Fault> {
        let mut answers = self.docker.wait_container(&self.ticket.name, None::<WaitContainerOptions>);
        match answers.next().await {
            Some(Ok(_) | Err(DockerError::DockerContainerWaitError { .. })) => {}
            Some(Err(error)) => return Err(client::fault("cannot wait for the container", &error)),
            None => return Err(Fault::Worker("docker stopped answering while a container ran".to_owned())),
        }
        self.exit()
            .await?
            .ok_or_else(|| Fault::Worker("docker calls a container that ended running".to_owned()))
    }

    /// How it ended; `None` while it runs.
    pub(super) async fn exit(&self) -> Result<Option<ContainerExit>, Fault> {
        let found = self.docker.inspect_container(&self.ticket.name, None).await;
        let found = found.map_err(|error| client::fault("cannot look at the container", &error))?;
        let state = found.state.unwrap_or_default();
        if state.running == Some(true) {
            return Ok(None);
        }
        let exit_code = state.exit_code.unwrap_or_default();
        let mut out_of_memory = state.oom_killed == Some(true);
        if exit_code == KILLED && !out_of_memory {
            out_of_memory = self.has_oom_event().await;
        }
        Ok(Some(ContainerExit { exit_code, out_of_memory }))
    }

    /// Docker may learn that memory ran out after it has recorded how the container ended. Then only its events tell.
    async fn has_oom_event(&self) -> bool {
        const ANSWER_MAX: Duration = Duration::from_millis(300);
        let filters = [("container", vec![self.ticket.name.as_str()]), ("event", vec!["oom"])].into();
        let options = EventsOptionsBuilder::default().since("1").filters(&filters).build();
        let mut events = self.docker.events(Some(options));
        tokio::select! {
            biased;
            event = events.next() => matches!(event, Some(Ok(_))),
            () = self.clock.sleep(ANSWER_MAX) => false,
        }
    }

    pub(super) async fn remove(self) {
        self.ticket.remove().await;
    }
}

const KILLED: i64 = 128 + 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_says_why() {
        let reason = |exit_code, out_of_memory| ContainerExit { exit_code, out_of_memory }.reason(128);
        assert_eq!(reason(3, false), "exit code 3");
        assert_eq!(reason(137, true), "out of memory: limit 128 MiB");
        assert_eq!(reason(1, true), "out of memory: limit 128 MiB");
        assert_eq!(reason(137, false), "exit code 137 (SIGKILL)");
        assert_eq!(reason(139, false), "exit code 139 (SIGSEGV)");
        assert_eq!(reason(255, false), "exit code 255");
    }
}
