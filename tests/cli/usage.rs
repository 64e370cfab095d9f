//! Help, wrong usage, what goes to which stream.

use snapbox::assert_data_eq;
use snapbox::str;

use super::world::World;

#[test]
fn help_lists_commands_and_exit_codes() {
    let help = World::new().afn("--help").ok();
    assert_data_eq!(
        help,
        str![[r#"
Asynchronous functions on object storage: a bucket, queues and workers.

A call is written as an object, a pointer to it goes on a queue, a worker runs the function and
writes the outcome back. Without any set-up everything is stored in one file on this machine.

Usage: afn [OPTIONS] <COMMAND>

Commands:
  init        Make a new function in a folder [alias: in]
  deploy      Build a function and publish it in an app [alias: dp]
  run         Run a function once on a temporary store: nothing is deployed, and no worker is needed
              [alias: r]
  call        Call a function: an async one answers with the call's id, a sync one with its response
              [aliases: invoke, cl]
  submit      Submit one call and print its id, whatever the function's type; with --input, a batch
  status      Show the state of a call or batch, and why it does not move
  wait        Wait until a call or batch is done; the exit code shows how it ended
  cancel      Cancel a call or batch: calls that have not finished are stopped
  batch       Run, submit and follow batches: many calls from a file [alias: b]
  get         Read one thing: a call, its result or log, a config value [alias: g]
  list        List apps, functions, calls, config or contexts [alias: ls]
  inspect     Show everything about an app or function [alias: i]
  create      Create an app, a function from an image, or a context [alias: c]
  update      Change an app or function [alias: up]
  delete      Delete an app, function or context [alias: d]
  config      Set a config value of an app or function; `list config` shows what is set [alias: cf]
  unset       Remove a config value of an app or function [alias: un]
  context     Work with contexts: named stores with their queues [alias: ctx]
  worker      Run calls from the queues until stopped
  start       Run a worker and the HTTP API in one process
  doctor      Check store, queues, Docker, credentials and clock, and advise what to do
  dlq         Show, put back or delete dead letters: messages that no worker could read, or whose
              objects could not be read
  gc          Delete content that is past its retention, and send calls and supervisors again that
              lost their message
  wanted      Print how many slots the work that is left wants, for a program that scales the
              workers: as many as end it within ten minutes, 0 if there is none
  version     Print the version
  completion  Print a completion script for a shell
  help        Print this message or the help of the given subcommand(s)

Options:
  -h, --help
          Print help (see a summary with '-h')

  -V, --version
          Print version

Global options:
      --context <NAME>
          The context to work in, instead of AFN_CONTEXT and the current one

  -o, --output <FORMAT>
          How answers are printed on stdout

          Possible values:
          - text: For people
          - json: For programs: one JSON document; an error is the last line on stderr
          
          [default: text]

  -q, --quiet
          Only answers and errors: no progress, no hints, no confirmations

  -v, --verbose
          Tell more on stderr: the context, build logs, requests to store and queues

      --raw
          Write results and logs to a terminal as they are. By default control characters in them
          are made visible there; a pipe or a file always gets them byte for byte

Environment variables:
  AFN_CONTEXT         the context to use, instead of the current one
  AFN_HOME            where contexts are kept; default ~/.afn
  AFN_DATA_DIR        where a `local` context keeps its file afn.db; default ~/.local/share/afn
  AFN_BUCKET          the bucket, instead of the context's
  AFN_PREFIX          what all keys in the bucket begin with, instead of the context's
  AFN_QUEUES          base name of the queues (NAME-calls, …), instead of the context's
  AFN_ENDPOINT        URL of all services of AWS, instead of the context's or AWS's own
  AFN_REGION          the region, instead of the context's; else AWS_REGION counts
  AFN_PROFILE         profile of the AWS files, instead of the context's; else AWS_PROFILE counts
  AFN_DATA_BUCKETS    buckets whose objects a worker reads for batches, separated by commas
  AFN_REGISTRY        what stands before the names of images, like registry.example.com/team
  AFN_EXECUTOR        what workers run functions in: docker, process or auto
  AFN_FUNCTION_UIDS   whom root runs functions without an image as: FIRST-LAST, or none for root
  AFN_FUNCTION_DIR    where root keeps the files of such functions; default /var/lib/afn
  AFN_PORT            the port that `afn start` listens on; default 8080
  FN_TOKEN            the token that the HTTP API asks for; without it `afn start` makes one
  AFN_WEBHOOK_SECRET  what a worker signs the webhooks of batches with: text, or whsec_ and Base64
  AFN_WEBHOOK_ALLOW   hosts and networks, separated by commas, to which a worker also posts webhooks

Exit codes:
    0  done; reading a call that failed is done too
    1  the call, or some of a batch, failed, of commands that wait for it
    2  wrong usage or input, or it conflicts with what exists
    3  no such app, function, call, context
    4  the wait ended before the call did
    5  store, queues or another service did not answer, or refused
    6  stopped early, or the call or batch was cancelled
   70  a bug, or what is stored contradicts the rules
  130  interrupted by Ctrl-C

"#]]
    );
}

#[test]
fn no_command_shows_help_and_is_wrong_usage() {
    let ran = World::new().afn("");
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("Usage: afn"), "{}", ran.stderr);
}

#[test]
fn an_unknown_command_is_wrong_usage_and_the_nearest_is_named() {
    let stderr = World::new().afn("lst apps").failed(2);
    assert_data_eq!(
        stderr,
        str![[r#"
error: unrecognized subcommand 'lst'

  tip: a similar subcommand exists: 'list'

Usage: afn [OPTIONS] <COMMAND>

For more information, try '--help'.

"#]]
    );
}

#[test]
fn of_similar_commands_the_whole_words_are_named() {
    let world = World::new();
    assert!(world.afn("list cals").failed(2).contains("a similar subcommand exists: 'calls'"));
    assert!(world.afn("bacth ls").failed(2).contains("a similar subcommand exists: 'batch'"));
}

#[test]
fn who_gives_config_no_value_is_pointed_to_what_is_set() {
    let stderr = World::new().afn("config route app /rows").failed(2);
    assert!(stderr.contains("tip: `afn list config function …` shows what is set"), "{stderr}");
}

#[test]
fn who_lists_batches_is_pointed_to_them() {
    let stderr = World::new().afn("list batches").failed(2);
    assert!(stderr.contains("tip: `afn batch list APP` lists the batches of an app"), "{stderr}");
}

#[test]
fn who_leaves_something_out_is_shown_the_command() {
    let world = World::new();
    for line in ["get logs last", "get log app"] {
        let stderr = world.afn(line).failed(2);
        assert!(stderr.contains("  <CALL_ID>\n"), "{line}: {stderr}");
        assert!(
            stderr.contains("tip: the app comes first, then the call: `afn get logs APP last`"),
            "{stderr}"
        );
    }
    let stderr = world.afn("batch results").failed(2);
    assert!(stderr.contains("  <BATCH>\n") && stderr.contains("tip: `afn batch results last`"), "{stderr}");
}

#[test]
fn missing_arguments_are_named() {
    let stderr = World::new().afn("get result asyncapp").failed(2);
    assert_data_eq!(
        stderr,
        str![[r#"
error: the following required arguments were not provided:
  <CALL_ID>

  tip: the app comes first, then the call: `afn get result APP last` is the newest of an app

Usage: afn get result <APP> <CALL_ID>

For more information, try '--help'.

"#]]
    );
}

#[test]
fn a_wrong_id_is_told_apart_from_a_missing_call() {
    let world = World::new();
    let stderr = world.afn("get call asyncapp nonsense").failed(2);
    assert_data_eq!(
        stderr,
        str![[r#"
error: invalid value 'nonsense' for '<CALL_ID>': `nonsense` is not a call id

  tip: an id has 26 characters, like 01BVJ5T7CA07WGE00000000000

For more information, try '--help'.

"#]]
    );
    let stderr = world.afn("get call asyncapp 01BVJ5T7CA07WGE00000000000").failed(3);
    assert_data_eq!(
        stderr,
        str![[r#"
error: app `asyncapp` has no call `01BVJ5T7CA07WGE00000000000`
hint: `afn list calls asyncapp` lists them; calls are deleted when their retention is over, but not before two weeks have gone by

"#]]
    );
}

#[test]
fn quiet_leaves_the_hint_out() {
    let stderr = World::new().afn("-q get call asyncapp 01BVJ5T7CA07WGE00000000000").failed(3);
    assert_data_eq!(
        stderr,
        str![[r#"
error: app `asyncapp` has no call `01BVJ5T7CA07WGE00000000000`

"#]]
    );
}

#[test]
fn an_error_for_programs_is_the_last_line_on_stderr() {
    let stderr = World::new().afn("-o json inspect app nope").failed(3);
    let told: serde_json::Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
    assert_eq!(
        told,
        serde_json::json!({ "error": {
            "code": "not_found",
            "message": "app `nope` not found",
            "hint": "there are no apps here; `afn deploy --app nope` creates it",
        } })
    );
}

#[test]
fn an_unknown_context_is_not_found() {
    let stderr = World::new().afn("--context nowhere list apps").failed(3);
    assert_data_eq!(
        stderr,
        str![[r#"
error: no context `nowhere`
hint: there are `aws`, `local`, `localstack`; `afn context create nowhere` makes one

"#]]
    );
}

#[test]
fn versions_agree() {
    let world = World::new();
    let expected = format!("afn {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(world.afn("version").ok(), expected);
    assert_eq!(world.afn("--version").ok(), expected);
    assert_eq!(world.afn("version --output json").json()["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn completions_are_made_for_the_shells_that_people_use() {
    let world = World::new();
    for (shell, mark) in [("bash", "complete -F _afn"), ("zsh", "#compdef afn"), ("fish", "complete -c afn")]
    {
        let script = world.afn(&format!("completion {shell}")).ok();
        assert!(script.contains(mark), "{shell}");
        assert!(script.contains("idempotency-key"), "{shell}");
    }
}

#[test]
fn fns_aliases_are_taken() {
    let world = World::new();
    world.afn("c a asyncapp").ok();
    for line in ["ls a", "list apps", "list app", "ls apps"] {
        assert_eq!(world.afn(line).ok(), "asyncapp\n", "{line}");
    }
    for line in ["g cl asyncapp last", "get calls asyncapp l", "get lg asyncapp last", "get log asyncapp l"] {
        let stderr = world.afn(line).failed(3);
        assert!(stderr.contains("app `asyncapp` has no calls"), "{line}: {stderr}");
    }
    for line in ["ls r asyncapp", "ls f asyncapp", "ls fn asyncapp", "list routes asyncapp"] {
        assert_eq!(world.afn(line).ok(), "", "{line}");
    }
    for line in
        ["cf a asyncapp K v", "g cf a asyncapp K", "ls cf a asyncapp", "un cf a asyncapp K", "d a asyncapp"]
    {
        world.afn(line).ok();
    }
}

#[test]
fn no_colour_reaches_a_pipe() {
    let ran = World::new().afn("list functions nowhere");
    assert_eq!(ran.code, 3);
    assert!(!ran.stderr.contains('\u{1b}'), "{:?}", ran.stderr);
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let world = World::new();
    let mut child = world.command(&world.work()).args(["completion", "bash"]).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_readme_has_every_variable_and_exit_code() {
    let readme = include_str!("../../README.md");
    for variable in afn::context::env::VARIABLES {
        assert!(readme.contains(&format!("| `{}` |", variable.name)), "{}", variable.name);
    }
    for (code, meaning) in afn::cli::exit::ExitCode::MEANINGS {
        assert!(readme.contains(&format!("| {} | {meaning}", code.number())), "{code:?}");
    }
}
