//! Outputs of `batch run`: none destroys what the batch reads, and an impossible one is told before the first call.

use std::fs;
use std::os::unix::fs::symlink;

use super::world::{Ran, World};

const RECORDS: &str = "{\"n\":1}\n{\"n\":2}\n";

/// A run that may replace what exists. Each call leaves a line in the file `ran`.
fn run(world: &World, input: &str, output: &str) -> Ran {
    let script = "echo ran >> ran; cat";
    world.args(&["batch", "run", "--input", input, "--output", output, "--force", "--", "sh", "-c", script])
}

#[test]
fn an_output_never_destroys_an_input() {
    let world = World::new();
    fs::create_dir_all(world.path("data/deep")).unwrap();
    world.write("data/in.jsonl", RECORDS);
    fs::hard_link(world.path("data/in.jsonl"), world.path("hard.jsonl")).unwrap();
    symlink("data/in.jsonl", world.path("link.jsonl")).unwrap();
    for (input, output, how) in [
        ("data/in.jsonl", "data/in.jsonl", "it is /"),
        ("data/in.jsonl", "data/deep/../in.jsonl", "it is /"),
        ("data/in.jsonl", "hard.jsonl", "it is /"),
        ("data/in.jsonl", "link.jsonl", "it is /"),
        ("link.jsonl", "data/in.jsonl", "it is /"),
        ("data/in.jsonl", "data/", "it holds /"),
        ("data", "data/out.jsonl", "it lies in /"),
        ("data", "hard.jsonl", "it is also a file in /"),
        ("data/in.jsonl", "./", "it holds /"),
    ] {
        let refused = run(&world, input, output).failed(2);
        assert!(refused.contains("would destroy what the batch reads: "), "{output}: {refused}");
        assert!(refused.contains(how) && refused.contains("`--force` does not allow"), "{output}: {refused}");
    }
    assert_eq!(world.read("data/in.jsonl"), RECORDS);
    assert!(!world.path("ran").exists(), "a call ran");

    // A file on standard input, and on standard output.
    let script = "cat data/in.jsonl > in.jsonl";
    let with_stdio = |stdin: &str, stdout: Option<&str>, args: &[&str]| {
        let mut command = world.command(&world.path(""));
        command.args(["batch", "run"]).args(args).args(["--", "sh", "-c", script]);
        command.stdin(fs::File::open(world.path(stdin)).unwrap());
        if let Some(stdout) = stdout {
            command.stdout(fs::File::options().append(true).open(world.path(stdout)).unwrap());
        }
        let ran = command.output().unwrap();
        (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
    };
    let output = ["--input", "-", "--output", "hard.jsonl", "--force"];
    let (code, said) = with_stdio("data/in.jsonl", None, &output);
    assert!(code == Some(2) && said.contains("it is the standard input"), "{said}");
    let appended = ["--input", "data/in.jsonl", "--output", "-"];
    let (code, said) = with_stdio("/dev/null", Some("hard.jsonl"), &appended);
    assert!(code == Some(2) && said.contains("from which the records come"), "{said}");
    assert_eq!(world.read("data/in.jsonl"), RECORDS);

    // Beside the input, and through a link that leads elsewhere, nothing is in danger.
    symlink("elsewhere.jsonl", world.path("dangling.jsonl")).unwrap();
    for output in ["data/out.jsonl", "dangling.jsonl", "data/deep/"] {
        let ran = run(&world, "data/in.jsonl", output);
        assert_eq!(ran.code, 0, "{output}: {ran:#?}");
    }
    assert_eq!(world.read("data/out.jsonl").lines().count(), 2);
    assert_eq!(world.read("data/in.jsonl"), RECORDS);
}

#[test]
fn an_impossible_output_is_told_before_the_first_call() {
    let world = World::new();
    world.write("in.jsonl", RECORDS);
    fs::create_dir(world.path("folder.jsonl")).unwrap();
    for (output, code, why) in [
        ("missing/out.jsonl", 3, "there is no folder "),
        ("missing/out/", 3, "hint: `mkdir -p "),
        ("in.jsonl/out.jsonl", 2, "in.jsonl is a file, not a folder"),
        ("/proc/out.jsonl", 2, "cannot write `/proc/out.jsonl`"),
        ("/proc/out/", 2, "cannot write `/proc/out/`"),
    ] {
        let refused = run(&world, "in.jsonl", output).failed(code);
        assert!(refused.contains(why), "{output}: {refused}");
    }
    let too_long = format!("{}.jsonl", "x".repeat(249));
    assert!(run(&world, "in.jsonl", &too_long).failed(2).contains("cannot write "));
    for option in ["--joblog", "--report"] {
        let args = ["batch", "run", "--input", "in.jsonl", option, "folder.jsonl", "--", "touch", "ran"];
        assert!(world.args(&args).failed(2).contains("folder.jsonl is a folder"));
    }
    let one_name = "batch run --input in.jsonl --output a.jsonl --joblog ./a.jsonl -- touch ran";
    assert!(world.afn(one_name).failed(2).contains("--output and --joblog both name "));
    assert!(!world.path("ran").exists(), "a call ran");
    let left = fs::read_dir(world.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(
        left.into_iter().all(|name| !name.to_string_lossy().ends_with(".part")),
        "a temporary file is left"
    );
}

/// What is known only at the end costs no result.
#[test]
fn results_that_could_not_be_written_are_fetched_later() {
    let world = World::new();
    world.write("in.jsonl", RECORDS);
    fs::create_dir(world.path("out")).unwrap();
    let line =
        ["--input", "in.jsonl", "--output", "out/x.csv", "--flatten", "--include-input", "--csv", "raw"];
    let command = ["--", "sh", "-c", "rm -rf out; cat"];
    let failed = world.args(&[&["batch", "run"][..], &line, &command].concat()).failed(2);
    assert!(failed.contains(" is over, but its results are not written: cannot write `"), "{failed}");
    let fetch = failed.split_once("hint: `afn ").unwrap().1.split_once(" -o FILE` fetches them").unwrap().0;
    assert!(fetch.ends_with(" --include-input --flatten --csv raw"), "{fetch}");
    world.afn(&format!("{fetch} -o x.csv")).ok();
    let csv = world.read("x.csv");
    assert!(csv.lines().count() == 3 && csv.lines().next().unwrap().contains(",n,"), "{csv}");
}

/// A retry of a run works, waits and writes the same output again, also when it is a retry of the retry.
#[test]
fn a_retry_of_a_run_writes_its_output_again() {
    let world = World::new();
    world.write("in.jsonl", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    let script = "read -r r; case $r in *1*) ;; *2*) [ -e two ] || exit 2 ;; *) [ -e three ] || exit 3 ;; esac; printf %s $r";
    let ran = world.args(&[
        "batch",
        "run",
        "--input",
        "in.jsonl",
        "--output",
        "out.csv",
        "--flatten",
        "--joblog",
        "log",
        "--",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    let batch = super::batch::batch_of(&ran.stderr);
    let joblog = world.read("log");
    let column = || -> Vec<String> {
        let csv = world.read("out.csv");
        let status = csv.lines().skip(1).map(|line| line.split(',').nth(2).unwrap().to_owned());
        status.collect()
    };
    assert_eq!(column(), ["success", "error", "error"]);
    world.write("two", "");
    let first = world.args(&["batch", "retry", &batch]);
    assert_eq!(first.code, 1, "{first:#?}");
    assert!(
        first.stdout.contains("2 calls in ") && first.stdout.contains("results:   out.csv\n"),
        "{first:#?}"
    );
    assert_eq!(column(), ["success", "success", "error"]);
    world.write("three", "");
    let second = world.args(&["batch", "retry", &super::batch::batch_of(&first.stderr)]);
    assert_eq!(second.code, 0, "{second:#?}");
    assert_eq!(column(), ["success"; 3]);
    assert!(world.read("out.csv").lines().next().unwrap().contains(",n,"), "flattened as before");
    assert_eq!(world.read("log"), joblog, "the joblog of the run stays");
    let nothing = world.args(&["batch", "retry", &super::batch::batch_of(&second.stderr)]).failed(2);
    assert!(nothing.contains("no call of batch"), "{nothing}");
}
