//! Secrets that config values refer to reach functions alone, and config values are shown to whoever asks for them by name.

use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::json;

use super::world::World;

/// A digest of what it was given: the result of a call is stored, and no secret is to be.
const DIGEST: &str = "printf %s \"$TOKEN $FILE $TEXT\" | sha256sum | cut -c 1-64";
/// Of `hush-variable hush-file env:TOKEN`.
const DIGESTED: &str = "d41291f24228adfcdc503137bbe53cf2bb5c2d17f7d9749e7fc65572348c4622\n";

/// Every file below with this text in it.
fn holding(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if path.is_file()
            && std::fs::read(&path).unwrap().windows(text.len()).any(|part| part == text.as_bytes())
        {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    found
}

fn drain(world: &World, options: &str) -> Output {
    let mut command = world.command(&world.work());
    command.env("TOKEN", "hush-variable").args(["worker", "--drain", "--log-format", "json"]);
    command.args(options.split_whitespace()).output().unwrap()
}

#[test]
fn functions_are_given_what_references_name_and_nothing_else_holds_it() {
    let world = World::new();
    world.deploy("f", "shop", "", DIGEST);
    let file = world.write("secret", "hush-file\n");
    world.afn("config app shop TOKEN env:TOKEN").ok();
    world.args(&["config", "function", "shop", "/f", "FILE", &format!("file:{}", file.display())]).ok();
    world.afn("config function shop /f TEXT literal:env:TOKEN").ok();
    let call = world.afn("submit shop /f").ok();
    let worked = drain(&world, "");
    assert!(worked.status.success(), "{worked:?}");
    assert_eq!(world.args(&["get", "result", "shop", call.trim()]).ok(), DIGESTED);

    let log = String::from_utf8(worked.stderr).unwrap();
    assert!(log.contains("call_finished") && !log.contains("hush"), "{log}");
    assert_eq!(holding(world.dir(), "hush"), ["secret"]);
    assert_eq!(holding(world.dir(), "literal:env:TOKEN"), ["afn.db"]);
}

#[test]
fn a_reference_that_leads_nowhere_ends_the_call_and_names_its_key() {
    let world = World::new();
    world.deploy("f", "shop", "retry_backoff: 1ms\n", "echo never");
    world.afn("config function shop /f TOKEN env:NOWHERE").ok();
    let reason = |worker: &mut Command| {
        let call = world.afn("submit shop /f").ok();
        let worked = worker.args(["worker", "--drain"]).output().unwrap();
        assert!(worked.status.success(), "{worked:?}");
        let call = world.args(&["get", "call", "shop", call.trim(), "-o", "json"]).json();
        assert_eq!((&call["status"], &call["attempts"]), (&json!("error"), &json!(3)));
        call["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        reason(&mut world.command(&world.work())),
        "config `TOKEN`: `env:NOWHERE` is not set in the worker's environment: start the worker with it"
    );
    world.afn("config function shop /f TOKEN ssm:/x").ok();
    let mut nobody = world.command(&world.work());
    nobody.env("AWS_REGION", "eu-central-1").env("AWS_EC2_METADATA_DISABLED", "true");
    let reason = reason(&mut nobody);
    let (why, hint) = match cfg!(feature = "aws") {
        true => (
            "no AWS credentials were found: ",
            "; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        false => ("this afn was built without AWS; ", "the feature `aws`"),
    };
    assert!(reason.starts_with(&format!("config `TOKEN`: `ssm:/x` cannot be read: {why}")), "{reason}");
    assert!(reason.ends_with(hint), "{reason}");
}

#[test]
fn a_worker_gives_only_what_it_was_told_to_give() {
    let world = World::new();
    world.deploy("f", "shop", "", DIGEST);
    let file = world.write("secret", "hush-file\n");
    let reference = format!("file:{}", file.display());
    world.afn("config function shop /f TOKEN env:TOKEN").ok();
    world.args(&["config", "function", "shop", "/f", "FILE", &reference]).ok();
    world.afn("config function shop /f TEXT literal:env:TOKEN").ok();
    let call = world.afn("submit shop /f").ok();
    let refuses = |options: &str, why: &str| {
        let mut worker = world.spawn(&format!("worker {options}"));
        worker.until(why);
        worker.signal(Signal::TERM);
        assert_eq!(worker.end().code, 0);
        assert!(world.args(&["status", "shop", call.trim()]).ok().contains(why));
    };
    refuses("--allow-env OTHER", "start it with --allow-env TOKEN");
    std::fs::create_dir(world.path("data")).unwrap();
    refuses("--allow-env TOKEN --allow-file data", &format!("start it with --allow-file {}", file.display()));
    let missing = drain(&world, "--allow-file missing");
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
    let worked = drain(&world, "--allow-env OTHER --allow-env TOKEN --allow-file secret");
    assert!(worked.status.success(), "{worked:?}");
    assert_eq!(world.args(&["get", "result", "shop", call.trim()]).ok(), DIGESTED);
}

#[test]
fn values_are_masked_unless_they_are_asked_for() {
    let world = World::new();
    world.deploy("f", "shop", "", "true");
    assert_eq!(world.afn("config app shop PASSWORD hush").ok(), "shop updated PASSWORD with ***\n");
    world.afn("config function shop /f PASSWORD hush").ok();
    assert_eq!(
        world.afn("config function shop /f DB ssm:/prod/db").ok(),
        "shop /f updated DB with ssm:/prod/db\n"
    );
    let masked = json!({ "DB": "ssm:/prod/db", "PASSWORD": "***" });
    let revealed = json!({ "DB": "ssm:/prod/db", "PASSWORD": "hush" });
    for (line, place) in [
        ("list config function shop /f -o json", "/config"),
        ("list functions shop -o json", "/functions/0/config"),
        ("inspect function shop /f", "/config"),
    ] {
        assert_eq!(world.afn(line).json().pointer(place), Some(&masked), "{line}");
        assert_eq!(world.afn(&format!("{line} --reveal")).json().pointer(place), Some(&revealed), "{line}");
    }
    assert_eq!(world.afn("inspect app shop").json()["config"], json!({ "PASSWORD": "***" }));
    assert_eq!(world.afn("inspect app shop --reveal").json()["config"], json!({ "PASSWORD": "hush" }));
    assert_eq!(world.afn("list config app shop").ok(), "PASSWORD=***\n");
    assert_eq!(world.afn("list config app shop --reveal").ok(), "PASSWORD=hush\n");
    for line in [
        "config app shop PASSWORD hush -o json",
        "update app shop -c PASSWORD=hush -o json",
        "update function shop /f -c PASSWORD=hush -o json",
        "create app other -c PASSWORD=hush -o json",
    ] {
        let shown = world.afn(line).ok();
        assert!(shown.contains("***") && !shown.contains("hush"), "{line}: {shown}");
    }
    let shown = world.run_in("f", &["deploy", "--app", "shop", "--local", "-o", "json"], b"").ok();
    assert!(shown.contains("***") && !shown.contains("hush"), "{shown}");
    assert_eq!(world.afn("get config app shop PASSWORD").ok(), "hush\n");

    let refused = world.afn("config app shop URL file://hush").failed(2);
    assert!(refused.starts_with("error: config value of `URL`: begins with `file:`"), "{refused}");
    assert!(refused.contains("hint: `literal:file:…` is the text") && !refused.contains("hush"), "{refused}");
}
