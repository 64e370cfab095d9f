//! Apps, functions, config: made, shown, changed, deleted.

use snapbox::assert_data_eq;
use snapbox::str;

use super::world::World;

#[test]
fn an_app_from_its_making_to_its_end() {
    let world = World::new();
    let ran = world.afn("list apps");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", "No apps found\n"));

    assert_eq!(world.afn("create app asyncapp --config A=1").ok(), "Successfully created app:  asyncapp\n");
    assert_data_eq!(
        world.afn("create app asyncapp").failed(2),
        str![[r#"
error: app `asyncapp` already exists
hint: `afn update app asyncapp` changes it

"#]]
    );
    assert_eq!(world.afn("list apps").ok(), "asyncapp\n");
    assert_eq!(
        world.afn("list apps -o json").json(),
        serde_json::json!({ "apps": [{ "name": "asyncapp" }] })
    );

    assert_eq!(
        world.afn("update app asyncapp --config B=2 --annotation team=7").ok(),
        "app asyncapp updated\n"
    );
    assert_data_eq!(
        world.afn("inspect app asyncapp").ok(),
        str![[r#"
{
  "name": "asyncapp",
  "config": {
    "A": "***",
    "B": "***"
  },
  "annotations": {
    "team": 7
  },
  "retention": null,
  "created_at": "[..]",
  "updated_at": "[..]"
}

"#]]
    );
    assert_data_eq!(
        world.afn("update app asyncapp").failed(2),
        str![[r#"
error: nothing to change was given
hint: `--help` lists what can be changed

"#]]
    );

    assert_eq!(world.afn("delete app asyncapp").ok(), "Successfully deleted app asyncapp\n");
    assert_data_eq!(
        world.afn("inspect app asyncapp").failed(3),
        str![[r#"
error: app `asyncapp` not found
hint: there are no apps here; `afn deploy --app asyncapp` creates it

"#]]
    );
}

#[test]
fn a_function_from_an_image() {
    let world = World::new();
    assert_eq!(
        world.afn("create route imageapp /images/resize example.com/resize:1 --type async --timeout 2m").ok(),
        "/images/resize created with example.com/resize:1\n"
    );
    assert_data_eq!(
        world.afn("list routes imageapp").ok(),
        str![[r#"
PATH            NAME    TYPE   VERSION             UPDATED AT
/images/resize  resize  async  0.0.1-[..]  [..]

"#]]
    );
    assert_data_eq!(
        world.afn("inspect function imageapp resize").ok(),
        str![[r#"
{
  "app": "imageapp",
  "name": "resize",
  "route": "/images/resize",
  "type": "async",
  "version": "0.0.1-[..]",
  "config": {},
  "annotations": {},
  "created_at": "[..]",
  "updated_at": "[..]",
  "label": "0.0.1",
  "source": {
    "image": {
      "reference": "example.com/resize:1",
      "digest": null
    }
  },
  "os": null,
  "arch": null,
  "runtime": null,
  "format": "default",
  "command": [],
  "content_type": null,
  "limits": {
    "timeout_ms": 120000,
    "idle_timeout_ms": 30000,
    "memory_mib": 128,
    "cpu_millis": 0,
    "attempts_max": 1,
    "retry_backoff_ms": 1000,
    "network": false,
    "tmpfs_mib": 0
  },
  "deployed_at": "[..]"
}

"#]]
    );

    assert_eq!(
        world.afn("update function imageapp /images/resize --memory 512").ok(),
        "imageapp /images/resize updated\n"
    );
    let function = world.afn("inspect function imageapp resize").json();
    assert_eq!(function["limits"]["memory_mib"], 512);
    assert_eq!(function["limits"]["timeout_ms"], 120_000);
    assert_eq!(function["type"], "async");

    assert_data_eq!(
        world.afn("delete app imageapp").failed(2),
        str![[r#"
error: app `imageapp` still has function `resize`
hint: delete what it has first: `afn delete function imageapp resize`

"#]]
    );
    assert_eq!(world.afn("delete route imageapp /images/resize").ok(), "imageapp /images/resize deleted\n");
    assert_eq!(world.afn("delete app imageapp").ok(), "Successfully deleted app imageapp\n");
}

#[test]
fn config_is_set_read_and_unset() {
    let world = World::new();
    world.afn("create function app /f example.com/f:1").ok();
    assert_eq!(world.afn("config app app REGION eu").ok(), "app updated REGION with ***\n");
    assert_eq!(world.afn("config function app f LEVEL 3").ok(), "app /f updated LEVEL with ***\n");
    assert_eq!(world.afn("config route app /f EMPTY --").code, 2);
    assert_eq!(world.args(&["config", "route", "app", "/f", "TEXT", "two words"]).code, 0);
    assert_data_eq!(
        world.args(&["config", "app", "app", "TWO WORDS", "x"]).failed(2),
        str![[r#"
error: config key "TWO WORDS" cannot be the name of an environment variable
hint: letters, digits and `_` make one that every shell can read

"#]]
    );

    assert_eq!(world.afn("get config app app REGION").ok(), "eu\n");
    assert_eq!(world.afn("get config function app /f LEVEL").ok(), "3\n");
    assert_eq!(world.afn("list config function app f --reveal").ok(), "LEVEL=3\nTEXT=two words\n");
    assert_eq!(
        world.afn("list config app app --reveal -o json").json(),
        serde_json::json!({ "config": { "REGION": "eu" } })
    );

    assert_eq!(world.afn("unset config function app f LEVEL").ok(), "removed key LEVEL from app /f\n");
    assert_data_eq!(
        world.afn("unset config function app f LEVEL").failed(3),
        str![[r#"
error: app /f has no config key `LEVEL`
hint: it has TEXT

"#]]
    );
    assert_data_eq!(
        world.afn("get config app app NOPE").failed(3),
        str![[r#"
error: app has no config key `NOPE`
hint: it has REGION

"#]]
    );
}

#[test]
fn names_and_limits_are_checked_before_anything_is_written() {
    let world = World::new();
    assert_data_eq!(
        world.args(&["create", "app", "not a name"]).failed(2),
        str![[r#"
error: invalid value 'not a name' for '<APP>': app name `not a name` has the character ' '

  tip: letters, digits, `-` and `_` can be used

For more information, try '--help'.

"#]]
    );
    assert_data_eq!(
        world.afn("create function app /f img --timeout 6h").failed(2),
        str![[r#"
error: timeout 6h lies outside 1s to 5h

"#]]
    );
    assert_data_eq!(
        world.afn("create function app f img").failed(2),
        str![[r#"
error: invalid value 'f' for '<ROUTE>': route `f` does not begin with a slash

  tip: write `/f`

For more information, try '--help'.

"#]]
    );
    assert_eq!(world.afn("list apps").ok(), "");
}

#[test]
fn config_that_left_the_file_is_told_with_the_way_to_remove_it() {
    let world = World::new();
    world.deploy("f", "app", "config: {LEVEL: 3, OLD: x}\n", "cat\n");
    world.write("f/func.yaml", "name: f\nversion: 0.0.1\nruntime: shell\nconfig: {LEVEL: 3}\n");
    let ran = world.run_in("f", &["deploy", "--local", "--app", "app"], b"");
    let told = "app /f keeps config that is not in func.yaml: OLD; `afn unset config function app /f KEY` removes it";
    assert!(ran.code == 0 && ran.stderr.contains(told), "{ran:#?}");
    world.afn("unset config function app /f OLD").ok();
    let ran = world.run_in("f", &["deploy", "--local", "--app", "app"], b"");
    assert!(ran.code == 0 && !ran.stderr.contains("keeps config"), "{ran:#?}");
}

#[test]
fn what_cannot_be_started_is_refused_before_anything_is_touched() {
    let world = World::new();
    for (yaml, told) in [
        ("", "func.yaml does not say how the function is started\nhint: give it a `runtime:`"),
        ("name: f\nruntime: shel\n", "func.yaml:2: runtime `shel` is unknown\nhint: `shell`?"),
        ("name: f\nruntime: shell\n", "there is no file `func.sh` beside it"),
    ] {
        world.write("f/func.yaml", yaml);
        let stderr = world.run_in("f", &["deploy", "--local", "--app", "app"], b"").failed(2);
        assert!(stderr.contains(told) && !stderr.contains("Bumped"), "{yaml:?}: {stderr}");
        assert_eq!(world.read("f/func.yaml"), yaml);
    }
    assert_eq!(world.afn("list apps").ok(), "");
}
