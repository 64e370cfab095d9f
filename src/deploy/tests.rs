//! Deploys over a store in memory: of a folder for real, of images with a builder that only says it has built.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::*;
use crate::archive::unpack;
use crate::backend::memory::{MemoryQueue, MemoryStore};
use crate::catalog::Catalog;
use crate::error::{Code, Error, Result};
use crate::event::Silent;
use crate::model::{AppName, Config, Format, FunctionName, Kind, Source, Time};
use crate::seam::Deps;
use crate::seam::clock::{Clock, SystemClock};
use crate::seam::queue::{QueuePair, Queues};
use crate::seam::rng::SeededRng;

fn catalog() -> Catalog {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let queue = || Arc::new(MemoryQueue::new(clock.clone()));
    let lane = || QueuePair { live: queue(), dead: queue() };
    Catalog::new(Deps {
        store: Arc::new(MemoryStore::new(clock.clone())),
        queues: Queues { calls: lane(), chunks: lane(), batches: lane() },
        rng: Arc::new(SeededRng::new(1)),
        events: Arc::new(Silent),
        clock,
    })
}

/// Says that it has built and pushed, or fails at one of them.
#[derive(Default)]
struct Builder {
    fails: Option<&'static str>,
    did: Mutex<Vec<String>>,
}

impl Builder {
    fn does(&self, what: &'static str, said: String) -> Result<()> {
        self.did.lock().unwrap().push(said);
        if self.fails == Some(what) { Err(Error::invalid(format!("cannot {what}"))) } else { Ok(()) }
    }
}

#[async_trait]
impl ImageBuilder for Builder {
    async fn build(&self, request: BuildRequest<'_>) -> Result<BuiltImage> {
        (request.log)("Step 1/1");
        let version = fs::read_to_string(request.context_dir.join("func.yaml")).unwrap();
        self.does("build", format!("build {} from {:?}, {version:?}", request.tag, request.dockerfile))?;
        Ok(BuiltImage {
            reference: request.tag.to_owned(),
            digest: "sha256:1234".to_owned(),
            os: "linux".to_owned(),
            arch: "arm64".to_owned(),
        })
    }

    async fn push(&self, reference: &str, _log: &Log<'_>) -> Result<String> {
        self.does("push", format!("push {reference}"))?;
        Ok("registry.example.com/it@sha256:5678".to_owned())
    }

    async fn available(&self) -> Result<(), String> {
        self.does("answer", "available".to_owned()).map_err(|error| error.to_string())
    }

    async fn inspect(&self, _reference: &str) -> Result<Option<BuiltImage>> {
        Ok(None)
    }
}

const NO_DOCKER: &str = "Docker does not answer";

fn app() -> AppName {
    "asyncapp".parse().unwrap()
}

fn name(text: &str) -> FunctionName {
    text.parse().unwrap()
}

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        if text.starts_with("#!") {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
}

fn shell_function() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[
            (
                "func.yaml",
                "# mine\nname: asyncfn\ntype: async\nversion: 0.0.1\nentrypoint: ./func.sh\nmemory: 64\n",
            ),
            ("func.sh", "#!/bin/sh\ncat\n"),
            ("data/words", "a\nb\n"),
        ],
    );
    dir
}

fn version_in(dir: &Path) -> String {
    let text = fs::read_to_string(dir.join("func.yaml")).unwrap();
    FuncFile::parse(&dir.join("func.yaml"), &text).unwrap().version
}

struct Outcome {
    result: Result<Vec<Deployed>>,
    steps: Vec<String>,
}

/// Deploys with what is usual, changed by `change`.
async fn run(
    catalog: &Catalog,
    dir: &Path,
    builder: Result<&dyn ImageBuilder, &str>,
    change: impl FnOnce(&mut DeployRequest<'_>),
) -> Outcome {
    let steps = Mutex::new(Vec::new());
    let progress = |step: Step<'_>| steps.lock().unwrap().push(format!("{step:?}"));
    let mut request = DeployRequest {
        dir,
        all: false,
        app: Some(app()),
        bump: true,
        way: Way::Auto,
        image: ImageOptions::default(),
        config: Config::new(),
        builder: builder.map_err(str::to_owned),
        now: Time(1_507_069_861_258),
        progress: &progress,
    };
    change(&mut request);
    let result = deploy(catalog, &request).await;
    drop(request);
    Outcome { result, steps: steps.into_inner().unwrap() }
}

#[tokio::test]
async fn a_folder_ends_as_function_version_and_archive() {
    let (catalog, dir) = (catalog(), shell_function());
    let outcome = run(&catalog, dir.path(), Err(NO_DOCKER), |_| {}).await;
    let [deployed] = &outcome.result.unwrap()[..] else { panic!("one") };

    let function = catalog.resolve(&app(), &"/asyncfn".parse().unwrap()).await.unwrap();
    assert_eq!(function, deployed.function);
    assert_eq!((function.kind, &function.version), (Kind::Async, &deployed.version.id));
    let version = catalog.version(&app(), &function.name, &function.version).await.unwrap();
    assert_eq!(version, deployed.version);
    assert_eq!((version.label.as_str(), version.format), ("0.0.2", Format::Default));
    assert_eq!(version.command, ["./func.sh"]);
    assert_eq!((version.os, version.arch, version.limits.memory_mib), (None, None, 64));

    let Source::Archive { sha256, bytes } = version.source else { panic!("an archive") };
    let archive = catalog.get_archive(&app(), &sha256).await.unwrap();
    assert_eq!(archive.len() as u64, bytes);
    let out = tempfile::tempdir().unwrap();
    unpack(&*archive, out.path()).unwrap();
    assert_eq!(pack::pack(out.path()).unwrap(), pack::pack(dir.path()).unwrap(), "the same tree");
    assert_eq!(version_in(out.path()), "0.0.2", "which knows its own version");

    assert_eq!(
        outcome.steps,
        [
            r#"Deploying { function: FunctionName("asyncfn"), app: AppName("asyncapp"), route: Route("/asyncfn") }"#,
            r#"Bumped { version: "0.0.2" }"#,
            r#"BuildingFolder { function: FunctionName("asyncfn") }"#,
            &format!("Packed {{ bytes: {bytes} }}"),
            r#"Updating { route: Route("/asyncfn"), image: None }"#,
        ]
    );
}

#[tokio::test]
async fn the_same_folder_is_the_same_version() {
    let (catalog, dir) = (catalog(), shell_function());
    let mut ids = Vec::new();
    for _ in 0..2 {
        let outcome = run(&catalog, dir.path(), Err(NO_DOCKER), |request| request.bump = false).await;
        ids.push(outcome.result.unwrap()[0].version.id.clone());
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(version_in(dir.path()), "0.0.1");
}

#[tokio::test]
async fn with_docker_it_is_an_image() {
    let (catalog, dir) = (catalog(), shell_function());
    write(dir.path(), &[("Dockerfile", "FROM scratch\n")]);
    let builder = Builder::default();
    let outcome = run(&catalog, dir.path(), Ok(&builder), |request| {
        request.image = ImageOptions { registry: Some("r.example".into()), push: true, ..Default::default() };
    });
    let outcome = outcome.await;
    let deployed = &outcome.result.unwrap()[0];
    let source = Source::Image {
        reference: "r.example/asyncfn:0.0.2".to_owned(),
        digest: Some("registry.example.com/it@sha256:5678".to_owned()),
    };
    assert_eq!(deployed.version.source, source);
    assert_eq!(deployed.version.arch.as_deref(), Some("arm64"));
    let did = builder.did.into_inner().unwrap();
    assert!(did[1].starts_with("build r.example/asyncfn:0.0.2 from \"FROM scratch\\n\""), "{did:?}");
    assert!(did[1].contains("version: 0.0.2"), "{did:?}");
    assert_eq!(did[2], "push r.example/asyncfn:0.0.2");
    assert_eq!(outcome.steps[3], r#"Log("Step 1/1")"#);
}

#[tokio::test]
async fn the_way_can_be_chosen() {
    let (catalog, dir) = (catalog(), shell_function());
    write(dir.path(), &[("Dockerfile", "FROM scratch\n")]);
    let builder = Builder::default();
    let outcome = run(&catalog, dir.path(), Ok(&builder), |request| request.way = Way::Archive).await;
    assert!(matches!(outcome.result.unwrap()[0].version.source, Source::Archive { .. }));
    assert!(builder.did.lock().unwrap().is_empty(), "Docker is not even asked");
    let outcome = run(&catalog, dir.path(), Err(NO_DOCKER), |request| request.way = Way::Image).await;
    let error = outcome.result.unwrap_err();
    assert_eq!(error.message(), "function `asyncfn` has to be built as an image: Docker does not answer");
}

#[tokio::test]
async fn what_no_image_can_be_made_of_is_deployed_as_its_folder() {
    let (catalog, dir) = (catalog(), shell_function());
    let builder = Builder::default();
    let outcome = run(&catalog, dir.path(), Ok(&builder), |_| {}).await;
    assert!(matches!(outcome.result.unwrap()[0].version.source, Source::Archive { .. }));
    let outcome = run(&catalog, dir.path(), Ok(&builder), |request| request.way = Way::Image).await;
    assert!(outcome.result.unwrap_err().message().contains("no Dockerfile"));
    assert_eq!(version_in(dir.path()), "0.0.2");
}

#[tokio::test]
async fn a_dockerfile_alone_needs_docker_and_says_the_ways_out() {
    let (catalog, dir) = (catalog(), tempfile::tempdir().unwrap());
    write(dir.path(), &[("func.yaml", "name: f\nversion: 0.0.1\n"), ("Dockerfile", "FROM scratch\n")]);
    let outcome = run(&catalog, dir.path(), Err(NO_DOCKER), |_| {}).await;
    let error = outcome.result.unwrap_err();
    assert_eq!(error.message(), "function `f` has to be built as an image: Docker does not answer");
    let hint = error.hint_text().unwrap();
    assert!(hint.contains("start Docker") && hint.contains("entrypoint"), "{hint}");
    assert_eq!(version_in(dir.path()), "0.0.1");
    write(dir.path(), &[("func.yaml", "name: f\nversion: 0.0.1\nruntime: java11\n")]);
    let outcome = run(&catalog, dir.path(), Err(NO_DOCKER), |_| {}).await;
    assert!(outcome.result.unwrap_err().message().contains("has to be built as an image"));
    assert_eq!(catalog.list_apps().await.unwrap(), [], "nothing is done before all is known");
}

#[tokio::test]
async fn a_deploy_that_fails_leaves_the_file_as_it_was() {
    for fails in ["answer", "build", "push"] {
        let (catalog, dir) = (catalog(), shell_function());
        write(dir.path(), &[("Dockerfile", "FROM scratch\n")]);
        let before = fs::read_to_string(dir.path().join("func.yaml")).unwrap();
        let builder = Builder { fails: Some(fails), ..Builder::default() };
        let outcome = run(&catalog, dir.path(), Ok(&builder), |request| {
            request.way = Way::Image;
            request.image =
                ImageOptions { registry: Some("r.example".into()), push: true, ..Default::default() };
        });
        let error = outcome.await.result.unwrap_err();
        assert!(error.message().contains(&format!("cannot {fails}")), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join("func.yaml")).unwrap(), before, "{fails}");
        assert!(catalog.function(&app(), &name("asyncfn")).await.is_err());
    }
}

#[tokio::test]
async fn a_taken_route_and_a_missing_config_are_found_before_the_build() {
    let (catalog, dir) = (catalog(), shell_function());
    run(&catalog, dir.path(), Err(NO_DOCKER), |_| {}).await.result.unwrap();
    let other = tempfile::tempdir().unwrap();
    write(other.path(), &[("func.yaml", "name: other\npath: /asyncfn\nversion: 0.0.1\nentrypoint: cat\n")]);
    let outcome = run(&catalog, other.path(), Err(NO_DOCKER), |_| {}).await;
    assert_eq!(outcome.result.unwrap_err().code(), Code::Conflict);

    write(
        other.path(),
        &[("func.yaml", "name: other\nversion: 0.0.1\nentrypoint: cat\nexpects: {config: [{name: DB}]}\n")],
    );
    let outcome = run(&catalog, other.path(), Err(NO_DOCKER), |_| {}).await;
    assert_eq!(
        outcome.result.unwrap_err().message(),
        "function `other` expects config `DB`, which nothing sets"
    );
    assert_eq!(version_in(other.path()), "0.0.1");
    let set = |app: &mut crate::model::App| {
        app.config.insert("DB".to_owned(), "x".to_owned());
        Ok(())
    };
    catalog.update_app(&app(), set).await.unwrap();
    run(&catalog, other.path(), Err(NO_DOCKER), |_| {}).await.result.unwrap();
}

#[tokio::test]
async fn all_below_a_folder_go_to_the_app_of_its_file() {
    let (catalog, dir) = (catalog(), tempfile::tempdir().unwrap());
    write(
        dir.path(),
        &[
            ("app.yaml", "name: pricing\nconfig: {FEED: live}\n"),
            ("b/func.yaml", "version: 0.0.1\nentrypoint: cat\n"),
            ("a/func.yaml", "version: 0.0.1\nentrypoint: cat\nheaders: {X: [a]}\n"),
            ("a/node_modules/x/func.yaml", "nonsense: [\n"),
            (".git/func.yaml", "nonsense: [\n"),
        ],
    );
    let all = |request: &mut DeployRequest<'_>| {
        request.all = true;
        request.app = None;
    };
    let outcome = run(&catalog, dir.path(), Err(NO_DOCKER), all).await;
    let names: Vec<String> =
        outcome.result.unwrap().iter().map(|one| one.function.name.to_string()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(outcome.steps[0].starts_with("Warning("), "{:?}", outcome.steps);
    let pricing = "pricing".parse().unwrap();
    assert_eq!(catalog.app(&pricing).await.unwrap().config["FEED"], "live");
    catalog.resolve(&pricing, &"/b".parse().unwrap()).await.unwrap();

    // A slip in the last one is found before the first is deployed again.
    write(dir.path(), &[("b/func.yaml", "version: 0.0.2\nentrypoint: cat\nmemroy: 1\n")]);
    let outcome = run(&catalog, dir.path(), Err(NO_DOCKER), all).await;
    assert!(outcome.result.unwrap_err().message().ends_with("unknown key `memroy`"));
    assert_eq!(version_in(&dir.path().join("a")), "0.0.2");
}

#[tokio::test]
async fn without_an_app_the_ways_to_name_one_are_told() {
    let (catalog, dir) = (catalog(), shell_function());
    let outcome = run(&catalog, dir.path(), Err(NO_DOCKER), |request| request.app = None).await;
    let error = outcome.result.unwrap_err();
    assert_eq!(error.message(), "there is no app to deploy to");
    assert!(error.hint_text().unwrap().contains("--app"));
}
