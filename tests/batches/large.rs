//! What is too large to be held: results that lie in objects of their own, files and objects that are payloads.

use std::io::Read as _;
use std::os::unix::fs::FileExt as _;

use afn::layout::part::RowResult;
use afn::model::State;

use super::facts::one_outcome_each;
use super::ground::lines;
use super::world::{APP, World, count};

everywhere!(results_of_two_mebibytes, bodies_of_files_and_objects);

const RESULTS: u64 = 1_000;
const BYTES: u64 = 2 * MIB;
/// Of a worker with four slots, unoptimised: far below what goes through it.
const PROCESS_BYTES_MAX: u64 = 128 * MIB;
const MIB: u64 = 1024 * 1024;

async fn results_of_two_mebibytes(world: World) {
    let script = format!("read -r line; printf '%s\\n%{}s' \"$line\" ''", BYTES - 16);
    world.deploy("large", &format!("{{ {script}; }} | head -c {BYTES}")).await;
    world.write("in.txt", lines(RESULTS));
    let batch = world.submit_batch("large", "in.txt", "").await;
    let worker = world.worker("-j 4").await;
    world.over(batch).await;
    let peak = worker.peak_bytes();
    println!("peak: {peak} bytes");
    assert!(peak < PROCESS_BYTES_MAX, "{peak} bytes of memory");
    one_outcome_each(&world, batch, RESULTS).await;
    // Unoptimised it takes its time to hash two gibibytes.
    world.spawn(&format!("batch results {batch} -o out/")).gone().await;
    let files = std::fs::read_dir(world.path("out")).expect("a folder");
    let mut names: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    names.sort();
    assert_eq!(names.len() as u64, RESULTS);
    for (number, path) in (1..).zip(names) {
        let mut file = std::fs::File::open(&path).expect("a file");
        let mut begin = vec![0; format!("line {number}\n").len()];
        file.read_exact(&mut begin).expect("it is long");
        assert_eq!(String::from_utf8_lossy(&begin), format!("line {number}\n"));
        assert!((BYTES - 16..=BYTES).contains(&file.metadata().expect("a file").len()));
    }
}

/// Past what a single call may weigh, with a retry of one that failed; and past the most that a file may have.
async fn bodies_of_files_and_objects(world: World) {
    let ready = world.path("ready");
    let script = format!("[ $FN_HEADER_AFN_NAME != b ] || [ -e '{}' ] || exit 9; sha256sum", ready.display());
    world.deploy("sum", &script).await;
    let sizes = [("a", 7 * MIB), ("b", 40 * MIB), ("c", 96 * MIB), ("d", MIB), ("e", 256 * MIB + 1)];
    std::fs::create_dir(world.path("in")).expect("a folder");
    for (name, bytes) in sizes {
        let file = std::fs::File::create(world.path("in").join(name)).expect("a file");
        file.set_len(bytes).expect("room");
        file.write_all_at(name.as_bytes(), bytes - 1).expect("room");
    }
    let sum = |name: &str| {
        let file = std::fs::File::open(world.path("in").join(name)).expect("a file");
        let summed = std::process::Command::new("sha256sum").stdin(file).output();
        String::from_utf8(summed.expect("it runs").stdout).expect("text")
    };

    let mut submitter = world.spawn(&format!("batch submit {APP} /sum in"));
    let batch = super::submitters::begun(&world, 0).await;
    world.until_batch(batch, "submitted", |view| view.sealed.is_some()).await;
    assert_eq!(submitter.ended().await, 0);
    let worker = world.worker("-j 4").await;
    let view = world.over(batch).await;
    let peak = worker.peak_bytes();
    println!("peak: {peak} bytes");
    assert!(peak < PROCESS_BYTES_MAX, "{peak} bytes of memory");
    assert_eq!((count(&view, State::Success), count(&view, State::Error)), (3, 2), "{view:#?}");
    let rows = one_outcome_each(&world, batch, 5).await;
    for (number, name) in [(1, "a"), (3, "c"), (4, "d")] {
        assert_eq!(rows[&number].result, RowResult::Inline(sum(name).into()), "{name}");
    }
    let refused = rows[&5].error.as_deref().expect("a reason");
    assert!(
        refused.starts_with("e: the file has 268435457 bytes, the most of a payload is 268435456"),
        "{refused}"
    );

    world.write("ready", "");
    let retried = world.afn(&format!("batch retry {batch}")).await.json();
    let retry = retried["batch_id"].as_str().expect("an id").parse().expect("a batch's id");
    world.over(retry).await;
    assert_eq!(one_outcome_each(&world, retry, 1).await[&1].result, RowResult::Inline(sum("b").into()));
}
