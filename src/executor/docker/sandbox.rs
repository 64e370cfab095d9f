//! The rights of a container: none that the function did not ask for. No capabilities, no new privileges, a read-only
//! root, a sized `/tmp`, bounds on memory, CPU, processes and files, an unprivileged user, no network.

use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountTmpfsOptions, MountType,
    ResourcesUlimits,
};

use super::image::Image;
use super::reap::{LABEL, LABEL_OWNER};
use crate::limits;
use crate::model::{Format, Limits};
use crate::seam::executor::Invocation;

/// Where the folder that worker and function share is mounted.
pub(super) const SHARED_DIR: &str = "/tmp/iofs";

const UID: u32 = 1000;
/// The scheduler's period, in microseconds; a quota is measured against it.
const CPU_PERIOD_US: i64 = 100_000;
/// The kernel takes no smaller quota.
const CPU_QUOTA_US_MIN: i64 = 1_000;

pub(super) struct ContainerSpec<'a> {
    pub(super) invocation: &'a Invocation,
    pub(super) image: &'a Image,
    pub(super) env: Vec<(String, String)>,
    /// The worker's side of [`SHARED_DIR`].
    pub(super) shared_dir: Option<&'a Path>,
    /// By name.
    pub(super) network: &'a str,
    pub(super) owner_dir: &'a Path,
}

pub(super) fn container(spec: ContainerSpec<'_>) -> ContainerCreateBody {
    let ContainerSpec { invocation, image, env, shared_dir, network, owner_dir } = spec;
    let asks_stdin = invocation.version.format == Format::Default;
    let labels = [
        (LABEL.to_owned(), "1".to_owned()),
        (LABEL_OWNER.to_owned(), owner_dir.display().to_string()),
        ("afn.pid".to_owned(), std::process::id().to_string()),
        ("afn.app".to_owned(), invocation.app.to_string()),
        ("afn.function".to_owned(), invocation.function.name.to_string()),
        ("afn.version".to_owned(), invocation.version.id.to_string()),
    ];
    ContainerCreateBody {
        image: Some(image.id.clone()),
        // An entrypoint of ours replaces the image's entrypoint and command.
        entrypoint: Some(invocation.version.command.clone()).filter(|command| !command.is_empty()),
        env: Some(env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()),
        user: Some(format!("{UID}:{UID}")),
        labels: Some(labels.into()),
        attach_stdin: Some(asks_stdin),
        open_stdin: Some(asks_stdin),
        stdin_once: Some(asks_stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        host_config: Some(host_config(&invocation.version.limits, image, shared_dir, network)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(limits: &Limits, image: &Image, shared_dir: Option<&Path>, network: &str) -> HostConfig {
    let memory = i64::try_from(limits.memory_mib.saturating_mul(limits::MIB)).unwrap_or(i64::MAX);
    let tmpfs_mib = if limits.tmpfs_mib == 0 { limits.memory_mib } else { limits.tmpfs_mib };
    let quota = i64::try_from(limits.cpu_millis.saturating_mul(100)).unwrap_or(i64::MAX);
    HostConfig {
        memory: Some(memory),
        memory_swap: Some(memory),
        cpu_period: (quota > 0).then_some(CPU_PERIOD_US),
        cpu_quota: (quota > 0).then_some(quota.max(CPU_QUOTA_US_MIN)),
        pids_limit: Some(limits::PIDS_MAX as i64),
        ulimits: Some(vec![
            ulimit("nofile", limits::OPEN_FILES_MAX as i64),
            // A crash leaves no core behind.
            ulimit("core", 0),
        ]),
        init: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(true),
        // Where the image has a `/tmp`, its mode wins over this one: so it is also the user's own.
        tmpfs: Some([("/tmp".to_owned(), format!("size={tmpfs_mib}m,mode=1777,uid={UID},gid={UID}"))].into()),
        mounts: Some(image.volumes.iter().map(|path| volume(path, tmpfs_mib)).collect()),
        binds: shared_dir.map(|dir| vec![format!("{}:{SHARED_DIR}", dir.display())]),
        network_mode: Some(network.to_owned()),
        ipc_mode: Some("private".to_owned()),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        ..HostConfig::default()
    }
}

/// A volume that an image asks for would be a way around the read-only root and leave data on the disk: it gets
/// memory instead, under the function's own limit.
fn volume(path: &str, size_mib: u64) -> Mount {
    Mount {
        target: Some(path.to_owned()),
        typ: Some(MountType::TMPFS),
        tmpfs_options: Some(MountTmpfsOptions {
            size_bytes: i64::try_from(size_mib.saturating_mul(limits::MIB)).ok(),
            mode: Some(0o1777),
            ..MountTmpfsOptions::default()
        }),
        ..Mount::default()
    }
}

fn ulimit(name: &str, most: i64) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(name.to_owned()), soft: Some(most), hard: Some(most) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contract::testing;

    fn made(
        invocation: &Invocation,
        image: &Image,
        shared_dir: Option<&Path>,
    ) -> (ContainerCreateBody, HostConfig) {
        let env = vec![("A".to_owned(), "b=c".to_owned())];
        let owner_dir = Path::new("/tmp/afn-0/docker/w1");
        let network = if invocation.version.limits.network { super::super::network::NAME } else { "none" };
        let body = container(ContainerSpec { invocation, image, env, shared_dir, network, owner_dir });
        let host = body.host_config.clone().unwrap();
        (body, host)
    }

    #[test]
    fn nothing_is_allowed_that_was_not_asked_for() {
        let invocation = testing::invocation(Format::Default, b"");
        let image = Image { id: "sha256:1".to_owned(), volumes: Vec::new() };
        let (body, host) = made(&invocation, &image, None);
        assert_eq!(body.image.as_deref(), Some("sha256:1"));
        assert_eq!(body.user.as_deref(), Some("1000:1000"));
        assert_eq!(body.env, Some(vec!["A=b=c".to_owned()]));
        assert_eq!(body.entrypoint, None);
        assert_eq!((body.open_stdin, body.stdin_once), (Some(true), Some(true)));
        assert_eq!(host.network_mode.as_deref(), Some("none"));
        assert_eq!(host.readonly_rootfs, Some(true));
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
        assert_eq!((host.memory, host.memory_swap), (Some(128 << 20), Some(128 << 20)));
        assert_eq!((host.cpu_quota, host.cpu_period), (None, None));
        assert_eq!(host.privileged, None);
        assert_eq!(host.binds, None);
        assert!(host.tmpfs.unwrap()["/tmp"].starts_with("size=128m,"));
    }

    #[test]
    fn what_was_asked_for_is_given() {
        let mut invocation = testing::invocation(Format::HttpStream, b"");
        let version = Arc::make_mut(&mut invocation.version);
        version.command = vec!["./func".to_owned(), "--loud".to_owned()];
        version.limits = Limits { network: true, cpu_millis: 250, tmpfs_mib: 7, ..version.limits.clone() };
        let image = Image { id: "sha256:1".to_owned(), volumes: vec!["/data".to_owned()] };
        let (body, host) = made(&invocation, &image, Some(Path::new("/tmp/afn-0/docker/w1/c1")));
        assert_eq!(body.entrypoint, Some(invocation.version.command.clone()));
        assert_eq!(body.open_stdin, Some(false));
        assert_eq!(host.network_mode.as_deref(), Some("afn"));
        assert_eq!((host.cpu_quota, host.cpu_period), (Some(25_000), Some(100_000)));
        assert_eq!(host.binds, Some(vec!["/tmp/afn-0/docker/w1/c1:/tmp/iofs".to_owned()]));
        assert!(host.tmpfs.unwrap()["/tmp"].starts_with("size=7m,"));
        assert_eq!(host.mounts.unwrap()[0].target.as_deref(), Some("/data"));

        Arc::make_mut(&mut invocation.version).limits.cpu_millis = 1;
        assert_eq!(made(&invocation, &image, None).1.cpu_quota, Some(1_000));
    }
}
