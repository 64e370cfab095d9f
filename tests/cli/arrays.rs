//! Arrays of calls, as schedulers have them, and what a command knows of its place in a batch.

use super::batch::{batch_of, rows};
use super::world::World;

#[test]
fn an_array_runs_a_script_of_a_scheduler_for_each_index() {
    let world = World::new();
    world.write(
        "job.sh",
        "[ $TASK = 4 ] && [ ! -e ready ] && exit 9; echo $TASK $AFN_NUMBER/$AFN_COUNT $(cat)",
    );
    let ran = world.afn("batch run --array 0-8:2 --index-env TASK --output out.jsonl -- sh job.sh");
    assert_eq!(ran.code, 1, "{ran:#?}");
    let answers = |text: &str| -> Vec<String> {
        rows(text).values().map(|row| row["result"].as_str().unwrap_or("failed").trim().to_owned()).collect()
    };
    assert_eq!(answers(&world.read("out.jsonl")), ["0 1/5 0", "2 2/5 2", "failed", "6 4/5 6", "8 5/5 8"]);

    // A retry has the failed ones alone, and they are told the same.
    world.write("ready", "");
    let batch = batch_of(&ran.stderr);
    world.args(&["batch", "retry", &batch]).ok();
    assert_eq!(answers(&world.read("out.jsonl")), ["0 1/5 0", "2 2/5 2", "4 3/5 4", "6 4/5 6", "8 5/5 8"]);
    let latest = world.args(&["batch", "results", &batch, "--latest"]).ok();
    assert_eq!(answers(&latest), ["0 1/5 0", "2 2/5 2", "4 3/5 4", "6 4/5 6", "8 5/5 8"]);

    let dry = world.afn("batch run --array 1-1000000 --dry-run -- true").ok();
    assert!(dry.starts_with("1000000 calls in "), "{dry}");

    world.write("in.txt", "a\n");
    for (args, told) in [
        ("--array 0-9%2", "`--array 0-9 --max-concurrency 2`"),
        ("--array 9-0", "`9-0` is empty"),
        ("--array 0-9 --index-env AFN_COUNT", "belongs to afn"),
        ("--array 0-9 --input in.txt", "cannot be used with"),
        ("--index-env TASK --input in.txt", "`--index-env` is for arrays"),
    ] {
        let said = world.afn(&format!("batch run {args} -- true")).failed(2);
        assert!(said.contains(told), "{args}: {said}");
    }
}

#[test]
fn a_command_knows_its_number() {
    let world = World::new();
    world.write("in.txt", "a\nb\n");
    let ran = world.args(&[
        "batch",
        "run",
        "--input",
        "in.txt",
        "--output",
        "-",
        "--",
        "sh",
        "-c",
        "echo $AFN_NUMBER:$AFN_COUNT",
    ]);
    let rows = rows(&ran.stdout);
    assert_eq!(
        (rows[&1]["result"].as_str(), rows[&2]["result"].as_str()),
        (Some("1:\n"), Some("2:\n")),
        "{ran:#?}"
    );
}
