//! What is told of the work that is left, and batches that cannot be worked on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::world::World;

#[test]
fn a_function_that_cannot_be_started_stops_its_batch() {
    let world = World::new();
    world.write("in.txt", "a\n".repeat(100));
    world.write("f/func.yaml", "name: f\nversion: 0.0.1\nruntime: shell\nformat: http-stream\n");
    let script = world.write("f/func.sh", "#!/bin/sh\necho no config >&2\nexit 1\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let ran = world.afn("batch run f --input in.txt --output out.jsonl -j 4");
    assert_eq!(ran.code, 6, "{ran:#?}");
    let reason = "starts failed on 1 worker: ended before it listened: exit code 1: no config (exit 6)\n";
    assert!(ran.stdout.contains("stopped: the first ") && ran.stdout.ends_with(reason), "{}", ran.stdout);
    let rows = world.read("out.jsonl");
    let cancelled = rows.lines().filter(|row| row.contains(r#""status":"cancelled""#)).count();
    assert!(
        rows.lines().count() == 100 && cancelled >= 60,
        "{cancelled} of {} are cancelled",
        rows.lines().count()
    );
}

#[test]
fn the_slots_that_are_wanted_and_the_batches_before_one_are_told() {
    let world = World::new();
    assert_eq!(world.afn("wanted").ok(), "0\n");
    world.deploy("f", "app", "type: async\n", "cat");
    world.write("in.txt", "a\n".repeat(300));
    let first = world.afn("batch submit app /f in.txt").json();
    assert_eq!(world.afn("wanted").ok(), "1\n");
    let wanted = world.afn("wanted --output json").json();
    assert_eq!(wanted["batches"][0]["undecided"], 300);
    let second = world.afn("batch submit app /f in.txt").json();
    let (first, second) = (first["batch_id"].as_str().unwrap(), second["batch_id"].as_str().unwrap());
    let status = world.args(&["batch", "status", second]).ok();
    let before =
        format!("batch {first} of app app, calls left 300, no worker has recorded an outcome lately");
    assert!(status.contains("Before It:") && status.contains(&before), "{status}");
    let status = world.args(&["batch", "status", first]).ok();
    assert!(status.contains("Beside It:") && status.contains(second), "{status}");

    let ran = world.afn("batch run --input in.txt --output out.jsonl -- cat");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(world.read("out.jsonl").lines().count(), 300);
    assert!(ran.stderr.contains(&format!("shares the queue with batch {first}")), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("`afn batch cancel {first}` ends it")), "{}", ran.stderr);
    world.drain();
    assert_eq!(world.afn("wanted").ok(), "0\n");
}
