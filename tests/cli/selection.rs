//! Some of the results of a batch: sorted, one by its key, and the payloads of what failed, to be fed again.

use super::batch::{batch_of, rows};
use super::world::World;

fn numbers(text: &str) -> Vec<u64> {
    let number =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["number"].as_u64().unwrap();
    text.lines().map(number).collect()
}

#[test]
fn rows_are_sorted_counted_and_found_by_key() {
    let world = World::new();
    let records: String =
        (1..=6).map(|n| format!("{{\"id\":\"k{n}\",\"wait\":\"0.{}\"}}\n", 7 * n % 10)).collect();
    world.write("in.jsonl", records);
    let script = r#"read -r r; r=${r#*wait\":\"}; sleep ${r%%\"*}; echo $r"#;
    let args = ["batch", "run", "--input", "in.jsonl", "--key", "id", "-j", "6", "--", "sh", "-c", script];
    let batch = batch_of(&world.args(&args).stderr);
    let results = |more: &[&str]| world.args(&[&["batch", "results", &batch], more].concat());
    let slowest = results(&["--sort", "run_ms", "-n", "3"]).ok();
    let run_ms =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["run_ms"].as_u64().unwrap();
    let times: Vec<u64> = slowest.lines().map(run_ms).collect();
    assert!(times.len() == 3 && times.is_sorted_by(|one, next| one >= next), "{slowest}");
    let all: Vec<u64> = results(&[]).ok().lines().map(run_ms).collect();
    assert_eq!(all.iter().max(), times.first());
    assert_eq!(
        all.iter().filter(|ms| **ms > times[2]).count(),
        times.iter().filter(|ms| **ms > times[2]).count()
    );
    assert_eq!(numbers(&results(&["-n", "2"]).ok()), [1, 2]);
    assert_eq!(
        numbers(&results(&["--sort", "attempts", "-n", "9"]).ok()),
        [1, 2, 3, 4, 5, 6],
        "equal ones in order"
    );
    assert_eq!(numbers(&results(&["--key", "k5"]).ok()), [5]);
    results(&["--sort", "run_ms", "-n", "2", "-o", "slow.csv", "--flatten"]).ok();
    assert_eq!(world.read("slow.csv").lines().count(), 3);
    assert!(results(&["--key", "k9"]).failed(3).contains("no record with the key `k9`"));
    assert!(results(&["--sort", "run_ms"]).failed(2).contains("-n <COUNT>"));
    assert!(
        results(&["--sort", "run_ms", "-n", "10001"]).failed(2).contains("at most 10000 rows are sorted")
    );
    assert!(results(&["--sort", "worker", "-n", "1"]).failed(2).contains("completed_at"));
}

#[test]
fn inputs_of_what_failed_can_be_fed_again() {
    let world = World::new();
    let script = "r=$(cat); case $r in *good*) ;; *) [ -e ready ] || exit 3 ;; esac; printf %s \"$r\"";
    let run = |input: &str, more: &[&str]| {
        world.args(&[&["batch", "run", "--input", input][..], more, &["--", "sh", "-c", script]].concat())
    };
    let failed = |file: &str| world.args(&["batch", "results", "last", "--failed-inputs", file]);
    for (source, text, file, expected) in [
        (
            "in.jsonl",
            "{\"n\": 1.0, \"x\":\"bad\"}\n{\"x\":\"good\"}\n{\"x\":\n",
            "f.jsonl",
            "{\"n\": 1.0, \"x\":\"bad\"}\n{\"x\":\n",
        ),
        (
            "in.csv",
            "a;b\n1;\"bad;\"\"\"\n2;good\n3\n\"4\n\";bad\n",
            "f.csv",
            "a,b\n1,\"bad;\"\"\"\n3\n\"4\n\",bad\n",
        ),
        ("in.tsv", "a\tb\nbad\t\ngood\tx\n", "f.tsv", "a\tb\nbad\t\n"),
        ("in.txt", "good\nbad one\n\n", "f.txt", "bad one\n\n"),
    ] {
        world.write(source, text);
        let ran = run(source, &[]);
        assert_eq!(ran.code, 1, "{ran:#?}");
        let written = failed(file);
        assert_eq!((written.code, written.stdout.as_str()), (0, ""), "{written:#?}");
        assert_eq!(world.read(file), expected, "{source}");
        assert!(failed(file).failed(2).contains("exists already"));
        let over_source = ["batch", "results", "last", "--failed-inputs", source, "--force"];
        assert!(world.args(&over_source).failed(2).contains("would destroy what the batch reads"));
    }
    world.write("ready", "");
    let again = run("f.csv", &["--output", "-"]);
    let again = rows(&again.stdout);
    assert_eq!(again[&1]["result"]["b"], "bad;\"");
    assert_eq!(again[&3]["result"]["a"], "4\n");

    std::fs::create_dir(world.path("folder")).unwrap();
    world.write("folder/a", "bad");
    std::fs::remove_file(world.path("ready")).unwrap();
    run("folder", &[]);
    let refused = failed("g.txt").failed(2);
    assert!(
        refused.contains("`files` cannot be written to one file") && refused.contains("batch retry"),
        "{refused}"
    );
}

/// Numbers in reasons do not keep them apart, and the summary, the status and the progress say the same.
#[test]
fn reasons_are_grouped_without_their_numbers() {
    let world = World::new();
    world.write("in.txt", "1\n22\n333\nx\n");
    let script = "read -r n; sleep 0.1; echo \"row $n is empty\" >&2; exit 4";
    let args =
        ["batch", "run", "--input", "in.txt", "-j", "1", "--progress", "json", "--", "sh", "-c", script];
    let ran = world.args(&args);
    assert_eq!(ran.code, 1, "{ran:#?}");
    let last: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    let groups = last["failures"].as_array().unwrap();
    assert_eq!(groups.len(), 2, "{last}");
    assert_eq!(
        (&groups[0]["reason"], &groups[0]["calls"]),
        (&"exit code 4: row # is empty".into(), &3.into())
    );
    assert_eq!(groups[1]["reason"], "exit code 4: row x is empty");
    let progress = ran.stdout.lines().filter(|line| line.contains("\"event\":\"progress\""));
    let told = progress.filter(|line| line.contains("\"most_frequent_failure\":{")).count();
    assert!(told > 0, "{ran:#?}");
    let status = world.afn("batch status last").ok();
    assert!(status.contains("Failed For:   exit code 4: row # is empty (3 calls)\n"), "{status}");
    let status = world.afn("batch status last --output json").json();
    assert_eq!(status["failures"], last["failures"]);
}
