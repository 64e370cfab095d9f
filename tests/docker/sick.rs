//! Docker goes away: never the call's fault, and never the function's.

use std::path::Path;
use std::sync::Arc;

use afn::executor::docker::{DockerLauncher, DockerOptions};
use afn::executor::sandbox::Launcher as _;
use afn::seam::executor::Fault;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::fixtures::{containers, docker_socket, eventually, options, script};

/// A way to Docker that can be cut.
pub fn way(socket: &Path) -> JoinSet<()> {
    let listener = UnixListener::bind(socket).expect("it can be bound");
    let mut way = JoinSet::new();
    way.spawn(async move {
        let mut open = JoinSet::new();
        loop {
            let (mut near, _) = listener.accept().await.expect("it accepts");
            open.spawn(async move {
                let mut far = UnixStream::connect(docker_socket()).await.expect("Docker listens");
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    way
}

#[tokio::test]
async fn a_worker_without_docker_says_so_and_recovers() {
    let work_dir = tempfile::tempdir().unwrap();
    let socket = work_dir.path().join("docker.sock");
    let open = way(&socket);
    let host = Some(format!("unix://{}", socket.display()));
    let options = DockerOptions { host, ..options(work_dir.path()) };
    let launcher = Arc::new(DockerLauncher::connect(options).await.unwrap());
    launcher.probe().await.unwrap();

    // In the middle of a call.
    let work = script("sleep 1000", "").await;
    let started = tokio::sync::Notify::new();
    let running = async {
        let mut sandbox = launcher.start(&work).await.unwrap_or_else(|fault| panic!("{fault:?}"));
        started.notify_one();
        sandbox.invoke(&work).await.map(|run| run.verdict)
    };
    let cut = async {
        started.notified().await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        drop(open);
    };
    let (done, ()) = tokio::join!(running, cut);
    let fault = done.unwrap_err();
    assert!(matches!(fault, Fault::Worker(_)), "{fault:?}");

    // The reaper cannot remove it either, while Docker is away.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(containers(work_dir.path()).await.len(), 1);

    // Before one.
    assert!(launcher.probe().await.unwrap_err().starts_with("docker does not answer"));
    let Err(fault) = launcher.start(&work).await else { panic!("it started without Docker") };
    assert!(matches!(fault, Fault::Worker(_)), "{fault:?}");

    // When it is back, what could not be removed is.
    std::fs::remove_file(&socket).unwrap();
    let _open = way(&socket);
    launcher.probe().await.unwrap();
    eventually("the lost container is gone", async || containers(work_dir.path()).await.is_empty()).await;
    launcher.close().await;
}
