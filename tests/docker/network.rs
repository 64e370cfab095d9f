//! The network of functions that ask for one, where somebody else removes it, has one of its name, or where the rules cannot be
//! set. Each test has a network of its own name, since there is one Docker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use afn::executor::docker::{DockerLauncher, DockerOptions};
use afn::executor::sandbox::Launcher as _;
use afn::seam::executor::{Fault, Invocation};
use bollard::models::NetworkCreateRequest;

use super::fixtures::{Bench, docker, options, script, success};

/// Takes all rules, and takes none.
const TAKES: &str = "/bin/true";
const REFUSES: &str = "/bin/cat";

struct Ground {
    bench: Bench,
    network: String,
}

impl Ground {
    async fn with(name: &str, iptables: &Path) -> Ground {
        let work_dir = tempfile::tempdir().unwrap();
        // A bridge's name has at most 15 characters, of which the last is added.
        let network = format!("afn-{name}{}", std::process::id() % 100_000);
        let iptables = Some(iptables.to_owned());
        let options = DockerOptions { network: network.clone(), iptables, ..options(work_dir.path()) };
        let launcher = DockerLauncher::connect(options).await.unwrap();
        Ground { bench: Bench { launcher, work_dir }, network }
    }

    async fn is_reached(&self, work: &Invocation) {
        let run = self.bench.call(work).await;
        assert!(success(&run).starts_with(b"payload eth0\n"), "{run:?}");
    }

    async fn remove_network(&self) {
        docker().await.remove_network(&self.network).await.unwrap();
    }

    async fn close(self) {
        let _ = docker().await.remove_network(&self.network).await;
        self.bench.close().await;
    }
}

async fn networked() -> Invocation {
    let mut work = script("cat && ls /sys/class/net", "payload ").await;
    Arc::make_mut(&mut work.version).limits.network = true;
    work
}

#[tokio::test]
async fn one_that_was_removed_is_made_again() {
    let ground = Ground::with("a", Path::new(TAKES)).await;
    let work = networked().await;
    ground.is_reached(&work).await;
    ground.remove_network().await;
    ground.is_reached(&work).await;

    // Between making a container and starting it.
    let mut sandbox = ground.bench.start(&work).await;
    let _ = docker().await.remove_network(&ground.network).await;
    let run = sandbox.invoke(&work).await.unwrap_or_else(|fault| panic!("{fault:?}"));
    assert!(success(&run).starts_with(b"payload eth0\n"), "{run:?}");
    sandbox.stop().await;
    ground.close().await;
}

#[tokio::test]
async fn a_foreign_one_of_its_name_concerns_functions_with_a_network_alone() {
    let ground = Ground::with("b", Path::new(TAKES)).await;
    let request = NetworkCreateRequest { name: ground.network.clone(), ..NetworkCreateRequest::default() };
    docker().await.create_network(request).await.unwrap();
    let fault = ground.bench.fault(&networked().await).await;
    let Fault::Mismatch(mismatch) = &fault else { panic!("{fault:?}") };
    assert!(mismatch.0.contains(&format!("`docker network rm {}`", ground.network)), "{mismatch}");
    ground.bench.launcher.probe().await.unwrap();
    ground.bench.call(&script("true", "").await).await;
    ground.close().await;
}

#[tokio::test]
async fn rules_that_cannot_be_set_are_told_when_the_worker_starts() {
    let ground = Ground::with("c", Path::new(REFUSES)).await;
    let why = ground.bench.launcher.leaves_metadata_open().unwrap();
    assert!(why.starts_with("they cannot be closed: ") && why.contains("cat"), "{why}");
    ground.is_reached(&networked().await).await;
    ground.close().await;
}

#[tokio::test]
async fn rules_that_can_be_set_no_more_make_no_worker_sick() {
    let dir = tempfile::tempdir().unwrap();
    let iptables: PathBuf = dir.path().join("iptables");
    std::os::unix::fs::symlink(TAKES, &iptables).unwrap();
    let ground = Ground::with("d", &iptables).await;
    assert_eq!(ground.bench.launcher.leaves_metadata_open(), None, "this test needs root, beside Docker");
    std::fs::remove_file(&iptables).unwrap();
    std::os::unix::fs::symlink(REFUSES, &iptables).unwrap();
    let fault = ground.bench.fault(&networked().await).await;
    assert!(matches!(fault, Fault::Mismatch(_)), "{fault:?}");
    assert!(fault.to_string().contains("cannot close the metadata service"), "{fault}");
    ground.close().await;
}
