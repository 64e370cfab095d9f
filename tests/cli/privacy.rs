//! What afn leaves on a machine belongs to its user alone; what it executes, sends and answers is its user's choice.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::world::World;

/// Every path below that somebody else may use.
fn open_to_others(dir: &Path, found: &mut Vec<String>, seen: &mut usize) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let about = fs::symlink_metadata(&path).unwrap();
        *seen += 1;
        if !about.is_symlink() && about.mode() & 0o077 != 0 {
            found.push(format!("{:o} {}", about.mode() & 0o7777, path.display()));
        }
        if about.is_dir() {
            open_to_others(&path, found, seen);
        }
    }
}

#[test]
fn nothing_that_is_left_is_open_to_others() {
    let world = World::new();
    world.deploy("echo", "shop", "", "cat; mkdir -m 777 wide; : >wide/x; chmod 666 wide/x");
    world.write("echo/lib/deep.sh", "true");
    world.run_in("echo", &["deploy", "--app", "shop"], b"").ok();
    world.args(&["submit", "shop", "/echo", "--data", "hello"]).ok();
    world.drain();
    world.write("lines.txt", "a\nb\n");
    world
        .args(&["batch", "run", "--input", "lines.txt", "--output", "out.jsonl", "--", "tr", "a-z", "A-Z"])
        .ok();
    world.args(&["context", "create", "other", "--kind", "local"]).ok();
    world.args(&["run", "echo", "--data", "hello"]).ok();

    let home = world.work().parent().unwrap().to_owned();
    let (mut found, mut seen) = (Vec::new(), 0);
    for place in ["data", "home", "tmp"] {
        open_to_others(&home.join(place), &mut found, &mut seen);
    }
    assert!(seen > 10, "a run leaves more than {seen} files");
    assert!(found.is_empty(), "open to others:\n{}", found.join("\n"));
    // Of calls and sockets nothing is left.
    for place in ["work/calls", "run/p"] {
        let left = fs::read_dir(home.join("data").join(place)).into_iter().flatten().count();
        assert_eq!(left, 0, "{place}");
    }
}

/// What lies below the folder of a range is open to groups of functions, and to nobody else.
#[test]
fn what_root_keeps_for_functions_is_open_to_their_groups_alone() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new();
    let home = world.work().parent().unwrap().to_owned();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o711)).unwrap();
    world.deploy("wide", "shop", "", "mkdir -m 777 wide; : >wide/x; chmod 666 wide/x; id -u");
    let call = world.args(&["submit", "shop", "/wide"]).ok();
    let mut worker = world.command(&world.work());
    worker.env("AFN_FUNCTION_UIDS", "1900000000-1900065535").env("AFN_FUNCTION_DIR", home.join("functions"));
    let ended = worker.args(["worker", "--drain"]).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let user: u32 = world.args(&["get", "result", "shop", call.trim()]).ok().trim().parse().unwrap();
    assert!(user > 1_900_000_000);

    let (mut found, mut seen) = (Vec::new(), 0);
    open_to_others(&home.join("functions/1900000000"), &mut found, &mut seen);
    // Those of groups are: the two folders above calls and archives, and an archive with its two files.
    assert!(seen > found.len() && found.len() >= 3, "{found:?}");
    for line in found {
        let (mode, path) = line.split_once(' ').unwrap();
        let group = fs::metadata(path).unwrap().gid();
        assert!(mode.ends_with('0') && group >= 1_900_000_000, "{line}, group {group}");
    }
    for way in ["functions", "functions/1900000000"] {
        let about = fs::metadata(home.join(way)).unwrap();
        assert_eq!((about.mode() & 0o7777, about.uid()), (0o711, 0), "{way}");
    }
    assert_eq!(fs::read_dir(home.join("functions/1900000000/calls")).unwrap().count(), 0);
}

#[test]
fn a_worker_of_a_remote_context_runs_processes_only_when_it_is_told_to() {
    let world = World::new();
    let ran = world.afn("worker --drain --context localstack");
    let said = ran.failed(5);
    assert!(said.contains("docker is not there") && said.contains("`--executor process`"), "{said}");
    let ran = world.afn("worker --drain --executor docker");
    assert!(ran.failed(5).contains("docker is not there"));
    world.deploy("echo", "shop", "", "cat");
    let call = world.args(&["submit", "shop", "/echo", "--data", "hello"]).ok();
    world.afn("worker --drain --executor process").ok();
    assert_eq!(world.args(&["get", "result", "shop", call.trim()]).ok(), "hello");
}

#[test]
fn a_deploy_tells_what_goes_and_keeps_secrets() {
    let world = World::new();
    world.write("f/func.yaml", "name: f\nversion: 0.0.1\nruntime: shell\n");
    world.write("f/func.sh", "ls -A");
    world.write("f/.env", "PASSWORD=1");
    world.write("f/certs/server.key", "x");
    world.write("f/node_modules/big.js", "x");
    world.write("f/.gitignore", "node_modules\n");
    let ran = world.run_in("f", &["deploy", "--app", "shop", "--dry-run"], b"");
    assert!(ran.stderr.contains("mostly hold secrets: .env, certs/server.key;"), "{ran:#?}");
    let listed: Vec<String> =
        ran.ok().lines().map(|line| line.split("  ").next().unwrap_or_default().to_owned()).collect();
    assert_eq!(listed, [".gitignore", "certs", "func.sh", "func.yaml"]);
    assert_eq!(world.read("f/func.yaml").lines().nth(1), Some("version: 0.0.1"), "nothing was done");
    assert!(world.afn("list functions shop").failed(3).contains("shop"));

    let deployed = world.run_in("f", &["deploy", "--app", "shop"], b"");
    assert!(deployed.stderr.contains("mostly hold secrets: .env, certs/server.key;"), "{deployed:#?}");
    deployed.ok();
    world.write("f/.gitignore", "node_modules\n!.env*\n");
    let ran = world.run_in("f", &["deploy", "--app", "shop", "--dry-run"], b"");
    assert!(
        ran.stderr.contains("mostly hold secrets: .env, certs/server.key;"),
        "git's `!` sends none: {ran:#?}"
    );
    world.write("f/.afnignore", "certs\n!.env\n");
    let ran = world.run_in("f", &["deploy", "--app", "shop", "--dry-run"], b"");
    let told = "these files are sent although they mostly hold secrets, since a `!` in an ignore file names them: .env\n";
    assert!(ran.stderr.contains(told), "{ran:#?}");
    assert!(ran.ok().lines().any(|line| line.starts_with(".env  ")));

    let call = world.args(&["submit", "shop", "/f"]).ok();
    world.drain();
    let seen = world.args(&["get", "result", "shop", call.trim()]).ok();
    assert_eq!(seen, ".gitignore\ncerts\nfunc.sh\nfunc.yaml\n");
}

#[test]
fn secrets_need_not_stand_on_a_command_line() {
    let world = World::new();
    world.deploy("f", "shop", "", "echo $A $B $C");
    world.write("a.txt", "one\n");
    world.args(&["config", "app", "shop", "A", "@a.txt"]).ok();
    world.run_in("", &["config", "app", "shop", "B", "-"], b"two").ok();
    let mut command = world.command(&world.work());
    let ended = command.env("C", "three").args(["update", "app", "shop", "-c", "C"]).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let call = world.args(&["submit", "shop", "/f"]).ok();
    world.drain();
    assert_eq!(world.args(&["get", "result", "shop", call.trim()]).ok(), "one two three\n");
    assert!(
        world.args(&["config", "app", "shop", "NO_SUCH_VARIABLE"]).failed(2).contains("NO_SUCH_VARIABLE")
    );

    world.write("words.txt", "a\n");
    let args = ["batch", "run", "f", "--input", "words.txt", "-c", "A=of the batch", "--output", "-"];
    let rows = world.args(&args).ok();
    assert!(rows.contains("of the batch"), "{rows}");
}

#[test]
fn the_api_asks_for_a_token_and_its_socket_does_not() {
    use std::io::{Read as _, Write as _};
    let world = World::new();
    let mut server = world.spawn("start --port 0");
    let address = server.until("listens on http://");
    let address = address.split("http://").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let line = server.until("export FN_TOKEN=");
    let token = line.split('=').nth(1).unwrap().trim().to_owned();
    assert_eq!(token.len(), 32, "{line}");
    let socket = server.until("unix:").split("unix:").nth(1).unwrap().trim().to_owned();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    fn ask(mut stream: impl std::io::Read + std::io::Write, more: &str) -> String {
        let request = format!("GET /version HTTP/1.1\r\nHost: localhost\r\n{more}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap().to_owned()
    }
    let tcp = || std::net::TcpStream::connect(&address).unwrap();
    assert_eq!(ask(tcp(), ""), "HTTP/1.1 401 Unauthorized");
    assert_eq!(ask(tcp(), &format!("Authorization: Bearer {token}\r\n")), "HTTP/1.1 200 OK");
    assert_eq!(ask(std::os::unix::net::UnixStream::connect(&socket).unwrap(), ""), "HTTP/1.1 200 OK");
    // Any user of this machine can hold all connections over TCP, and none of those over the socket.
    let held: Vec<_> = (0..afn::limits::API_CONNECTIONS_MAX)
        .map(|_| {
            let mut stream = tcp();
            stream.write_all(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 12]).unwrap();
            stream
        })
        .collect();
    assert_eq!(ask(std::os::unix::net::UnixStream::connect(&socket).unwrap(), ""), "HTTP/1.1 200 OK");
    drop(held);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.end().code, 0);
    assert!(!Path::new(&socket).exists());
}
