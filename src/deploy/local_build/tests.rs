use std::sync::Mutex;

use super::*;

/// A function's folder, built; and what the build said.
async fn built(
    files: &[(&str, &str)],
    func_yaml: &str,
) -> (Result<LocalBuild>, Vec<String>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let file = FuncFile::parse(&dir.path().join("func.yaml"), func_yaml).unwrap();
    let said = Mutex::new(Vec::new());
    let built = build(&file, &|line| said.lock().unwrap().push(line.to_owned())).await;
    (built, said.into_inner().unwrap(), dir)
}

async fn command(files: &[(&str, &str)], func_yaml: &str) -> String {
    let built = built(files, func_yaml).await.0.unwrap();
    assert_eq!((built.os, built.arch), (None, None));
    built.command.join(" ")
}

#[tokio::test]
async fn scripts_are_taken_as_they_are() {
    assert_eq!(command(&[], "name: f\nruntime: shell").await, "sh func.sh");
    assert_eq!(command(&[], "name: f\nruntime: python3.9").await, "python3 func.py");
    assert_eq!(
        command(&[("requirements.txt", "# none\n\n")], "name: f\nruntime: python").await,
        "python3 func.py"
    );
    assert_eq!(command(&[("package.json", "{}")], "name: f\nruntime: node").await, "node func.js");
    let own = "name: f\nruntime: shell\nentrypoint: bash -e run.sh\ncmd: --fast";
    assert_eq!(command(&[], own).await, "bash -e run.sh --fast");
    assert_eq!(command(&[], "name: f\nentrypoint: ./anything").await, "./anything");
    assert_eq!(command(&[], "name: f\nruntime: perl\nentrypoint: perl f.pl").await, "perl f.pl");
}

#[tokio::test]
async fn a_program_without_a_runtime_runs_where_it_was_built() {
    let program = [("func", "\u{7f}ELF and so on")];
    let built = built(&program, "name: f\nentrypoint: ./func --fast").await.0.unwrap();
    let (os, arch) = crate::model::machine();
    assert_eq!((built.os.as_deref(), built.arch.as_deref()), (Some(os), Some(arch)));
    assert_eq!(built.command, ["./func", "--fast"]);
}

#[tokio::test]
async fn commands_of_fns_images_are_translated() {
    let fdk = "name: f\nruntime: python\nentrypoint: /python/bin/fdk /function/func.py handler";
    assert_eq!(
        command(&[], fdk).await,
        "python3 -c from fdk.scripts.fdk import main; main() ./func.py handler"
    );
    let words = ["/python/bin/fdk", "/function/func.py"].map(str::to_owned);
    let own = ["env", "PYTHONPATH=packages", "python3", "func.py"].map(str::to_owned);
    assert_eq!(entrypoint(&words, &own)[..3], ["env", "PYTHONPATH=packages", "python3"]);
}

#[tokio::test]
async fn build_commands_run_first_and_in_the_folder() {
    let func_yaml =
        "name: f\nruntime: shell\nbuild:\n- echo one >made; echo hello\n- cat made; echo careful >&2";
    let (built, mut said, dir) = built(&[], func_yaml).await;
    built.unwrap();
    said.sort();
    assert_eq!(said, ["careful", "hello", "one"]);
    assert!(dir.path().join("made").is_file());
}

#[tokio::test]
async fn a_failed_build_shows_its_last_output() {
    let (built, ..) = built(&[], "name: f\nruntime: shell\nbuild: ['echo no such thing >&2; exit 3']").await;
    let error = built.unwrap_err();
    assert!(error.message().contains("failed with exit status: 3"), "{error}");
    assert_eq!(error.hint_text(), Some("its output ends with:\nno such thing"));
}

#[tokio::test]
async fn what_cannot_be_built_names_the_ways_out() {
    let docker = built(&[], "name: f\nruntime: docker").await.0.unwrap_err();
    assert!(docker.message().contains("takes Docker"), "{docker}");
    let unknown = built(&[], "name: f\nruntime: jvaa").await.0.unwrap_err();
    assert_eq!(unknown.message(), "runtime `jvaa` is unknown");
    let nothing = built(&[], "name: f").await.0.unwrap_err();
    assert!(nothing.message().ends_with("does not say how the function is started"), "{nothing}");

    let error = missing("go");
    assert_eq!(error.message(), "`go` is not installed, and the function is built with it");
    let hint = error.hint_text().unwrap();
    for way in ["install Go", "start Docker", "--runtime shell"] {
        assert!(hint.contains(way), "{hint}");
    }
    assert!(is_in_path("sh") && !is_in_path("no-such-program-anywhere"));
}
