//! Functions as `afn init` begins them, built by this machine's toolchains and run as child processes. Needs Go, Python 3,
//! Node.js and Cargo; reaches no network.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use afn::deploy::init::{InitRequest, init};
use afn::deploy::{FuncFile, local_build};
use afn::model::{Format, machine};
use afn::seam::Executor as _;
use afn::seam::executor::{Invocation, Verdict};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::support::bench::Bench;

/// Fails, naming what is missing, rather than leaving a test out.
fn needs(program: &str, argument: &str) {
    let found = Command::new(program).arg(argument).output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "this test needs `{program}`; `sh tests/run` installs it"
    );
}

/// A function as `init` begins it, some of its files replaced, built here.
async fn begin(bench: &Bench, runtime: &str, files: &[(&str, &str)]) -> (Invocation, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let request = InitRequest {
        runtime: Some(runtime.to_owned()),
        ..InitRequest::new(dir.path(), "hello".parse().unwrap())
    };
    init(&request).unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let file = FuncFile::load(dir.path()).unwrap();
    let built = local_build::build(&file, &|line| println!("{line}")).await.unwrap();
    let command: Vec<&str> = built.command.iter().map(String::as_str).collect();
    let mut work = bench.folder(file.format, &command, dir.path()).await;
    let version = Arc::make_mut(&mut work.version);
    (version.os, version.arch) = (built.os, built.arch);
    bench.pool.suits(&work.version).unwrap();
    (work, dir)
}

/// What all boilerplates have in common: they take the same payloads, and say the same in answer and log.
async fn greets(bench: &Bench, work: &Invocation) {
    let greetings = [
        ("", "World"),
        ("Ada", "Ada"),
        ("Ada\n", "Ada"),
        (r#"{"name":"Ada"}"#, "Ada"),
        (r#"{ "age": 36, "name": "✓ Ada" }"#, "✓ Ada"),
    ];
    for (payload, name) in greetings {
        let run = bench.run(work, payload).await.unwrap();
        let log = String::from_utf8(run.log.to_vec()).unwrap();
        assert!(log.ends_with(&format!("greeting {name}\n")), "{log:?}");
        assert_eq!(bench.text(work, payload).await, format!("Hello {name}\n"), "{payload:?}");
    }
    for payload in ["{no json", r#"{"nom":"Ada"}"#] {
        let (reason, log) = bench.failure(work, payload).await;
        let told = r#"the payload is no name and no JSON like {"name": "Ada"}"#;
        assert!(log.contains(told), "{reason:?} / {log}");
        // A process that writes to stdout has its exit code for a reason.
        assert!(reason.ends_with(told) || work.version.format == Format::Default, "{reason:?}");
    }
    // Longer than Fn lets a connection idle.
    sleep(Duration::from_millis(1_100)).await;
    assert_eq!(bench.text(work, "").await, "Hello World\n");
}

/// What all that echo have in common.
async fn echoes(bench: &Bench, work: &Invocation) {
    let large: Vec<u8> = (0..5 << 20).map(|n| (n % 251) as u8).collect();
    for payload in [Vec::new(), (0..=255).collect(), large, b"again".to_vec()] {
        assert!(bench.answer(work, payload.clone()).await == payload);
    }
}

const GO_HANDLE: &str = r#"
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

var calls int

func handle(ctx context.Context, call *Call) (any, error) {
	switch string(call.Body) {
	case "count":
		calls++
		return fmt.Sprint(os.Getpid(), " ", calls), nil
	case "who":
		deadline, _ := ctx.Deadline()
		return fmt.Sprint(call.ID, " ", call.Attempt, " ", time.Until(deadline) > 20*time.Second), nil
	case "fail":
		return nil, errors.New("no such user")
	case "panic":
		panic("as asked")
	case "exit":
		os.Exit(3)
	}
	return call.Body, nil
}
"#;

#[tokio::test]
async fn go() {
    needs("go", "version");
    let bench = Bench::new();
    let (work, dir) = begin(&bench, "go", &[]).await;
    let (os, arch) = machine();
    assert_eq!((work.version.os.as_deref(), work.version.arch.as_deref()), (Some(os), Some(arch)));
    assert_eq!(work.version.command, ["./func"]);
    greets(&bench, &work).await;
    vetted(dir.path());

    let (work, _dir) = begin(&bench, "go", &[("func.go", GO_HANDLE)]).await;
    echoes(&bench, &work).await;
    let first = bench.text(&work, "count").await;
    let (pid, _) = first.split_once(' ').unwrap();
    assert_eq!(bench.text(&work, "count").await, format!("{pid} 2"), "the process is hot");
    assert_eq!(bench.text(&work, "who").await, format!("{} 1 true", work.call));
    assert_eq!(bench.failure(&work, "fail").await.0, "no such user");
    let (reason, log) = bench.failure(&work, "panic").await;
    assert!(reason == "panic: as asked" && log.contains("func.go"), "{reason}\n{log}");
    assert_eq!(bench.text(&work, "count").await, format!("{pid} 3"));
    assert_eq!(bench.failure(&work, "exit").await.0, "exit code 3");
    assert!(bench.text(&work, "count").await.ends_with(" 1"));
}

fn vetted(dir: &Path) {
    let vet = Command::new("go").args(["vet", "."]).current_dir(dir).output().unwrap();
    assert!(vet.status.success(), "{}", String::from_utf8_lossy(&vet.stderr));
    let format = Command::new("gofmt").args(["-l", "."]).current_dir(dir).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&format.stdout), "");
}

#[tokio::test]
async fn a_go_function_that_does_not_build_says_why() {
    needs("go", "version");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("func.yaml"), "name: f\nruntime: go\n").unwrap();
    fs::write(dir.path().join("go.mod"), "module func\n\ngo 1.18\n").unwrap();
    fs::write(dir.path().join("func.go"), "package main\n\nfunc main() { missing() }\n").unwrap();
    let file = FuncFile::load(dir.path()).unwrap();
    let error = local_build::build(&file, &|_| {}).await.unwrap_err();
    assert!(error.message().contains("go build -o func .` failed"), "{error}");
    assert!(error.hint_text().unwrap().contains("undefined: missing"), "{error:?}");
}

const PYTHON_HANDLE: &str = r#"
import os
import sys

import serve

calls = 0


def handle(call):
    global calls
    if call.body == b"count":
        calls += 1
        return f"{os.getpid()} {calls}"
    if call.body == b"who":
        return [call.id, call.attempt, call.headers["x-kept"]]
    if call.body == b"none":
        return None
    if call.body == b"exit":
        sys.exit(3)
    return call.body


serve.forever(handle)
"#;

#[tokio::test]
async fn python() {
    needs("python3", "--version");
    let bench = Bench::new();
    let (work, _dir) = begin(&bench, "python", &[]).await;
    assert_eq!((&work.version.os, work.version.format), (&None, Format::HttpStream));
    greets(&bench, &work).await;

    let (mut work, _dir) = begin(&bench, "python", &[("func.py", PYTHON_HANDLE)]).await;
    echoes(&bench, &work).await;
    let first = bench.text(&work, "count").await;
    let (pid, _) = first.split_once(' ').unwrap();
    assert_eq!(bench.text(&work, "count").await, format!("{pid} 2"));
    work.headers.insert("X-Kept".to_owned(), "7".to_owned());
    assert_eq!(bench.text(&work, "who").await, format!("[\"{}\", 1, \"7\"]", work.call));
    assert_eq!(bench.text(&work, "none").await, "");
    assert_eq!(bench.failure(&work, "exit").await.0, "exit code 3");

    // Without its file, it never listens, and its last words are the reason.
    let work =
        bench.function(Format::HttpStream, &["python3", "func.py"], &[("func.py", "import missing")]).await;
    let why = bench.fault(&work).await;
    assert_eq!(why, "ended before it listened: exit code 1: ModuleNotFoundError: No module named 'missing'");
}

#[tokio::test]
async fn python_on_stdin_and_stdout() {
    needs("python3", "--version");
    let bench = Bench::new();
    let script =
        "import sys; sys.stderr.write('said'); sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])";
    let work = bench.function(Format::Default, &["python3", "f.py"], &[("f.py", script)]).await;
    let payload: Vec<u8> = (0..5 << 20).map(|n| (n % 251) as u8).collect();
    let run = bench.run(&work, payload.clone()).await.unwrap();
    assert_eq!(run.log, "said");
    let Verdict::Success { body, .. } = run.verdict else { panic!("{:?}", run.verdict) };
    assert!(body.to_bytes().unwrap().iter().rev().eq(payload.iter()));
}

#[tokio::test]
async fn node() {
    needs("node", "--version");
    let bench = Bench::new();
    let (work, _dir) = begin(&bench, "node", &[]).await;
    greets(&bench, &work).await;
    let echo = "require('./serve')((call) => call.body);";
    let (work, _dir) = begin(&bench, "node", &[("func.js", echo)]).await;
    echoes(&bench, &work).await;
}

#[tokio::test]
async fn rust() {
    needs("cargo", "--version");
    let bench = Bench::new();
    let (work, dir) = begin(&bench, "rust", &[]).await;
    assert_eq!(work.version.command, ["./func"]);
    greets(&bench, &work).await;
    assert!(!bench.failure(&work, vec![0xff]).await.0.is_empty());
    assert!(dir.path().join("target").is_dir());
    let mut unpacked = fs::read_dir(bench.work_dir().join("archives")).unwrap();
    let unpacked = unpacked.next().unwrap().unwrap().path();
    assert!(unpacked.join("func").is_file() && !unpacked.join("target").exists(), "its build stays at home");
}

#[test]
fn rust_functions_do_not_share_a_target_folder() {
    needs("cargo", "--version");
    let home = tempfile::tempdir().unwrap();
    let afn = |folder: &str, line: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_afn"))
            .args(line.split_whitespace())
            .current_dir(home.path().join(folder))
            .env("AFN_HOME", home.path().join("home"))
            .env("AFN_DATA_DIR", home.path().join("data"))
            .env("AFN_FUNCTION_UIDS", "none")
            .env("CARGO_TARGET_DIR", home.path().join("shared"))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for word in ["Hello", "Goodbye"] {
        afn("", &format!("init --runtime rust {word}"));
        let code = home.path().join(word).join("src/main.rs");
        fs::write(&code, fs::read_to_string(&code).unwrap().replace("Hello", word)).unwrap();
        assert_eq!(afn(word, "run --data Ada"), format!("{word} Ada\n"));
    }
}

#[tokio::test]
async fn shell() {
    let bench = Bench::new();
    let (work, _dir) = begin(&bench, "shell", &[]).await;
    greets(&bench, &work).await;
}
