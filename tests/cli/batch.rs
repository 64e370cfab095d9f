//! Batches from the command line: run, killed, resumed, stopped, retried, collected.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::world::World;

/// Answers with its line, and fails as the line says.
const ANSWER: &str = r#"read -r line; case $line in
bad*) echo "cannot use $line" >&2; exit 3 ;;
flaky) [ "$AFN_ATTEMPT" -gt 1 ] || exit 75 ;;
slow) sleep 60 ;;
esac
printf '{"line":"%s"}' "$line""#;

fn run(world: &World, args: &[&str]) -> super::world::Ran {
    let args = [&["batch", "run"], args, &["--", "sh", "-c", ANSWER]].concat();
    world.args(&args)
}

/// The rows of a file of JSON Lines, by number; each number once.
pub fn rows(text: &str) -> BTreeMap<u64, Value> {
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert!(rows.insert(row["number"].as_u64().unwrap(), row).is_none(), "twice: {line}");
    }
    rows
}

fn lines(count: u64) -> String {
    (1..=count).map(|line| format!("line {line}\n")).collect()
}

/// The id in `Batch ID`.
pub fn batch_of(stderr: &str) -> String {
    let line = stderr.lines().find_map(|line| line.strip_prefix("Batch "));
    line.unwrap_or_else(|| panic!("{stderr}")).to_owned()
}

#[test]
fn a_command_is_run_for_each_line_where_it_was_typed() {
    let world = World::new();
    world.write("lines.txt", "a\nb\n\nd\n");
    world.write("upper.sh", "tr a-z A-Z");
    let ran = world.afn("batch run --input lines.txt --output out.jsonl -- sh upper.sh");
    let told = ran.ok();
    assert!(told.starts_with("4 calls in "), "{told}");
    assert!(told.contains(": 4 success\n") && told.contains("results:   out.jsonl\n"), "{told}");
    assert!(told.ends_with("\nfinished\n"), "{told}");
    let rows = rows(&world.read("out.jsonl"));
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(
        [&rows[&1], &rows[&3], &rows[&4]].map(|row| row["result"].as_str().unwrap_or("").trim()),
        ["A", "", "D"]
    );
    assert_eq!(rows[&1]["attempts"], 1);
}

#[test]
fn a_folder_runs_on_what_its_func_yaml_names() {
    let world = World::new();
    world.write("f/func.yaml", "name: f\nversion: 0.0.1\nruntime: shell\nbatch: {input: in.csv}\n");
    world.write("f/func.sh", "cat");
    world.write("f/in.csv", "x,y\n1,2\n3,4\n");
    world.afn("batch run f --output out.jsonl -j 2").ok();
    let rows = rows(&world.read("out.jsonl"));
    assert_eq!(rows[&2]["result"], serde_json::json!({ "x": "3", "y": "4" }));
    // What ran is a function like any other, its calls are calls.
    assert!(world.afn("list functions batch").ok().contains("/f"));
    let call = rows[&1]["call_id"].as_str().unwrap();
    assert_eq!(world.args(&["get", "result", "batch", call]).ok(), "{\"x\":\"1\",\"y\":\"2\"}");
    assert!(world.args(&["wait", call]).ok().contains("Status: success"));
}

#[test]
fn failures_are_grouped_and_decide_the_exit() {
    let world = World::new();
    world.write("in.txt", "good\nbad 1\nbad 1\nflaky\n");
    let ran = run(
        &world,
        &["--input", "in.txt", "--output", "out.jsonl", "--retries", "1", "--retry-backoff", "1ms"],
    );
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stdout.contains(": 2 success, 2 error\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("       2  exit code 3: cannot use bad 1\n"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("finished, 2 calls failed (exit 1)\n"), "{}", ran.stdout);
    let all = rows(&world.read("out.jsonl"));
    assert_eq!([2, 4].map(|number| all[&number]["attempts"].as_u64().unwrap()), [2, 2]);
    let batch = batch_of(&ran.stderr);
    assert!(ran.stdout.contains(&format!("try again: afn batch retry {batch}\n")), "{}", ran.stdout);
    let failed = world.args(&["batch", "results", &batch, "--status", "error", "--include-input"]).ok();
    let failed = rows(&failed);
    assert_eq!(failed.keys().copied().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(failed[&2]["input"], "bad 1");
    assert_eq!(world.args(&["batch", "wait", &batch]).code, 1);
    assert_eq!(world.args(&["wait", &batch]).code, 1);
    let status = world.args(&["status", &batch]).ok();
    assert!(status.contains("Status:       failed\n") && status.contains("  error:      2\n"), "{status}");
    assert!(world.afn("batch list batch").ok().contains(&batch));
}

#[test]
fn bad_records_are_to_be_mended_not_tried_again() {
    let world = World::new();
    world.write("in.jsonl", "{\"n\":1}\n{\"n\":\n3\n");
    let ran = run(&world, &["--input", "in.jsonl"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stdout.contains("correct:   the records: a retry would refuse them again\n"), "{ran:#?}");
    assert!(!ran.stdout.contains("batch retry") && !ran.stdout.contains("a million calls"), "{ran:#?}");
    let batch = batch_of(&ran.stderr);
    assert!(world.args(&["batch", "retry", &batch]).failed(2).contains("can be retried"));

    let ran = run(&world, &["--input", "in.jsonl", "--on-bad-record", "stop"]);
    assert_eq!(ran.code, 2, "{ran:#?}");
    let last = ran.stdout.lines().last().unwrap();
    assert!(last.starts_with("stopped before record 2, 1 call submitted: in.jsonl:2:"), "{ran:#?}");
    assert!(last.ends_with(" (exit 2)") && ran.stderr.contains("hint: correct the record"), "{ran:#?}");
    let ran = run(&world, &["--input", "in.jsonl", "--on-bad-record", "stop", "--progress", "json"]);
    let last: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((ran.code, &last["exit_code"]), (2, &2.into()));
    assert!(last["bad_record"].as_str().unwrap().starts_with("in.jsonl:2:"), "{last}");
}

#[test]
fn a_retry_runs_what_failed_and_pressed_twice_it_is_the_same() {
    let world = World::new();
    world.write("in.txt", "a\nb\nc\n");
    world.write("f.sh", "read -r line; [ -e ready ] || [ $line != b ] || exit 9; echo $line");
    let ran = world.afn("batch run --input in.txt -- sh f.sh");
    assert_eq!(ran.code, 1, "{ran:#?}");
    let batch = batch_of(&ran.stderr);
    world.write("ready", "");
    let first = world.args(&["batch", "retry", &batch]);
    let second = world.args(&["batch", "retry", &batch]);
    assert_eq!((first.code, second.code), (0, 0), "{first:#?}{second:#?}");
    assert!(first.stdout.starts_with("1 call in ") && second.stdout.starts_with("1 call in "), "{first:#?}");
    let retry = batch_of(&first.stderr);
    assert!(
        batch_of(&second.stderr) == retry && second.stderr.contains("are retried already"),
        "{second:#?}"
    );
    assert!(world.args(&["batch", "wait", &retry]).ok().contains("Status:       success"));
    let results = |more: &[&str]| rows(&world.args(&[&["batch", "results", &batch], more].concat()).ok());
    assert_eq!(results(&[])[&2]["status"], "error");
    let latest = results(&["--latest"]);
    assert_eq!(latest.len(), 3);
    assert_eq!((&latest[&2]["status"], &latest[&2]["result"]), (&"success".into(), &"b\n".into()));
}

#[test]
fn killed_at_any_moment_it_goes_on_and_every_record_has_one_row() {
    for executions in [1, 60] {
        let world = World::new();
        world.write("in.txt", lines(300));
        world.write("f.sh", "read -r line; echo $line >> ran; sleep 0.01; echo $line");
        let mut running = world.spawn("batch run --input in.txt --output out.csv -j 2 -- sh f.sh");
        let batch = running.until("Batch ").trim_start_matches("Batch ").to_owned();
        world.until_lines("ran", executions);
        running.signal(Signal::KILL);
        running.end();
        assert!(!world.work().join("out.csv").exists(), "half a file");
        let before = fs::read_to_string(world.work().join("ran")).unwrap_or_default().lines().count();
        assert!(before < 300, "it was killed too late to show anything");
        let resumed = world.afn("batch resume last").ok();
        assert!(resumed.ends_with("\nfinished\n"), "{resumed}");
        let rows = world.args(&["batch", "results", &batch]).ok();
        let rows = self::rows(&rows);
        assert_eq!(rows.len(), 300);
        for (number, row) in rows {
            assert_eq!(row["result"].as_str().unwrap().trim(), format!("line {number}"));
        }
        let csv = world.read("out.csv");
        assert_eq!(csv.lines().filter(|line| line.contains(",success,")).count(), 300, "{csv}");
        // Over and collected: nothing is left to do, and it says so.
        assert!(world.afn("batch resume last").ok().ends_with("\nfinished\n"));
    }
}

#[test]
fn ctrl_c_stops_cleanly_and_names_the_way_back() {
    let world = World::new();
    world.write("in.txt", lines(200));
    world.write("f.sh", "read -r line; echo $line >> ran; sleep 0.05; echo $line");
    let mut running = world.spawn("batch run --input in.txt --output out.jsonl -j 2 -- sh f.sh");
    let batch = running.until("Batch ").trim_start_matches("Batch ").to_owned();
    world.until_lines("ran", 10);
    running.signal(Signal::INT);
    let ended = running.end();
    assert_eq!((ended.code, ended.stdout.as_str()), (130, ""), "{ended:#?}");
    assert!(ended.stderr.ends_with(&format!("hint: `afn batch resume {batch}` goes on")), "{ended:#?}");
    world.args(&["batch", "resume", &batch, "-j", "8"]).ok();
    assert_eq!(rows(&world.read("out.jsonl")).len(), 200);
}

#[test]
fn too_many_failures_stop_it() {
    let world = World::new();
    // Few enough for one chunk: nobody says in which order chunks are received.
    world.write("in.txt", "bad\n".repeat(20) + &"slow\n".repeat(20));
    let ran = run(&world, &["--input", "in.txt", "--max-failures", "5", "-j", "4"]);
    assert_eq!(ran.code, 6, "{ran:#?}");
    assert!(ran.stdout.contains("--max-failures is 5 (exit 6)"), "{}", ran.stdout);
    let batch = batch_of(&ran.stderr);
    let rows = rows(&world.args(&["batch", "results", &batch]).ok());
    assert_eq!(rows.len(), 40);
    assert_eq!((&rows[&1]["status"], &rows[&40]["status"]), (&"error".into(), &"cancelled".into()));
}

#[test]
fn a_cancelled_batch_ends_and_exits_so() {
    let world = World::new();
    world.write("in.txt", "slow\n".repeat(8));
    let line = "batch run --input in.txt -j 2 -- sleep 60";
    let mut running = world.spawn(line);
    let batch = running.until("Batch ").trim_start_matches("Batch ").to_owned();
    std::thread::sleep(Duration::from_millis(500));
    let cancelled = world.args(&["batch", "cancel", &batch, "--reason", "not today"]).ok();
    assert_eq!(cancelled, format!("{batch} is being cancelled: not today\n"));
    let ended = running.end();
    assert_eq!(ended.code, 6, "{ended:#?}");
    assert!(
        ended.stdout.contains(": 8 cancelled\n") && ended.stdout.ends_with("not today (exit 6)\n"),
        "{ended:#?}"
    );
    world.args(&["cancel", &batch]).failed(2);
}

#[test]
fn a_batch_that_is_cancelled_says_that_it_waits_for_a_worker() {
    let world = World::new();
    world.deploy("f", "app", "type: async\n", "cat");
    world.write("in.txt", "a\nb\n");
    world.afn("batch submit app /f in.txt").ok();
    let cancelled = world.afn("batch cancel last --reason enough");
    assert_eq!(cancelled.code, 0, "{cancelled:#?}");
    assert!(cancelled.stderr.contains(" is cancelling: no worker seen: run `afn start`"), "{cancelled:#?}");
    let status = world.afn("batch status last").ok();
    assert!(status.contains("Why:          enough; no worker seen"), "{status}");
    world.drain();
    assert_eq!(world.afn("batch wait last").code, 6);
    assert!(world.afn("batch status last").ok().contains("Why:          enough\n"));
}

#[test]
fn one_call_of_a_batch_is_cancelled_alone() {
    let world = World::new();
    world.deploy("f", "app", "type: async\n", "cat");
    world.write("in.txt", "a\nb\n");
    let submitted = world.afn("batch submit app /f in.txt").json();
    assert_eq!(submitted["calls"], 2);
    let batch = submitted["batch_id"].as_str().unwrap();
    let call = format!("{}2", &batch[..batch.len() - 1]);
    assert!(world.args(&["status", &call]).ok().contains("Status:       queued"));
    world.args(&["cancel", &call]).ok();
    world.drain();
    assert_eq!(world.args(&["batch", "wait", batch]).code, 6);
    let rows = rows(&world.args(&["batch", "results", batch]).ok());
    assert_eq!([&rows[&1]["status"], &rows[&2]["status"]], ["success", "cancelled"]);
}

#[test]
fn submitted_it_waits_for_workers() {
    let world = World::new();
    world.deploy("f", "app", "type: async\n", "cat");
    world.write("in.jsonl", "{\"n\":1}\n{\"n\":\n{\"n\":3}\n");
    let refused = world.afn("submit app f --input in.jsonl --on-bad-record stop");
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("in.jsonl:2:"), "{}", refused.stderr);
    let submitted = world.afn("submit app /f --input in.jsonl").json();
    assert_eq!((&submitted["calls"], &submitted["refused"]), (&3.into(), &1.into()));
    let batch = submitted["batch_id"].as_str().unwrap();
    let status = world.afn("batch status last").ok();
    assert!(status.contains("Status:       queued") && status.contains("no worker seen"), "{status}");
    assert_eq!(world.args(&["batch", "wait", batch, "--timeout", "1s"]).code, 4);
    world.drain();
    assert_eq!(world.args(&["batch", "watch", batch]).code, 1);
    world.args(&["batch", "results", batch, "-o", "flat.csv", "--flatten"]).ok();
    let csv = world.read("flat.csv");
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().contains("n"), "{csv}");
    assert!(lines.nth(1).unwrap().contains(",error,") && csv.contains("in.jsonl:2:"), "{csv}");
}

#[test]
fn results_come_in_every_form() {
    let world = World::new();
    world.write("in.txt", "a\nb\n");
    run(&world, &["--input", "in.txt"]).ok();
    for file in ["out.jsonl", "out.csv", "out.parquet", "out/"] {
        world.args(&["batch", "results", "last", "-o", file]).ok();
        let again = world.args(&["batch", "results", "last", "-o", file]).failed(2);
        assert!(again.contains("--force"), "{again}");
        world.args(&["batch", "results", "last", "-o", file, "--force"]).ok();
    }
    assert_eq!(rows(&world.read("out.jsonl")).len(), 2);
    assert_eq!(world.read("out.csv").lines().count(), 3);
    assert_eq!(&fs::read(world.work().join("out.parquet")).unwrap()[..4], b"PAR1");
    assert_eq!(fs::read_dir(world.work().join("out")).unwrap().count(), 2);
    let report = world.args(&["batch", "report", "last", "-o", "report.html"]).ok();
    assert_eq!(report, "report written to report.html\n");
    assert!(world.read("report.html").contains("<svg"), "no plots");
    world.args(&["batch", "report", "last", "-o", "report.html"]).failed(2);
    let piped = run(&world, &["--input", "in.txt", "--output", "-", "--quiet"]);
    assert_eq!((rows(&piped.stdout).len(), piped.stderr.as_str()), (2, ""));
}

#[test]
fn nothing_is_done_for_an_output_that_stands_in_the_way() {
    let world = World::new();
    world.write("in.txt", "a\n");
    world.write("out.jsonl", "precious");
    let ran = run(&world, &["--input", "in.txt", "--output", "out.jsonl"]).failed(2);
    assert!(ran.contains("out.jsonl") && ran.contains("--force"), "{ran}");
    assert_eq!(world.read("out.jsonl"), "precious");
    let ran = run(&world, &["--input", "in.txt", "--output", "out.what"]).failed(2);
    assert!(ran.contains(".parquet"), "{ran}");
    assert_eq!(world.afn("batch list batch").ok(), "");
    run(&world, &["--input", "in.txt", "--output", "out.jsonl", "--force"]).ok();
    assert_eq!(rows(&world.read("out.jsonl")).len(), 1);
}

#[test]
fn a_list_of_batches_goes_on() {
    let world = World::new();
    world.deploy("f", "app", "type: async\n", "cat");
    world.write("in.txt", "a\n");
    let submit = || world.afn("batch submit app /f in.txt").json()["batch_id"].as_str().unwrap().to_owned();
    let batches = [submit(), submit(), submit()];
    let first = world.afn("batch list app -n 2");
    assert!(first.stdout.contains(&batches[2]) && first.stdout.contains(&batches[1]), "{first:#?}");
    let command = format!("afn batch list app -n 2 --cursor {}", batches[1]);
    assert!(first.stderr.contains(&format!("there may be more: `{command}`")), "{first:#?}");
    let rest = world.afn(command.trim_start_matches("afn "));
    assert!(rest.stdout.contains(&batches[0]) && !rest.stdout.contains(&batches[1]), "{rest:#?}");
    assert!(!rest.stderr.contains("there may be more"), "{rest:#?}");
}

#[test]
fn a_dry_run_counts_and_writes_nothing() {
    let world = World::new();
    world.write("in.txt", lines(200));
    let told = run(&world, &["--input", "in.txt", "--dry-run"]).ok();
    assert!(told.starts_with("200 calls in 4 chunks, ") && told.ends_with("nothing was written\n"), "{told}");
    let told = run(&world, &["--input", "in.txt", "--dry-run", "--output", "json"]).json();
    assert_eq!((&told["calls"], &told["chunks"]), (&200.into(), &4.into()));
    assert!(told["cost"]["dollars"]["total"].as_f64().unwrap() > 0.0);
    assert!(!world.work().parent().unwrap().join("data").exists());
}

#[test]
fn the_joblog_has_parallels_columns() {
    let world = World::new();
    world.write("in.txt", "good\nbad\n");
    let ran = run(&world, &["--input", "in.txt", "--joblog", "jobs.tsv"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    let log = world.read("jobs.tsv");
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines[0].join(" "), "Seq Host Starttime JobRuntime Send Receive Exitval Signal Command");
    assert_eq!([lines[1][0], lines[1][4], lines[1][6]], ["1", "4", "0"]);
    assert_eq!([lines[2][0], lines[2][6], lines[2][7]], ["2", "3", "0"]);
}

#[test]
fn programs_read_events() {
    let world = World::new();
    world.write("in.txt", "good\nbad\n");
    let ran = run(&world, &["--input", "in.txt", "--progress", "json", "--output", "out.jsonl"]);
    assert_eq!(ran.code, 1);
    let events: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = events.last().unwrap();
    assert_eq!(
        (&last["event"], &last["exit_code"], &last["calls"]),
        (&"finished".into(), &1.into(), &2.into())
    );
    assert_eq!(last["counts"], serde_json::json!({ "success": 1, "error": 1 }));
    assert_eq!(last["failures"][0]["reason"], "exit code 3: cannot use bad");
    assert!(events[..events.len() - 1].iter().all(|event| event["event"] == "progress"));
}

#[test]
fn small_and_wrong_batches_have_clear_ends() {
    let world = World::new();
    let none = world.afn("batch status last").failed(3);
    assert!(none.contains("no batch was submitted from here"), "{none}");
    world.write("empty.txt", "");
    let refused = run(&world, &["--input", "empty.txt", "--fail-if-empty"]).failed(2);
    assert!(refused.contains("has no records"), "{refused}");
    let empty = run(&world, &["--input", "empty.txt", "--output", "none.jsonl"]);
    assert_eq!((empty.code, world.read("none.jsonl").as_str()), (0, ""), "{empty:#?}");
    assert!(empty.stdout.starts_with("0 calls in ") && empty.stdout.ends_with("\nfinished\n"), "{empty:#?}");
    let piped =
        world.run_in("", &["batch", "run", "--input", "-", "--output", "-", "--", "cat"], b"only one");
    assert_eq!((piped.code, rows(&piped.stdout).len()), (0, 1), "{piped:#?}");
    let missing = world.afn("batch run --input nowhere.txt -- cat").failed(2);
    assert!(missing.contains("cannot read `nowhere.txt`") && missing.contains("hint: there is no such file"));
    let missing = world.afn("batch run examples/nope").failed(3);
    assert!(missing.contains("there is no folder examples/nope"), "{missing}");
    world.write("in.txt", "a\n");
    let missing = world.afn("batch run --input in.txt -- no-such-command-here").failed(3);
    assert!(missing.contains("no-such-command-here"), "{missing}");
    let nothing = world.afn("batch run --input in.txt").failed(2);
    assert!(nothing.contains("-- wc -w"), "{nothing}");
}

#[test]
fn a_dead_stdin_cannot_be_resumed_and_is_sealed_only_when_it_is_quiet() {
    let world = World::new();
    world.deploy("f", "app", "type: async\n", "cat");
    let mut command = world.command(&world.work());
    command.args(["batch", "submit", "app", "/f", "-"]).stdin(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, lines(2_000).as_bytes()).unwrap();
    let mut looks = 0;
    let batch = loop {
        let listed = world.afn("batch list app --output json").json();
        if let Some(batch) = listed["batches"][0]["batch_id"].as_str() {
            break batch.to_owned();
        }
        looks += 1;
        assert!(looks < 200, "nothing was submitted");
    };
    child.kill().unwrap();
    child.wait().unwrap();
    drop(stdin);
    let resumed = world.args(&["batch", "resume", &batch]).failed(2);
    assert!(resumed.contains("standard input") && resumed.contains("batch seal"), "{resumed}");
    let sealed = world.args(&["batch", "seal", &batch]).failed(2);
    assert!(sealed.contains("may still be submitted") && sealed.contains("try again in"), "{sealed}");
}

#[test]
fn a_batch_tells_whoever_waits_for_its_end() {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    let world = World::new();
    world.deploy("notify", "app", "type: async\n", "cat");
    world.write("in.txt", "a\nb\n");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/done", listener.local_addr().unwrap());
    let receiver = std::thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let at = head.len();
            stream.read_line(&mut head).unwrap();
            let line = head[at..].to_ascii_lowercase();
            length = line.strip_prefix("content-length:").map_or(length, |text| text.trim().parse().unwrap());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), serde_json::from_slice::<Value>(&body).unwrap())
    });
    let ran = run(&world, &["--input", "in.txt", "--on-complete", &url, "--then", "app/notify"]);
    let batch = batch_of(&ran.stderr);
    ran.ok();
    let (head, body) = receiver.join().unwrap();
    assert!(head.contains(&format!("webhook-id: {}\r\n", batch.to_lowercase())), "{head}");
    assert!(!head.contains("webhook-signature"), "it has no secret: {head}");
    assert_eq!(body["batch_id"], batch);
    assert_eq!(body["summary"]["counts"]["success"], 2);
    let status = world.args(&["batch", "status", &batch]).ok();
    assert!(status.contains("delivered in 1 try: 200 OK"), "{status}");
    let call = status.lines().find_map(|line| line.strip_prefix("Then:")).unwrap();
    let call = call.trim().trim_start_matches("call ");
    world.drain();
    let told: Value = serde_json::from_str(&world.args(&["get", "result", "app", call]).ok()).unwrap();
    assert_eq!(told, body);
}

#[test]
fn csv_has_no_formulas_unless_it_is_asked_for() {
    let world = World::new();
    world.write("in.txt", "=1+1\n@SUM(A1:A9)\n+49 1\n-3\n-1.5e3\n=HYPERLINK(\"x\",1)\n");
    let run = ["batch", "run", "--input", "in.txt", "-o", "out.csv", "--", "cat"];
    assert_eq!(world.args(&run).code, 0);
    let results = |text: String| -> Vec<String> {
        text.lines().skip(1).map(|line| line.splitn(11, ',').last().unwrap().to_owned()).collect()
    };
    let escaped =
        ["'=1+1,,", "'@SUM(A1:A9),,", "'+49 1,,", "-3,,", "-1.5e3,,", r#""'=HYPERLINK(""x"",1)",,"#];
    assert_eq!(results(world.read("out.csv")), escaped);
    world.afn("batch results last -o raw.csv --csv raw").ok();
    let raw = ["=1+1,,", "@SUM(A1:A9),,", "+49 1,,", "-3,,", "-1.5e3,,", r#""=HYPERLINK(""x"",1)",,"#];
    assert_eq!(results(world.read("raw.csv")), raw);
    world.args(&["batch", "results", "last", "--csv", "neither"]).failed(2);
}
