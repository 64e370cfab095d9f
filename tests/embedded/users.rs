//! Functions of a worker that is root: each process is a user of its own, who reaches nothing of root's and nothing of
//! another call's. Who is not root cannot play this.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use afn::executor::process::{Scope, UserRange};
use afn::model::Source;

use super::bench::Bench;
use super::executor::{is_alive, until};
use super::hostile::{left, nothing_is_left, shell};

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A folder that all users pass through, with a file that root alone can read.
fn ground() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "of root").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    (dir, secret)
}

#[tokio::test]
async fn each_process_is_a_user_of_its_own_without_privileges() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_users(Scope::all());
    let script = "id -u; id -g; id -G | wc -w; grep -E '^(CapPrm|CapBnd|NoNewPrivs)' /proc/self/status
                  echo named >/dev/stdout; echo named >/dev/stderr; touch mine $TMPDIR/mine && cat func.sh | head -c 2";
    let work = shell(&bench, script).await;
    let (first, second) = tokio::join!(bench.text(&work, ""), bench.text(&work, ""));
    let mut users = Vec::new();
    for text in [first, second] {
        let (ids, rest) = text.split_once("\n3\n").unwrap_or_else(|| panic!("{text}"));
        let (user, group) = ids.split_once('\n').unwrap();
        assert_eq!(user, group);
        let user: u32 = user.parse().unwrap();
        assert!(user > UserRange::default().group(), "{user}");
        users.push(user);
        let none = "0000000000000000";
        assert_eq!(rest, format!("CapPrm:\t{none}\nCapBnd:\t{none}\nNoNewPrivs:\t1\nnamed\nid"));
    }
    assert_ne!(users[0], users[1]);
    nothing_is_left(&bench).await;
}

#[tokio::test]
async fn a_command_that_root_typed_stays_roots() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_users(Scope { is_own_command: |_| true });
    let (_dir, secret) = ground();
    let work = shell(&bench, &format!("id -u; cat {}", secret.display())).await;
    assert_eq!(bench.text(&work, "").await, "0\nof root");
    nothing_is_left(&bench).await;
}

fn code(bench: &Bench, source: &Source) -> PathBuf {
    let Source::Archive { sha256, .. } = source else { panic!("an image") };
    bench.work_dir().join("archives").join(format!("{sha256}.app"))
}

#[tokio::test]
async fn a_function_reaches_neither_root_nor_its_neighbours() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_users(Scope::all());
    let (dir, secret) = ground();
    let go = dir.path().join("go");
    let waits =
        format!("echo $$ >kept; : >there; until [ -e {} ]; do sleep 0.02; done; echo mine", go.display());
    let neighbour = shell(&bench, &waits).await;
    let attack = async {
        let found =
            |name: &str| left(&bench).into_iter().map(|dir| dir.join(name)).find(|path| path.exists());
        until("the neighbour is there", || found("there").is_some()).await;
        let kept = found("kept").unwrap();
        let pid = fs::read_to_string(&kept).unwrap();
        let code = code(&bench, &neighbour.version.source);
        let files = [secret.clone(), kept.clone(), code.join("func.sh")];
        let folders = [Path::new("/root"), bench.work_dir(), &bench.work_dir().join("archives"), &code];
        let folders =
            folders.iter().map(|path| path.to_path_buf()).chain([kept.parent().unwrap().to_owned()]);
        let mut script = String::new();
        for file in files {
            let file = file.display();
            script += &format!("cat {file} && echo read {file}; echo x >>{file} && echo wrote {file}\n");
            script +=
                &format!("rm -f {file} && echo removed {file}; chmod 777 {file} && echo opened {file}\n");
        }
        for folder in folders {
            let folder = folder.display();
            script +=
                &format!("ls {folder} && echo listed {folder}; : >{folder}/x && echo made {folder}/x\n");
        }
        // Its own code is root's, too.
        script += "code=$(readlink -f func.sh); echo x >>$code && echo wrote own code; chmod 777 $code && echo opened code\n";
        script += &format!(
            "kill -9 {} && echo killed the neighbour; kill -9 $PPID && echo killed root\n",
            pid.trim()
        );
        let script = format!("({script}) 2>/dev/null; echo end");
        let text = bench.text(&shell(&bench, &script).await, "").await;
        fs::write(&go, "").unwrap();
        text
    };
    let (waited, attacked) = tokio::join!(bench.text(&neighbour, ""), attack);
    assert_eq!((waited.as_str(), attacked.as_str()), ("mine\n", "end\n"));
    nothing_is_left(&bench).await;

    // Nobody but root and the functions of an archive can read it.
    let code = code(&bench, &neighbour.version.source);
    for (path, mode) in [(code.clone(), 0o550), (code.join("func.sh"), 0o440)] {
        let about = fs::metadata(&path).unwrap();
        assert_eq!((about.mode() & 0o7777, about.uid()), (mode, 0), "{}", path.display());
        assert!(about.gid() > UserRange::default().group());
    }
}

#[tokio::test]
async fn what_a_function_starts_ends_with_it_whatever_its_session_and_is_bounded() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_users(Scope::all());
    let work = shell(
        &bench,
        "setsid sh -c 'echo $$ >pid; : >there; exec sleep 1000' <&- >&- 2>&- &
                              until [ -e there ]; do sleep 0.02; done; cat pid",
    )
    .await;
    let pid = bench.text(&work, "").await;
    until("it is gone", || !is_alive(pid.trim())).await;
    nothing_is_left(&bench).await;

    let swarm = shell(&bench, "n=0; while [ $n -lt 400 ]; do sleep 1000 & n=$((n+1)); done; echo all").await;
    let (reason, log) = bench.failure(&swarm, "").await;
    assert!(reason.starts_with("exit code") && log.contains("fork"), "{reason}: {log}");
    nothing_is_left(&bench).await;
}
