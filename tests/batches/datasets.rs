//! Batches as datasets: the Python of the README's section, run as it stands on a batch's outcomes in the bucket.

use super::command;
use super::harness;
use super::world::APP;

const README: &str = include_str!("../../README.md");
const SECTION: &str = "\n## Batches as datasets\n";
/// A Python that has what `tests/dataset-pins.txt` names; set by `sh tests/run`.
const PYTHON: &str = "AFN_TEST_DATASETS";
const PYTHON_DEFAULT: &str = "target/datasets/bin/python";

/// The code of all blocks of the section.
fn code() -> String {
    let (_, section) = README.split_once(SECTION).expect("the README has the section");
    let section = section.split("\n## ").next().expect("a first part");
    let blocks = section.split("```python\n").skip(1);
    blocks.map(|block| block.split("```").next().expect("it ends")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_readmes_queries_answer() {
    let python =
        std::env::var(PYTHON).unwrap_or_else(|_| format!("{}/{PYTHON_DEFAULT}", env!("CARGO_MANIFEST_DIR")));
    assert!(
        std::path::Path::new(&python).exists(),
        "`{python}` is not there: run `sh tests/run`, or make it of tests/dataset-pins.txt and set {PYTHON}"
    );
    let world = crate::services::world("datasets").await;
    world.deploy("shout", "read -r line; [ \"$line\" != bad ] || exit 3; echo \"$line\" | tr a-z A-Z").await;
    world.write("words.txt", "one\ntwo\nbad\nfour\n".repeat(100));
    let batch = world.submit_batch("shout", "words.txt", "").await;
    let worker = world.worker("-j 2").await;
    world.over(batch).await;
    drop(worker);

    let bucket = world.context.bucket.as_deref().expect("a bucket");
    let endpoint = harness::endpoint();
    let code = code()
        .replace("01M8679VJPJ4ZEESTD00000000", &batch.to_string())
        .replace("s3://afn/apps/demo/", &format!("s3://{bucket}/{}/apps/{APP}/", world.context.prefix))
        .replace("http://localhost:4566", &endpoint)
        .replace("localhost:4566", endpoint.trim_start_matches("http://"));
    let script = world.write("queries.py", code);
    let afn = std::path::Path::new(env!("CARGO_BIN_EXE_afn")).parent().expect("a folder");
    let path = format!("{}:{}", afn.display(), std::env::var("PATH").expect("a PATH"));
    let mut command = tokio::process::Command::new(python);
    for (name, value) in world.command().as_std().get_envs() {
        command.env(name, value.expect("it is set"));
    }
    command.current_dir(world.path("")).env("PATH", path).arg(script);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let told = command::run(command, b"").await.ok();
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        [
            "error 100",
            "success 300",
            "3 ['exit code 3', 100]",
            "{'error': 100, 'success': 300} True",
            "(55, 10)",
        ]
    );
}
