//! Pushing to a registry and pulling from it: by digest, with a login, and what is said when it cannot be had.

use std::sync::{Arc, Mutex};

use afn::deploy::ImageBuilder as _;
use afn::executor::docker::{AllowedImages, Builder, DockerLauncher, DockerOptions};
use afn::executor::sandbox::Launcher as _;
use afn::model::{Format, Source};
use afn::seam::executor::{Fault, Invocation};
use bollard::query_parameters::RemoveImageOptions;

use super::fixtures::{Bench, build, docker, docker_socket, options, success, work};
use super::images;
use super::registry::Registry;
use crate::support::world::{APP, World};

async fn forget(reference: &str) {
    docker().await.remove_image(reference, None::<RemoveImageOptions>, None).await.expect("it was there");
}

fn of(reference: &str, digest: Option<&str>) -> Invocation {
    let mut work = work(reference, Format::Default, &[], "");
    Arc::make_mut(&mut work.version).source =
        Source::Image { reference: reference.to_owned(), digest: digest.map(str::to_owned) };
    work
}

/// An image that says `text`, pushed and then forgotten here; its repo digest.
async fn pushed(bench: &Bench, reference: &str, text: &str) -> String {
    let dockerfile = format!("FROM {}\nENTRYPOINT [\"echo\", \"{text}\"]\n", images::busybox().await);
    build(bench.work_dir.path(), &dockerfile, reference).await;
    let said = Mutex::new(Vec::new());
    let log = |line: &str| said.lock().unwrap().push(line.to_owned());
    let builder = Builder(options(bench.work_dir.path()));
    let digest = builder.push(reference, &log).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(!said.into_inner().unwrap().is_empty());
    forget(reference).await;
    digest
}

#[tokio::test]
async fn a_version_is_the_image_that_was_pushed_whatever_its_tag_says_now() {
    let registry = Registry::start(None).await;
    let bench = Bench::new().await;
    let reference = format!("{}/team/moving:1", registry.address);
    let first = pushed(&bench, &reference, "first").await;
    let second = pushed(&bench, &reference, "second").await;
    assert!(first.starts_with(&format!("{}/team/moving@sha256:", registry.address)), "{first}");
    assert_ne!(first, second);

    assert_eq!(success(&bench.call(&of(&reference, Some(&first))).await), "first\n");
    assert_eq!(success(&bench.call(&of(&reference, None)).await), "second\n");
    // It is here now, and found without its registry.
    drop(registry);
    assert_eq!(success(&bench.call(&of(&reference, Some(&first))).await), "first\n");
    forget(&reference).await;
    let _ = docker().await.remove_image(&first, None::<RemoveImageOptions>, None).await;

    let fault = bench.fault(&of(&reference, Some(&first))).await;
    assert!(matches!(fault, Fault::Mismatch(_)), "the registry is down: {fault:?}");
    bench.close().await;
}

#[tokio::test]
async fn a_login_is_taken_from_dockers_own_file() {
    // Encoded, these have the characters that the two alphabets of base64 differ in.
    let login = ("jack", "~~~???>>>");
    let registry = Registry::start(Some(login)).await;
    let bench = Bench::new().await;
    let reference = format!("{}/private:1", registry.address);

    let dockerfile = format!("FROM {}\nENTRYPOINT [\"echo\", \"private\"]\n", images::busybox().await);
    build(bench.work_dir.path(), &dockerfile, &reference).await;
    let builder = Builder(options(bench.work_dir.path()));
    let error = builder.push(&reference, &|_| {}).await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("docker login"), "{error}");
    forget(&reference).await;
    let fault = bench.fault(&of(&reference, None)).await;
    assert!(matches!(&fault, Fault::Function(why) if why.starts_with("image not found: ")), "{fault:?}");

    use base64::Engine as _;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", login.0, login.1));
    let config = format!(r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#, registry.address);
    std::fs::write(bench.work_dir.path().join("config.json"), config).unwrap();
    let digest = pushed(&bench, &reference, "private").await;
    assert_eq!(success(&bench.call(&of(&reference, Some(&digest))).await), "private\n");

    let absent = format!("{}/absent:1", registry.address);
    let fault = bench.fault(&of(&absent, None)).await;
    let Fault::Function(why) = &fault else { panic!("{fault:?}") };
    assert!(why.contains("manifest unknown"), "{why}");
    let _ = docker().await.remove_image(&digest, None::<RemoveImageOptions>, None).await;
    bench.close().await;
}

#[tokio::test]
async fn an_image_that_is_not_allowed_is_not_fetched() {
    let registry = Registry::start(None).await;
    let bench = Bench::new().await;
    let references = ["team/f", "other/f"].map(|name| format!("{}/{name}:1", registry.address));
    let mut digests = Vec::new();
    for reference in &references {
        digests.push(pushed(&bench, reference, reference).await);
        let _ =
            docker().await.remove_image(&digests[digests.len() - 1], None::<RemoveImageOptions>, None).await;
    }
    bench.close().await;

    let allowed = format!("{}/team/*", registry.address);
    let work_dir = tempfile::tempdir().unwrap();
    let images = AllowedImages::new(std::slice::from_ref(&allowed)).unwrap();
    let options = DockerOptions { images, ..options(work_dir.path()) };
    let launcher = DockerLauncher::connect(options).await.unwrap();
    let bench = Bench { launcher, work_dir };
    // Neither by its name nor as the digest of a version that has an allowed name.
    for (reference, digest) in [(&references[1], None), (&references[0], Some(digests[1].as_str()))] {
        let fault = bench.fault(&of(reference, digest)).await;
        let Fault::Mismatch(why) = &fault else { panic!("{fault:?}") };
        assert!(why.0.ends_with(&format!("started with --allow-images {allowed}")), "{why}");
        assert_eq!(bench.launcher.suits(&of(reference, digest).version).as_ref(), Err(why));
        assert!(docker().await.inspect_image(digest.unwrap_or(reference)).await.is_err(), "it was fetched");
    }
    let run = bench.call(&of(&references[0], Some(&digests[0]))).await;
    assert_eq!(success(&run), format!("{}\n", references[0]));
    let _ = docker().await.remove_image(&digests[0], None::<RemoveImageOptions>, None).await;
    bench.close().await;
}

#[tokio::test]
async fn a_call_of_an_image_that_is_not_allowed_waits_and_status_names_the_flag() {
    let mut world = World::embedded();
    world.visibility = Some("3s");
    world.set_docker(format!("unix://{}", docker_socket()));
    let image = images::busybox().await;
    world.afn(&format!("create function {APP} /f {image} --type async")).await.ok();
    let call = world.afn(&format!("submit {APP} /f")).await.ok().trim().to_owned();
    let flag = "--allow-images registry.example.com/team other.example.com";
    let worker = world.worker(flag).await;
    worker.said("cannot run on this worker").await;
    let status = world.afn(&format!("status {call} -o json")).await.json();
    assert_eq!(status["status"], "queued", "{status}");
    assert!(
        status["why"].as_str().is_some_and(|why| why.contains(&format!("{flag} (reported by "))),
        "{status}"
    );
    drop(worker);
    world.afn("worker --drain --allow-images afn-test/*").await.ok();
    assert_ne!(world.afn(&format!("status {call} -o json")).await.json()["status"], "queued");
    assert!(world.afn("worker --drain --allow-images a[").await.failed(2).contains("`a[`"));
}
