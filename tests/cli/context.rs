//! Contexts on the command line.

use snapbox::assert_data_eq;
use snapbox::str;

use super::world::World;

#[test]
fn contexts_are_made_chosen_and_forgotten() {
    let world = World::new();
    assert_data_eq!(
        world.afn("context list").ok(),
        str![[r#"
CURRENT  NAME        KIND        STORE
         aws         aws
*        local       local
         localstack  localstack  s3://afn

"#]]
    );
    let dir = world.work().join("other");
    assert_data_eq!(
        world.args(&["context", "create", "other", "--data-dir", dir.to_str().unwrap()]).ok(),
        str![[r#"
Successfully created context: other

"#]]
    );
    assert_eq!(world.afn("context use other").ok(), "Now using context: other\n");
    assert_eq!(world.afn("context show").json()["name"], "other");
    let contexts = world.afn("list contexts -o json").json();
    let current: Vec<&str> = contexts["contexts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|context| context["current"] == true)
        .map(|context| context["name"].as_str().unwrap())
        .collect();
    assert_eq!(current, ["other"]);

    assert_data_eq!(
        world.afn("delete context other").failed(2),
        str![[r#"
error: context `other` is the current one
hint: choose another first: `afn context use local`

"#]]
    );
    assert_eq!(world.afn("use context local").ok(), "Now using context: local\n");
    assert_eq!(world.afn("context delete other").ok(), "Successfully deleted context other\n");
    assert_data_eq!(
        world.afn("context use other").failed(3),
        str![[r#"
error: no context `other`
hint: there are `aws`, `local`, `localstack`; `afn context create other` makes one

"#]]
    );
}

#[test]
fn a_context_keeps_its_own_apps() {
    let world = World::new();
    let dir = world.work().join("other");
    // AFN_DATA_DIR stands for all local contexts of a shell, so it is left out here.
    let afn = |args: &[&str]| {
        let output = world.command(&world.work()).env_remove("AFN_DATA_DIR").args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    afn(&["context", "create", "other", "--data-dir", dir.to_str().unwrap()]);
    afn(&["--context", "other", "create", "app", "there"]);
    assert_eq!(afn(&["--context", "other", "list", "apps"]), "there\n");
    assert_eq!(afn(&["list", "apps"]), "");
}
