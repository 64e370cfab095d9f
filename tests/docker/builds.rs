//! Images from folders, by Docker's builder: from a Dockerfile of their own, and from one made for their runtime.

use std::path::Path;
use std::sync::Arc;

use afn::deploy::dockerfile::for_runtime;
use afn::deploy::{FuncFile, ImageBuilder as _};
use afn::executor::docker::Builder;
use afn::model::{Format, Source};

use super::fixtures::{Bench, build, docker, log, options, success, try_build, work};
use super::images;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder is made");
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("the folder is made");
        std::fs::write(path, text).expect("the file is written");
    }
    dir
}

fn made(dir: &Path) -> String {
    for_runtime(&FuncFile::load(dir).expect("func.yaml is right")).expect("a Dockerfile is made")
}

async fn forget(tag: &str) {
    let _ =
        docker().await.remove_image(tag, None::<bollard::query_parameters::RemoveImageOptions>, None).await;
}

#[tokio::test]
async fn a_folder_with_a_dockerfile_becomes_an_image() {
    let base = images::busybox().await;
    let dir = folder(&[
        ("run.sh", "cat; cat more/text; ls"),
        ("more/text", "!"),
        ("junk", "x"),
        (".dockerignore", "junk\n"),
    ]);
    // Readable to its author alone: the function has to read it all the same.
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(dir.path().join("run.sh"), private).unwrap();
    let tag = "afn-test/own-dockerfile:1";
    let dockerfile =
        format!("FROM {base}\nWORKDIR /f\nCOPY . .\nEXPOSE 80\nENTRYPOINT [\"sh\", \"run.sh\"]\n");
    let built = build(dir.path(), &dockerfile, tag).await;
    assert_eq!((built.reference.as_str(), built.os.as_str()), (tag, "linux"));
    assert!(built.digest.starts_with("sha256:"), "{built:?}");

    let bench = Bench::new().await;
    let mut work = work(tag, Format::Default, &[], "hello");
    Arc::make_mut(&mut work.version).source =
        Source::Image { reference: tag.to_owned(), digest: Some(built.digest.clone()) };
    Arc::make_mut(&mut work.version).arch = Some(built.arch.clone());
    assert_eq!(success(&bench.call(&work).await), "hello!more\nrun.sh\n");
    bench.close().await;

    let builder = Builder(options(dir.path()));
    builder.available().await.unwrap();
    assert_eq!(builder.inspect(tag).await.unwrap(), Some(built));
    forget(tag).await;
    assert_eq!(builder.inspect(tag).await.unwrap(), None);
}

#[tokio::test]
async fn a_volume_of_an_image_is_memory_that_goes_with_the_container() {
    let base = images::busybox().await;
    let dir = folder(&[]);
    let tag = "afn-test/volume:1";
    let dockerfile = format!(
        "FROM {base}\nVOLUME /data\nENTRYPOINT [\"sh\", \"-c\"]\nCMD [\"grep -w /data /proc/mounts\"]\n"
    );
    build(dir.path(), &dockerfile, tag).await;
    let bench = Bench::new().await;
    let run = bench.call(&work(tag, Format::Default, &[], "")).await;
    let mounts = String::from_utf8(success(&run).to_vec()).unwrap();
    assert!(mounts.starts_with("tmpfs /data tmpfs rw"), "{mounts}");
    bench.close().await;
    forget(tag).await;
}

#[tokio::test]
async fn a_build_that_fails_names_its_step() {
    let base = images::busybox().await;
    let dir = folder(&[]);
    let dockerfile = format!("FROM {base}\nRUN echo so far so good\nRUN echo oops && exit 9\n");
    let (error, log) = try_build(dir.path(), &dockerfile, "afn-test/failing:1").await.unwrap_err();
    let message = error.message();
    assert!(
        message.starts_with("building afn-test/failing:1 failed at Step 3/3 : RUN echo oops && exit 9: "),
        "{message}"
    );
    assert!(message.contains("non-zero code: 9"), "{message}");
    assert!(log.starts_with("Step 1/3 : FROM ") && log.contains("\noops\n"), "{log}");

    let (error, _) =
        try_build(dir.path(), "FROM registry.invalid/none:1\n", "afn-test/failing:1").await.unwrap_err();
    assert!(error.message().contains("Step 1/1 : FROM registry.invalid/none:1"), "{error}");
    assert!(error.hint_text().unwrap().contains("run_image"), "{error}");
}

const GO_FUNCTION: &str = r#"package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
)

func main() {
	body, _ := io.ReadAll(os.Stdin)
	os.Stdout.Write(bytes.ToUpper(body))
	os.Stderr.WriteString(http.StatusText(200))
}
"#;

#[tokio::test]
async fn a_go_function_is_built_for_its_runtime() {
    let yaml = format!(
        "name: f\nruntime: go\nformat: default\nbuild_image: {}\nrun_image: {}\n",
        images::go().await,
        images::busybox().await
    );
    let dir =
        folder(&[("func.yaml", &yaml), ("func.go", GO_FUNCTION), ("go.mod", "module func\n\ngo 1.18\n")]);
    let tag = "afn-test/go-function:1";
    build(dir.path(), &made(dir.path()), tag).await;
    let bench = Bench::new().await;
    let run = bench.call(&work(tag, Format::Default, &[], "built from source")).await;
    assert_eq!((success(&run), log(&run)), ("BUILT FROM SOURCE".into(), "OK".to_owned()));
    bench.close().await;
    forget(tag).await;
}

const PYTHON_FUNCTION: &str = r#"import sys
import words

print(words.greeting, sys.stdin.read())
print("logged", file=sys.stderr)
"#;

#[tokio::test]
async fn a_python_function_is_built_for_its_runtime() {
    let yaml = format!("name: f\nruntime: python\nformat: default\nrun_image: {}\n", images::python().await);
    let dir =
        folder(&[("func.yaml", &yaml), ("func.py", PYTHON_FUNCTION), ("words.py", "greeting = 'hello'\n")]);
    let tag = "afn-test/python-function:1";
    build(dir.path(), &made(dir.path()), tag).await;
    let bench = Bench::new().await;
    let run = bench.call(&work(tag, Format::Default, &[], "world")).await;
    assert_eq!((success(&run), log(&run)), ("hello world\n".into(), "logged\n".to_owned()));
    bench.close().await;
    forget(tag).await;
}
