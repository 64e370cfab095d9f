//! What functions, messages and other users write does not steer the terminal, and data is not changed in a pipe.

use std::fs::File;
use std::io::Read as _;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::world::{Ran, World};

/// Clears the screen, sets the clipboard, makes a link, overwrites, reverses the text, ends it, adds a line.
const HOSTILE: &str = "a\u{1b}[2J\u{1b}]52;c;cm0=\u{7}\u{1b}]8;;http://x\u{1b}\\b\rc\u{202e}\u{2066}d\u{9b}1me\nStatus: success";
const SHOWN: &str =
    r"a\u001b[2J\u001b]52;c;cm0=\u0007\u001b]8;;http://x\u001b\b\rc\u202e\u2066d\u009b1me\nStatus: success";
/// A reason of a process has the last line of its log, without control characters.
const SCRIPT: &str =
    r"printf 'a\033[2J\033]52;c;cm0=\007b\rc\342\200\256d\342\201\246e\000\233f\n' >&2; exit 3";
const LOG: &[u8] = b"a\x1b[2J\x1b]52;c;cm0=\x07b\rc\xe2\x80\xaed\xe2\x81\xa6e\0\x9bf\n";
const LOG_SHOWN: &str = "a\\u001b[2J\\u001b]52;c;cm0=\\u0007b\\rc\\u202ed\\u2066e\\u0000\\x9bf\n";

/// That nothing in it steers a terminal, and `part` is in it.
#[track_caller]
fn check(text: &str, part: &str) {
    let hidden = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(hidden), "{text:?}");
    assert!(text.contains(part), "{part}: {text:?}");
}

#[track_caller]
fn shown(ran: Ran, part: &str) {
    check(&(ran.stdout + &ran.stderr), part);
}

#[test]
fn reasons_do_not_steer_a_terminal() {
    let world = World::new();
    world.deploy("bad", "app", "type: async\n", SCRIPT);
    world.afn("call app bad").ok();
    world.send(r#"{"v":2,"kind":"\u001b[2J\n\u202e"}"#);
    let log = world.afn("worker --drain").failed(2);
    check(&log, r"c\u202ed\u2066e");
    check(&log, r"`\u001b[2J\n\u202e`");
    for command in [
        "status app last",
        "get call app last",
        "list calls app",
        "wait app last",
        "get call app last -o json",
    ] {
        shown(world.afn(command), r"exit code 3: a [2J ]52;c;cm0= b c\u202ed\u2066e");
    }
    shown(world.afn("run bad"), r"\u202ed\u2066e");
    shown(world.args(&["get", "call", "app", HOSTILE]), SHOWN);
    shown(world.args(&["get", "call", HOSTILE, "last"]), SHOWN);
}

#[test]
fn a_batch_of_hostile_files_does_not_steer_a_terminal() {
    let world = World::new();
    world.deploy("bad", "app", "type: async\n", SCRIPT);
    world.write("lines.txt", "1\n2\n3\n");
    world.afn("batch submit app bad lines.txt").ok();
    shown(world.args(&["batch", "cancel", "last", "--reason", HOSTILE]), SHOWN);
    shown(world.afn("worker --drain --log-format json"), "");
    shown(world.afn("batch status last"), &format!("Why:          {SHOWN}\n"));
    let json = world.afn("batch status last -o json");
    assert_eq!(json.stdout.matches(r"\u009b1me\nStatus: success").count(), 3, "{json:?}");
    check(&json.stdout, "\\u202e");
    assert_eq!(json.json()["reason"], HOSTILE);
    shown(world.afn("batch wait last"), SHOWN);
    shown(world.afn("batch watch last --progress lines"), SHOWN);
    shown(world.afn("batch list app"), "cancelled");

    world.write("in\u{202e}put.txt", "x\n");
    let ran = world.run_in("", &["batch", "run", "bad", "--input", "in\u{202e}put.txt", "-v"], b"");
    shown(ran, r"c\u202ed\u2066e");
    shown(world.afn("batch status last"), r"in\u202eput.txt");
    shown(world.args(&["batch", "run", "bad", "--input", "no\u{1b}[2J.txt"]), r"no\u001b[2J.txt");
}

/// What a command writes to a terminal.
fn on_terminal(world: &World, args: &[&str]) -> Vec<u8> {
    let mut terminal = File::from(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).unwrap();
    let path = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let mut command = world.command(world.dir());
    let writes = File::options().write(true).open(path).unwrap();
    command.args(args).stdin(Stdio::null()).stdout(writes).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // Else the test itself holds the terminal open, and never reads its end.
    drop(command);
    let mut seen = Vec::new();
    // A terminal that nobody has open any longer ends in an error.
    let _ = terminal.read_to_end(&mut seen);
    assert!(child.wait().unwrap().success(), "{}", String::from_utf8_lossy(&seen));
    let mut bytes = Vec::new();
    seen.split(|byte| *byte == b'\n').for_each(|line| {
        bytes.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        bytes.push(b'\n');
    });
    bytes.pop();
    bytes
}

#[test]
fn data_is_visible_on_a_terminal_and_unchanged_elsewhere() {
    let world = World::new();
    world.deploy("bad", "app", "type: async\n", SCRIPT);
    world.deploy("echo", "app", "type: async\n", "cat");
    world.afn("call app bad").ok();
    world.drain();
    let logs = ["get", "logs", "app", "last"];
    assert_eq!(world.args(&logs).bytes(), LOG);
    assert_eq!(String::from_utf8(on_terminal(&world, &logs)).unwrap(), LOG_SHOWN);
    assert_eq!(on_terminal(&world, &[&logs[..], &["--raw"]].concat()), LOG);

    let input = String::from_utf8_lossy(LOG).into_owned();
    world.write("input.txt", &input);
    world.run_in("", &["batch", "run", "echo", "--input", "input.txt", "--format", "lines"], b"").ok();
    let results = ["batch", "results", "last"];
    let piped = world.args(&results).ok();
    assert!(piped.contains('\u{202e}'), "{piped:?}");
    check(&String::from_utf8(on_terminal(&world, &results)).unwrap(), "\\u202e");
    assert_eq!(on_terminal(&world, &[&results[..], &["--raw"]].concat()), piped.as_bytes());
}
