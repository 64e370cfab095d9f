//! Keys: names of the user's own for records, from the source to rows and lookups.

use std::collections::BTreeMap;

use serde_json::Value;

use super::batch::{batch_of, rows};
use super::world::World;

/// Answers with its record, and fails for the one with x = 2.
const ANSWER: &str = r#"read -r record; case $record in *'"x":"2"'*) exit 3 ;; esac; printf %s "$record""#;

fn run(world: &World, args: &[&str]) -> super::world::Ran {
    world.args(&[&["batch", "run"], args, &["--", "sh", "-c", ANSWER]].concat())
}

fn keys(rows: &BTreeMap<u64, Value>) -> Vec<Option<&str>> {
    rows.values().map(|row| row.get("key").and_then(Value::as_str)).collect()
}

#[test]
fn rows_and_lookups_have_the_users_own_names() {
    let world = World::new();
    world.write("orders.csv", "order,x\nA-1,1\nA-2,2\n,3\nA-1,4\n'5,5\n");
    let ran = run(&world, &["--input", "orders.csv", "--key", "order", "--output", "out.jsonl"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    let batch = batch_of(&ran.stderr);
    let rows = rows(&world.read("out.jsonl"));
    assert_eq!(keys(&rows), [Some("A-1"), Some("A-2"), None, Some("A-1"), Some("'5")]);
    assert_eq!(rows[&1]["result"]["x"], "1");
    let error = |number: u64| rows[&number]["error"].as_str().unwrap();
    assert_eq!(error(2), "exit code 3");
    assert_eq!(error(3), "orders.csv:4: its key `order` is empty");
    assert_eq!(error(4), "orders.csv:5: an earlier record has the key `A-1` too");

    let csv = world.args(&["batch", "results", &batch, "--output", "out.csv"]);
    assert_eq!(csv.code, 0, "{csv:#?}");
    let csv = world.read("out.csv");
    assert!(csv.lines().next().unwrap().contains(",worker,key,result,"), "{csv}");
    world.args(&["batch", "results", &batch, "--output", "out.parquet"]).ok();
    let back = world.afn("batch run --input out.parquet --key number --output - --flatten -- cat").ok();
    assert_eq!(back.lines().filter(|line| line.contains("\"result_key\":\"A-1\"")).count(), 2, "{back}");

    let call = |key: &str| world.args(&["get", "call", &batch, "--key", key, "--output", "json"]);
    for (key, number, status) in [("A-1", 1, "success"), ("A-2", 2, "error"), ("'5", 5, "success")] {
        let call = call(key).json();
        assert_eq!((&call["call_id"], &call["status"]), (&rows[&number]["call_id"], &status.into()), "{key}");
    }
    let missing = call("A-9").failed(3);
    assert!(missing.contains("has no record with the key `A-9`"), "{missing}");
    let newest = world.args(&["get", "call", "last", "--key", "1", "--output", "json"]).json();
    assert_eq!(newest["status"], "success", "the batch of out.parquet");

    // Only what failed and was not refused, under the same name.
    assert_eq!(world.args(&["batch", "retry", &batch]).code, 1, "it fails again");
    let retried = super::batch::rows(&world.args(&["batch", "results", "last"]).ok());
    assert_eq!(keys(&retried), [Some("A-2")]);
    let latest = super::batch::rows(&world.args(&["batch", "results", &batch, "--latest"]).ok());
    assert_eq!(keys(&latest), keys(&rows));
}

#[test]
fn a_submission_that_is_resumed_knows_its_keys() {
    let world = World::new();
    world.deploy("f", "app", "", "cat");
    let records: String = (1..=3_000).map(|n| format!("{{\"id\":{n}}}\n")).collect();
    let packed = |text: &str| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    let whole = packed(&format!("{records}{{\"id\":7}}\n"));
    world.write("in.jsonl.gz", &whole[..whole.len() / 2]);
    let said = world.afn("batch submit app /f in.jsonl.gz --key id").failed(2);
    let batch = said.split_once("batch ").unwrap().1.split(' ').next().unwrap().to_owned();
    world.write("in.jsonl.gz", &whole);
    world.args(&["batch", "resume", &batch]).ok();
    world.drain();
    let rows = rows(&world.args(&["batch", "results", &batch]).ok());
    assert_eq!(rows.len(), 3_001);
    assert!(
        (1..=3_000)
            .all(|number| rows[&number]["key"].as_str().and_then(|key| key.parse().ok()) == Some(number))
    );
    assert!(rows[&3_001]["error"].as_str().unwrap().ends_with("an earlier record has the key `7` too"));
    let call = world.args(&["get", "call", &batch, "--key", "2999", "--output", "json"]).json();
    assert_eq!(call["call_id"], rows[&2_999]["call_id"]);
}

#[test]
fn what_has_no_fields_has_no_keys() {
    let world = World::new();
    world.write("in.txt", "a\n");
    let refused = run(&world, &["--input", "in.txt", "--key", "id"]).failed(2);
    assert!(refused.contains("`in.txt` is read as `lines`, whose records have no field `id`"), "{refused}");
    let ran = run(&world, &["--input", "in.txt"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let batch = batch_of(&ran.stderr);
    let plain = world.args(&["get", "call", &batch, "--key", "a"]).failed(2);
    assert!(plain.contains("have no keys") && plain.contains("hint: `--key FIELD`"), "{plain}");
    let no_key = world.args(&["get", "call", &batch]).failed(2);
    assert!(no_key.contains("is a batch, not a call"), "{no_key}");
    let call = world.args(&["batch", "results", "last"]).json()["call_id"].as_str().unwrap().to_owned();
    let no_batch = world.args(&["get", "call", &call, "--key", "a"]).failed(2);
    assert!(no_batch.contains("only a batch has records with keys"), "{no_batch}");
    // The app is not needed to find a call.
    assert!(world.args(&["get", "call", &call]).ok().contains("success"));
}

/// Batch files of OpenAI go in and come out: one for the responses, one for the errors.
#[test]
fn batch_files_of_openai_go_in_and_come_out() {
    let world = World::new();
    let request = |id: &str, n: u64| {
        format!(
            "{{\"custom_id\":\"{id}\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{{\"n\":{n}}}}}\n"
        )
    };
    let requests = format!(
        "{}{}{}{}",
        request("first", 18_446_744_073_709_551_615),
        request("bad", 2),
        "{\"custom_id\":\"get\",\"method\":\"GET\",\"url\":\"/v1/models\",\"body\":{}}\n",
        request("last", 4)
    );
    world.write("in.jsonl", &requests);
    let script = r#"read -r body; case $body in *'"n":2}') exit 3 ;; esac
printf '{"path":"%s","got":%s}' "$(printenv FN_HEADER_AFN_PATH)" "$body""#;
    let run = |more: &[&str]| {
        let args = ["batch", "run", "--input", "in.jsonl", "--output", "out.jsonl", "--as", "openai"];
        world.args(&[&args[..], more, &["--", "sh", "-c", script]].concat())
    };
    let ran = run(&["--format", "openai"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stdout.contains("errors:    out.errors.jsonl\n"), "{ran:#?}");
    let values = |file: &str| -> Vec<Value> {
        world.read(file).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let responses = values("out.jsonl");
    let ids: Vec<&Value> = responses.iter().map(|line| &line["custom_id"]).collect();
    assert_eq!(ids, ["first", "last"]);
    assert!(world.read("out.jsonl").contains(r#""got":{"n":18446744073709551615}"#));
    let response = &responses[0]["response"];
    assert_eq!(
        (&response["status_code"], &response["body"]["path"]),
        (&200.into(), &"/v1/chat/completions".into())
    );
    assert_eq!(responses[0]["id"], format!("batch_req_{}", response["request_id"].as_str().unwrap()));
    let errors = values("out.errors.jsonl");
    assert_eq!(
        (&errors[0]["custom_id"], &errors[0]["error"]["message"]),
        (&"bad".into(), &"exit code 3".into())
    );
    assert_eq!(errors[1]["custom_id"], Value::Null);
    assert!(
        errors[1]["error"]["message"].as_str().unwrap().ends_with(":3: its `method` is not POST"),
        "{errors:?}"
    );
    assert_eq!(errors.len(), 2);

    assert!(run(&["--format", "openai"]).failed(2).contains("exists already"), "both files are kept");
    assert!(run(&["--force"]).failed(2).contains("`--as openai` needs records with keys"));
    let table = world.args(&["batch", "results", "last", "--as", "openai", "-o", "x.csv"]).failed(2);
    assert!(table.contains("writes lines of JSON"), "{table}");
    let all = world.args(&["batch", "results", "last", "--as", "openai"]).ok();
    assert_eq!(all.lines().count(), 4, "{all}");
}
