//! Batches whose objects were damaged, from the command line.

use std::fs;

use afn::layout::Key;
use afn::seam::StoreExt as _;
use afn::seam::store::{List, PutObject};

use super::world::World;

impl World {
    /// Overwrites the object with the last key that contains `part`. Returns the key.
    fn damage(&self, part: &str) -> String {
        self.block_on(async {
            let store = self.open().await.deps.store;
            let mut listed = store.list_all(List::all("apps/")).await.unwrap().entries;
            listed.retain(|entry| entry.key.contains(part));
            let key = Key::text(&listed.last().expect(part).key);
            store.delete(std::slice::from_ref(&key)).await.unwrap();
            store.put(&key, PutObject::create("damaged")).await.unwrap();
            key.to_string()
        })
    }
}

#[test]
fn joblog_and_report_of_a_damaged_batch_are_incomplete_and_say_so() {
    let world = World::new();
    let jobs = world.path("jobs.tsv");
    world.write("in.txt", (1..=150).map(|line| format!("line {line}\n")).collect::<String>());
    // A file that stands in the way of the joblog: the batch ends, and its outputs are left to `batch resume`.
    let script = format!("touch {}; cat", jobs.display());
    let outputs = ["--joblog", "jobs.tsv", "--report", "run.html"];
    let ran = world
        .args(&[&["batch", "run", "--input", "in.txt"], &outputs[..], &["--", "sh", "-c", &script]].concat());
    assert!(ran.code != 0 && ran.stderr.contains("exists already"), "{ran:#?}");
    fs::remove_file(&jobs).unwrap();

    let part = world.damage("/outcomes/");
    let resumed = world.args(&["batch", "resume", "last"]);
    let log = world.read("jobs.tsv");
    let missing = 150 - (log.lines().count() - 1);
    assert!((1..150).contains(&missing), "{log}");
    let says_it =
        |stderr: &str| stderr.contains(&part) && stderr.contains(&format!("{missing} calls are missing"));
    assert!(resumed.code != 0 && says_it(&resumed.stderr), "{resumed:#?}");
    assert!(resumed.stderr.contains("warning: the joblog is incomplete"), "{resumed:#?}");
    assert!(resumed.stderr.contains("error: the report is incomplete"), "{resumed:#?}");
    assert!(world.read("run.html").ends_with("</html>\n"));

    let reported = world.args(&["batch", "report", "last", "-o", "report.html"]);
    assert!(reported.code != 0 && says_it(&reported.stderr), "{reported:#?}");
    assert!(world.read("report.html").ends_with("</html>\n"));
    let listed = world.args(&["batch", "results", "last", "-o", "out.jsonl"]);
    assert_eq!((listed.code, says_it(&listed.stderr)), (reported.code, true), "{listed:#?}");
}
