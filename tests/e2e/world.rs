//! What tests of single calls in containers do in their world.

use std::path::Path;

use afn::context::Context;
use afn::model::CallId;
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use serde_json::Value;

use super::proxy::Proxy;
use super::{fixtures, harness, images};
pub use crate::support::world::{APP, World};
pub use crate::support::{PATIENCE, Running};

/// Sleeps until it is told in its config that it may answer: whoever runs it next does not.
pub const SLOW: &str = "[ -n \"$READY\" ] || sleep 100; echo attempt $AFN_ATTEMPT";

impl World {
    /// On a context of its own on LocalStack, with this machine's Docker.
    pub async fn with_docker(what: &str) -> World {
        World::in_docker(harness::made(what).await)
    }

    pub fn in_docker(context: Context) -> World {
        let mut world = World::on(context);
        world.set_docker(format!("unix://{}", fixtures::docker_socket()));
        // A worker that was killed leaves its containers to the next one; when a test fails there may be none.
        world.clean_up = Some(remove_containers);
        world
    }

    /// A worker that reaches store and queues through a proxy.
    pub async fn worker_through(&self, proxy: &Proxy, options: &str) -> Running {
        let mut command = self.command();
        command.env("AFN_ENDPOINT", proxy.endpoint());
        self.worker_of(command, options).await
    }

    /// A function whose payload is the shell script that it runs, in a container of busybox.
    pub async fn create_sh(&self, name: &str, options: &str) {
        let image = images::busybox().await;
        self.create(name, image, options).await;
    }

    pub async fn create(&self, name: &str, image: &str, options: &str) {
        self.afn(&format!("create function {APP} /{name} {image} --type async {options}")).await.ok();
    }

    /// A function whose code is this shell script, built into an image on busybox and published.
    pub async fn deploy_image(&self, name: &str, more: &str, script: &str) {
        let image = images::busybox().await;
        self.write(
            &format!("{name}/func.yaml"),
            format!("name: {name}\nversion: 0.0.1\nruntime: shell\nrun_image: {image}\ntype: async\n{more}"),
        );
        self.write(&format!("{name}/func.sh"), script);
        self.afn_in(name, &format!("deploy --local --app {APP}")).await.ok();
    }

    /// What [`SLOW`] waits for: whoever runs it from now on gets an answer.
    pub async fn answer_from_now_on(&self) {
        self.afn(&format!("config function {APP} /sh READY 1")).await.ok();
    }

    /// A call of `/name`.
    pub async fn submit(&self, name: &str, payload: impl AsRef<[u8]>, options: &str) -> CallId {
        let route = format!("/{name}");
        let mut args = vec!["submit", APP, &route];
        args.extend(options.split_whitespace());
        let ran = self.args(&args, payload.as_ref()).await;
        ran.ok().trim().parse().expect("an id")
    }

    /// The call once it is over, however it ended.
    pub async fn wait(&self, call: CallId) -> Value {
        let ran = self.afn(&format!("wait {APP} {call} --timeout 4m --output json")).await;
        serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr))
    }

    pub async fn status(&self, call: CallId) -> Value {
        self.afn(&format!("status {APP} {call} --output json")).await.json()
    }

    /// Asks until the call is in this state.
    pub async fn until(&self, call: CallId, state: &str) -> Value {
        let begun = tokio::time::Instant::now();
        loop {
            let call = self.afn(&format!("get call {APP} {call} --output json")).await.json();
            if call["status"] == state {
                return call;
            }
            assert!(begun.elapsed() < PATIENCE, "not {state}: {call}");
        }
    }

    pub async fn result(&self, call: CallId) -> Vec<u8> {
        self.afn(&format!("get result {APP} {call}")).await.bytes()
    }

    pub async fn logs(&self, call: CallId) -> String {
        self.afn(&format!("get logs {APP} {call}")).await.ok()
    }

    /// Waits until the queue of calls has nothing, held or delayed.
    pub async fn queue_is_dry(&self) {
        let calls = self.open().await.deps.queues.calls.live;
        fixtures::eventually("the queue is dry", async || calls.depth().await.expect("a depth").is_dry())
            .await;
    }

    /// The containers of this world's workers, ended ones too.
    pub async fn containers(&self) -> Vec<String> {
        fixtures::containers(self.dir()).await
    }
}

fn remove_containers(dir: &Path) {
    let dir = dir.to_owned();
    let removed = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            for name in fixtures::containers(&dir).await {
                let name = name.trim_start_matches('/');
                let _ = fixtures::docker().await.remove_container(name, Some(options.clone())).await;
            }
        });
    });
    let _ = removed.join();
}
