//! The README's console blocks, run as they stand. A line `$ command` is run by a shell, the lines below it are what it
//! has to write to stdout. Ids, times and digests differ from run to run and match any other of their kind; `[..]` stands
//! for anything in a line, `...` for any lines. The blocks of one section share a
//! shell, a home and a store; `&` starts something that is ended with the section. A comment before a block says what
//! it needs: `<!-- needs: docker -->`, `<!-- needs: localstack -->`. What is needed and absent is a failure.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

const README: &str = include_str!("../../README.md");
/// Written between commands, so that each one's output is known.
const MARK: &str = "--- end of command";

#[derive(Debug, Default)]
struct Section {
    title: String,
    needs: Vec<String>,
    commands: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    line: usize,
    command: String,
    expected: String,
}

fn sections(text: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((_, line)) = lines.next() {
        let section = sections.last_mut().expect("there is one from the start");
        if let Some(title) = line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")) {
            sections.push(Section { title: title.to_owned(), ..Section::default() });
        } else if let Some(need) = line.strip_prefix("<!-- needs: ") {
            let need =
                need.strip_suffix(" -->").unwrap_or_else(|| panic!("a comment that does not end: {line}"));
            section.needs.push(need.to_owned());
        } else if line == "```console" {
            for (number, line) in lines.by_ref().take_while(|(_, line)| *line != "```") {
                match (line.strip_prefix("$ "), section.commands.last_mut()) {
                    (Some(command), _) => section.commands.push(Entry {
                        line: number,
                        command: command.to_owned(),
                        expected: String::new(),
                    }),
                    (None, Some(entry)) => {
                        if let Some(more) = line.strip_prefix("> ") {
                            let _ = write!(entry.command, "\n{more}");
                        } else {
                            let _ = writeln!(entry.expected, "{line}");
                        }
                    }
                    (None, None) => panic!("README.md:{number}: a console block begins with `$ `"),
                }
            }
        }
    }
    sections.retain(|section| !section.commands.is_empty());
    sections
}

/// Runs the sections that need exactly this.
fn run(needs: &[&str], environment: &[(&str, String)]) {
    let chosen: Vec<Section> =
        sections(README).into_iter().filter(|section| section.needs == needs).collect();
    assert!(!chosen.is_empty(), "no section of README.md needs {needs:?}");
    for section in chosen {
        run_section(&section, environment);
    }
}

fn run_section(section: &Section, environment: &[(&str, String)]) {
    let home = tempfile::tempdir().unwrap();
    let work = home.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::os::unix::fs::symlink(here.join("examples"), work.join("examples")).unwrap();
    // The README says 8080, which may be somebody else's on this machine.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut script = String::from("trap 'kill $jobs 2>/dev/null; wait' EXIT\n");
    for entry in &section.commands {
        let command = entry.command.replace(":8080", &format!(":{port}"));
        let job = if command.ends_with('&') { "jobs=\"$jobs $!\"; " } else { "" };
        let _ =
            writeln!(script, "{command}\ncode=$?; {job}echo; echo \"{MARK} $code\"; [ $code = 0 ] || exit");
    }
    std::fs::write(home.path().join("script"), script).unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_afn")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .arg(home.path().join("script"))
        .current_dir(&work)
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("CARGO_HOME", cargo_home())
        .env("HOME", home.path())
        .env("AFN_HOME", home.path().join("afn"))
        .env("AFN_DATA_DIR", home.path().join("data"))
        // Root's toolchains may lie where no other user can go.
        .env("AFN_FUNCTION_UIDS", "none")
        .env("AFN_PORT", &port)
        .env_remove("AFN_CONTEXT")
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let mut rest = stdout.as_str();
    for entry in &section.commands {
        let place = format!("README.md:{} `{}` ({})", entry.line, entry.command, section.title);
        let Some((written, after)) = rest.split_once(&format!("\n{MARK} ")) else {
            panic!("{place} did not end; it wrote {rest:?}, and on stderr:\n{stderr}");
        };
        let (code, after) = after.split_once('\n').unwrap_or((after, ""));
        assert_eq!(code, "0", "{place} failed; it wrote {written:?}, and on stderr:\n{stderr}");
        let written = if written.is_empty() || written.ends_with('\n') {
            written.to_owned()
        } else {
            format!("{written}\n")
        };
        let matches =
            snapbox::Assert::new().try_eq(Some(&place), like(&written).into(), like(&entry.expected).into());
        if let Err(difference) = matches {
            panic!("{place}\n{difference}\non stderr:\n{stderr}");
        }
        rest = after;
    }
}

/// The text with what differs from run to run named by its kind.
fn like(text: &str) -> String {
    let mut alike = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let kind = KINDS.iter().find_map(|(name, pattern)| Some((name, matched(rest, pattern)?)));
        let taken = match kind {
            Some((name, length)) => {
                alike.push_str(name);
                length
            }
            None => {
                // A whole word, so that the end of one is not taken for an id.
                let word = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                let length = if word > 0 { word } else { rest.chars().next().map_or(0, char::len_utf8) };
                alike.push_str(&rest[..length]);
                length
            }
        };
        rest = &rest[taken..];
    }
    alike
}

/// `d` a digit, `x` a hex digit, `U` a digit or capital; all else is itself.
const KINDS: [(&str, &str); 3] = [
    ("(time)", "dddd-dd-ddTdd:dd:dd.dddZ"),
    ("(id)", "UUUUUUUUUUUUUUUUUUUUUUUUUU"),
    ("(digest)", "xxxxxxxxxxxx"),
];

/// How many bytes of the text are of this pattern, if it ends where a word does.
fn matched(text: &str, pattern: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let fits = |(at, kind): (usize, u8)| {
        bytes.get(at).is_some_and(|byte| match kind {
            b'd' => byte.is_ascii_digit(),
            b'x' => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
            b'U' => byte.is_ascii_digit() || byte.is_ascii_uppercase(),
            kind => *byte == kind,
        })
    };
    let ends = !bytes.get(pattern.len()).is_some_and(u8::is_ascii_alphanumeric);
    (ends && pattern.bytes().enumerate().all(fits)).then_some(pattern.len())
}

/// Whose home is another one here.
fn cargo_home() -> std::ffi::OsString {
    std::env::var_os("CARGO_HOME").unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("HOME, or CARGO_HOME");
        Path::new(&home).join(".cargo").into()
    })
}

#[track_caller]
fn require(variable: &str, what: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{what}: set {variable}; `sh tests/run` does"))
}

#[test]
fn what_needs_nothing() {
    run(&[], &[("DOCKER_HOST", "unix:///nowhere/docker.sock".to_owned())]);
}

#[test]
fn what_needs_localstack() {
    let endpoint = require("AFN_TEST_LOCALSTACK", "these blocks need LocalStack, the URL where it answers");
    let environment = [
        ("AFN_ENDPOINT", endpoint),
        // LocalStack takes any.
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("DOCKER_HOST", "unix:///nowhere/docker.sock".to_owned()),
    ];
    run(&["localstack"], &environment);
}

#[test]
fn blocks_are_read_as_they_are_meant() {
    let text =
        "## One\n<!-- needs: docker -->\n```console\n$ echo a \\\n> b\na b\n$ true\n```\n```sh\n$ no\n```\n";
    let sections = sections(text);
    let [section] = &sections[..] else { panic!("{sections:?}") };
    assert_eq!((section.title.as_str(), &section.needs[..]), ("One", &["docker".to_owned()][..]));
    let commands: Vec<_> = section
        .commands
        .iter()
        .map(|entry| (entry.line, entry.command.as_str(), entry.expected.as_str()))
        .collect();
    assert_eq!(commands, [(4, "echo a \\\nb", "a b\n"), (7, "true", "")]);
}

#[test]
fn ids_times_and_digests_are_alike() {
    let text = "{\"call_id\":\"01BVJ5T7CA07WGE00000000000\"} at 2026-11-24T05:38:36.205Z, 0.0.2-52a955bd9ea5: feed\n";
    assert_eq!(like(text), "{\"call_id\":\"(id)\"} at (time), 0.0.2-(digest): feed\n");
    assert_eq!(like("X01BVJ5T7CA07WGE00000000000"), "X01BVJ5T7CA07WGE00000000000");
}
