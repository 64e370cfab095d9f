//! What `afn doctor` tells of workers elsewhere: panics of their tasks, and batches that none of them suits.

use afn::layout::object::TaskPanic;
use afn::model::PanicId;
use afn::seam::StoreExt as _;
use serde_json::Value;

use super::world::World;

#[track_caller]
fn state<'r>(report: &'r Value, name: &str) -> &'r Value {
    let check = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
    &check.unwrap_or_else(|| panic!("{name}: {report}"))["state"]
}

impl World {
    /// As a worker leaves it, so many minutes ago.
    fn leave_panic(&self, message: &str, minutes: u64) {
        self.block_on(async {
            let deps = self.open().await.deps;
            let at = deps.now().minus_ms(minutes * 60_000);
            let panic = TaskPanic::new("worker\u{1b}[2J", "supervisor", message, at);
            assert!(deps.store.put_fact(&PanicId::new(at, 1), &panic).await.unwrap());
        });
    }
}

#[test]
fn the_doctor_tells_of_panics_of_workers() {
    let world = World::new();
    let report = world.afn("doctor -o json").json();
    assert_eq!(state(&report, "panics"), "ok");
    assert_eq!(report["panics"], serde_json::json!({ "panics": [], "more": 0 }));

    world.leave_panic("the day before yesterday", 25 * 60);
    for minutes in 1..=12 {
        world.leave_panic(&format!("panic {minutes}\n\u{202e}"), minutes);
    }
    let said = world.afn("doctor").ok();
    let lines: Vec<&str> = said.lines().skip_while(|line| !line.contains(" panics ")).collect();
    assert!(lines[0].starts_with("warning") && lines[0].contains("12 tasks of workers panicked"), "{said}");
    let newest = r"Z worker worker\u001b[2J, supervisor: panic 1\n\u202e";
    assert!(lines[1].ends_with(newest), "{said}");
    assert!(lines[10].ends_with(r"panic 10\n\u202e"), "{said}");
    assert_eq!(lines[11].trim(), "and 2 more");
    assert!(lines[12].contains("report it with these lines"), "{said}");
    assert!(!said.contains("the day before yesterday"), "{said}");

    let report = world.afn("doctor -o json").json();
    assert_eq!(state(&report, "panics"), "warning");
    assert_eq!(report["panics"]["more"], 2);
    assert_eq!(report["panics"]["panics"].as_array().unwrap().len(), 10);
    assert_eq!(report["panics"]["panics"][1]["message"], "panic 2\n\u{202e}");
    assert_eq!(report["panics"]["panics"][1]["task"], "supervisor");
}

#[test]
fn the_doctor_tells_of_batches_that_no_worker_suits() {
    let world = World::new();
    world.afn("create app app").ok();
    world.afn("create function app /image busybox:1 --type async").ok();
    world.write("lines.txt", "1\n2\n3\n");
    world.afn("batch submit app /image lines.txt").ok();
    let report = world.afn("doctor -o json").json();
    assert_eq!(state(&report, "capabilities"), "ok");
    assert_eq!(report["unsuited_batches"]["looked_at"], 1);
    assert_eq!(report["unsuited_batches"]["has_more"], false);

    // It ends with an error: what it cannot run is left on the queue.
    let ran = world.afn("worker --executor process --drain");
    assert_ne!(ran.code, 0, "{ran:#?}");
    let said = world.afn("doctor").ok();
    let lines: Vec<&str> = said.lines().skip_while(|line| !line.contains(" capabilities ")).collect();
    assert!(lines[0].starts_with("warning") && lines[0].contains("1 open batch found no worker"), "{said}");
    assert!(lines[1].contains(" of app: ") && lines[1].contains(" (first reported by "), "{said}");
    assert!(lines[2].contains("start a worker that suits"), "{said}");
    let report = world.afn("doctor -o json").json();
    let reason = &report["unsuited_batches"]["batches"][0]["reasons"][0];
    for part in ["why", "worker", "at"] {
        assert!(lines[1].contains(reason[part].as_str().unwrap()), "{part}: {report}");
    }

    world.afn("batch cancel last").ok();
    assert_eq!(state(&world.afn("doctor -o json").json(), "capabilities"), "ok");
}
