//! Two users on one machine, which takes root: one runs a worker, the other tries to read and to answer its calls. And a
//! function tries to read what its worker was started with, and, where the worker is root, what root has.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::PATIENCE;

const OWNER: u32 = 47_110;
const STRANGER: u32 = 47_111;
const ROOT: u32 = 0;
const SECRET: &str = "sEcReT-of-the-worker";

/// Listens, and holds a call that says `hold` until its time is up.
const FUNCTION: &str = r#"
import http.server, os, socket, socketserver, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def address_string(self): return ""
    def do_POST(self):
        body = b""
        while True:
            size = int(self.rfile.readline(), 16)
            body += self.rfile.read(size)
            self.rfile.readline()
            if size == 0: break
        if body == b"hold": time.sleep(8)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer): pass
path = os.environ["FN_LISTENER"].removeprefix("unix:")
server = Server(path, Handler)
os.chmod(path, 0o666)
server.serve_forever()
"#;

/// Between two looks for a socket.
const LOOK: Duration = Duration::from_millis(20);

struct Ground {
    dir: tempfile::TempDir,
    /// Who runs the worker.
    owner: u32,
}

impl Ground {
    fn of(owner: u32) -> Ground {
        assert!(rustix::process::geteuid().is_root(), "this test plays two users, which takes root");
        // Other users get no further than the folder that this user's temporary files are in.
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // Wherever the build lies: these users can start it here.
        fs::copy(env!("CARGO_BIN_EXE_afn"), dir.path().join("afn")).unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        fs::set_permissions(dir.path().join("home"), fs::Permissions::from_mode(0o755)).unwrap();
        chown(dir.path().join("home"), Some(owner), Some(owner)).unwrap();
        Ground { dir, owner }
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Where root's functions have their files.
    fn functions(&self) -> PathBuf {
        self.dir.path().join("functions")
    }

    fn as_user(&self, user: u32, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        let user = user.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]).arg(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.home()).current_dir(self.home());
        command.env("AFN_FUNCTION_DIR", self.functions());
        command.env("DOCKER_HOST", "unix:///nowhere/docker.sock").env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.as_user(self.owner, &self.dir.path().join("afn"));
        command.args(args);
        command
    }

    fn afn(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A worker with a hot function that is within a call, and the call and the socket.
    fn hold(&self) -> (Worker, String, String) {
        let yaml = "entrypoint: /usr/bin/python3 func.py\nformat: http-stream\nidle_timeout: 30\n";
        self.deploy("hot", yaml, "func.py", FUNCTION);
        let worker = Worker(self.command(&["worker", "-j", "2"]).spawn().unwrap());
        let call = self.submit("hot", "hold");
        let mut looks = (0..PATIENCE.as_millis() / LOOK.as_millis()).map(|_| {
            std::thread::sleep(LOOK);
            sockets(self.dir.path()).pop()
        });
        (worker, call, looks.find_map(|socket| socket).expect("the function never listened"))
    }

    fn submit(&self, name: &str, data: &str) -> String {
        let call = self.afn(&["submit", "shop", &format!("/{name}"), "--data", data]);
        call.split_whitespace().last().unwrap().to_owned()
    }

    fn result(&self, call: &str) -> String {
        self.afn(&["wait", call, "--timeout", "60s"]);
        self.afn(&["get", "result", "shop", call])
    }

    fn deploy(&self, name: &str, yaml: &str, file: &str, code: &str) {
        let folder = self.home().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("func.yaml"), format!("name: {name}\nversion: 0.0.1\n{yaml}")).unwrap();
        fs::write(folder.join(file), code).unwrap();
        chown(&folder, Some(self.owner), None).unwrap();
        for entry in fs::read_dir(&folder).unwrap() {
            chown(entry.unwrap().path(), Some(self.owner), None).unwrap();
        }
        self.afn(&["deploy", name, "--app", "shop"]);
    }

    fn stranger(&self, script: &str) -> Output {
        self.as_user(STRANGER, Path::new("/usr/bin/python3")).args(["-c", script]).output().unwrap()
    }
}

struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The sockets of functions that run, as everybody can list them.
fn sockets(below: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    let paths = table.lines().filter_map(|line| line.split_whitespace().nth(7));
    paths.filter(|path| path.starts_with(&*below.to_string_lossy())).map(str::to_owned).collect()
}

/// Prints what somebody gets at who should not.
fn attack(socket: &str, roots: &[PathBuf]) -> String {
    format!(
        r#"
import os, socket
done = []
def attempt(what, how):
    try:
        how(); done.append(what)
    except OSError: pass
path = {socket:?}
attempt("connect", lambda: socket.socket(socket.AF_UNIX).connect(path))
attempt("replace", lambda: os.unlink(path))
attempt("list", lambda: os.listdir(os.path.dirname(path)))
attempt("root's home", lambda: os.listdir("/root"))
for root in {roots:?}:
    for found, dirs, files in os.walk(root, onerror=lambda error: None):
        done += [os.path.join(found, name) for name in dirs + files]
if os.geteuid() == 0: done.append("root")
print(done)
"#
    )
}

#[test]
fn a_stranger_neither_reads_nor_answers_calls() {
    let ground = Ground::of(OWNER);
    let (_worker, call, socket) = ground.hold();
    let output = ground.stranger(&attack(&socket, &[ground.home().join(".local/share/afn")]));
    assert_eq!(String::from_utf8(output.stdout.clone()).unwrap().trim(), "[]", "{output:?}");
    assert_eq!(ground.result(&call), "hold");
}

/// Every path below, with its mode and group.
fn all_below(dir: &Path) -> Vec<(PathBuf, u32, u32)> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            let about = fs::symlink_metadata(&path).unwrap();
            let below = if about.is_dir() { all_below(&path) } else { Vec::new() };
            [(path, about.mode() & 0o7777, about.gid())].into_iter().chain(below)
        })
        .collect()
}

#[test]
fn a_function_of_a_worker_that_is_root_reaches_nothing_of_roots() {
    let ground = Ground::of(ROOT);
    let (mut worker, call, socket) = ground.hold();
    assert!(Path::new(&socket).starts_with(ground.functions()), "{socket}");
    let roots = [ground.home().join(".local/share/afn"), ground.functions()];
    ground.deploy(
        "nosy",
        "entrypoint: /usr/bin/python3 func.py\nformat: default\n",
        "func.py",
        &attack(&socket, &roots),
    );
    let nosy = ground.submit("nosy", "");
    assert_eq!(ground.result(&nosy).trim(), "[]");
    assert_eq!(ground.result(&call), "hold");
    kill_process(Pid::from_child(&worker.0), Signal::TERM).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut worker.0.stderr.take().unwrap(), &mut said).unwrap();
    assert!(!said.contains("all files of root"), "{said}");

    // Two archives are kept, for their functions' groups; of calls and sockets nothing is left.
    let left = all_below(&ground.functions().join("2013265920"));
    let is_of_groups = |(path, mode, group): &(PathBuf, u32, u32)| {
        mode & 0o007 == 0 && (*group >= 0x7800_0000 || mode & 0o070 == 0 && path.ends_with("uids"))
    };
    assert!(left.iter().all(is_of_groups), "{left:?}");
    let names: Vec<_> = left.iter().filter_map(|(path, ..)| path.file_name()?.to_str()).collect();
    assert_eq!(names.iter().filter(|name| name.ends_with(".py")).count(), 2, "{left:?}");
    assert!(!names.iter().any(|name| name.starts_with('w')), "{left:?}");
    assert!(ground.afn(&["doctor"]).contains("run as users 2013265920-2147483646, each as its own"));

    // Where root cannot do it, it is told so.
    let afn = ground.dir.path().join("afn");
    for (limit, why) in [
        (
            vec!["unshare", "--user", "--map-root-user"],
            "this user namespace has no users 2013265920-2147483646",
        ),
        (vec!["setpriv", "--bounding-set", "-setuid", "--"], "this process has no CAP_SETUID"),
    ] {
        let output =
            ground.as_user(ROOT, Path::new(limit[0])).args(&limit[1..]).arg(&afn).arg("doctor").output();
        let said = String::from_utf8(output.unwrap().stdout).unwrap();
        assert!(said.contains(&format!("all files of root ({why}")), "{said}");
    }

    // Root can have it otherwise, and is told what that means.
    let call = ground.submit("nosy", "");
    let output = ground.command(&["worker", "--drain", "--function-uids", "none"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("all files of root (--function-uids none)"), "{said}");
    assert!(ground.result(&call).contains("'root'"));
    let output = ground.command(&["worker", "--drain", "--function-uids", "7-8"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

/// Such a worker cannot close what functions with a network reach. It says so when it starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_not_root_tells_what_a_network_leaves_open() {
    let ground = Ground::of(OWNER);
    let socket = ground.dir.path().join("docker.sock");
    let _open = super::sick::way(&socket);
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let expected = "functions that ask for a network reach this machine and its cloud's metadata service: \
                    a worker that is root, beside Docker, closes both";
    for (args, is_answer) in [(&["doctor"][..], true), (&["worker", "--drain"], false)] {
        let host = format!("unix://{}", socket.display());
        let output = ground.command(args).env("DOCKER_HOST", host).output().unwrap();
        let said = if is_answer { &output.stdout } else { &output.stderr };
        let said = String::from_utf8_lossy(said);
        let count = said.lines().filter(|line| line.contains(expected)).count();
        assert_eq!(count, 1, "{args:?}: {output:?}");
    }
}

#[test]
fn a_function_does_not_read_its_workers_secrets() {
    let ground = Ground::of(OWNER);
    let code = format!(
        "for file in environ mem; do head -c 1 /proc/$PPID/$file >/dev/null 2>&1 && echo read $file; done
         grep -al '{}' /proc/[0-9]*/environ 2>/dev/null; env | grep AWS; echo end",
        // Not in the command line of the grep itself.
        SECRET.replace("of", "[o]f"),
    );
    ground.deploy("nosy", "runtime: shell\n", "func.sh", &code);
    let call = ground.submit("nosy", "x");
    ground.afn(&["worker", "--drain"]);
    assert_eq!(ground.result(&call), "end\n");
}
