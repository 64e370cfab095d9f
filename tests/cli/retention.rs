//! Retention and deletion from the command line.

use afn::seam::StoreExt as _;
use afn::seam::store::List;

use super::world::World;

#[test]
fn retentions_are_set_and_shown() {
    let world = World::new();
    world.afn("create app app --retention 30d").ok();
    assert_eq!(world.afn("inspect app app").json()["retention"], "30days");
    world.afn("update app app --retention never").ok();
    assert_eq!(world.afn("inspect app app").json()["retention"], "never");
    assert_eq!(world.afn("context update --retention 90m").ok(), "content is kept: 1h 30m\n");
    let ran = world.afn("update app app --retention 5m");
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert!(ran.stderr.contains("a retention of 5m lies outside 1h to"), "{ran:#?}");
}

#[test]
fn a_batch_is_deleted_and_its_readers_are_told() {
    let world = World::new();
    world.deploy("f", "app", "type: async\n", "#!/bin/sh\ncat\n");
    world.write("lines.txt", "a\nb\n");
    world.afn("batch submit app /f lines.txt").ok();
    world.drain();
    let told = world.afn("batch delete last").ok();
    assert!(told.starts_with("content of batch ") && told.contains("objects"), "{told}");
    let ran = world.afn("batch results last");
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.stderr.contains("were deleted on ") && ran.stderr.contains(": by "), "{ran:#?}");
    let shown = world.afn("batch status last").ok();
    assert!(shown.contains(" deleted on ") && shown.contains(" success"), "{shown}");
    assert_eq!(world.afn("batch delete last").code, 3);
}

#[test]
fn an_app_is_deleted_with_its_data() {
    let world = World::new();
    world.deploy("f", "app", "type: async\n", "#!/bin/sh\ncat\n");
    let call = |data: &str| {
        let accepted = world.afn(&format!("call app /f --data {data}")).json();
        accepted["call_id"].as_str().unwrap().to_owned()
    };
    let ended = call("x");
    world.drain();
    let open = call("y");
    assert_eq!(world.afn("delete app app").code, 2);
    let ran = world.afn("delete app app --with-data");
    assert_eq!(ran.code, 0, "{ran:#?}");
    for step in ["function f deleted", "1 call cancelled"] {
        assert!(ran.stderr.contains(step), "{ran:#?}");
    }
    assert!(ran.stdout.starts_with("Successfully deleted app app with its data: "), "{ran:#?}");
    assert!(!world.afn("list apps").ok().contains("app"), "it is gone");
    let listed =
        world.block_on(async { world.open().await.deps.store.list_all(List::all("apps/")).await.unwrap() });
    let left: Vec<_> = listed.entries.iter().filter(|entry| !entry.key.ends_with("/status")).collect();
    assert!(left.is_empty() && listed.entries.len() == 2, "{listed:#?}");
    assert!(world.afn(&format!("get call app {open}")).ok().contains("Status: cancelled"));
    let ran = world.afn(&format!("get result app {ended}"));
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.stderr.contains("was deleted"), "{ran:#?}");
}
