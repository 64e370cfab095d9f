//! A worker whose Docker goes away in the middle of a call: that is nobody's failure, and is over when Docker is back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::world::World;
use super::{bucket, fixtures};

/// Docker's socket, behind one of our own that can be cut.
struct Cuttable {
    path: PathBuf,
    cut: Arc<watch::Sender<bool>>,
    _server: JoinSet<()>,
}

impl Cuttable {
    fn at(path: PathBuf) -> Cuttable {
        let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        let docker = PathBuf::from(host.strip_prefix("unix://").expect("a unix socket"));
        let listener = UnixListener::bind(&path).expect("a socket");
        let cut = Arc::new(watch::Sender::new(false));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, docker, cut.clone()));
        Cuttable { path, cut, _server: server }
    }

    fn set_cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

async fn serve(listener: UnixListener, docker: PathBuf, cut: Arc<watch::Sender<bool>>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if !*cut.borrow() {
            connections.spawn(join(client, docker.clone(), cut.subscribe()));
        }
    }
}

async fn join(mut client: UnixStream, docker: impl AsRef<Path>, mut cut: watch::Receiver<bool>) {
    let Ok(mut docker) = UnixStream::connect(docker).await else { return };
    tokio::select! {
        biased;
        _ = cut.wait_for(|cut| *cut) => {}
        _ = tokio::io::copy_bidirectional(&mut client, &mut docker) => {}
    }
}

#[tokio::test]
async fn a_call_outlives_dockers_absence() {
    let mut world = World::with_docker("sick").await;
    world.create_sh("sh", "").await;
    let docker = Cuttable::at(world.work().join("docker.sock"));
    world.set_docker(format!("unix://{}", docker.path.display()));
    let call = world.submit("sh", "sleep 4; echo done", "").await;
    let worker = world.worker("-j 1").await;
    // Long enough to be marked: the mark must be taken back.
    world.until(call, "running").await;
    docker.set_cut(true);
    worker.said("cannot run functions and takes no calls").await;
    fixtures::eventually("the call is queued again", async || world.status(call).await["status"] == "queued")
        .await;
    docker.set_cut(false);
    worker.said("can run functions again").await;
    let ended = world.wait(call).await;
    assert_eq!((&ended["status"], &ended["attempts"]), (&"success".into(), &1.into()), "{ended}");
    assert_eq!(world.result(call).await, b"done\n");
    bucket::one_outcome(&world, call).await;
    let alone: Vec<_> =
        worker.lines().into_iter().filter(|line| line.contains("runs in quarantine")).collect();
    assert_eq!(alone, Vec::<String>::new(), "nobody was lost, so nobody is a suspect");
    world.queue_is_dry().await;
    fixtures::eventually("no container is left", async || world.containers().await.is_empty()).await;
}
