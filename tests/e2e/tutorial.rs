//! The tutorial as a newcomer types it, on the context `localstack`: in containers with Go, and without Docker.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::command::Running;
use super::images;
use super::world::World;

#[tokio::test]
async fn with_docker_and_go() {
    let images = format!("build_image: {}\nrun_image: {}\n", images::go().await, images::busybox().await);
    let world = World::with_docker("go").await;
    walk(&world, "go", &images, "Hello World").await;
    assert_eq!(world.containers().await, Vec::<String>::new());
}

#[tokio::test]
async fn without_docker() {
    let world = World::with_docker("python").await.without_docker();
    walk(&world, "python", "", "Hello World").await;
}

async fn walk(world: &World, runtime: &str, more: &str, answer: &str) {
    world.afn(&format!("init --runtime {runtime} asyncfn")).await.ok();
    let func_yaml = world.work().join("asyncfn/func.yaml");
    let text = std::fs::read_to_string(&func_yaml).expect("init made it");
    std::fs::write(&func_yaml, format!("{text}type: async\n{more}")).expect("it is written");

    let mut start = world.command();
    start.args(["start", "--port", "0"]).env("FN_TOKEN", "e2e");
    let mut server = Running::start(start);
    let listens = server.said("listens on http://").await;
    let address =
        listens.split("http://").nth(1).and_then(|rest| rest.split(',').next()).expect("an address");

    let deployed = world.afn_in("asyncfn", "deploy --local --app asyncapp").await.ok();
    assert!(deployed.contains("asyncapp /asyncfn deployed, version 0.0.2-"), "{deployed}");
    let called: serde_json::Value = world.afn("call asyncapp /asyncfn").await.json();
    let call = called["call_id"].as_str().expect("an id").to_owned();
    assert_eq!(world.afn(&format!("wait asyncapp {call}")).await.code, 0);

    let block = world.afn(&format!("get call asyncapp {call}")).await.ok();
    let names: Vec<&str> = block.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    assert_eq!(names, ["ID", "App", "Route", "Created At", "Started At", "Completed At", "Status"]);
    assert!(block.contains(&call) && block.contains("Status: success"), "{block}");
    assert_eq!(world.afn("get result asyncapp last").await.ok().trim(), answer);
    assert!(world.afn(&format!("get logs asyncapp {call}")).await.ok().contains("greeting"));
    let listed = world.afn("list calls asyncapp").await.ok();
    assert!(listed.contains(&format!("ID: {call}")), "{listed}");

    let told = get(address, &format!("/v1/apps/asyncapp/calls/{call}")).await;
    assert!(told.starts_with("HTTP/1.1 200 OK"), "{told}");
    assert!(
        told.contains("\"message\":\"Successfully loaded call\"") && told.contains("\"status\":\"success\"")
    );

    server.terminate();
    assert_eq!(server.ended().await, 0, "{:#?}", server.lines());
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer e2e\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}
