//! Images to test with, made from what Debian and PyPI have, since no registry is needed for them: busybox on nothing,
//! a Debian tree with Python and Fn's FDK, and the same with Go. Each is made once and then reused; whoever comes
//! while one is made waits.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bollard::query_parameters::CreateImageOptionsBuilder;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

/// `/bin/busybox` and its names, and nothing else. Version 1 of how it is made.
pub const BUSYBOX: &str = "afn-test/busybox:1";
/// Debian with `python3`, and `fdk` as PyPI has it in `/python`.
pub const PYTHON: &str = "afn-test/python:1";
/// [`PYTHON`] with Debian's Go.
pub const GO: &str = "afn-test/go:1";
/// `tests/services/functions/fdk`.
pub const FDK_FUNCTION: &str = "afn-test/fdk-function:1";

/// [`BUSYBOX`] with `tests/services/functions/hostile`.
const HOSTILE: &str = "afn-test/hostile:1";

const BUSYBOX_BINARY: &str = "/usr/bin/busybox";
const DEBIAN_SUITE: &str = "bookworm";
const DEBIAN_MIRROR: &str = "http://deb.debian.org/debian";

pub async fn busybox() -> &'static str {
    ensure(BUSYBOX, async |dir: PathBuf| {
        let bin = dir.join("bin");
        std::fs::create_dir_all(&bin).expect("the folder is made");
        // Closed to all but root, as people forget to open it: functions must be able to write there all the same.
        std::fs::create_dir(dir.join("tmp")).expect("the folder is made");
        std::fs::copy(BUSYBOX_BINARY, bin.join("busybox"))
            .unwrap_or_else(|error| panic!("{BUSYBOX_BINARY}: {error}: install busybox-static"));
        for name in run(Command::new(BUSYBOX_BINARY).arg("--list")).lines().filter(|name| *name != "busybox")
        {
            symlink("busybox", bin.join(name)).expect("the link is made");
        }
        import(&dir, &[], BUSYBOX, &["ENV PATH=/bin", "CMD [\"/bin/sh\"]"]).await;
    })
    .await
}

pub async fn python() -> &'static str {
    ensure(PYTHON, async |dir: PathBuf| {
        // The second stage configures packages, one by one and slowly; unpacked is all that they have to be here.
        run(Command::new("debootstrap")
            .args(["--foreign", "--variant=minbase", "--include=python3", DEBIAN_SUITE])
            .arg(&dir)
            .arg(DEBIAN_MIRROR));
        let unpack = "for deb in var/cache/apt/archives/*.deb; do dpkg-deb -x $deb . || exit 1; done";
        run(Command::new("sh").args(["-c", unpack]).current_dir(&dir));
        run(Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--root-user-action=ignore"])
            .args(["--only-binary=:all:", "--python-version=3.11", "--target"])
            .arg(dir.join("python"))
            .arg("fdk"));
        let unneeded = [
            "./var/cache/apt",
            "./var/lib/apt/lists",
            "./usr/share/doc",
            "./usr/share/locale",
            "./debootstrap",
        ];
        import(&dir, &unneeded, PYTHON, &["ENV PYTHONPATH=/python", "WORKDIR /function"]).await;
    })
    .await
}

pub async fn go() -> &'static str {
    let base = python().await;
    ensure(GO, async |dir: PathBuf| {
        let root = run(Command::new("go").args(["env", "GOROOT"]));
        // Debian spreads it over two folders by links; the commands' own packages are of no use to functions.
        run(Command::new("tar")
            .args(["--dereference", "--exclude=./pkg/linux_amd64/cmd", "--exclude=./src/cmd"])
            .args(["--exclude=./test", "--exclude=./api", "--exclude=./misc", "--exclude=*_test.go"])
            .args(["-cf"])
            .arg(dir.join("go.tar"))
            .args(["-C", root.trim(), "."]));
        let dockerfile =
            format!("FROM {base}\nADD go.tar /usr/local/go/\nENV PATH=/usr/local/go/bin:/usr/bin:/bin\n");
        super::docker::build(&dir, &dockerfile, GO).await;
    })
    .await
}

/// A function on Fn's FDK for Python. Built anew each time, so that it is what lies in its folder; Docker remembers the
/// steps.
pub async fn fdk_function() -> &'static str {
    python().await;
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/functions/fdk");
    let dockerfile = std::fs::read_to_string(dir.join("Dockerfile")).expect("it is there");
    super::docker::build(&dir, &dockerfile, FDK_FUNCTION).await;
    FDK_FUNCTION
}

/// A function that breaks the contract. Built anew by each process, so that it is what lies in its folder.
pub async fn hostile() -> &'static str {
    static BUILT: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    BUILT
        .get_or_init(async || {
            let base = busybox().await;
            let code =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/functions/hostile/hostile.c");
            let dir = tempfile::tempdir().expect("a folder is made");
            run(Command::new("cc").args(["-static", "-O1", "-o"]).arg(dir.path().join("hostile")).arg(code));
            let dockerfile = format!("FROM {base}\nCOPY hostile /bin/hostile\n");
            super::docker::build(dir.path(), &dockerfile, HOSTILE).await;
        })
        .await;
    HOSTILE
}

/// Makes an image if it is not here; `make` is given an empty folder.
pub async fn ensure(tag: &'static str, make: impl AsyncFnOnce(PathBuf)) -> &'static str {
    let docker = super::docker::docker().await;
    if docker.inspect_image(tag).await.is_ok() {
        return tag;
    }
    let name = tag.replace(['/', ':'], "-");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lock = File::create(target.join(format!("{name}.lock"))).expect("the lock can be made");
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await;
    let _lock = lock.expect("no panic").expect("the lock can be had");
    if docker.inspect_image(tag).await.is_err() {
        let dir = target.join(&name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("the folder is made");
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        make(dir.clone()).await;
        std::fs::remove_dir_all(&dir).expect("the folder is removed");
    }
    tag
}

/// Makes an image of one layer from a folder.
async fn import(dir: &Path, without: &[&str], tag: &str, changes: &[&str]) {
    let packed = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file is made");
    let mut tar = Command::new("tar");
    tar.args(without.iter().map(|path| format!("--exclude={path}")));
    run(tar.arg("-cf").arg(packed.path()).arg("-C").arg(dir).arg("."));
    let pieces = stream::unfold(packed.reopen().expect("it is there"), |mut file| async move {
        let mut piece = vec![0; 1 << 20];
        let length = file.read(&mut piece).expect("it can be read");
        piece.truncate(length);
        (length > 0).then(|| (Ok(Bytes::from(piece)), file))
    });
    let (repo, version) = tag.split_once(':').expect("tags have versions");
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(repo)
        .tag(version)
        .changes(changes.iter().map(|change| (*change).to_owned()).collect())
        .build();
    let docker = super::docker::docker().await;
    let mut answers = docker.create_image(Some(options), Some(bollard::body_try_stream(pieces)), None);
    while let Some(answer) = answers.next().await {
        answer.unwrap_or_else(|error| panic!("importing {tag}: {error}"));
    }
}

/// What a command says, or why it failed.
fn run(command: &mut Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.output().unwrap_or_else(|error| panic!("`{program}`: {error}: it must be installed"));
    assert!(
        output.status.success(),
        "`{program}` failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("it writes text")
}
