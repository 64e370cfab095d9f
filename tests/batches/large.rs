//! Results that are spooled and lie in objects of their own.

use std::io::Read as _;

use crate::facts::one_outcome_each;
use crate::ground::lines;
use crate::world::World;

everywhere!(results_of_two_mebibytes);

/// How many, where the default is not enough.
const COUNT: &str = "AFN_TEST_LARGE_RESULTS";
const COUNT_DEFAULT: u64 = 100;
const BYTES: u64 = 2 * 1024 * 1024;
/// Of a worker with four slots, unoptimised: far below what the results have together.
const WORKER_BYTES_MAX: u64 = 128 * 1024 * 1024;

async fn results_of_two_mebibytes(world: World) {
    let calls = std::env::var(COUNT).map_or(COUNT_DEFAULT, |count| count.parse().expect("a number"));
    let script = format!("read -r line; printf '%s\\n%{}s' \"$line\" ''", BYTES - 16);
    world.deploy("large", &format!("{{ {script}; }} | head -c {BYTES}")).await;
    world.write("in.txt", lines(calls));
    let batch = world.submit("large", "in.txt", "").await;
    let worker = world.worker("-j 4").await;
    world.over(batch).await;
    let peak = worker.peak_bytes();
    assert!(peak < WORKER_BYTES_MAX, "{peak} bytes of memory");
    one_outcome_each(&world, batch, calls).await;
    world.afn(&format!("batch results {batch} -o out/")).await.ok();
    let files = std::fs::read_dir(world.path("out")).expect("a folder");
    let mut names: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    names.sort();
    assert_eq!(names.len() as u64, calls);
    for (number, path) in (1..).zip(names) {
        let mut file = std::fs::File::open(&path).expect("a file");
        let mut begin = vec![0; format!("line {number}\n").len()];
        file.read_exact(&mut begin).expect("it is long");
        assert_eq!(String::from_utf8_lossy(&begin), format!("line {number}\n"));
        assert!((BYTES - 16..=BYTES).contains(&file.metadata().expect("a file").len()));
    }
}
