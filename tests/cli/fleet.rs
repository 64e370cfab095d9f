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
