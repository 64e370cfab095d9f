//! A function on Fn's FDK for Python as PyPI has it, from its folder to its results.

use std::path::Path;

use super::world::{APP, World};
use super::{bucket, images};

#[tokio::test]
async fn a_function_on_the_official_fdk_runs_hot_and_says_what_went_wrong() {
    images::python().await;
    let world = World::with_docker("fdk").await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/functions/fdk");
    for file in ["func.py", "Dockerfile"] {
        world.write(&format!("fdk/{file}"), std::fs::read(folder.join(file)).expect("it is there"));
    }
    world.write(
        "fdk/func.yaml",
        "schema_version: 20180708\nname: fdk\nversion: 0.0.1\nruntime: docker\nformat: http-stream\nmemory: 192\n\
         timeout: 10\ntype: async\nconfig:\n  GREETING: hello\n",
    );
    world.afn_in("fdk", &format!("deploy --local --app {APP}")).await.ok();
    let mut worker = world.worker("-j 1").await;
    let ends = async |payload: &[u8]| {
        let call = world.submit("fdk", payload, "").await;
        let ended = world.wait(call).await;
        bucket::one_outcome(&world, call).await;
        (call, ended)
    };

    for count in ["1", "2"] {
        let (call, ended) = ends(b"count").await;
        assert_eq!(ended["status"], "success", "{ended}");
        assert_eq!(world.result(call).await, count.as_bytes(), "one container serves one call after another");
        assert!(world.logs(call).await.contains(&format!("call {count} says count")));
    }
    let (call, _) = ends(b"about").await;
    let about: serde_json::Value = serde_json::from_slice(&world.result(call).await).expect("JSON");
    let expected =
        serde_json::json!({ "call": call.to_string(), "attempt": "1", "greeting": "hello", "user": 1000 });
    assert_eq!(about, expected);

    let payload = [b"echo ".as_slice(), &[0, 159, 146, 150, 255], "привет 🦀".as_bytes()].concat();
    let (call, _) = ends(&payload).await;
    assert_eq!(world.result(call).await, payload);

    let (_, ended) = ends(b"raise").await;
    assert_eq!(ended["status"], "error");
    assert!(ended["reason"].as_str().is_some_and(|why| why.contains("no such user: 7")), "{ended}");
    let (_, ended) = ends(b"exit").await;
    assert_eq!(ended["status"], "error");
    assert!(ended["reason"].as_str().is_some_and(|why| why.starts_with("exit code 7")), "{ended}");
    let (_, ended) = ends(b"sleep").await;
    assert_eq!((&ended["status"], &ended["reason"]), (&"timeout".into(), &"timed out after 10s".into()));
    let (call, _) = ends(b"count").await;
    assert_eq!(world.result(call).await, b"1", "a fresh container");

    worker.terminate();
    assert_eq!(worker.ended().await, 0, "{:#?}", worker.lines());
    assert_eq!(world.containers().await, Vec::<String>::new(), "what is hot ends with its worker");
}
