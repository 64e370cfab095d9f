use std::time::Duration;

use super::*;
use crate::model::Limits;

fn request(dir: &Path, runtime: &str) -> InitRequest {
    let runtime = Some(runtime.to_owned()).filter(|runtime| !runtime.is_empty());
    InitRequest { runtime, ..InitRequest::new(dir, "hello".parse().unwrap()) }
}

fn refusal(request: &InitRequest) -> Error {
    init(request).expect_err("must be refused")
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn func_yaml_reads_as_in_the_tutorial() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("hello");
    let created = init(&request(&folder, "go")).unwrap();
    assert_eq!(created.boilerplate, ["func.go", "serve.go", "go.mod"]);
    assert_eq!(created.func_file, folder.join("func.yaml"));
    let text = fs::read_to_string(&created.func_file).unwrap();
    assert_eq!(text, "name: hello\nversion: 0.0.1\nruntime: go\nentrypoint: ./func\n");
    assert_eq!(names(&folder), ["func.go", "func.yaml", "go.mod", "serve.go"]);
}

#[test]
fn every_runtime_gets_a_file_that_says_how_it_is_spoken_to() {
    for (runtime, entrypoint, format) in [
        ("go", "./func", Format::HttpStream),
        ("python", "python3 func.py", Format::HttpStream),
        ("python3.11", "python3 func.py", Format::HttpStream),
        ("node", "node func.js", Format::HttpStream),
        ("rust", "./func", Format::HttpStream),
        ("shell", "sh func.sh", Format::Default),
    ] {
        let dir = tempfile::tempdir().unwrap();
        init(&request(dir.path(), runtime)).unwrap();
        let file = FuncFile::load(dir.path()).unwrap();
        assert_eq!(file.entrypoint.join(" "), entrypoint);
        assert_eq!((file.runtime.as_deref(), file.format), (Some(runtime), format), "{runtime}");
        assert_eq!(file.limits, Limits::default());
    }
}

#[test]
fn what_is_asked_for_stands_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut asked = request(dir.path(), "python");
    asked.version = Some("1.20".to_owned());
    asked.entrypoint = Some("python3 'my func.py'".to_owned());
    asked.cmd = Some("--fast".to_owned());
    asked.kind = Some(Kind::Async);
    asked.format = Some(Format::Default);
    asked.memory_mib = Some(256);
    asked.timeout_ms = Some(90_000);
    asked.idle_timeout_ms = Some(1_500);
    let config = [("A", "1"), ("B", "true"), ("C", "x: #y"), ("D", " zwei ✓\n"), ("E", ""), ("on", "~")];
    asked.config = config.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    asked.annotations.insert("team".to_owned(), serde_json::json!({"name": "a: b", "size": 3}));
    init(&asked).unwrap();

    let file = FuncFile::load(dir.path()).unwrap();
    assert_eq!(file.version, "1.20");
    assert_eq!(file.entrypoint, ["python3", "my func.py"]);
    assert_eq!(file.cmd, ["--fast"]);
    assert_eq!((file.kind, file.format), (Kind::Async, Format::Default));
    let limits = [file.limits.timeout_ms, file.limits.idle_timeout_ms].map(Duration::from_millis);
    assert_eq!(limits, [Duration::from_secs(90), Duration::from_millis(1_500)]);
    assert_eq!(file.limits.memory_mib, 256);
    assert_eq!(file.config, asked.config);
    assert_eq!(file.annotations, asked.annotations);
}

#[test]
fn a_function_that_exists_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    init(&request(dir.path(), "shell")).unwrap();
    let error = refusal(&request(dir.path(), "shell"));
    assert!(error.message().ends_with("func.yaml exists already"), "{error}");

    fs::write(dir.path().join("func.sh"), "mine").unwrap();
    let mut again = request(dir.path(), "shell");
    again.force = true;
    again.kind = Some(Kind::Async);
    let created = init(&again).unwrap();
    assert!(created.boilerplate.is_empty());
    assert_eq!(fs::read_to_string(dir.path().join("func.sh")).unwrap(), "mine");
    assert_eq!(FuncFile::load(dir.path()).unwrap().kind, Kind::Async);

    // The file that is found first is the one that is replaced.
    fs::rename(dir.path().join("func.yaml"), dir.path().join("func.json")).unwrap();
    assert_eq!(init(&again).unwrap().func_file, dir.path().join("func.json"));
    let text = fs::read_to_string(dir.path().join("func.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["entrypoint"], "sh func.sh");
    assert!(!dir.path().join("func.yaml").exists());
}

#[test]
fn the_runtime_is_told_from_what_is_there() {
    for (file, runtime) in [
        ("Dockerfile", "docker"),
        ("func.go", "go"),
        ("requirements.txt", "python"),
        ("package.json", "node"),
        ("Cargo.toml", "rust"),
        ("func.sh", "shell"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(file), "").unwrap();
        assert_eq!(init(&request(dir.path(), "")).unwrap().runtime, runtime);
    }
    let dir = tempfile::tempdir().unwrap();
    let error = refusal(&request(dir.path(), ""));
    assert!(error.message().contains("tells the function's runtime"), "{error}");
    assert!(names(dir.path()).is_empty(), "a refusal leaves nothing");
}

#[test]
fn docker_needs_its_dockerfile_and_gets_no_entrypoint() {
    let dir = tempfile::tempdir().unwrap();
    let error = refusal(&request(dir.path(), "docker"));
    assert!(error.message().starts_with("runtime `docker` needs a Dockerfile"), "{error}");
    fs::write(dir.path().join("Dockerfile"), "FROM scratch").unwrap();
    init(&request(dir.path(), "docker")).unwrap();
    let text = fs::read_to_string(dir.path().join("func.yaml")).unwrap();
    assert_eq!(text, "name: hello\nversion: 0.0.1\nruntime: docker\n");
}

#[test]
fn the_fdk_is_a_flag_away_where_there_is_one() {
    for (runtime, files) in [("go", ["func.go", "go.mod"]), ("python", ["func.py", "requirements.txt"])] {
        let dir = tempfile::tempdir().unwrap();
        let created = init(&InitRequest { fdk: true, ..request(dir.path(), runtime) }).unwrap();
        assert_eq!(created.boilerplate, files);
        let code = fs::read_to_string(dir.path().join(files[0])).unwrap();
        let dependencies = fs::read_to_string(dir.path().join(files[1])).unwrap();
        assert!(code.contains("fdk") && dependencies.contains("fdk"), "{runtime}");
    }
    let dir = tempfile::tempdir().unwrap();
    let error = refusal(&InitRequest { fdk: true, ..request(dir.path(), "shell") });
    assert_eq!(error.message(), "there is no boilerplate on Fn's FDK for `shell`");
    assert_eq!(refusal(&request(dir.path(), "cobol")).message(), "runtime `cobol` is unknown");
}
